"""The pipeline as the users of each tool write it, the command that runs it, and what shows that it did the
work."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from peers.pipeline import IMPORTS, LAST, SCALE, STAGES, Stage, file_name, write_notebook

Stages = tuple[Stage, ...]


@dataclass(frozen=True, eq=False)
class Tool:
    "A way to run the pipeline."

    name: str  # as the table shows it
    how: str  # the command, and what the table's reader must know of it
    command: list[str]  # run in the project's folder, with the environment's `bin` first on the PATH
    write: Callable[[Path, Stages], None]  # write the project, or what has changed in it
    setup: list[str] | None = None  # once after writing a new project, not timed
    requirements: tuple[str, ...] = ()  # what pip installs; empty for mlnb
    keeps_results: bool = True  # False when it always runs everything


def path(name: str) -> str:
    "Where the peers keep a table."
    return f"data/{name}.parquet"


def write_file_notebooks(folder: Path, stages: Stages) -> None:
    "Notebooks that read and write Parquet files, for the tools that declare files beside the notebooks."
    (folder / "executed").mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    for stage in stages:
        reads = "".join(f"{name} = pd.read_parquet('{path(name)}')\n" for name in stage.inputs)
        step = f"{reads}{stage.step}\n{stage.name}.to_parquet('{path(stage.name)}')"
        write_notebook(folder / "notebooks" / file_name(stage), [f"scale = {SCALE}", IMPORTS, step])


def write_mlnb(folder: Path, stages: Stages) -> None:
    "Notebooks that `load` and `save`; nothing is declared beside them."
    (folder / "settings.ini").write_text("[mlnb]\n[pipeline.shop]\nnotebooks = notebooks\n", encoding="utf-8")
    for stage in stages:
        reads = "".join(f"{name} = load('{name}')\n" for name in stage.inputs)
        names = "load, save" if stage.inputs else "save"
        cells = [
            f"scale: int = {SCALE}  # factor, 1..100",
            f"{IMPORTS}\n\nfrom mlnb import {names}",
            f"{reads}{stage.step}\nsave('{stage.name}', {stage.name})",
        ]
        write_notebook(folder / "notebooks" / file_name(stage), cells)


def write_ploomber(folder: Path, stages: Stages) -> None:
    """`upstream` in the notebook, products and parameters in `pipeline.yaml`; the parallel executor, as mlnb
    runs in parallel too."""
    tasks = ["executor: parallel\ntasks:\n"]
    for stage in stages:
        reads = "".join(f"{name} = pd.read_parquet(upstream['{name}']['data'])\n" for name in stage.inputs)
        upstream = list(stage.inputs) or None
        step = f"{reads}{stage.step}\n{stage.name}.to_parquet(product['data'])"
        write_notebook(
            folder / "notebooks" / file_name(stage),
            [f"upstream = {upstream}\nproduct = None\nscale = None", IMPORTS, step],
        )
        tasks.append(
            f"  - source: notebooks/{file_name(stage)}\n    name: {stage.name}\n"
            f"    params: {{scale: {SCALE}}}\n"
            f"    product: {{nb: executed/{file_name(stage)}, data: {path(stage.name)}}}\n"
        )
    (folder / "pipeline.yaml").write_text("".join(tasks), encoding="utf-8")


def write_dvc(folder: Path, stages: Stages) -> None:
    """`dvc.yaml`: each stage calls papermill; the notebook and the tables it reads are dependencies, its
    table an output."""
    write_file_notebooks(folder, stages)
    lines = ["stages:\n"]
    for stage in stages:
        notebook = file_name(stage)
        deps = "".join(f"      - {dep}\n" for dep in [f"notebooks/{notebook}", *map(path, stage.inputs)])
        lines.append(
            f"  {stage.name}:\n    cmd: papermill notebooks/{notebook} executed/{notebook}\n    deps:\n{deps}"
            f"    outs:\n      - {path(stage.name)}\n      - executed/{notebook}:\n          cache: false\n"
        )
    (folder / "dvc.yaml").write_text("".join(lines), encoding="utf-8")


def write_snakemake(folder: Path, stages: Stages) -> None:
    "`Snakefile`: each rule calls papermill; the notebook and the tables it reads are its input."
    write_file_notebooks(folder, stages)
    rules = [f"rule all:\n    input: '{path(LAST)}'\n"]
    for stage in stages:
        notebook = file_name(stage)
        rules.append(
            f"\nrule {stage.name}:\n    input: notebook='notebooks/{notebook}', "
            f"tables={[path(name) for name in stage.inputs]}\n"
            f"    output: notebook='executed/{notebook}', table='{path(stage.name)}'\n"
            f"    shell: 'papermill {{input.notebook}} {{output.notebook}}'\n"
        )
    (folder / "Snakefile").write_text("".join(rules), encoding="utf-8")


CORES = str(os.cpu_count())
EVERY_NOTEBOOK = (
    'for notebook in notebooks/*.ipynb; do papermill "$notebook" "executed/${notebook##*/}"; done'
)
PEERS = (
    Tool(
        "papermill",
        "CLI, one notebook after the other",
        ["sh", "-ec", EVERY_NOTEBOOK],
        write_file_notebooks,
        requirements=("papermill",),
        keeps_results=False,
    ),
    Tool(
        "Ploomber",
        "`ploomber build`, parallel executor",
        ["ploomber", "build"],
        write_ploomber,
        requirements=("ploomber==0.23.3",),
    ),
    Tool(
        "DVC",
        "`dvc repro`, stages call papermill's CLI",
        ["dvc", "repro"],
        write_dvc,
        ["dvc", "init", "--no-scm"],
        ("dvc==3.67.1",),
    ),
    Tool(
        "Snakemake",
        f"`snakemake --cores {CORES}`, rules call papermill's CLI",
        ["snakemake", "--cores", CORES],
        write_snakemake,
        requirements=("snakemake==9.27.0",),
    ),
)


def run(command: list[str], folder: Path, variables: dict[str, str]) -> str:
    "Run a command that must succeed; what it wrote to stdout."
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise SystemExit(
            f"{shlex.join(command)} in {folder} ended with {done.returncode}:\n"
            f"{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout


def stamps(folder: Path) -> dict[str, int]:
    "When each table of a peer was written [ns]."
    return {
        stage.name: (folder / path(stage.name)).stat().st_mtime_ns
        for stage in STAGES
        if (folder / path(stage.name)).exists()
    }


def n_executed(tool: Tool, folder: Path, before: dict[str, int], variables: dict[str, str]) -> int:
    """How many stages the last command really ran: tables written again, or stages that mlnb's run does not
    call cached."""
    if tool.requirements:
        return sum(before.get(name) != stamp for name, stamp in stamps(folder).items())
    shown = json.loads(run(["mlnb", "show", "latest", "--json"], folder, variables))
    return sum(stage["state"] != "cached" for stage in shown["stages"])


def final_table(tool: Tool, folder: Path, variables: dict[str, str]) -> pd.DataFrame:
    "What the last stage saved."
    if tool.requirements:
        return pd.read_parquet(folder / path(LAST))
    with tempfile.TemporaryDirectory() as scratch:
        run(["mlnb", "get", LAST, "--out", f"{scratch}/table.parquet"], folder, variables)
        return pd.read_parquet(f"{scratch}/table.parquet")
