"""What papermill alone and mlnb make of five faults: exit code, what is said, what is left. Prints a table in
Markdown."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

BIN = Path(sys.executable).parent
SPEC = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
CELLS = ["days: int = 7  # 1..60", "from mlnb import save", "{fault}", "save('total', days * 2)"]
FAULTS = [  # what happens, line in the third cell, parameters
    ("nothing", "pass", []),
    ("misspelt parameter", "pass", ["-p", "dayz", "8"]),
    ("text where a number belongs", "pass", ["-p", "days", "seven"]),
    ("`sys.exit(0)` before the result is saved", "import sys; sys.exit(0)", []),
    ("kernel killed", "import os; os.kill(os.getpid(), 9)", []),
]


def timed(command: list[str], folder: Path) -> tuple[int, float]:
    "Exit code and seconds of a command."
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, time.perf_counter() - start


def papermill_says(folder: Path) -> str:
    "What papermill's output notebook says of itself."
    try:
        about = json.loads((folder / "out.ipynb").read_text())
    except (OSError, ValueError):
        return "no notebook"
    cells = {
        c["metadata"].get("papermill", {}).get("status") for c in about["cells"] if c["cell_type"] == "code"
    }
    return (
        f"cells {', '.join(sorted(map(str, cells)))}; exception "
        f"{about['metadata']['papermill'].get('exception')}"
    )


def mlnb_says(folder: Path) -> str:
    "What the newest run says of its stage."
    done = subprocess.run([BIN / "mlnb", "runs", "--json"], cwd=folder, capture_output=True, text=True)
    if not json.loads(done.stdout)["runs"]:
        return "refused before a kernel started"
    done = subprocess.run(
        [BIN / "mlnb", "show", "latest", "--json"], cwd=folder, capture_output=True, text=True
    )
    entry = json.loads(done.stdout)["stages"][0]
    return f"{entry['state']} {entry['kind'] or ''}".strip()


def main() -> None:
    print("| what happens | papermill alone | mlnb |\n| --- | --- | --- |")
    for name, line, parameters in FAULTS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "settings.ini").write_text("[mlnb]\n[pipeline.demo]\nnotebooks = .\n")
            cells = [
                new_code_cell(
                    c.format(fault=line), metadata={"tags": ["parameters"]} if c.startswith("days") else {}
                )
                for c in CELLS
            ]
            nbformat.write(new_notebook(cells=cells, metadata=SPEC), folder / "10_total.ipynb")
            code, seconds = timed([BIN / "papermill", "10_total.ipynb", "out.ipynb", *parameters], folder)
            theirs = f"exit {code}, {seconds:.1f} s; {papermill_says(folder)}"
            (folder / "out.ipynb").unlink(missing_ok=True)
            code, seconds = timed([BIN / "mlnb", "run", "demo", *parameters], folder)
            ours = f"exit {code}, {seconds:.1f} s; {mlnb_says(folder)}"
            print(f"| {name} | {theirs} | {ours} |", flush=True)
            if name == "nothing":
                _, theirs_again = timed([BIN / "papermill", "10_total.ipynb", "out.ipynb"], folder)
                (folder / "out.ipynb").unlink()
                code, ours_again = timed([BIN / "mlnb", "run", "demo"], folder)
                print(
                    f"| the same again, nothing changed | {theirs_again:.1f} s, runs everything | exit "
                    f"{code}, {ours_again:.1f} s, runs nothing |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
