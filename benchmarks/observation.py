"""What it costs a stage that its process reports what it loads and opens.

Two copies of mlnb take turns, each with a kernel server of its own: one as it is, one whose kernels enter
their stage without a word about observation. Both run the eight stages of the other benchmark in warm
kernels. Then single steps are timed in processes with and without the hook."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers.environment import variables
from peers.pipeline import STAGES
from peers.tools import run, write_mlnb

import mlnb

OBSERVING = 'observe(shell, Path(context).with_name("observed.jsonl"), root)'
COPIES = ("observed", "not observed")
RUN = [sys.executable, "-m", "mlnb", "run", "shop", "--json"]
STOP = [sys.executable, "-m", "mlnb", "kernels", "stop", "--force"]
STEPS = """
import sys, time
from pathlib import Path
import {imports}
from IPython.core.interactiveshell import InteractiveShell
from mlnb.kernel.loaded import note_kernel
from mlnb.kernel.observation import Observer, observe
shell, report = InteractiveShell.instance(), Path.cwd() / "observed.jsonl"
note_kernel()
open("data", "w").close()
if {is_observed}:
    observe(shell, report, "/")
def best(step, n):
    def once():
        start = time.perf_counter()
        for _ in range(n):
            step()
        return (time.perf_counter() - start) / n
    return min(once() for _ in range(7))
def new(names=iter(range(10**6))):
    open(f"new{{next(names)}}", "w").close()
observer = Observer(str(report), ())
print(best(lambda: id(7), 100_000), best(lambda: open("data").close(), 2_000),
      best(new, 200), best(observer.end_cell if {is_observed} else int, 100))
"""
NAMES = ("`id()`", "`open` of a file that was opened before", "`open` of a new one", "the end of a cell")


def copy_of(name: str, scratch: Path) -> Path:
    "A folder with a copy of mlnb in it."
    folder = scratch / name.replace(" ", "_")
    shutil.copytree(Path(mlnb.__file__).parent, folder / "lib" / "mlnb")
    if name != "observed":
        process = folder / "lib" / "mlnb" / "kernel" / "process.py"
        text = process.read_text(encoding="utf-8")
        if text.count(OBSERVING) != 1:
            raise SystemExit(f"{process.name} does not say `{OBSERVING}` once")
        process.write_text(text.replace(OBSERVING, "pass"), encoding="utf-8")
    return folder


def settings_of(folder: Path) -> dict[str, str]:
    "Environment in which that copy is mlnb, with a home of its own."
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    return variables(Path(sys.prefix), home) | {"PYTHONPATH": str(folder / "lib")}


def measure(folder: Path) -> float:
    "Wall time of all stages in warm kernels [s]; ends the benchmark when not all ran."
    project = folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    write_mlnb(project, STAGES)
    start = time.perf_counter()
    said = json.loads(run(RUN, project, settings_of(folder)))
    seconds = time.perf_counter() - start
    if [stage["state"] for stage in said["stages"]] != ["committed"] * len(STAGES):
        raise SystemExit(f"{folder.name}: not all stages ran")
    return seconds


def measure_stages(repeats: int, scratch: Path) -> dict[str, list[float]]:
    "Seconds of each repeat; the copies take turns in going first."
    folders = {name: copy_of(name, scratch) for name in COPIES}
    seconds = {name: [] for name in COPIES}
    try:
        for repeat in range(repeats + 2):  # the first two start the servers and fill file caches
            for name in COPIES[:: 1 if repeat % 2 else -1]:
                took = measure(folders[name])
                print(f"{repeat}/{repeats + 1} {name:12} {took:6.3f} s", file=sys.stderr, flush=True)
                if repeat > 1:
                    seconds[name].append(took)
    finally:
        for folder in folders.values():
            run(STOP, folder, settings_of(folder))
    return seconds


def measure_steps(scratch: Path, imports: str) -> dict[str, dict[str, float]]:
    "Least seconds of single steps, by copy."
    found = {}
    for name in COPIES:
        program = STEPS.format(is_observed=name == "observed", imports=imports)
        folder = Path(tempfile.mkdtemp(dir=scratch))
        command = [sys.executable, "-c", program]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        found[name] = dict(zip(NAMES, map(float, said.stdout.split()), strict=True))
    return found


def share_of(seconds: dict[str, list[float]]) -> float:
    "By how much observing lengthens a run: the median of the ratios of each turn, less one."
    observed, not_observed = (seconds[name] for name in COPIES)
    return statistics.median(a / b for a, b in zip(observed, not_observed, strict=True)) - 1


def markdown(measured: dict) -> str:
    "The two tables, with a line on the machine above them."
    steps, seconds = measured["steps"], measured["seconds"]
    lines = [
        f"{measured['processors']} processors, Python {measured['python']}, load "
        f"{' '.join(f'{value:.1f}' for value in measured['load'])} before.\n",
        "| step | not observed [µs] | observed [µs] |",
        "| --- | ---: | ---: |",
    ]
    for name in NAMES:
        alone, observed = (f"{steps[copy][name] * 1e6:.2f}" for copy in reversed(COPIES))
        lines.append(f"| {name} | {alone} | {observed} |")
    lines += ["", "| eight stages, warm | median [s] | fastest [s] |", "| --- | ---: | ---: |"]
    for name, values in seconds.items():
        lines.append(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} |")
    return "\n".join([*lines, "", f"Observing adds {100 * measured['share']:.1f} % (median of the turns)."])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10, help="counted turns (%(default)s)")
    parser.add_argument("--imports", default="pandas, sklearn.ensemble", help="loaded while steps are timed")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats is at least 1")
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="mlnb-bench-") as scratch:
        steps = measure_steps(Path(scratch), options.imports)
        seconds = measure_stages(options.repeats, Path(scratch))
    measured = {
        "format": 1,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "load": load,
        "steps": steps,
        "seconds": seconds,
        "share": share_of(seconds),
    }
    print(json.dumps(measured, indent=1) if options.json else markdown(measured))


if __name__ == "__main__":
    main()
