"""The list of faults and threats: complete, with tests that are there; its table and page tell what was shown
and never more."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import threats
from conftest import COLLECTED

ROOT = Path(__file__).resolve().parents[2]
LIST = threats.read_list()
IDS = [*(f"R{n:02d}" for n in range(1, 43)), *(f"S{n}" for n in range(1, 17))]
HOSTILE = "</script><img src=https://attacker.example/x onerror=attack()>"


@pytest.fixture(scope="module")
def known(request):
    "All tests of the named files: those that this session has found, and others of files that it left out."
    found = request.config.stash[COLLECTED]
    seen = {name.partition("::")[0] for name in found}
    left_out = sorted(set(threats.files_of(LIST)) - seen)
    return found | threats.collected([{"tests": left_out}], threats.SLOW)


def test_every_fault_and_threat_is_there_once_and_in_order():
    text = threats.LIST.read_text(encoding="utf-8")
    headings = re.findall(r"^\[(.+)\]$", text, re.MULTILINE)
    assert headings == [one["id"] for one in LIST]
    assert headings[: len(IDS)] == IDS
    assert headings[len(IDS) :] == [f"X{n}" for n in range(1, len(headings) - len(IDS) + 1)]


@pytest.mark.parametrize("threat", LIST, ids=lambda threat: threat["id"])
def test_threat_has_a_title_a_criterion_a_state_and_tests(threat):
    assert set(threat) <= {"id", "title", "criterion", "state", "missing", "tests"}
    assert threat["title"] and threat["criterion"].endswith(".")
    assert threat["state"] in threats.STATES
    assert bool(threat["tests"]) == (threat["state"] != "not built")
    assert ("missing" in threat) == (threat["state"] == "partly")
    assert len(set(threat["tests"])) == len(threat["tests"])


def test_every_named_test_is_there(known):
    lost = [
        (threat["id"], name)
        for threat in LIST
        for name, found in threats.tests_of(threat, known).items()
        if not found
    ]
    assert lost == []


# how the list is judged


def kept(**counts):
    cases = [
        {"outcome": word, "seconds": 1.5, "said": "" if word == "passed" else word}
        for word, n in counts.items()
        for _ in range(n)
    ]
    return threats.kept_outcome(cases, "2026-11-27T10:00:00+00:00", "abc")


def threat(state="held", tests=("f.py::test_a", "f.py::test_b")):
    told = {"id": "R01", "title": "A title", "criterion": "It holds.", "state": state, "tests": list(tests)}
    return told | ({"missing": "The rest."} if state == "partly" else {})


BOTH = {"f.py::test_a", "f.py::test_b"}


@pytest.mark.parametrize(
    ("state", "result", "known", "asked", "word", "broken"),
    [
        ("held", {"f.py::test_a": kept(passed=2), "f.py::test_b": kept(passed=1)}, BOTH, BOTH, "ok", False),
        (
            "held",
            {"f.py::test_a": kept(passed=2, failed=1), "f.py::test_b": kept(passed=1)},
            BOTH,
            BOTH,
            "fails",
            True,
        ),
        ("held", {"f.py::test_a": kept(error=1), "f.py::test_b": kept(passed=1)}, BOTH, BOTH, "fails", True),
        (
            "held",
            {"f.py::test_a": kept(skipped=3), "f.py::test_b": kept(passed=1)},
            BOTH,
            BOTH,
            "not run",
            True,
        ),
        (
            "held",
            {"f.py::test_a": kept(skipped=3, passed=1), "f.py::test_b": kept(passed=1)},
            BOTH,
            BOTH,
            "ok",
            False,
        ),
        ("held", {"f.py::test_a": kept(passed=2)}, BOTH, BOTH, "not run", True),
        ("held", {"f.py::test_a": kept(passed=2)}, BOTH, {"f.py::test_a"}, "slow", False),
        ("held", {"f.py::test_a": kept(passed=2)}, {"f.py::test_a"}, {"f.py::test_a"}, "unknown test", True),
        ("held", {}, BOTH, BOTH, "not run", True),
        ("partly", {"f.py::test_a": kept(failed=1)}, BOTH, BOTH, "fails", True),
        ("not built", {}, set(), set(), "not built", False),
    ],
)
def test_row_says_ok_only_when_every_named_test_has_passed(state, result, known, asked, word, broken):
    one = threat(state, () if state == "not built" else tuple(BOTH))
    (row,) = threats.rows_of([one], result, known, asked)
    assert (row["word"], threats.is_broken(row)) == (word, broken)
    assert word in threats.table([row])


def test_pattern_stands_for_what_it_matches_and_for_nothing_else():
    known = {"f.py::test_a", "f.py::test_ab", "g.py::test_a"}
    assert threats.tests_of(threat(tests=("f.py::test_a*", "h.py::*")), known) == {
        "f.py::test_a*": ["f.py::test_a", "f.py::test_ab"],
        "h.py::*": [],
    }


def test_page_tells_what_was_shown_what_is_missing_and_what_was_not_run():
    page = threats.page_of([threat("partly")], {"f.py::test_a": kept(passed=2)}, "threats.json")
    row = re.search(r'<tr id="R01">(.*?)</tr>', page, re.DOTALL)[1]
    assert "<i>Missing:</i> The rest." in row and ">not run<" in row
    assert re.findall(r"<td>(\d+)</td>", row) == ["2", "0", "0", "1"]  # passed, failed, skipped, not run
    told = "of 1, 0 are held, 1 in part, 0 not yet"
    for said in (told, 'href="threats.json"', "Content-Security-Policy", "abc"):
        assert said in page, said


def test_page_of_a_failure_says_so_and_takes_texts_as_texts():
    hostile = threat() | {"title": HOSTILE}
    page = threats.page_of([hostile], {"f.py::test_a": kept(failed=1)}, "threats.json")
    assert 'class="state fail"' in page and ">fails<" in page
    assert HOSTILE not in page and "&lt;img" in page


# the program


SUITE = """
import pytest
def test_good(): pass
@pytest.mark.parametrize("n", [1, 2])
def test_two(n): assert n == 1
@pytest.mark.slow
def test_long(): pass
class TestIn:
    def test_inner(self): pytest.skip("no")
