"""Run the long batteries of the store and write what came out; `mlnb publish` makes a page of it."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import mlnb

ROOT = Path(__file__).resolve().parents[1]
BATTERIES = {  # file and expression of pytest -> what a reader is told
    "killed at every crash point": ("test_store_crash.py", ""),
    "power cut after every operation of a commit, with every legal loss": ("test_store_faults.py", "power_cut"),
    "random corruptions": ("test_store_corruption.py", ""),
    "full disks": ("test_store_faults.py", "full_disk"),
    "races": ("test_store_faults.py", "races"),
    "clocks, read-only stores, odd names": ("test_store_faults.py", "clock or read_only or umask or names or run_ids"),
    "collecting garbage while others write": ("test_store_gc.py", ""),
    "random operations against a model": ("test_store_model_based.py", ""),
    "migration from an older layout": ("test_store_format.py", ""),
    "verification and repair": ("test_store_verify.py", ""),
    "changes of the audit log": ("test_store_audit.py", ""),
    "sharing with a server, signatures, erasure": ("test_store_remote.py", ""),
}


def run_battery(file: str, expression: str, environment: dict) -> list[dict]:
    "Outcome of every test of a battery; empty when there is no such file."
    if not (ROOT / "tests" / file).exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        select = ["-k", expression] if expression else []
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", "-o", "junit_family=xunit1", *select, f"--junitxml={report}", f"tests/{file}"], cwd=ROOT, env=environment)
        if not report.exists():
            return [{"name": file, "outcome": "error", "times": 1, "seconds": 0.0, "said": "pytest gave no report"}]
        return [outcome(case) for case in ET.parse(report).iter("testcase")]


def outcome(case: ET.Element) -> dict:
    "One test: passed, failed, error or skipped, how often it did the thing it is about, and the first line of what it said."
    bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    word = "passed" if bad is None else {"failure": "failed"}.get(bad.tag, bad.tag)
    said = "" if bad is None else (bad.get("message") or "").partition("\n")[0][:200]
    counted = [int(p.get("value")) for p in case.iter("property") if p.get("name") == "times"]
    return {"name": case.get("name"), "outcome": word, "times": 0 if word == "skipped" else max(counted, default=1), "seconds": round(float(case.get("time", 0)), 2), "said": said}


def one_battery(name: str, given: argparse.Namespace) -> dict:
    "Run one battery and say when, with what and how it came out."
    environment = os.environ | {"MLNB_BATTERY_ROUNDS": str(given.rounds), "MLNB_BATTERY_RUN_ROUNDS": str(given.run_rounds)}
    command = f"python scripts/store_battery.py --only {shlex.quote(name)}" + (f" --rounds {given.rounds} --run-rounds {given.run_rounds}" if "crash point" in name else "")
    return {"name": name, "at_utc": datetime.now(UTC).isoformat(timespec="seconds"), "mlnb": mlnb.__version__, "python": platform.python_version(), "system": platform.system(), "command": command,
            "tests": run_battery(*BATTERIES[name], environment)}


def kept(path: Path) -> dict:
    "The batteries of the last result, by name."
    try:
        return {b["name"]: b for b in json.loads(path.read_text(encoding="utf-8"))["batteries"]}
    except FileNotFoundError:
        return {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "store_battery.json", help="result, which `mlnb publish` shows as a page; with --only, the other batteries in it stay as they are")
    parser.add_argument("--rounds", type=int, default=20, help="kills at each crash point, with the steps of a run")
    parser.add_argument("--run-rounds", type=int, default=20, help="kills at each crash point, with `mlnb run` and its kernels; each takes two runs")
    parser.add_argument("--only", help="batteries whose name contains this")
    given = parser.parse_args()
    found = kept(given.out) if given.only else {}
    failed = 0
    for name in BATTERIES:
        if (given.only or "") not in name:
            continue
        found[name] = one_battery(name, given)
        failed += sum(t["outcome"] in ("failed", "error") for t in found[name]["tests"])
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({"format": 1, "batteries": [found[n] for n in BATTERIES if n in found]}, indent=1) + "\n", encoding="utf-8")
    print(given.out)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
