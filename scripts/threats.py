"""Run the tests that hold the faults and threats of `tests/threats/threats.toml`, print a table, keep what
came out, and make the page of it that `mlnb publish` takes along. A check that was not made never says ok."""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from store_battery import OUTCOMES, outcome

import mlnb
from mlnb.publish.layout import document, fill
from mlnb.publish.own_pages import OWN_PAGES
from mlnb.publish.site import project_name

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "threats" / "threats.toml"
STATES = ("held", "partly", "not built")
QUICK, SLOW = "not slow", "slow or not slow"
BAD, OPEN = ("fails", "unknown test", "not run"), ("slow", "not built")  # words for a row
FOOTER = (
    "Made by scripts/threats.py from the list and from the outcome of the tests. Nothing on this page was "
    "fetched from another host."
)
PAGE = """<div class="head"><h1>Faults and threats</h1>
<p class="lede">What may go wrong or be done to a project on purpose, what must hold then, and the tests that
show it.</p>
<p><span class="state {{ look }}">{{ mark }} {{ said }}</span>
{{ shown }} <span class="soft small">last run {{ at_utc | moment }}</span></p></div>
<p><b>held</b>: tests measure the criterion. <b>partly</b>: they measure less of it; what is missing is said.
<b>not built</b>: nothing is promised. A row is ok when each test that it names has passed, and none of its
cases failed; a test that was skipped or not run yet shows nothing.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Faults and threats"><table class="wide"><thead><tr>
{% for name in ("Id", "What happens, and what must hold", "State", "Result", "Passed", "Failed", "Skipped",
"Not run", "Took") %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for r in rows %}<tr id="{{ r.id }}"><td class="name">{{ r.id }}</td>
<td class="text"><b>{{ r.title }}</b>. {{ r.criterion }}
{% if r.missing %}<br><i>Missing:</i> {{ r.missing }}{% endif %}</td>
<td class="name">{{ r.state }}</td><td class="name">{{ r.word }}</td>
<td>{{ r.counts.passed }}</td><td>{{ r.counts.failed + r.counts.error }}</td><td>{{ r.counts.skipped }}</td>
<td>{{ r.not_run | length }}</td><td class="name">{{ r.seconds | seconds }}</td></tr>
{% endfor %}</tbody></table></div>
<h2>What the rows stand on</h2>
<p><code>make threats</code> runs the tests that take seconds, <code>make threats-all</code> the slow ones
too; both write this page and <a href="{{ data }}">its data</a>, where every test has the moment and the
commit of its last run. Commits of this page: {{ commits }}.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Tests"><table class="wide"><thead><tr>
{% for name in ("Id", "Test", "Passed", "Failed", "Skipped", "Last run", "Commit") %}
<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for r in rows %}{% for t in r.tests %}<tr><td class="name">{{ r.id }}</td>
<td><code>{{ t.test }}</code></td>
<td>{{ t.counts.passed }}</td><td>{{ t.counts.failed + t.counts.error }}</td><td>{{ t.counts.skipped }}</td>
<td class="name">{% if t.at_utc %}{{ t.at_utc | moment }}{% else %}not run yet{% endif %}</td>
<td class="name">{{ t.commit }}</td></tr>
{% endfor %}{% endfor %}</tbody></table></div>"""


# the list, and the tests that there are


def read_list(path: Path = LIST) -> list[dict]:
    "The threats in the order of the list, each with its id."
    return [{"id": name, **told} for name, told in tomllib.loads(path.read_text(encoding="utf-8")).items()]


