"""What it costs to start mlnb and to find that there is nothing to do, beside a bare Python start and a bare papermill import."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from configparser import ConfigParser
from pathlib import Path

ROUNDS = 7
MLNB = str(Path(sys.executable).with_name("mlnb"))


def seconds(command: list[str], folder: str) -> float:
    "Wall time of one command, which must succeed [s]."
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=os.environ | {"DO_NOT_TRACK": "1"})
    return time.perf_counter() - start


def scratch_project(folder: str) -> str:
    "Make the project of `mlnb init` in `folder`, run it once and return the name of its pipeline."
    subprocess.run([MLNB, "init", "."], cwd=folder, check=True, capture_output=True)
    settings = ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    settings.read(Path(folder, "settings.ini"), encoding="utf-8")
    pipeline = next(name.removeprefix("pipeline.") for name in settings.sections() if name.startswith("pipeline."))
    subprocess.run([MLNB, "run", pipeline], cwd=folder, check=True, capture_output=True)
    return pipeline


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pipeline = scratch_project(folder)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import mlnb": [sys.executable, "-c", "import mlnb"],
            "mlnb --help": [MLNB, "--help"],
            "mlnb run, all cached": [MLNB, "run", pipeline],
            "import papermill": [sys.executable, "-c", "import papermill"],
        }
        times = {name: [] for name in commands}
        for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine falls on all of them
            for name, command in commands.items():
                times[name].append(seconds(command, folder))
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians["python -c pass"]
    print(f"{'':24}{'median s':>10}{'x bare start':>14}")
    for name, value in medians.items():
        print(f"{name:24}{value:10.3f}{value / bare:14.1f}")


if __name__ == "__main__":
    main()
