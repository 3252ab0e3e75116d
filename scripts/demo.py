"""Run the pipelines, let the gate decide, build the site, and print the figures a reader wants."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MLNB = Path(sys.executable).with_name("mlnb")


REFUSED = 3  # by the gate; then the champion before goes on


def mlnb(*arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
    "Run one command with its output in view; leave with its exit code if that is not allowed."
    code = subprocess.run([MLNB, *arguments]).returncode
    if code not in allowed:
        sys.exit(code)


def champion() -> str:
    "Which version of the model is in production."
    asked = subprocess.run([MLNB, "model", "fraud", "--json"], check=True, capture_output=True)
    (model,) = json.loads(asked.stdout)["models"]
    return f"fraud@{model['aliases']['champion']}, one of {len(model['versions'])} registered"


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
    mlnb("run", "fraud")
    mlnb("promote", "fraud", allowed=(0, REFUSED))
    for pipeline in ("score", "monitor", "employment"):
        mlnb("run", pipeline)
    warming.wait()
    mlnb("publish")
    seconds = time.perf_counter() - start
    evaluation, drift = artifact("fraud/evaluation"), artifact("monitor/drift")
    people = artifact("employment/answer")
    low, high = (evaluation[f"average_precision_{end}"] for end in ("low", "high"))
    print(f"""
site               {Path("reports", "index.html").resolve()}
champion           {champion()}
average precision  {evaluation["average_precision"]:.3f} (95 %: {low:.3f} to {high:.3f})
drift              {drift["verdict"]}: {drift["reason"]}
people             {people["verdict"]}: {people["reason"]}
seconds            {seconds:.1f}""")


if __name__ == "__main__":
    main()
