"""What it costs to start mlnb and to find that there is nothing to do, beside a bare Python start and a
bare papermill import.

`noop.py ENVIRONMENT` names a virtual environment with an earlier mlnb, which takes its turns beside this
one."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from configparser import ConfigParser
from pathlib import Path

ROUNDS = 7


def seconds(command: list[str], folder: str) -> float:
    "Wall time of one command, which must succeed [s]."
    start = time.perf_counter()
    subprocess.run(
        command, cwd=folder, check=True, capture_output=True, env=os.environ | {"DO_NOT_TRACK": "1"}
    )
    return time.perf_counter() - start


def scratch_project(folder: str, mlnb: str) -> str:
    "Make the project of `mlnb init` in `folder`, run it once and return the name of its pipeline."
    subprocess.run([mlnb, "init", "."], cwd=folder, check=True, capture_output=True)
    settings = ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    settings.read(Path(folder, "settings.ini"), encoding="utf-8")
    pipeline = next(
        name.removeprefix("pipeline.") for name in settings.sections() if name.startswith("pipeline.")
    )
    subprocess.run([mlnb, "run", pipeline], cwd=folder, check=True, capture_output=True)
    return pipeline


def commands_of(python: str, folder: str, suffix: str = "") -> dict[str, tuple[list[str], str]]:
    "The commands of one environment, each with the folder it runs in."
    mlnb = str(Path(python).with_name("mlnb"))
    pipeline = scratch_project(folder, mlnb)
    return {
        f"import mlnb{suffix}": ([python, "-c", "import mlnb"], folder),
        f"mlnb --help{suffix}": ([mlnb, "--help"], folder),
        f"mlnb status{suffix}": ([mlnb, "status"], folder),
        f"mlnb run, all cached{suffix}": ([mlnb, "run", pipeline], folder),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        commands = {"python -c pass": ([sys.executable, "-c", "pass"], folder)} | commands_of(
            sys.executable, folder
        )
        if sys.argv[1:]:
            commands |= commands_of(str(Path(sys.argv[1]).absolute() / "bin" / "python"), other, ", before")
        commands["import papermill"] = ([sys.executable, "-c", "import papermill"], folder)
        times = {name: [] for name in commands}
        for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine falls on all of them
            for name, (command, place) in commands.items():
                times[name].append(seconds(command, place))
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians["python -c pass"]
    print(f"{'':32}{'median s':>10}{'x bare start':>14}")
    for name, value in medians.items():
        print(f"{name:32}{value:10.3f}{value / bare:14.1f}")


if __name__ == "__main__":
    main()
