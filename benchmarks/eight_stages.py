"""A pipeline of eight notebooks under mlnb, papermill, Ploomber, DVC and Snakemake: from nothing, again,
and after one changed cell.

Each peer has an environment of its own, made on first use and kept (`--environments`), with the same
versions of papermill, pandas and scikit-learn. Tools take turns in every situation, so that a busy moment
of the machine falls on all of them. A time counts only when the command ran as many stages as the situation
asks for and the last table is the expected one. `--before ENVIRONMENT` names an environment with an earlier
mlnb, which takes its turns beside this one."""

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
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pandas.testing import assert_frame_equal
from peers.environment import SHARED, EnvironmentNotMadeError, default_folder, environment, private, variables
from peers.pipeline import N_AFTER_CHANGE, STAGES, changed, expected
from peers.tools import PEERS, Tool, final_table, n_executed, run, stamps, write_mlnb

SITUATIONS = {
    "from nothing": len(STAGES),
    "nothing to do": 0,
    "one changed cell": N_AFTER_CHANGE,
}  # -> stages that must run
MLNB_RUN = ["mlnb", "run", "shop"]
COLD = Tool("mlnb, cold", "`mlnb run shop --cold`", [*MLNB_RUN, "--cold"], write_mlnb)
STARTING = Tool(
    "mlnb", "`mlnb run shop`, from nothing with the start of its kernel server", MLNB_RUN, write_mlnb
)
WARM = Tool(
    "mlnb, server up", "`mlnb run shop`, the kernel server is left from the run before", MLNB_RUN, write_mlnb
)
BEFORE = tuple(replace(tool, name=f"{tool.name}, before") for tool in (STARTING, WARM))  # an earlier mlnb
STARTING_SERVER, HAVING_SERVER = (STARTING, BEFORE[0]), (WARM, BEFORE[1])


