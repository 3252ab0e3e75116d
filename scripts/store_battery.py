"""Run the long batteries of the store, write what came out, and make the page of it that `mlnb publish` takes
along."""

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
from mlnb.publish.layout import document, fill
from mlnb.publish.own_pages import OWN_PAGES
from mlnb.publish.site import project_name

ROOT = Path(__file__).resolve().parents[1]
BATTERIES = {  # file and expression of pytest -> what a reader is told
    "killed at every crash point": ("test_store_crash.py", ""),
    "power cut after every operation of a commit, with every legal loss": (
        "test_store_faults.py",
        "power_cut",
    ),
    "random corruptions": ("test_store_corruption.py", ""),
    "full disks": ("test_store_faults.py", "full_disk"),
    "races": ("test_store_faults.py", "races"),
    "clocks, read-only stores, odd names": (
        "test_store_faults.py",
        "clock or read_only or umask or names or run_ids",
    ),
    "collecting garbage while others write": ("test_care_gc.py", ""),
    "random operations against a model": ("test_store_model_based.py", ""),
    "migration from an older layout": ("test_store_format.py", ""),
    "verification and repair": ("test_care_verify.py", ""),
    "changes of the audit log": ("test_care_audit.py", ""),
    "sharing with a server, signatures, erasure": ("test_sharing_remote.py", ""),
}


OUTCOMES = ("passed", "failed", "error", "skipped")
FOOTER = (
    "Made by scripts/store_battery.py from the outcome of the tests. Nothing on this page was fetched from "
    "another host."
)
PAGE = """<div class="head"><h1>Store battery</h1>
<p class="lede">What was done to the store on purpose, and how often it kept its promise.</p>
<p><span class="state {{ look }}">{{ mark }} {{ said }}</span>
<span class="soft small">last run {{ at_utc | moment }}</span></p></div>
<div class="scroll" tabindex="0" role="region" aria-label="Batteries"><table class="wide"><thead><tr>
{% for name in ("What was done", "Times", "Tests", "Passed", "Failed", "Skipped", "Took", "Last run") %}
<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for b in batteries %}<tr><td>{{ b.name | capitalize }}</td>
<td>{{ b.times | number }}</td><td>{{ b.tests | length }}</td><td>{{ b.counts.passed }}</td>
<td>{{ b.counts.failed + b.counts.error }}</td><td>{{ b.counts.skipped }}</td>
<td class="name">{{ b.seconds | seconds }}</td><td class="name">{{ b.at_utc | moment }}</td></tr>
{% endfor %}</tbody></table></div>
<p>A test that does its thing once counts as one time, a skipped one as none.</p>
<h2>What did not pass</h2>
{% if rest %}<ul>
{% for b, t in rest %}<li>{{ b.name | capitalize }}: <code>{{ t.name }}</code>
{{ "failed" if t.outcome == "error" else t.outcome }}{% if t.said %}: {{ t.said }}{% endif %}</li>
{% endfor %}</ul>
{% else %}<p>Everything passed.</p>
{% endif %}
<h2>How to run it again</h2>
<p><code>python scripts/store_battery.py</code> runs every battery and writes this page and
<a href="{{ data }}">its data</a>; a single one is run by its own command.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Commands"><table class="wide"><thead><tr>
<th scope="col">Battery</th><th scope="col">Command</th><th scope="col">Ran with</th></tr></thead><tbody>
{% for b in batteries %}<tr><td>{{ b.name | capitalize }}</td><td><code>{{ b.command }}</code></td>
<td class="name">mlnb {{ b.mlnb }}, Python {{ b.python }}, {{ b.system }}</td></tr>
{% endfor %}</tbody></table></div>"""


def run_battery(file: str, expression: str, environment: dict) -> list[dict]:
    "Outcome of every test of a battery; empty when there is no such file."
    if not (ROOT / "tests" / file).exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        select = ["-k", expression] if expression else []
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-m",
                "slow or not slow",
                "-o",
                "junit_family=xunit1",
                *select,
                f"--junitxml={report}",
                f"tests/{file}",
            ],
            cwd=ROOT,
            env=environment,
        )
        if not report.exists():
            return [
                {
                    "name": file,
                    "outcome": "error",
                    "times": 1,
                    "seconds": 0.0,
                    "said": "pytest gave no report",
                }
            ]
        return [outcome(case) for case in ET.parse(report).iter("testcase")]


