"""Run the four pipelines, build the site, and print the figures a reader wants."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MLNB = Path(sys.executable).with_name("mlnb")


def mlnb(*arguments: str) -> None:
    "Run one command with its output in view; leave with its exit code if it is not 0."
    code = subprocess.run([MLNB, *arguments]).returncode
    if code:
        sys.exit(code)


def artifact(name: str) -> dict:
    "Read a JSON artifact of the last run."
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "value.json")
        subprocess.run([MLNB, "get", name, "--out", file], check=True, capture_output=True)
        return json.loads(file.read_text(encoding="utf-8"))


def main() -> None:
    start = time.perf_counter()
    warming = subprocess.Popen(
        [MLNB, "kernels", "warm"], stdout=subprocess.DEVNULL
    )  # while the first stages run
    for pipeline in ("fraud", "score", "monitor", "employment"):
        mlnb("run", pipeline)
    warming.wait()
    mlnb("publish")
    seconds = time.perf_counter() - start
    evaluation, drift = artifact("fraud/evaluation"), artifact("monitor/drift")
    people = artifact("employment/answer")
    low, high = (evaluation[f"average_precision_{end}"] for end in ("low", "high"))
    print(f"""
site               {Path("reports", "index.html").resolve()}
average precision  {evaluation["average_precision"]:.3f} (95 %: {low:.3f} to {high:.3f})
drift              {drift["verdict"]}: {drift["reason"]}
people             {people["verdict"]}: {people["reason"]}
seconds            {seconds:.1f}""")


if __name__ == "__main__":
    main()