def pytest_command(*arguments: str) -> list[str]:
    "A call of pytest that takes nothing from the options of the project."
    return [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", *arguments]


def files_of(threats: list[dict]) -> list[str]:
    "The files of the tests that are named, those that are there."
    named = {name.partition("::")[0] for threat in threats for name in threat.get("tests", ())}
    return sorted(name for name in named if (ROOT / "tests" / name).is_file())


def collected(threats: list[dict], marks: str) -> set[str]:
    "Tests of the named files as `file::test`, without parameters."
    files = [f"tests/{name}" for name in files_of(threats)]
    if not files:
        return set()
    asked = pytest_command("--collect-only", "-m", marks, *files)
    lines = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    return {line.partition("[")[0].removeprefix("tests/") for line in lines if "::" in line}


def tests_of(threat: dict, known: set[str]) -> dict[str, list[str]]:
    "What each name of a threat stands for; a name may be a pattern, and one without a test has none."
    return {name: sorted(one for one in known if fnmatchcase(one, name)) for name in threat.get("tests", ())}


# running


def id_of(case: ET.Element) -> str:
    "The test of a case in pytest's report, as `file::test` or `file::class::test`."
    parts = case.get("classname").split(".")  # the attribute `file` is that of a class it inherits from
    n = next(n for n in range(len(parts), 0, -1) if (ROOT / f"{'/'.join(parts[:n])}.py").is_file())
    file = f"{'/'.join(parts[:n])}.py".removeprefix("tests/")
    return "::".join([file, *parts[n:], case.get("name").partition("[")[0]])


def wait_for(command: list[str]) -> None:
    "Run a command; Ctrl-C is left to it: pytest still writes down what has been run, and the rest was not."
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None:
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()


def run_tests(names: list[str], marks: str, workers: int) -> dict[str, list[dict]]:
    "Outcomes of the cases of each test."
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        spread = ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"] if workers > 1 else []
        told = ["-m", marks, "-o", "junit_family=xunit1", f"--junitxml={report}"]
        wait_for(pytest_command(*spread, *told, *(f"tests/{name}" for name in names)))
        for case in ET.parse(report).iter("testcase") if report.exists() else ():
            if case.get("file"):  # one that was interrupted has none
                found.setdefault(id_of(case), []).append(outcome(case))
    return found


def commit_of_tree() -> str:
    "The commit that is tested; a plus when the files are not those of the commit."
    asked = ["git", "describe", "--always", "--exclude", "*", "--dirty=+", "--abbrev=10"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"


def kept_outcome(cases: list[dict], at_utc: str, commit: str) -> dict:
    "What is kept of one test: its cases by outcome, and when and on what it was run."
    counts = Counter(case["outcome"] for case in cases)
    return {
        "at_utc": at_utc,
        "commit": commit,
        "mlnb": mlnb.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "seconds": round(sum(case["seconds"] for case in cases), 1),
        **{word: counts[word] for word in OUTCOMES},
        "said": next((case["said"] for case in cases if case["said"]), ""),
    }


# what a result says of the list

NEVER = {"at_utc": "", "commit": ""}  # of a test that was not run yet


def counts_of(kept: dict) -> dict:
    "Cases by outcome of one test; an unknown form raises an error."
    return {word: int(kept[word]) for word in OUTCOMES}


def judge(threat: dict, result: dict, known: set[str] | None = None) -> dict:
    """A threat with what its tests came to. Without `known` the tests that the result knows are all there is,
    and a name that stands for none of them was not run."""
    by_name = tests_of(threat, set(result) if known is None else known)
    tests = sorted({test for found in by_name.values() for test in found})
    kept = [{"test": test, **result.get(test, NEVER)} for test in tests]
    for one in kept:
        one["counts"] = counts_of(one) if one["at_utc"] else dict.fromkeys(OUTCOMES, 0)
    counts = {word: sum(one["counts"][word] for one in kept) for word in OUTCOMES}
    lost = sorted(name for name, found in by_name.items() if not found)
    idle = [one["test"] for one in kept if not one["counts"]["passed"]]
    return {
        "missing": "",
        **threat,
        "tests": kept,
        "counts": counts,
        "unknown": [] if known is None else lost,
        "not_run": sorted([*idle, *(lost if known is None else [])]),
        "seconds": sum(float(one.get("seconds", 0)) for one in kept),
    }


def word_of(row: dict, asked: set[str] | None = None) -> str:
    "One word for a row; `asked` are the tests that were to be run now, by default all."
    if row["state"] == "not built":
        return "not built"
    if row["counts"]["failed"] + row["counts"]["error"]:
        return "fails"
    if row["unknown"]:
        return "unknown test"
    idle = row["not_run"] if asked is None else [test for test in row["not_run"] if test in asked]
    if idle:
        return "not run"
    if row["not_run"]:
        return "slow"  # what was asked for passed, and something is left for `threats-all`
    return "ok"


def rows_of(threats: list[dict], result: dict, known: set[str] | None = None, asked=None) -> list[dict]:
    "Every threat with its result and its word."
    rows = [judge(threat, result, known) for threat in threats]
    return [row | {"word": word_of(row, asked)} for row in rows]


def is_broken(row: dict) -> bool:
    "Whether a promise is broken, or a test that is to show it is not there or was not run."
    return row["state"] != "not built" and row["word"] in BAD


def sentence(rows: list[dict]) -> str:
    "What of the list holds, in one line."
    n = Counter(row["state"] for row in rows)
    return f"of {len(rows)}, {n['held']} are held, {n['partly']} in part, {n['not built']} not yet"


_SHOWN = {
    "ok": "are shown by all their tests",
    "slow": "wait for their slow tests",
    "not run": "have tests that did not run here",
    "unknown test": "name a test that is not there",
    "fails": "have a test that failed",
}  # word of a row -> what that means of a threat that is held


def evidence(rows: list[dict]) -> str:
    "How far tests have shown it, in one line."
    n = Counter(row["word"] for row in rows if row["state"] == "held")
    told = ", ".join(f"{n[word]} {_SHOWN[word]}" for word in _SHOWN if n[word])
    return f"of those that are held {told or 'there are none'}"


def table(rows: list[dict]) -> str:
    "The rows for a terminal."
    heads = ("id", "state", "result", "passed", "failed", "skipped", "s")
    lines = ["{:<4} {:<9} {:<12} {:>6} {:>6} {:>7} {:>6}  title".format(*heads)]
    for row in rows:
        counts, failed = row["counts"], row["counts"]["failed"] + row["counts"]["error"]
        lines.append(
            f"{row['id']:<4} {row['state']:<9} {row['word']:<12} {counts['passed']:>6} {failed:>6} "
            f"{counts['skipped']:>7} {row['seconds']:>6.1f}  {row['title']}"
        )
        if is_broken(row):
            bad = [one["test"] for one in row["tests"] if one["counts"]["failed"] + one["counts"]["error"]]
            lines.extend(f"       {name}" for name in [*bad, *row["unknown"], *row["not_run"]])
    return "\n".join(lines)


def page_of(threats: list[dict], result: dict, data: str) -> str:
    "The page of a list and a result, with a link to the data."
    rows = rows_of(threats, result)
    commits = sorted({one["commit"] for row in rows for one in row["tests"] if one["commit"]})
    moments = [one["at_utc"] for row in rows for one in row["tests"] if one["at_utc"]]
    is_bad = any(row["word"] == "fails" for row in rows)
    body = fill(
        PAGE,
        rows=rows,
        said=sentence(rows),
        shown=evidence(rows),
        look="fail" if is_bad else "ok",
        mark="✕" if is_bad else "✓",
        at_utc=max(moments),
        data=data,
        commits=", ".join(commits),
    )
    trail = [(project_name(ROOT), "../index.html"), ("Faults and threats", None)]
    return document(f"Faults and threats: {sentence(rows)}", body, trail, FOOTER)


# files


def read_result(path: Path) -> dict:
    "Outcomes by test; leaves with a sentence when the file holds none."
    try:
        result = json.loads(path.read_bytes())["tests"]
        page_of(read_list(), result, path.name)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        sys.exit(
            f"{path} is no result of the list ({type(error).__name__}: {error}): make it with `make threats`"
        )
    return result


def write_result(threats: list[dict], result: dict, out: Path) -> None:
    "Write the data and its page."
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"format": 1, "tests": result}, indent=1) + "\n", encoding="utf-8")
    write_page(threats, result, out)


