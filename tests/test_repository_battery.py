"""The page of the store's battery: numbers counted from the outcome of tests, what went wrong as text, and
what `mlnb publish` makes of it."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlnb.publish.site import publish
from mlnb.store.settings import read_project

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "store_battery.py"
HOSTILE = "</script><img src=https://attacker.example/x onerror=attack()>"


@pytest.fixture(scope="module")
def script():
    "The script as a module."
    spec = importlib.util.spec_from_file_location("store_battery", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def battery(**changes):
    "A battery of two tests, the second one with changes."
    test = {
        "name": "test_steps_killed[object.half]",
        "outcome": "passed",
        "times": 20,
        "seconds": 2.5,
        "said": "",
    }
    return {
        "name": "killed at every crash point",
        "at_utc": "2026-11-23T15:22:37+00:00",
        "mlnb": "0.1.0",
        "python": "3.11.4",
        "system": "Linux",
        "command": "python scripts/store_battery.py --rounds 20",
        "tests": [test, test | {"name": "test_steps_killed[record.half]"} | changes],
    }


def run_script(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def test_battery_is_counted_by_outcome(script):
    tests = [
        {"outcome": "passed", "times": 20, "seconds": 3.0},
        {"outcome": "failed", "times": 4, "seconds": 1.0},
        {"outcome": "skipped", "times": 0, "seconds": 0.0},
    ]
    found = script.totals(battery() | {"tests": tests})
    assert (found["counts"], found["times"], found["seconds"]) == (
        {"passed": 1, "failed": 1, "error": 0, "skipped": 1},
        24,
        4.0,
    )


def test_page_of_a_battery_that_passed_shows_its_counts_and_how_to_run_it(script):
    page = script.page_of([battery()], "store_battery.json")
    row = re.search(r"<tr><td>Killed at every crash point</td>(.*?)</tr>", page, re.DOTALL)[1]
    assert re.findall(r"<td>(\d+)</td>", row) == [
        "40",
        "2",
        "2",
        "0",
        "0",
    ]  # times, tests, passed, failed, skipped
    for said in (
        "<title>Store battery: 2 of 2 tests passed</title>",
        "23 November 2026",
        "mlnb 0.1.0",
        "python scripts/store_battery.py --rounds 20",
        "Everything passed.",
        'href="../index.html"',
        'href="store_battery.json"',
        "Content-Security-Policy",
    ):
        assert said in page, said


def test_page_of_a_battery_that_failed_names_the_test_and_shows_what_it_said_as_text(script):
    page = script.page_of([battery(outcome="failed", said=HOSTILE)], "store_battery.json")
    assert (
        "<title>Store battery: 1 of 2 tests failed</title>" in page
        and "test_steps_killed[record.half]" in page
    )
    assert HOSTILE not in page and "&lt;img" in page and "Everything passed" not in page


def test_skipped_test_has_not_passed(script):
    page = script.page_of([battery(outcome="skipped", said="mounting needs root")], "store_battery.json")
    assert "1 of 2 tests passed" in page and "skipped: mounting needs root" in page


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"batteries": []}',
        '{"batteries": [{"name": "x"}]}',
        '{"batteries": 3}',
        json.dumps({"batteries": [battery(outcome="great")]}),
    ],
)
def test_file_that_is_no_result_is_refused_and_no_page_is_made(tmp_path, script, text):
    file = tmp_path / "result.json"
    file.write_text(text)
    with pytest.raises(SystemExit, match="no result of the store's battery"):
        script.read_result(file)


def test_option_page_makes_the_page_beside_the_data_and_leaves_the_data_alone(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"format": 1, "batteries": [battery()]}))
    before = file.read_bytes()
    assert run_script("--page", "--out", file).returncode == 0
    assert file.read_bytes() == before and "2 of 2 tests passed" in (tmp_path / "result.html").read_text(
        encoding="utf-8"
    )
    missing = run_script("--page", "--out", tmp_path / "nothing.json")
    assert missing.returncode == 1 and "make it with" in missing.stderr


def test_committed_page_is_what_the_committed_result_gives(script):
    folder = ROOT / "own-pages"
    page = script.page_of(script.read_result(folder / "store_battery.json"), "store_battery.json")
    assert (folder / "store_battery.html").read_text(encoding="utf-8") == page, (
        "make it anew with `python scripts/store_battery.py --page`"
    )


def test_site_of_this_repository_links_the_page(tmp_path):
    (tmp_path / "settings.ini").write_text("[mlnb]\n")
    shutil.copytree(ROOT / "own-pages", tmp_path / "own-pages")
    done = publish(read_project(tmp_path))
    assert '<a href="own-pages/store_battery.html">Store battery: ' in done.index.read_text()
    assert (tmp_path / "reports/own-pages/store_battery.json").read_bytes() == (
        ROOT / "own-pages/store_battery.json"
    ).read_bytes()
