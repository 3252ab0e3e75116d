"""Run the long batteries of the store and write what came out as a page (Markdown) and as JSON."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

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
}


def run_battery(file: str, expression: str, environment: dict) -> list[dict]:
    "Outcome of every test of a battery; empty when there is no such file."
    if not (ROOT / "tests" / file).exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        select = ["-k", expression] if expression else []
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", *select, f"--junitxml={report}", f"tests/{file}"], cwd=ROOT, env=environment)
        if not report.exists():
            return [{"name": file, "outcome": "error", "seconds": 0.0, "said": "pytest gave no report"}]
        return [outcome(case) for case in ET.parse(report).iter("testcase")]


def outcome(case: ET.Element) -> dict:
    "One test: passed, failed, error or skipped, and the first line of what it said."
    bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    word = "passed" if bad is None else {"failure": "failed"}.get(bad.tag, bad.tag)
    said = "" if bad is None else (bad.get("message") or "").partition("\n")[0][:200]
    return {"name": case.get("name"), "outcome": word, "seconds": round(float(case.get("time", 0)), 2), "said": said}


def page(document: dict) -> str:
    "The page: a table, then everything that did not pass."
    lines = ["# The store's battery", "", "> What was done to the store on purpose, and how often it kept its promise", "",
             f"Run on {document['at_utc'][:10]} with Python {document['python']} on {document['system']}; each crash point {document['rounds']} times with the steps of a run, "
             f"{document['run_rounds']} times with `mlnb run` and its kernels. `python scripts/store_battery.py` repeats it.", "",
             "| battery | tests | passed | failed | skipped | minutes |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for battery in document["batteries"]:
        count = {word: sum(t["outcome"] == word for t in battery["tests"]) for word in ("passed", "failed", "error", "skipped")}
        minutes = sum(t["seconds"] for t in battery["tests"]) / 60
        lines.append(f"| {battery['name']} | {len(battery['tests'])} | {count['passed']} | {count['failed'] + count['error']} | {count['skipped']} | {minutes:.1f} |")
    rest = [(b["name"], t) for b in document["batteries"] for t in b["tests"] if t["outcome"] != "passed"]
    lines += ["", "## What did not pass", ""] + ([f"- {name}: `{t['name']}` {t['outcome']}: {t['said']}" for name, t in rest] or ["Everything passed."])
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "store_battery.md", help="page to write; the JSON stands beside it")
    parser.add_argument("--rounds", type=int, default=20, help="kills at each crash point, with the steps of a run")
    parser.add_argument("--run-rounds", type=int, default=20, help="kills at each crash point, with `mlnb run` and its kernels; each takes two runs")
    parser.add_argument("--only", help="batteries whose name contains this")
    given = parser.parse_args()
    environment = os.environ | {"MLNB_BATTERY_ROUNDS": str(given.rounds), "MLNB_BATTERY_RUN_ROUNDS": str(given.run_rounds)}
    batteries = [{"name": name, "tests": run_battery(file, expression, environment)} for name, (file, expression) in BATTERIES.items() if (given.only or "") in name]
    document = {"format": 1, "at_utc": datetime.now(UTC).isoformat(timespec="seconds"), "python": platform.python_version(), "system": platform.system(), "rounds": given.rounds,
                "run_rounds": given.run_rounds, "batteries": [b for b in batteries if b["tests"]]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page(document), encoding="utf-8")
    given.out.with_suffix(".json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(given.out)
    return int(any(t["outcome"] in ("failed", "error") for b in document["batteries"] for t in b["tests"]))


if __name__ == "__main__":
    sys.exit(main())
