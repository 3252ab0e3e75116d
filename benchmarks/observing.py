"""What it costs to observe what stages really use.

The eight stages of `eight_stages` from nothing on a kernel server that is up, in turns with an earlier mlnb
(`--before ENVIRONMENT`); and `mlnb status` of a hundred fresh stages that each read three files of the
project, beside a hundred that read none."""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import eight_stages
from many_stages import notebook
from noop import seconds
from peers.environment import variables
from peers.tools import run

N_STAGES, N_FILES = 100, 3
READ = "total = sum(len(open(f'../data/{n}_{k}.txt').read()) for k in range({files}))"


def turns(tools: dict, repeats: int, scratch: Path) -> dict[str, list[float]]:
    "Seconds of the eight stages, by tool; the order changes with each repeat, the first is not counted."
    settings = {
        tool: variables(home, eight_stages.own_home(scratch, tools, tool)) for tool, home in tools.items()
    }
    folders = {tool: scratch / str(n) for n, tool in enumerate(tools)}
    for tool, folder in folders.items():
        eight_stages.prepare(tool, "from nothing", folder, settings[tool])
    took = {tool.name: [] for tool in tools}
    try:
        for repeat in range(repeats + 1):
            for tool in list(tools)[:: 1 if repeat % 2 else -1]:
                shutil.rmtree(folders[tool] / ".mlnb", ignore_errors=True)
                value = eight_stages.measure(tool, "from nothing", folders[tool], settings[tool])
                print(f"{repeat}/{repeats} {tool.name:24} {value:6.2f} s", file=sys.stderr, flush=True)
                took[tool.name] += [value] if repeat else []
    finally:
        for tool, folder in folders.items():
            run(["mlnb", "kernels", "stop", "--force"], folder, settings[tool])
    return took


def told(took: dict[str, list[float]]) -> list[str]:
    "Median and quartiles by tool; the median of the ratios within a turn."
    lines = []
    for name, values in took.items():
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        lines.append(f"{name:24}{middle:8.3f} s  (quartiles {low:.3f} to {high:.3f}, {len(values)} turns)")
    if len(took) == 2:
        now, before = took.values()
        ratio = statistics.median(a / b for a, b in zip(now, before, strict=True))
        lines.append(f"{'first / second':24}{ratio:8.3f}")
    return lines


def write_reading(folder: Path, n_files: int) -> None:
    "A project of stages that each read some files of their own."
    (folder / "nbs").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "settings.ini").write_text("[mlnb]\n[pipeline.many]\nnotebooks = nbs\n")
    for n in range(N_STAGES):
        for k in range(n_files):
            (folder / "data" / f"{n}_{k}.txt").write_text(f"{n} {k}\n" * 100)
        read = READ.replace("{n}", str(n)).replace("{files}", str(n_files))
        cells = ("", "from mlnb import save"), ("", read), ("", f"save('s{n}', total)")
        (folder / "nbs" / f"{n:03}_s{n}.ipynb").write_text(notebook(*cells))


def status_of(scratch: Path, repeats: int) -> dict[str, list[float]]:
    "Seconds of `mlnb status` with and without files that were observed."
    mlnb = [sys.executable, "-m", "mlnb"]
    folders = {f"status, {n} files a stage": (scratch / f"read{n}", n) for n in (0, N_FILES)}
    for folder, n_files in folders.values():
        write_reading(folder, n_files)
        seconds([*mlnb, "run", "many"], str(folder))
    took = {name: [] for name in folders}
    for repeat in range(repeats + 1):
        for name, (folder, _) in folders.items():
            value = seconds([*mlnb, "status"], str(folder))
            took[name] += [value] if repeat else []
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="counted turns; one more comes before")
    parser.add_argument(
        "--before", type=Path, metavar="ENVIRONMENT", help="a virtual environment with an earlier mlnb"
    )
    options = parser.parse_args()
    tools = {eight_stages.WARM: Path(sys.prefix)}
    if options.before:
        tools[eight_stages.BEFORE[1]] = options.before.absolute()
    with tempfile.TemporaryDirectory(prefix="mlnb-bench-") as scratch:
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors, eight stages from nothing:")
        print("\n".join(told(turns(tools, options.repeats, Path(scratch)))))
        print(f"`mlnb status` of {N_STAGES} fresh stages; the ratio is that of files to none:")
        took = status_of(Path(scratch), options.repeats)
        print("\n".join(told(dict(reversed(took.items())))))


if __name__ == "__main__":
    main()