def mlnb_tools() -> tuple[Tool, ...]:
    """The ways of mlnb, the one that others are compared with first; a single way while `mlnb run` knows no
    `--cold`."""
    known = subprocess.run(
        [sys.executable, "-m", "mlnb", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    return (
        (STARTING, WARM, COLD)
        if "--cold" in known
        else (replace(STARTING, how="`mlnb run shop`, cold kernels"),)
    )


def with_environments(tools: tuple[Tool, ...], folder: Path) -> dict[Tool, Path]:
    """The environment of each tool; a peer whose environment cannot be made is left out, with one line that
    says why."""
    found = {}
    for tool in tools:
        try:
            found[tool] = (
                environment(folder, tool.name.lower(), tool.requirements)
                if tool.requirements
                else Path(sys.prefix)
            )
        except EnvironmentNotMadeError as error:
            print(f"{tool.name} is left out: {error}", file=sys.stderr, flush=True)
    return found


def prepare(tool: Tool, situation: str, folder: Path, settings: dict[str, str]) -> None:
    "Bring a tool's project into the state that the situation begins with; not timed."
    if situation == "from nothing":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tool.write(folder, STAGES)
        if tool.setup:
            run(tool.setup, folder, settings)
        if tool in STARTING_SERVER or tool in HAVING_SERVER:
            run(["mlnb", "kernels", "stop", "--force"], folder, settings)
        if tool in HAVING_SERVER:
            run(tool.command, folder, settings)
            shutil.rmtree(folder / ".mlnb")
    elif situation == "one changed cell":
        tool.write(folder, changed(STAGES))


def kernels_given(folder: Path, settings: dict[str, str]) -> int:
    "How many kernels mlnb's server has handed out so far; 0 when there is none."
    return sum(
        server["kernels_given"]
        for server in json.loads(run(["mlnb", "kernels", "--json"], folder, settings))["servers"]
    )


def measure(tool: Tool, situation: str, folder: Path, settings: dict[str, str]) -> float:
    "Wall time of one command in a prepared project [s]; ends the benchmark when the work was not done."
    before, given = stamps(folder), kernels_given(folder, settings) if tool in HAVING_SERVER else 0
    start = time.perf_counter()
    run(tool.command, folder, settings)
    seconds = time.perf_counter() - start
    if (n := n_executed(tool, folder, before, settings)) != SITUATIONS[situation]:
        raise SystemExit(f"{tool.name}, {situation}: {n} stages ran instead of {SITUATIONS[situation]}")
    if tool in HAVING_SERVER and kernels_given(folder, settings) - given < n:
        raise SystemExit(f"{tool.name}, {situation}: of {n} stages some began on a cold kernel")
    assert_frame_equal(
        final_table(tool, folder, settings),
        expected(changed(STAGES) if situation == "one changed cell" else STAGES),
    )
    return seconds


def own_home(scratch: Path, tools: dict[Tool, Path], tool: Tool) -> Path:
    "A home folder for each environment: kernel servers of one are not stopped by another."
    homes = list(dict.fromkeys(tools.values()))
    folder = scratch / f"h{homes.index(tools[tool])}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def measure_all(tools: dict[Tool, Path], repeats: int, scratch: Path) -> dict[str, dict[str, list[float]]]:
    "Seconds of each repeat, by tool and situation; the order of the tools turns by one with each repeat."
    names = list(tools)
    settings = {tool: variables(home, own_home(scratch, tools, tool)) for tool, home in tools.items()}
    seconds = {tool.name: {situation: [] for situation in SITUATIONS} for tool in names}
    for repeat in range(repeats + 1):  # the first fills file caches and is not counted
        for situation in SITUATIONS if repeat else ["from nothing"]:
            for i in range(len(names)):
                tool = names[(i + repeat) % len(names)]
                if not tool.keeps_results and situation != "from nothing":
                    seconds[tool.name][situation] = seconds[tool.name][
                        "from nothing"
                    ]  # it would do the same work again
                    continue
                folder = scratch / str(names.index(tool))
                prepare(tool, situation, folder, settings[tool])
                took = measure(tool, situation, folder, settings[tool])
                print(
                    f"{repeat}/{repeats} {situation:17} {tool.name:16} {took:7.2f} s",
                    file=sys.stderr,
                    flush=True,
                )
                if repeat:
                    seconds[tool.name][situation].append(took)
    return seconds


def document(
    tools: dict[Tool, Path], seconds: dict[str, dict[str, list[float]]], load: tuple[float, ...]
) -> dict:
    "All that was measured, with what it was measured on."
    medians = {
        name: {situation: statistics.median(values) for situation, values in by.items()}
        for name, by in seconds.items()
    }
    base = medians[next(iter(medians))]
    rows = [
        {
            "name": tool.name,
            "how": tool.how,
            "version": tool.requirements[0].partition("==")[2] or version("papermill")
            if tool.requirements
            else version("mlnb"),
            "seconds": seconds[tool.name],
            "median": medians[tool.name],
            "ratio": {situation: medians[tool.name][situation] / base[situation] for situation in SITUATIONS},
            "runs_everything": not tool.keeps_results,
        }
        for tool in tools
    ]
    return {
        "format": 1,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": load,
        "load_after": os.getloadavg(),
        "packages": {package: version(package) for package in SHARED},
        "stages_run": SITUATIONS,
        "tools": rows,
    }


def markdown(measured: dict) -> str:
    "The table, with a line on the machine above it."
    repeats = len(measured["tools"][0]["seconds"]["from nothing"])
    loads = " before and ".join(
        " ".join(f"{value:.1f}" for value in measured[when]) for when in ("load_before", "load_after")
    )
    heads = [f"{situation}: {n} run [s]" for situation, n in measured["stages_run"].items()]
    lines = [
        f"Eight stages on {measured['processors']} processors, Python {measured['python']}, median of "
        f"{repeats}, in brackets times mlnb; load {loads} after.\n",
        f"| tool | {' | '.join(heads)} |",
        "| --- |" + " --- |" * len(heads),
    ]
    for row in measured["tools"]:
        cells = [
            f"{row['median'][s]:.2f} "
            f"({row['ratio'][s]:.1f}×){' runs all' if row['runs_everything'] and n != 8 else ''}"
            for s, n in measured["stages_run"].items()
        ]
        lines.append(f"| {row['name']} {row['version']}: {row['how']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="counted repeats of everything; one more comes before and is not counted",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=default_folder(),
        help="where the peers' environments are kept (%(default)s)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PEER",
        help="leave out the peers that are not named; `--only none` is mlnb alone",
    )
    parser.add_argument(
        "--before", type=Path, metavar="ENVIRONMENT", help="a virtual environment with an earlier mlnb"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats is at least 1")
    peers = tuple(peer for peer in PEERS if not options.only or peer.name.lower() in options.only)
    ours = mlnb_tools()
    tools = with_environments((*ours, *peers), private(options.environments))
    if options.before:
        tools |= dict.fromkeys(BEFORE, options.before.absolute())
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="mlnb-bench-") as scratch:
        try:
            seconds = measure_all(tools, options.repeats, Path(scratch))
        finally:
            for tool in {STARTING, BEFORE[0]} & set(tools):
                run(
                    ["mlnb", "kernels", "stop", "--force"],
                    Path(scratch),
                    variables(tools[tool], own_home(Path(scratch), tools, tool)),
                )
    measured = document(tools, seconds, load)
    print(json.dumps(measured, indent=1) if options.json else markdown(measured))


if __name__ == "__main__":
    main()
