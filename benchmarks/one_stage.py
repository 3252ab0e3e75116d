"""One stage that imports what a stage usually imports: what papermill and mlnb add to the time of its own
code.

The stage measures its own code, imports included, by a clock in its cells; what the command takes beyond
that is the tool's. A warm kernel has imported the libraries before the stage begins, so its own code is
short as well. Both tools run in this environment."""

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
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

USUAL = "import matplotlib.pyplot as plt\nimport pandas as pd\nimport sklearn.ensemble"
EVIDENTLY = f"{USUAL}\nfrom evidently import Dataset, Report"
STAGES = {"pandas, scikit-learn, matplotlib": USUAL, "the same and Evidently": EVIDENTLY}
KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
BEGIN = "from time import perf_counter\n\nstarted = perf_counter()"
WORK = (
    "table = pd.DataFrame({'day': range(1000 * scale)})\ntable['week'] = table['day'] // 7\n"
    "n_weeks = int(table['week'].nunique())"
)
END = "own_seconds = perf_counter() - started"
FILES = [
    "table.to_parquet('table.parquet')",
    f"{END}\nimport json\nfrom pathlib import Path\n\n"
    "Path('own.json').write_text(json.dumps([own_seconds, n_weeks]))",
]
NAMES = ["save('table', table)", f"{END}\nmetric('own_seconds', own_seconds)\nmetric('n_weeks', n_weeks)"]
N_WEEKS = 286  # ceil(2,000 / 7): a time counts only when the stage came to this


def write_project(folder: Path, imports: str, cells: list[str]) -> None:
    "A new project with the stage in it."
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "settings.ini").write_text("[mlnb]\n[pipeline.one]\nnotebooks = .\n", encoding="utf-8")
    code = [
        new_code_cell(source, id=f"cell{i}")
        for i, source in enumerate(["scale: int = 2  # factor, 1..100", BEGIN, imports, WORK, *cells])
    ]
    code[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=code, metadata=KERNEL), folder / "10_stage.ipynb")


def variables(scratch: Path) -> dict[str, str]:
    "This environment, activated, with a kernel server of its own."
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return os.environ | {"PATH": path, "XDG_RUNTIME_DIR": str(scratch), "DO_NOT_TRACK": "1", "NO_COLOR": "1"}


def run(command: list[str], folder: Path, settings: dict[str, str]) -> tuple[str, float]:
    "What a command that must succeed wrote to stdout, and its wall time [s]."
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout, seconds


def papermill(folder: Path, imports: str, settings: dict[str, str]) -> tuple[float, float]:
    "Wall time of papermill's CLI, and of the stage's own code [s]."
    write_project(folder, imports, FILES)
    _, seconds = run(["papermill", "10_stage.ipynb", "executed.ipynb"], folder, settings)
    own, n_weeks = json.loads((folder / "own.json").read_text(encoding="utf-8"))
    return seconds, own if n_weeks == N_WEEKS else sys.exit("papermill: the stage came to another result")


def mlnb(*options: str) -> Callable[[Path, str, dict[str, str]], tuple[float, float]]:
    "A function that measures `mlnb run` with these options as `papermill` does."

    def measure(folder: Path, imports: str, settings: dict[str, str]) -> tuple[float, float]:
        write_project(folder, imports, ["from mlnb import metric, save", *NAMES])
        _, seconds = run(["mlnb", "run", "one", *options], folder, settings)
        shown, _ = run(["mlnb", "show", "latest", "--json"], folder, settings)
        metrics = json.loads(shown)["stages"][0]["metrics"]
        n_weeks, own = (
            value["value"] if isinstance(value := metrics[name], dict) else value
            for name in ("n_weeks", "own_seconds")
        )
        return seconds, own if n_weeks == N_WEEKS else sys.exit("mlnb: the stage came to another result")

    return measure


def measure_all(tools: dict, repeats: int, scratch: Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """(wall, own) of each repeat, by stage and tool, in turns; a first round, not counted, fills file caches
    and starts the kernel server."""
    measured = {stage: {name: [] for name in tools} for stage in STAGES}
    for repeat in range(repeats + 1):
        for stage, imports in STAGES.items():
            for name, measure in tools.items():
                pair = measure(scratch / "project", imports, variables(scratch))
                print(
                    f"{repeat}/{repeats} {stage:34}{name:16}{pair[0]:7.2f} s, own code {pair[1]:.2f} s",
                    file=sys.stderr,
                    flush=True,
                )
                if repeat:
                    measured[stage][name].append(pair)
    return measured


def row(stage: str, name: str, pairs: list[tuple[float, float]], overhead_of_papermill: float) -> dict:
    "Medians of one stage under one tool."
    overhead = statistics.median(wall - own for wall, own in pairs)
    return {
        "stage": stage,
        "tool": name,
        "pairs": pairs,
        "wall": statistics.median(wall for wall, _ in pairs),
        "own": statistics.median(own for _, own in pairs),
        "overhead": overhead,
        "papermill_times": overhead_of_papermill / overhead,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="counted repeats; one more comes before and is not counted"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats is at least 1")
    known = subprocess.run(
        [sys.executable, "-m", "mlnb", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    is_warm = "--cold" in known
    ours = {"mlnb, warm": mlnb(), "mlnb, cold": mlnb("--cold")} if is_warm else {"mlnb, cold": mlnb()}
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="mlnb-bench-") as scratch:
        try:
            measured = measure_all({"papermill": papermill} | ours, options.repeats, Path(scratch))
        finally:
            if is_warm:
                run(["mlnb", "kernels", "stop", "--force"], Path(scratch), variables(Path(scratch)))
    rows = []
    for stage, tools in measured.items():
        overhead_of_papermill = statistics.median(wall - own for wall, own in tools["papermill"])
        rows += [row(stage, name, pairs, overhead_of_papermill) for name, pairs in tools.items()]
    about = {
        "format": 1,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "papermill": version("papermill"),
    }
    about |= {"load_before": load, "load_after": os.getloadavg(), "rows": rows}
    if options.json:
        print(json.dumps(about, indent=1))
        return
    loads = " before and ".join(
        " ".join(f"{value:.1f}" for value in about[when]) for when in ("load_before", "load_after")
    )
    print(
        f"One stage on {about['processors']} processors, Python {about['python']}, papermill "
        f"{about['papermill']}, median of {options.repeats}; load {loads} after.\n"
    )
    print(
        "| imports | tool | command [s] | own code [s] | over its own code [s] | papermill's, times |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for r in rows:
        print(
            f"| {r['stage']} | {r['tool']} | {r['wall']:.2f} | {r['own']:.2f} | {r['overhead']:.2f} | "
            f"{r['papermill_times']:.1f}× |"
        )


if __name__ == "__main__":
    main()