def outcome(case: ET.Element) -> dict:
    """One test: passed, failed, error or skipped, how often it did the thing it is about, and the first line
    of what it said."""
    bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    word = "passed" if bad is None else {"failure": "failed"}.get(bad.tag, bad.tag)
    said = "" if bad is None else (bad.get("message") or "").partition("\n")[0][:200]
    counted = [int(p.get("value")) for p in case.iter("property") if p.get("name") == "times"]
    return {
        "name": case.get("name"),
        "outcome": word,
        "times": 0 if word == "skipped" else max(counted, default=1),
        "seconds": round(float(case.get("time", 0)), 2),
        "said": said,
    }


def one_battery(name: str, given: argparse.Namespace) -> dict:
    "Run one battery and say when, with what and how it came out."
    environment = os.environ | {
        "MLNB_BATTERY_ROUNDS": str(given.rounds),
        "MLNB_BATTERY_RUN_ROUNDS": str(given.run_rounds),
    }
    command = f"python scripts/store_battery.py --only {shlex.quote(name)}" + (
        f" --rounds {given.rounds} --run-rounds {given.run_rounds}" if "crash point" in name else ""
    )
    return {
        "name": name,
        "at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "mlnb": mlnb.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "command": command,
        "tests": run_battery(*BATTERIES[name], environment),
    }


def read_result(path: Path) -> list[dict]:
    "The batteries of a result; leaves with a sentence when the file is none."
    try:
        batteries = json.loads(path.read_bytes())["batteries"]
        page_of(batteries, path.name)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        sys.exit(
            f"{path} is no result of the store's battery ({type(error).__name__}: {error}): make it "
            "with `python scripts/store_battery.py`"
        )
    return batteries


def totals(battery: dict) -> dict:
    """A battery as the page shows it: its tests counted by outcome, their times and seconds added up; an
    unknown outcome raises `ValueError`."""
    tests = battery["tests"]
    unknown = {test["outcome"] for test in tests} - {*OUTCOMES}
    if unknown:
        raise ValueError(f"unknown outcome {min(unknown)!r}")
    shown = {name: str(battery[name]) for name in ("name", "at_utc", "mlnb", "python", "system", "command")}
    return shown | {
        "tests": tests,
        "counts": {word: sum(test["outcome"] == word for test in tests) for word in OUTCOMES},
        "times": sum(int(test["times"]) for test in tests),
        "seconds": sum(float(test["seconds"]) for test in tests),
    }


def page_of(result: list[dict], data: str) -> str:
    """The page of a result, one battery at least, with a link to its data; what a test said is text, whatever
    is in it."""
    batteries = [totals(battery) for battery in result]
    counts = {word: sum(battery["counts"][word] for battery in batteries) for word in OUTCOMES}
    n_tests, n_bad = sum(counts.values()), counts["failed"] + counts["error"]
    said = f"{n_bad or n_tests - counts['skipped']} of {n_tests} tests {'failed' if n_bad else 'passed'}"
    body = fill(
        PAGE,
        batteries=batteries,
        rest=[
            (battery, test)
            for battery in batteries
            for test in battery["tests"]
            if test["outcome"] != "passed"
        ],
        said=said,
        look="fail" if n_bad else "ok",
        mark="✕" if n_bad else "✓",
        at_utc=max(battery["at_utc"] for battery in batteries),
        data=data,
    )
    return document(
        f"Store battery: {said}",
        body,
        [(project_name(ROOT), "../index.html"), ("Store battery", None)],
        FOOTER,
    )


def write_page(result: list[dict], out: Path) -> None:
    "Make the page beside the data."
    out.with_suffix(".html").write_text(page_of(result, out.name), encoding="utf-8")


def write_result(result: list[dict], out: Path) -> None:
    "Write the data and its page."
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"format": 1, "batteries": result}, indent=1) + "\n", encoding="utf-8")
    write_page(result, out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / OWN_PAGES / "store_battery.json",
        help="result, with its page beside it; with --only, the other batteries in it stay as they are",
    )
    parser.add_argument(
        "--rounds", type=int, default=20, help="kills at each crash point, with the steps of a run"
    )
    parser.add_argument(
        "--run-rounds",
        type=int,
        default=20,
        help="kills at each crash point, with `mlnb run` and its kernels; each takes two runs",
    )
    parser.add_argument("--only", help="batteries whose name contains this")
    parser.add_argument(
        "--page", action="store_true", help="run nothing: make the page of the last result anew"
    )
    given = parser.parse_args()
    if given.page:
        write_page(read_result(given.out), given.out)
        return 0
    last = read_result(given.out) if given.only and given.out.exists() else []
    found = {battery["name"]: battery for battery in last}
    failed = 0
    for name in BATTERIES:
        if (given.only or "") not in name:
            continue
        found[name] = one_battery(name, given)
        failed += sum(test["outcome"] in ("failed", "error") for test in found[name]["tests"])
        write_result([found[n] for n in BATTERIES if n in found], given.out)
    print(given.out)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
