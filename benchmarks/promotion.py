"""Registering and promoting a model: mlnb with everything cached, its gate included, and beside it MLflow,
which logs, registers and sets the alias of the same model without asking anybody.

Both are measured as commands, start of Python included, in turns. MLflow must be in the environment that
`--mlflow` names; without it only mlnb is measured. Between two rounds mlnb goes back, so that each one
promotes."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
SETTINGS = """[mlnb]
[pipeline.demo]
notebooks = nbs
[pipeline.gate]
notebooks = gate
[model.demo]
artifact = demo/model
gate = gate
"""
FIT = """import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

rng = np.random.default_rng(0)
rows = rng.normal(size=(20_000, 15))
model = HistGradientBoostingClassifier(max_iter=100, max_depth=depth).fit(rows, rows.sum(1) > 0)"""
STAGES = {
    "nbs/10_train": ["depth: int = 3  # 1..20", f"from mlnb import save\n{FIT}\nsave('model', model)"],
    "gate/10_check": [
        "",
        "from mlnb import load, save\n"
        "model = load('demo/model@candidate')\nchampion = load('demo/model@champion', default=None)\n"
        "save('checks', [{'name': 'depth', 'verdict': 'ok', 'value': model.max_depth}])",
    ],
    "gate/20_decide": ["", "from mlnb import load, require\nrequire(load('checks'), 'no check')"],
}
MLFLOW = f"""import mlflow, os
from mlflow.tracking import MlflowClient

depth = 3
{FIT}
import time
began = time.perf_counter()
with mlflow.start_run():
    logged = mlflow.sklearn.log_model(model, name="model", serialization_format="cloudpickle")
registered = mlflow.register_model(logged.model_uri, "demo")
MlflowClient().set_registered_model_alias("demo", "champion", registered.version)
print(time.perf_counter() - began)
"""


def write_project(folder: Path) -> None:
    "A project whose gate lets everything pass."
    (folder / "settings.ini").write_text(SETTINGS, encoding="utf-8")
    for name, (parameters, code) in STAGES.items():
        cells = [new_code_cell(code, id="code")]
        if parameters:
            cells.insert(0, new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}))
        path = folder / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)


def call(folder: Path, *arguments: str) -> float:
    "Run a command of mlnb; how long it took [s]."
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mlnb", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"mlnb {' '.join(arguments)}: {done.stderr or done.stdout}")
    return time.perf_counter() - began


def prepared(folder: Path) -> str:
    "Two versions, both judged, the first champion; the run of the second."
    write_project(folder)
    for command in ("run demo", "promote demo", "run demo -p depth 4", "model register demo@latest"):
        call(folder, *command.split())
    for command in ("promote demo", "rollback demo"):
        call(folder, *command.split())
    shown = [sys.executable, "-m", "mlnb", "model", "show", "demo@2", "--json"]
    return json.loads(subprocess.check_output(shown, cwd=folder))["run"]


def one_round(folder: Path, run: str) -> tuple[float, float]:
    "Register and promote what is cached, then go back; seconds of both commands."
    registered = call(folder, "model", "register", f"demo@{run}")
    promoted = call(folder, "promote", "demo")
    call(folder, "rollback", "demo")
    return registered, promoted


def mlflow_round(python: Path, folder: Path) -> tuple[float, float]:
    "Log, register and alias the same model; the seconds of the command, and those without fitting."
    began = time.perf_counter()
    variables = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    done = subprocess.run(
        [str(python), "-c", MLFLOW], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"MLflow: {done.stderr[-2000:]}")
    return time.perf_counter() - began, float(done.stdout.split()[-1])


def show(what: str, seconds: list[float]) -> None:
    "Print a median and its range."
    print(f"{what:52} {statistics.median(seconds):6.2f}   {min(seconds):.2f} to {max(seconds):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mlflow", type=Path, help="the Python of an environment with MLflow")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        own, other = Path(scratch, "mlnb"), Path(scratch, "mlflow")
        own.mkdir()
        other.mkdir()
        run = prepared(own)
        ours, theirs = list[tuple[float, float]](), list[tuple[float, float]]()
        for _ in range(asked.rounds):
            ours.append(one_round(own, run))
            theirs += [mlflow_round(asked.mlflow, other)] if asked.mlflow else []
    print(f"{platform.machine()}, {os.cpu_count()} processors, {asked.rounds} rounds in turns; seconds")
    show("mlnb model register", [one for one, _ in ours])
    show("mlnb promote, its gate cached", [one for _, one in ours])
    show("mlnb, both", [sum(one) for one in ours])
    if theirs:
        show("MLflow: log, register, alias; without Python's start", [one for _, one in theirs])
        show("MLflow: the command, fitting included", [one for one, _ in theirs])


if __name__ == "__main__":
    main()