def write_page(threats: list[dict], result: dict, out: Path) -> None:
    "Write the page beside the data."
    out.with_suffix(".html").write_text(page_of(threats, result, out.name), encoding="utf-8")


def run_list(given: argparse.Namespace) -> int:
    "Run what is asked for, and say with the exit code whether every promise was shown."
    marks = SLOW if given.all else QUICK
    threats = [one for one in read_list() if not given.only or one["id"] in given.only]
    if unknown := set(given.only) - {one["id"] for one in threats}:
        sys.exit(f"the list has no {', '.join(sorted(unknown))}: its ids stand in {LIST.relative_to(ROOT)}")
    known, now = collected(threats, SLOW), collected(threats, marks)
    asked = {test for threat in threats for found in tests_of(threat, now).values() for test in found}
    moment, commit = datetime.now(UTC).isoformat(timespec="seconds"), commit_of_tree()
    found = run_tests(sorted(asked), marks, given.workers) if asked else {}
    new = {test: kept_outcome(cases, moment, commit) for test, cases in found.items()}
    rows = rows_of(threats, new, known, asked)
    named = {test for threat in read_list() for test in threat.get("tests", ())}
    looked_into = set(files_of(threats))
    before = {
        test: kept
        for test, kept in (read_result(given.out) if given.out.exists() else {}).items()
        if test in known or test.partition("::")[0] not in looked_into  # not one that is gone
    }
    all_of_them = dict.fromkeys(known, NEVER) | before | new
    both = {test: kept for test, kept in all_of_them.items() if any(fnmatchcase(test, n) for n in named)}
    write_result(read_list(), dict(sorted(both.items())), given.out)
    print(table(rows))
    print(f"{sentence(rows)}; {evidence(rows)}\n{os.path.relpath(given.out.with_suffix('.html'))}")
    return int(any(is_broken(row) for row in rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="ids of the list; without one, all of them")
    parser.add_argument("--all", action="store_true", help="with the slow tests, which take hours")
    parser.add_argument("--quick", dest="all", action="store_false", help="without them (the default)")
    parser.add_argument("--workers", type=int, default=2, help="tests at a time")
    place = ROOT / OWN_PAGES / "threats.json"
    parser.add_argument("--out", type=Path, default=place, help="data of the page")
    parser.add_argument("--page", action="store_true", help="run nothing: make the page of the last result")
    given = parser.parse_args()
    if given.page:
        write_page(read_list(), read_result(given.out), given.out)
        return 0
    return run_list(given)


if __name__ == "__main__":
    sys.exit(main())
