"""What pipelines of 8, 1,000 and 10,000 stages cost when there is nothing to do: a chain and a wide fan, real
notebooks, committed records."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan, plan_step
from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.store.artifacts import put_value
from mlnb.store.objects import put
from mlnb.store.records import commit
from mlnb.store.settings import find_project, project_store

ROUNDS = 3
BUDGETS = {
    ("mlnb run, all fresh", 8): 0.35,
    ("mlnb status", 1000): 1.0,
    ("mlnb run, all fresh", 1000): 1.5,
}  # [s]
KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


def notebook(*cells: tuple[str, str]) -> str:
    "A notebook of (tag or `md`, text) cells."
    made = [
        {
            "cell_type": "markdown" if tag == "md" else "code",
            "id": f"cell-{n}",
            "metadata": {"tags": [tag]} if tag not in ("", "md") else {},
            "source": text,
            **({} if tag == "md" else {"outputs": [], "execution_count": None}),
        }
        for n, (tag, text) in enumerate(cells)
    ]
    return json.dumps({"cells": made, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5})


def needs_of(shape: str, n: int, n_stages: int) -> list[int]:
    "Stages that stage `n` loads: the one before it, or the first; the last of a fan loads all."
    if n == 0:
        return []
    if shape == "chain":
        return [n - 1]
    return list(range(1, n)) if n == n_stages - 1 else [0]


def write_project(folder: Path, shape: str, n_stages: int) -> None:
    "A project of one pipeline."
    (folder / "nbs").mkdir()
    (folder / "settings.ini").write_text("[mlnb]\n[pipeline.many]\nnotebooks = nbs\n")
    for n in range(n_stages):
        loads = "\n".join(f'frames.append(load("s{s}"))' for s in needs_of(shape, n, n_stages))
        text = notebook(
            ("md", f"# Stage {n}\n> One of many"),
            ("parameters", "days: int = 7  # length of the window [days], 1..60"),
            ("", "import numpy as np\n\nfrom mlnb import load, metric, save"),
            ("", f"frames = []\n{loads}"),
            ("", "total = np.sum([days, *map(np.mean, frames)])\nmetric('total', total)\ntotal"),
            ("", f"save('s{n}', float(total))"),
        )
        (folder / "nbs" / f"{n:05d}_s{n}.ipynb").write_text(text)


def commit_all(folder: Path) -> None:
    "Commit a record for every stage, as a run would."
    project = find_project(folder)
    store, pipeline = project_store(project), require_sound(read_pipeline(project, "many"))
    plan = make_plan(project, store, pipeline, "default", resolve(project, pipeline, "default", {}, {}))
    kept, value = put(store, b"{}"), put_value(store, 1.5).as_dict()
    for name in pipeline.order:
        step = plan_step(plan, name)
        commit(
            store,
            {
                "key": step.key,
                "parts": step.parts,
                "pipeline": "many",
                "stage": name,
                "each": None,
                "run": "20261123T000000000-seed",
                "metrics": {"total": 1.5},
                "notebook": kept,
                "source": kept,
                "file": step.stage.file,
                "inputs": {n: a.as_dict() for n, a in step.inputs.items()},
                "outputs": dict.fromkeys(step.stage.saves, value),
                "modules": {},
                "lock": None,
                "environment": {"packages": step.found.packages},
                "seconds": 1.0,
            },
        )
        plan_step(plan, name)


def seconds(arguments: list[str], folder: Path, environment: dict) -> float:
    "Wall time of one command, which must succeed [s]."
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mlnb", *arguments],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    return time.perf_counter() - start


def measured(folder: Path, environment: dict) -> dict[str, float]:
    "Median time of each command [s]."

    def forget():
        for path in (folder / ".mlnb" / "cache").glob("*.readings"):
            path.unlink()

    commands = {
        "mlnb check, nothing remembered": (["check"], forget),
        "mlnb check": (["check"], int),
        "mlnb status": (["status"], int),
        "mlnb run, all fresh": (["run", "many"], int),
    }
    for arguments, _ in commands.values():
        seconds(arguments, folder, environment)
    times: dict = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, (arguments, before) in commands.items():
            before()
            times[name].append(seconds(arguments, folder, environment))
    return {name: statistics.median(values) for name, values in times.items()}


def surroundings(scratch: str) -> dict[str, str]:
    "The environment of a command: compiled modules are kept, settings of the caller are not."
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MLNB_")}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return ours | {"PYTHONPYCACHEPREFIX": f"{scratch}/compiled"}


def measured_once(shape: str, n: int) -> dict[str, float]:
    "Times of each command on a pipeline of `n` stages, made for it and thrown away [s]."
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "project")
        folder.mkdir()
        write_project(folder, shape, n)
        commit_all(folder)
        return measured(folder, surroundings(scratch))


def row(label: str, times: list[float], budgets: list[str]) -> str:
    "A line of the table: a time for each size, how it grew at the end, what is allowed."
    grew = f"{times[-1] / times[-2]:16.1f}" if len(times) > 1 else ""
    return f"{label:40}{''.join(f'{time:10.2f}' for time in times)}{grew}  {', '.join(budgets)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[8, 1000, 10_000], help="numbers of stages")
    sizes = parser.parse_args().sizes
    growth = f"{sizes[-1]:,} / {sizes[-2]:,}" if len(sizes) > 1 else ""
    print(f"{'':40}{''.join(f'{n:>10,}' for n in sizes)}{growth:>16}  budget")
    for shape in ("chain", "fan"):
        found = {n: measured_once(shape, n) for n in sizes}
        for command in found[sizes[0]]:
            allowed = [f"{n:,}: {BUDGETS[command, n]} s" for n in sizes if (command, n) in BUDGETS]
            print(row(f"{shape}: {command}", [found[n][command] for n in sizes], allowed), flush=True)


if __name__ == "__main__":
    main()
