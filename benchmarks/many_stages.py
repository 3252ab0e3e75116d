"""What pipelines of up to 10,000 stages cost when there is nothing to do: a chain and a wide fan, real
notebooks, committed records.

`--before FOLDER` names a checkout of an earlier mlnb, which takes its turns beside this one on a copy of the
same projects; `--json` prints what was measured. Beside wall time stand CPU time, which a busy machine moves
less, and the largest memory. The exponent is that of the CPU time beyond the smallest pipeline, between the
last two sizes: 1 is linear."""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan, plan_step
from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.store.artifacts import put_value
from mlnb.store.objects import put
from mlnb.store.record import Record
from mlnb.store.records import commit
from mlnb.store.settings import find_project, project_store

ROUNDS = 3
BUDGETS = {
    ("mlnb run, all fresh", 8): 0.35,
    ("mlnb status", 1000): 1.0,
    ("mlnb run, all fresh", 1000): 1.5,
    ("mlnb run --dry-run", 10_000): 2.0,
    ("mlnb run, all fresh", 10_000): 2.5,
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
    known: dict = {}
    for name in pipeline.order:
        step = plan_step(plan, name, known)
        document = {
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
        }
        commit(store, Record.from_dict(document))
        plan_step(plan, name, known)


class Cost(NamedTuple):
    "What one command took."

    wall_s: float  # on this machine, as busy as it was [s]
    cpu_s: float  # of the command alone [s]
    peak_mib: float  # largest memory [MiB]


def cost(arguments: list[str], folder: Path, environment: dict) -> Cost:
    "What one command costs, which must succeed."
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "mlnb", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def forget(folder: Path) -> None:
    "Let the next command read every notebook anew."
    for path in (folder / ".mlnb" / "cache").glob("*.readings"):
        path.unlink()


COMMANDS = {
    "mlnb check, nothing remembered": (["check"], forget),
    "mlnb check": (["check"], bool),
    "mlnb status": (["status"], bool),
    "mlnb run --dry-run": (["run", "many", "--dry-run"], bool),
    "mlnb run, all fresh": (["run", "many"], bool),
}  # name -> arguments, what is done before


def measured(places: dict[str, tuple[Path, dict]]) -> dict[str, dict[str, Cost]]:
    "Median cost of each command in each place, in turns, so that a busy moment falls on all of them."
    for place in places.values():
        for arguments, _ in COMMANDS.values():
            cost(arguments, *place)
    times: dict = {who: {name: [] for name in COMMANDS} for who in places}
    for _ in range(ROUNDS):
        for name, (arguments, before) in COMMANDS.items():
            for who, place in places.items():
                before(place[0])
                times[who][name].append(cost(arguments, *place))
    return {
        who: {name: Cost(*map(statistics.median, zip(*costs, strict=True))) for name, costs in found.items()}
        for who, found in times.items()
    }


def surroundings(scratch: str, source: Path) -> dict[str, str]:
    "The environment of a command: compiled modules are kept, settings of the caller are not."
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MLNB_")}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return ours | {"PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": f"{scratch}/compiled"}


@contextmanager
def without_flushing() -> Iterator[None]:
    "Write a store that no power cut has to spare: twenty thousand flushes would take minutes."
    flush, os.fsync = os.fsync, lambda handle: None
    try:
        yield
    finally:
        os.fsync = flush


def measured_once(shape: str, n: int, sources: dict[str, Path]) -> dict[str, dict[str, Cost]]:
    "Costs of each command on a pipeline of `n` stages, made for it and thrown away."
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "project")
        folder.mkdir()
        write_project(folder, shape, n)
        with without_flushing():
            commit_all(folder)
        places = {}
        for who, source in sources.items():
            shutil.copytree(folder, Path(scratch, who))
            places[who] = Path(scratch, who), surroundings(scratch, source)
        return measured(places)


def exponent(small: int, large: int, costs: dict[int, Cost]) -> float:
    "How CPU time beyond that of the smallest pipeline grows with the number of stages."
    bare = costs[min(costs)].cpu_s
    return math.log((costs[large].cpu_s - bare) / (costs[small].cpu_s - bare)) / math.log(large / small)


def row(label: str, costs: dict[int, Cost], budgets: list[str]) -> str:
    "A line of the table: wall and CPU time for each size, how it grew, memory, what is allowed."
    sizes = sorted(costs)
    shown = "".join(f"{costs[n].wall_s:8.2f}{costs[n].cpu_s:7.2f}" for n in sizes)
    grew = f"{exponent(*sizes[-2:], costs):10.2f}" if len(sizes) > 2 else f"{'':10}"
    return f"{label:48}{shown}{grew}{costs[sizes[-1]].peak_mib:8.0f}  {', '.join(budgets)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [8, 1250, 2500, 5000, 10_000]
    parser.add_argument("sizes", nargs="*", type=int, default=sizes, help="numbers of stages")
    parser.add_argument("--before", type=Path, help="folder of an earlier mlnb")
    parser.add_argument("--json", action="store_true", help="print one document")
    parser.add_argument("--shape", choices=("chain", "fan"), help="only this one")
    given = parser.parse_args()
    sources = {"now": Path(__file__).resolve().parents[1]}
    sources |= {"before": given.before.absolute()} if given.before else {}
    told: dict = {}
    if not given.json:
        shown = "".join(f"{n:>15,}" for n in given.sizes)
        print(f"{'wall and CPU time [s]':48}{shown}  exponent     MiB  budget")
    for shape in (given.shape,) if given.shape else ("chain", "fan"):
        found = {n: measured_once(shape, n, sources) for n in given.sizes}
        for who, command in product(sources, COMMANDS):
            costs = {n: found[n][who][command] for n in given.sizes}
            told[f"{shape}, {who}: {command}"] = {n: one._asdict() for n, one in costs.items()}
            allowed = [f"{n:,}: {BUDGETS[command, n]} s" for n in given.sizes if (command, n) in BUDGETS]
            if not given.json:
                print(row(f"{shape}, {who}: {command}", costs, allowed), flush=True)
    if given.json:
        print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