"""


def test_cases_of_pytest_are_found_again_under_their_names(tmp_path, monkeypatch):
    (tmp_path / "tests/deep").mkdir(parents=True)
    (tmp_path / "tests/deep/test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: long\n")
    monkeypatch.setattr(threats, "ROOT", tmp_path)
    named = [threat(tests=("deep/test_it.py::test_good", "gone.py::test_x"))]
    good, two, long, inner = (
        f"deep/test_it.py::{name}" for name in ("test_good", "test_two", "test_long", "TestIn::test_inner")
    )
    assert threats.collected(named, threats.SLOW) == {good, two, long, inner}
    assert threats.collected(named, threats.QUICK) == {good, two, inner}
    found = threats.run_tests([good, two, inner], threats.QUICK, 1)
    outcomes = {name: [case["outcome"] for case in cases] for name, cases in found.items()}
    assert outcomes == {good: ["passed"], two: ["passed", "failed"], inner: ["skipped"]}


STOPPED = """
import os, signal
def test_good(): pass
def test_stopped(): os.kill(os.getppid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)
def test_behind(): pass
"""


def test_tests_that_were_run_before_an_interrupt_count_and_the_rest_was_not_run(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(STOPPED)
    code = (
        "import json, pathlib, threats\nthreats.ROOT = pathlib.Path('.').resolve()\n"
        "names = ['test_it.py::test_good', 'test_it.py::test_stopped', 'test_it.py::test_behind']\n"
        "found = threats.run_tests(names, 'not slow', 1)\n"
        "print(json.dumps({name: [case['outcome'] for case in cases] for name, cases in found.items()}))"
    )
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["test_it.py::test_good"] == ["passed"] and "test_it.py::test_behind" not in found


def run_script(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/threats.py", *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_unknown_id_and_a_file_that_is_no_result_are_refused(tmp_path):
    (tmp_path / "bad.json").write_text('{"tests": 3}')
    assert "R99" in run_script("R99", "--out", tmp_path / "new.json").stderr
    refused = run_script("--page", "--out", tmp_path / "bad.json")
    assert refused.returncode == 1 and "no result of the list" in refused.stderr
    assert not (tmp_path / "bad.html").exists()


def test_committed_page_is_what_the_committed_result_and_the_list_give():
    data = ROOT / "own-pages/threats.json"
    page = threats.page_of(LIST, threats.read_result(data), data.name)
    assert data.with_suffix(".html").read_text(encoding="utf-8") == page, (
        "make it anew with `python scripts/threats.py --page`"
    )


def test_committed_result_knows_the_tests_of_the_list_and_no_machine(known):
    text = (ROOT / "own-pages/threats.json").read_text(encoding="utf-8")
    result = json.loads(text)["tests"]
    named = {test for one in LIST for found in threats.tests_of(one, known).values() for test in found}
    assert set(result) == named, "run `make threats`"
    assert str(ROOT) not in text and "/tmp/" not in text
