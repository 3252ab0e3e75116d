"""The site: what is on it, that it appears whole or not at all, and that it is private and the same for the
same inputs."""

import datetime as dt
import errno
import json
import os
import re
import shutil
import stat
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from plain_records import commit, write_run

import mlnb.publish.site as site
from mlnb.flow.heads import result_in
from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan
from mlnb.notebook.packages import installed_packages
from mlnb.notebook.pipeline import read_pipeline
from mlnb.publish.site import publish
from mlnb.store.artifacts import put_value
from mlnb.store.errors import StoreError, UsageError
from mlnb.store.objects import open_store, path_of, put
from mlnb.store.refs import move_ref
from mlnb.store.runs import read_run
from mlnb.store.settings import project_store, read_project
from mlnb.store.tombstones import tombstone_path

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
HOSTILE = "</script><img src=https://attacker.example/x onerror=attack()>"


def write_notebook(path, *cells):
    made = [
        new_markdown_cell(c[3:])
        if c.startswith("md:")
        else new_code_cell(c, metadata={"tags": ["parameters"]} if c.startswith("days") else {})
        for c in cells
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made, metadata=KERNEL), path)


def make_project(root):
    root.mkdir(parents=True)
    (root / "settings.ini").write_text(
        "[mlnb]\n[pipeline.fraud]\nnotebooks = nbs/fraud\n[pipeline.score]\nnotebooks = nbs/score\n"
    )
    write_notebook(
        root / "nbs/fraud/10_ingest.ipynb",
        "md:# Payments\n> What came in?",
        "days: int = 60  # length [days], 1..",
        "from mlnb import save",
        "save('rows', days)",
    )
    write_notebook(
        root / "nbs/fraud/20_check.ipynb",
        "md:# Check\n> Is it usable?",
        "from mlnb import load, save",
        "save('drift', load('rows'))\nsave('drift_report', 1)",
    )
    write_notebook(
        root / "nbs/score/10_window.ipynb", "md:# Window", "from mlnb import save\nsave('window', 1)"
    )
    return read_project(root)


def executed(path, text):
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [new_output("stream", name="stdout", text=text)]
    return nbformat.writes(notebook).encode()


def pretend_run(
    project, run, state="committed", values=None, verdict=None, failing=None, html="<p>plain report</p>"
):
    "Commit what a run of `fraud` would commit, without starting a kernel."
    store, pipeline = project_store(project), read_pipeline(project, "fraud")
    (project.root / "report.html").write_text(html)
    saved = {
        "ingest": {"rows": 60},
        "check": {
            "drift": verdict or {"verdict": "ok", "reason": "no column drifted"},
            "drift_report": project.root / "report.html",
        },
    }
    keys, entries = {}, []
    for name in pipeline.order:
        step = make_plan(
            project, store, pipeline, "default", resolve(project, pipeline, "default", {}, values or {})
        ).steps[name]
        if failing == name:
            entries.append(
                {
                    "name": name,
                    "key": step.key,
                    "state": "failed",
                    "kind": "user_error",
                    "seconds": 1.0,
                    "metrics": {},
                    "error": {"cell": 3, "ename": "ValueError", "evalue": HOSTILE},
                }
            )
            folder = store.root / "runs" / run
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.ipynb").write_bytes(executed(step.stage.path, "as far as it came"))
            break
        outputs = {n: put_value(store, v).as_dict() for n, v in saved[name].items()}
        record = {
            "key": step.key,
            "parts": step.parts,
            "pipeline": "fraud",
            "stage": name,
            "run": run,
            "inputs": {n: a.as_dict() for n, a in step.inputs.items()},
            "outputs": outputs,
            "metrics": {"n_rows": 60, "auc": 0.7, "auc_low": 0.6, "auc_high": 0.8}
            if name == "ingest"
            else {},
            "notebook": put(store, executed(step.stage.path, f"output of {name} in {run}")),
            "modules": {},
            "lock": None,
            "environment": {"python": "3.11.4", "packages": {"pandas": "3.0.6"}},
            "started_utc": "2026-11-23T15:22:37+00:00",
            "seconds": 12.5,
        }
        first = commit(store, record).is_first
        keys[name] = step.key
        entries.append(
            {
                "name": name,
                "key": step.key,
                "state": "committed" if first else "cached",
                "seconds": 12.5,
                "metrics": {},
                "error": None,
            }
        )
    write_run(
        store,
        {
            "run": run,
            "pipeline": "fraud",
            "profile": "default",
            "state": state,
            "started_utc": "2026-11-23T15:22:37+00:00",
            "seconds": 25.0,
            "keys": keys,
            "stages": entries,
            "head": state == "committed" and not values,
            "parameters": {
                "days": {
                    "value": int((values or {}).get("days", 60)),
                    "origin": "option" if values else "default",
                    "type": "int",
                }
            },
        },
    )
    if state == "committed" and not values:
        move_ref(store, "heads/fraud/default", run, "all stages committed")


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Links(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found, self.ids = [], set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found += [v for n, v in attributes if n in ("href", "src") and v and not v.startswith("data:")]
        self.ids |= {v for n, v in attributes if n == "id"}


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    "The list of installed packages that a store caches, made once for all tests."
    store = open_store(tmp_path_factory.mktemp("packages") / "store")
    installed_packages(store)
    return store.root / "cache"


@pytest.fixture
def project(tmp_path, packages):
    project = make_project(tmp_path / "payments")
    shutil.copytree(packages, project_store(project).root / "cache")
    return project


def test_empty_project_has_an_index_that_says_how_to_begin(project):
    done = publish(project)
    assert (done.pages, done.runs) == (1, 0)
    assert "mlnb run fraud" in done.index.read_text() and "mlnb run score" in done.index.read_text()


@pytest.mark.parametrize("beside", [[1, 2], (1, 2), {3}, dt.date(2026, 11, 23), np.float64(0.5)], ids=repr)
def test_run_has_its_pages_and_the_index_says_the_verdict_in_words(project, beside):
    verdict = {"verdict": "warn", "reason": "2 of 15 columns drifted", "beside": beside}
    pretend_run(project, "20261123T1-aaaa", verdict=verdict)
    publish(project)
    names = set(files_of(project.reports))
    base = "fraud/20261123T1-aaaa"
    assert names == {
        "index.html",
        "site.json",
        *(f"{base}/{n}.html" for n in ("index", "ingest", "check", "check.drift_report")),
    }
    index = (project.reports / "index.html").read_text()
    for expected in ("! Needs a look", "2 of 15 columns drifted.", "0.6 – 0.8", "✓ Committed", "Never ran"):
        assert expected in index, expected
    stage = (project.reports / base / "ingest.html").read_text()
    for expected in (
        "output of ingest in 20261123T1-aaaa",
        "Payments",
        "What came in?",
        "12 s",
        "pandas 3.0.6",
        "3.11.4",
        "days",
    ):
        assert expected in stage, expected
    assert "plain report" in (project.reports / base / "check.drift_report.html").read_text()


def check_links(folder):
    pages = {p: Links(p.read_text()) for p in folder.rglob("*.html")}
    for page, links in pages.items():
        for link in links.found:
            path, _, part = link.partition("#")
            target = Path(os.path.normpath(page.parent / path)) if path else page
            assert not re.match(r"[a-z]+:|/", link), link
            assert target in pages, f"{page} -> {link}"
            assert not part or part in pages[target].ids, f"{page} -> {link}"
    return len(pages)


def test_every_link_is_relative_and_leads_to_a_file_or_part_that_is_there(project):
    for run in ("20261123T1-aaaa", "20261123T2-bbbb"):
        pretend_run(project, run)
    pretend_run(project, "20261123T3-cccc", state="failed", values={"days": "30"}, failing="check")
    publish(project)
    assert check_links(project.reports) == 9


def test_changed_prose_is_shown_with_the_recorded_outputs(project):
    pretend_run(project, "20261123T1-aaaa")
    write_notebook(
        project.root / "nbs/fraud/10_ingest.ipynb",
        "md:# Better title\n> What came in?",
        "days: int = 60  # other comment, 1..",
        "md:A new sentence.",
        "from mlnb import save",
        "save('rows', days)",
    )
    publish(project)
    page = (project.reports / "fraud/20261123T1-aaaa/ingest.html").read_text()
    assert "Better title" in page and "A new sentence." in page and "output of ingest" in page
    assert "✓ Committed" in page and "Stale" not in page


def test_changed_code_shows_the_executed_notebook_marked_stale_with_the_reason(project):
    pretend_run(project, "20261123T1-aaaa")
    write_notebook(
        project.root / "nbs/fraud/10_ingest.ipynb",
        "md:# Better title",
        "days: int = 60",
        "from mlnb import save",
        "save('rows', days + 1)",
    )
    publish(project)
    page = (project.reports / "fraud/20261123T1-aaaa/ingest.html").read_text()
    assert (
        "! Stale" in page and "Payments" in page and "Better title" not in page and "cell 4 changed" in page
    )
    downstream = (project.reports / "fraud/20261123T1-aaaa/check.html").read_text()
    assert "! Stale" in downstream and "input <code>rows</code> is to be made by ingest" in downstream
    assert "No longer current: ingest, check" in (project.reports / "index.html").read_text()


def test_changed_default_makes_the_head_stale_but_not_a_run_with_values_of_its_own(project):
    pretend_run(project, "20261123T1-aaaa")
    pretend_run(project, "20261123T2-bbbb", values={"days": "30"})
    write_notebook(
        project.root / "nbs/fraud/10_ingest.ipynb",
        "md:# Payments",
        "days: int = 90",
        "from mlnb import save",
        "save('rows', days)",
    )
    publish(project)
    pages = {
        run: (project.reports / f"fraud/{run}/ingest.html").read_text()
        for run in ("20261123T1-aaaa", "20261123T2-bbbb")
    }
    assert (
        "parameter <code>days</code> was 60, is 90" in pages["20261123T1-aaaa"]
        and "! Stale" in pages["20261123T1-aaaa"]
    )
    assert "✓ Committed" in pages["20261123T2-bbbb"]


def test_failed_run_shows_its_sentence_as_text_and_the_notebook_so_far(project):
    pretend_run(project, "20261123T1-aaaa")
    pretend_run(project, "20261123T2-bbbb", state="failed", values={"days": "30"}, failing="check")
    publish(project)
    index = (project.reports / "index.html").read_text()
    page = (project.reports / "fraud/20261123T2-bbbb/check.html").read_text()
    assert "Check failed: ValueError: &lt;/script&gt;" in index and "Last complete run" in index
    assert "✕ This cell failed" in page and "as far as it came" in page
    assert "<img" not in index and "onerror" not in Links(page).found


def later_run(project, run, **about):
    "A run that is as the first one was, but for some of what it says of itself."
    store = project_store(project)
    write_run(store, read_run(store, "20261123T1-aaaa").as_dict() | {"run": run, "head": False} | about)


def card_of(project, **options):
    "The card of pipeline `fraud` on the start page."
    publish(project, **options)
    index = (project.reports / "index.html").read_text()
    return re.search(r'<section class="card" id="fraud".*?</section>', index, re.DOTALL)[0]


TRIED = {"parameters": {"days": {"value": 3, "origin": "option"}}}
FAILED = {
    "state": "failed",
    "stages": [
        {"name": "check", "state": "failed", "key": None, "error": {"ename": "ValueError", "evalue": "no"}}
    ],
}


@pytest.mark.parametrize(
    ("about", "look", "said"),
    [
        (FAILED, "banner fail", "A newer run failed: Check failed: ValueError: no"),
        (FAILED | TRIED, "banner warn", "A newer experiment failed: days=3. Check failed: ValueError: no"),
        (
            FAILED | {"profile": "ci"},
            "banner warn",
            "A newer run under profile <code>ci</code> failed: Check failed",
        ),
        (TRIED, "<ul", "A newer experiment: days=3"),
        (TRIED | {"profile": "ci"}, "<ul", "A newer experiment under profile <code>ci</code>: days=3"),
        (
            {"grid": {"id": "g", "number": 1, "of": 2, "values": {"days": 3}}},
            "<ul",
            "A newer experiment: days=3",
        ),
        ({}, "<ul", "A newer run is partial: not every stage is committed"),
        ({"profile": "ci"}, "<ul", "A newer run under profile <code>ci</code>"),
        ({"state": "cancelled"}, "<ul", "A newer run was cancelled"),
    ],
)
def test_start_page_shows_the_head_and_names_a_newer_run_beside_it(project, about, look, said):
    pretend_run(project, "20261123T1-aaaa", verdict={"verdict": "warn", "reason": "the head says so"})
    later_run(project, "20261123T2-bbbb", **about)
    card = card_of(project)
    assert '<h2 id="fraud-title"><a href="fraud/20261123T1-aaaa/index.html">' in card
    assert "The head says so." in card and "0.6 – 0.8" in card and "Last complete run" in card
    assert said in card and look in card.partition(said)[0][-200:]
    assert 'href="fraud/20261123T2-bbbb/index.html"' in card
    assert (project.reports / "fraud/20261123T2-bbbb/index.html").is_file()


def test_start_page_of_another_profile_shows_its_head(project):
    pretend_run(project, "20261123T1-aaaa")
    later_run(project, "20261123T2-bbbb", profile="ci", head=True)
    move_ref(project_store(project), "heads/fraud/ci", "20261123T2-bbbb", "all stages committed")
    later_run(project, "20261123T3-cccc")
    assert '<a href="fraud/20261123T1-aaaa/index.html">' in card_of(project)
    card = card_of(project, profile="ci")
    assert '<a href="fraud/20261123T2-bbbb/index.html">' in card and "profile ci" in card
    assert "A newer run under profile <code>default</code>" in card


def test_head_is_shown_however_old_it_is(project):
    pretend_run(project, "20261123T1-aaaa")
    for number in range(2, 9):
        later_run(project, f"20261123T{number}-bbbb", **TRIED)
    card = card_of(project, newest=6)
    assert '<a href="fraud/20261123T1-aaaa/index.html">' in card and "And 1 more, listed below." in card
    assert (project.reports / "fraud/20261123T1-aaaa/index.html").is_file()
    assert not (project.reports / "fraud/20261123T2-bbbb").exists()


@pytest.mark.parametrize(
    ("abouts", "shown", "said"),
    [
        ([{}, TRIED], 2, "shown is the newest committed run."),
        ([{"profile": "ci"}, TRIED], 2, "shown is the newest committed run under profile <code>ci</code>."),
        ([TRIED, FAILED], 2, "shown is an experiment."),
        ([FAILED, FAILED], 3, "shown is the newest run."),
    ],
)
def test_without_a_head_the_best_there_is_serves_and_a_line_says_so(project, abouts, shown, said):
    pretend_run(project, "20261123T1-aaaa")
    shutil.rmtree(project_store(project).root / "refs")
    for number, about in enumerate(abouts, 2):
        later_run(project, f"20261123T{number}-bbbb", **about)
    shutil.rmtree(project_store(project).root / "runs" / "20261123T1-aaaa")
    card = card_of(project)
    assert f'<a href="fraud/20261123T{shown}-bbbb/index.html">' in card.partition("</h2>")[0]
    assert f"No run under profile <code>default</code> has committed every stage yet; {said}" in card


def asked_for(project, run, *stages, is_head=False, **about):
    "A run that was asked for some stages, and ended with every stage committed."
    store = project_store(project)
    whole = read_run(store, "20261123T1-aaaa").as_dict()
    entries = [entry for entry in whole["stages"] if entry["name"] in stages]
    write_run(store, whole | {"run": run, "stages": entries} | about)
    if is_head:
        move_ref(store, "heads/fraud/default", run, "all stages committed")


@pytest.mark.parametrize("is_head", [False, True])
@pytest.mark.parametrize("stages", [("ingest",), ("check",), ()])
def test_run_of_a_part_takes_nothing_from_the_start_page(project, stages, is_head):
    pretend_run(project, "20261123T1-aaaa")
    asked_for(project, "20261123T2-bbbb", *stages, is_head=is_head)
    card = card_of(project)
    assert '<a href="fraud/20261123T1-aaaa/index.html">' in card and "No column drifted." in card
    assert "0.6 – 0.8" in card and "Last complete run" in card
    assert card.count('<a href="fraud/20261123T1-aaaa/ingest.html">') == 1
    assert "A newer run of a part of the pipeline" in card
    page = (project.reports / "fraud/20261123T2-bbbb/index.html").read_text()
    assert page.count("Committed earlier") == 2 - len(stages)


def test_head_that_was_asked_for_a_part_shows_the_rest_as_committed_earlier(project):
    pretend_run(project, "20261123T1-aaaa")
    whole = read_run(project_store(project), "20261123T1-aaaa").as_dict()
    asked_for(project, "20261123T2-bbbb", "check", is_head=True)
    other = {"keys": whole["keys"] | {"ingest": "0" * 64}, "head": True}
    write_run(project_store(project), whole | other)
    later_run(project, "20261123T3-cccc", **FAILED)
    card = card_of(project)
    assert '<h2 id="fraud-title"><a href="fraud/20261123T2-bbbb/index.html">' in card
    assert "No column drifted." in card and "0.6 – 0.8" in card and "A newer run failed" in card
    assert "Last complete run" not in card and "the rest was committed earlier" in card
    check_links(project.reports)


def test_card_has_every_part_of_a_fan_out_after_a_run_of_one(project):
    pretend_run(project, "20261123T1-aaaa")
    store, keys, entries = project_store(project), {}, []
    (record,) = [json.loads(p.read_bytes()) for p in (store.root / "records/fraud/ingest").glob("*.json")]
    for kind, ap in (("tree", 0.4), ("forest", 0.6)):
        key = ("a" if kind == "tree" else "b") * 64
        part = {"stage": "train", "each": {"kind": kind}, "key": key, "metrics": {"ap": ap}}
        commit(store, record | part | {"run": "20261122T1-0000"})
        keys[f"train[kind={kind}]"] = key
        entries.append({"name": "train", "each": {"kind": kind}, "state": "committed", "key": key})
    whole = read_run(store, "20261123T1-aaaa").as_dict()
    about = {"keys": keys, "head": True}
    write_run(
        store, whole | about | {"run": "20261122T1-0000", "stages": entries, "keys": {"train": "0" * 64}}
    )
    write_run(store, whole | about | {"run": "20261123T2-bbbb", "stages": entries[1:]})
    move_ref(store, "heads/fraud/default", "20261123T2-bbbb", "all stages committed")
    card = card_of(project)
    assert re.search(r"[Mm]ean ap</dt><dd>0\.50*\s*<small>of 2 parts", card), card
    assert "train.kind-tree.html" in card and "train.kind-forest.html" in card
    value, _ = result_in(store, read_run(store, "20261123T2-bbbb"), "train", "rows")
    assert value.values == ("tree", "forest")
    check_links(project.reports)


def test_page_of_a_stage_of_an_experiment_says_so_and_shows_the_values_that_were_used(project):
    pretend_run(project, "20261123T1-aaaa")
    pretend_run(project, "20261123T2-bbbb", values={"days": "3"})
    publish(project)
    plain, tried = (
        (project.reports / f"fraud/{run}/ingest.html").read_text()
        for run in ("20261123T1-aaaa", "20261123T2-bbbb")
    )
    mark = '<span class="state warn">Experiment</span> <span class="small">days=3</span>'
    assert (mark in tried, mark in plain) == (True, False)
    assert "3 (given for this run)" in tried and "given for this run" not in plain


def test_page_of_an_experiment_says_so(project):
    pretend_run(project, "20261123T1-aaaa")
    later_run(project, "20261123T2-bbbb", **TRIED)
    publish(project)
    pages = [
        (project.reports / f"fraud/{run}/index.html").read_text()
        for run in ("20261123T1-aaaa", "20261123T2-bbbb")
    ]
    assert ['Experiment</span> <span class="small">days=3' in page for page in pages] == [False, True]
    assert "experiment: days=3" in (project.reports / "index.html").read_text().partition("Other runs")[2]


def test_hostile_values_in_verdict_and_report_are_text(project):
    pretend_run(
        project,
        "20261123T1-aaaa",
        verdict={"verdict": "fail", "reason": HOSTILE},
        html=f"<h1>x</h1>{HOSTILE}<script>attack()</script>",
    )
    publish(project)
    for path, data in files_of(project.reports).items():
        assert not [v for v in Links(data.decode()).found if "attacker.example" in v], path
        assert b"<img src=https" not in data and b"<script>attack" not in data, path


def test_cached_stage_links_to_the_run_that_executed_it(project):
    pretend_run(project, "20261123T1-aaaa")
    pretend_run(project, "20261123T2-bbbb")
    publish(project)
    assert not (project.reports / "fraud/20261123T2-bbbb/ingest.html").exists()
    assert (
        'href="../20261123T1-aaaa/ingest.html"'
        in (project.reports / "fraud/20261123T2-bbbb/index.html").read_text()
    )
    publish(project, newest=1)
    assert (project.reports / "fraud/20261123T2-bbbb/ingest.html").exists()
    assert not (project.reports / "fraud/20261123T1-aaaa").exists()


def test_same_inputs_give_the_same_bytes(project):
    pretend_run(project, "20261123T1-aaaa")
    publish(project)
    first = files_of(project.reports)
    publish(project)
    assert files_of(project.reports) == first


def test_site_is_private_and_keeps_the_readme(project):
    project.reports.mkdir()
    (project.reports / "README.md").write_text("about this folder")
    pretend_run(project, "20261123T1-aaaa")
    old = os.umask(0)
    try:
        publish(project)
    finally:
        os.umask(old)
    for path in (project.reports, *project.reports.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert (project.reports / "README.md").read_text() == "about this folder"


@pytest.mark.parametrize("after", [0, 2, 5])
def test_full_disk_leaves_the_old_site_whole(project, monkeypatch, after):
    pretend_run(project, "20261123T1-aaaa")
    publish(project)
    before = files_of(project.reports)
    pretend_run(project, "20261123T2-bbbb", values={"days": "30"})
    write, count = Path.write_bytes, iter(range(100))

    def until_full(path, data):
        if next(count) == after:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(StoreError, match="no room left"):
        publish(project)
    monkeypatch.undo()
    assert files_of(project.reports) == before
    assert [p.name for p in project.root.iterdir() if p.name.startswith(".reports")] == []
    publish(project)
    assert (project.reports / "fraud/20261123T2-bbbb/index.html").exists()


def test_swap_without_the_system_call_puts_the_old_site_back_when_the_rename_fails(project, monkeypatch):
    pretend_run(project, "20261123T1-aaaa")
    publish(project)
    before, rename = files_of(project.reports), os.rename
    monkeypatch.setattr(site, "exchange", lambda new, old: False)
    publish(project)
    assert files_of(project.reports) == before

    def fails_for_the_new(source, target):
        if Path(target) == project.reports and not Path(source).name.endswith("-old"):
            raise OSError(errno.EACCES, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_the_new)
    with pytest.raises(StoreError, match="permission denied"):
        publish(project)
    assert files_of(project.reports) == before


def test_folder_with_foreign_files_is_refused_and_untouched(project):
    project.reports.mkdir()
    (project.reports / "thesis.docx").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.docx"):
        publish(project)
    assert files_of(project.reports) == {"thesis.docx": b"mine"}


def test_reports_that_contain_the_project_are_refused(tmp_path):
    project = make_project(tmp_path / "payments")
    (project.root / "settings.ini").write_text("[mlnb]\nreports = .\n")
    with pytest.raises(UsageError, match="holds the project"):
        publish(read_project(project.root))
    assert (project.root / "settings.ini").exists()


def test_missing_and_damaged_objects_are_said_and_stop_nothing(project):
    pretend_run(project, "20261123T1-aaaa")
    store = project_store(project)
    records = {p.parent.name: json.loads(p.read_bytes()) for p in (store.root / "records").rglob("*.json")}
    report = path_of(store, records["check"]["outputs"]["drift_report"]["digest"])
    report.chmod(0o600)
    report.write_bytes(b"altered")
    path_of(store, records["ingest"]["notebook"]).unlink()
    publish(project)
    assert not (project.reports / "fraud/20261123T1-aaaa/ingest.html").exists()
    assert (project.reports / "fraud/20261123T1-aaaa/check.html").exists()
    assert not (project.reports / "fraud/20261123T1-aaaa/check.drift_report.html").exists()
    run = (project.reports / "fraud/20261123T1-aaaa/index.html").read_text()
    assert (
        "gone or damaged in the store: the executed notebook" in run
        and "gone or damaged in the store: the report <code>drift_report</code>" in run
    )
    check_links(project.reports)


def test_damaged_record_and_lost_value_are_said_and_stop_nothing(project):
    pretend_run(project, "20261123T1-aaaa")
    store = project_store(project)
    files = {p.parent.name: p for p in (store.root / "records").rglob("*.json")}
    path_of(store, json.loads(files["ingest"].read_bytes())["outputs"]["rows"]["digest"]).unlink()
    files["check"].write_bytes(b"{")
    publish(project)
    run = (project.reports / "fraud/20261123T1-aaaa/index.html").read_text()
    assert (
        "gone or damaged in the store: <code>rows</code>" in run
        and "its record is no longer in the store, or damaged" in run
    )
    assert (project.reports / "fraud/20261123T1-aaaa/ingest.html").exists()
    check_links(project.reports)


def put_away(store, digest):
    "Erase an object as `mlnb erase` leaves it: a tombstone in place of its content."
    path = tombstone_path(store.root, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    path_of(store, digest).unlink()


@pytest.mark.parametrize(
    ("stage", "what", "said"),
    [
        ("ingest", "rows", "erased on request: <code>rows</code>"),
        ("check", "drift", "erased on request: <code>drift</code>"),
        ("check", "drift_report", "erased on request: the report <code>drift_report</code>"),
        ("ingest", None, "erased on request: the executed notebook"),
    ],
)
@pytest.mark.parametrize("is_changed", [False, True])
def test_what_was_erased_is_said_and_stops_nothing(project, stage, what, said, is_changed):
    pretend_run(project, "20261123T1-aaaa")
    store = project_store(project)
    records = {p.parent.name: json.loads(p.read_bytes()) for p in (store.root / "records").rglob("*.json")}
    record = records[stage]
    put_away(store, record["outputs"][what]["digest"] if what else record["notebook"])
    if is_changed:
        path = project.root / "nbs/fraud/10_ingest.ipynb"
        path.write_text(path.read_text().replace("= 60", "= 90"))
        pretend_run(project, "20261123T2-bbbb", state="failed", failing="ingest")
    publish(project)
    run = (project.reports / "fraud/20261123T1-aaaa/index.html").read_text()
    assert said in run and "gone or damaged" not in run
    page = project.reports / f"fraud/20261123T1-aaaa/{stage}.html"
    assert page.exists() == (what is not None)
    assert what is None or ", erased</td>" in page.read_text()
    check_links(project.reports)


def test_page_of_a_failed_stage_names_no_folder_of_the_machine(project):
    pretend_run(project, "20261123T1-aaaa", state="failed", failing="check")
    run = project_store(project).root / "runs" / "20261123T1-aaaa"
    scratch, inside = run / "scratch" / "check-1" / "rows", project.root / "nbs" / "own_module.py"
    library, module = Path(nbformat.__file__), Path(site.__file__)
    frames = [
        f"\x1b[36mFile \x1b[39m\x1b[32m{path}:7\x1b[39m, in \x1b[36mcheck\x1b[39m"
        for path in (library, module, inside, json.__file__)
    ]
    home = Path.home() / "projects" / "rows.csv"
    outputs = [
        new_output("stream", text=f"reading {scratch}\n{home}"),
        new_output("execute_result", {"text/plain": f"PosixPath('{scratch}')"}),
        new_output("display_data", {"text/html": f"<b>{inside}</b>"}),
        new_output("error", ename="OSError", evalue=f"no {inside} in {scratch}", traceback=frames),
    ]
    nbformat.write(
        new_notebook(cells=[new_code_cell("check()", outputs=outputs)], metadata=KERNEL), run / "check.ipynb"
    )
    document = json.loads((run / "run.json").read_bytes())
    document["stages"][-1]["error"] = {"cell": 1, "ename": "OSError", "evalue": f"no {inside} in {scratch}"}
    write_run(project_store(project), document)
    publish(project)
    pages = {
        path: data.decode() for path, data in files_of(project.reports).items() if path.endswith(".html")
    }
    for path, page in pages.items():
        for place in (
            project.root,
            Path.home() / "projects",
            library.parents[1],
            module.parents[2],
            Path(json.__file__).parents[2],
        ):
            assert str(place) not in page, f"{path} names {place}"
    page = pages["fraud/20261123T1-aaaa/check.html"]
    for expected in (
        "nbformat/__init__.py:7",
        "mlnb/publish/site.py:7",
        "./nbs/own_module.py:7",
        "reading …/runs/20261123T1-aaaa/scratch/check-1/rows",
        "~/projects/rows.csv",
    ):
        assert expected in page, expected
    assert "OSError: no ./nbs/own_module.py in …/runs" in pages["index.html"]


def test_deleted_notebook_keeps_its_page_and_says_so(project):
    pretend_run(project, "20261123T1-aaaa")
    (project.root / "nbs/fraud/20_check.ipynb").unlink()
    publish(project)
    assert (
        "its notebook is no longer in the project"
        in (project.reports / "fraud/20261123T1-aaaa/check.html").read_text()
    )


def test_folder_name_that_is_no_run_id_makes_no_path(project):
    store = project_store(project)
    folder = store.root / "runs" / "20261123T1-aaaa"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps({"run": "../../../escaped", "pipeline": "fraud", "state": "committed", "stages": []})
    )
    found = publish(project)
    assert found.damaged[0].startswith(f"left out: run {folder.name}, whose document is damaged")
    assert not list(project.root.parent.rglob("escaped*"))
    assert not list(project.reports.rglob(f"*{folder.name}*"))


def own_page(project, name, text):
    path = project.root / "own-pages" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_own_pages_are_copied_as_they_are_linked_by_their_titles_and_follow_their_folder(project):
    imprint = own_page(
        project,
        "imprint.html",
        "<!doctype html><title>\n Who we\n are </title><script>draw()</script><img src=images/office.svg>",
    )
    own_page(project, "about the data.html", "no title")
    own_page(project, "images/office.svg", "<svg/>")
    own_page(project, ".draft.html", "<title>not yet</title>")
    for _ in range(2):  # building the site again changes nothing
        done = publish(project)
        files = files_of(project.reports)
        assert (
            files["own-pages/imprint.html"] == imprint.read_bytes()
            and files["own-pages/images/office.svg"] == b"<svg/>"
        )
        assert set(files) == {
            "index.html",
            "site.json",
            *(f"own-pages/{n}" for n in ("imprint.html", "about the data.html", "images/office.svg")),
        }
        assert re.findall(r'<li><a href="(own-pages/[^"]+)">([^<]+)</a>', files["index.html"].decode()) == [
            ("own-pages/about%20the%20data.html", "About the data"),
            ("own-pages/imprint.html", "Who we are"),
        ]
        assert done.bytes == sum(map(len, files.values())) and done.pages == 1
    assert {
        stat.S_IMODE(p.stat().st_mode) for p in (project.reports / "own-pages").rglob("*") if p.is_file()
    } == {0o600}
    imprint.unlink()
    publish(project)
    assert not (project.reports / "own-pages/imprint.html").exists()


def test_site_without_own_pages_has_no_heading_for_them(project):
    publish(project)
    assert (
        "Further pages" not in (project.reports / "index.html").read_text()
        and not (project.reports / "own-pages").exists()
    )


@pytest.mark.parametrize(
    "title, shown",
    [
        (HOSTILE, "&lt;/script&gt;"),
        ("&lt;script&gt;attack()&lt;/script&gt;", "&lt;script&gt;attack()&lt;/script&gt;"),
        ("&quot; onmouseover=attack() x=&quot;", "&#34; onmouseover=attack() x=&#34;"),
        ("{{ 7 * 7 }}{% raw %}", "{{ 7 * 7 }}{% raw %}"),
        ("x" * 5000, "x" * 120),
        ("&#0;&#xD800;\N{RIGHT-TO-LEFT OVERRIDE}cba", "cba"),
    ],
)
def test_title_of_an_own_page_is_text(project, title, shown):
    own_page(project, "page.html", f"<title>{title.replace('</script>', '&lt;/script&gt;')}</title>")
    publish(project)
    index = (project.reports / "index.html").read_text()
    assert shown in index and "x" * 121 not in index
    assert "<script" not in index and "<img" not in index
    assert [link for link in Links(index).found if "own-pages" in link] == ["own-pages/page.html"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<title></title>",
        "<title " * 10_000,
        "<title>" * 10_000,
        "x" * 70_000 + "<title>too late</title>",
        "<titel>x</titel>",
    ],
)
def test_own_page_without_a_title_is_called_like_its_file(project, text):
    own_page(project, "house_rules.html", text)
    publish(project)
    assert (
        '<a href="own-pages/house_rules.html">House rules</a>' in (project.reports / "index.html").read_text()
    )


@pytest.mark.parametrize(
    "name",
    [
        "javascript:attack().html",
        '"><img src=x>.html',
        "a..%2f..%2fx.html",
        "a?b#c.html",
        os.fsdecode(b"\xff.html"),
    ],
)
def test_odd_name_of_an_own_page_is_an_address_and_nothing_else(project, name):
    own_page(project, name, "<title>odd</title>")
    publish(project)
    links = [
        link
        for link in Links((project.reports / "index.html").read_text()).found
        if link.startswith("own-pages")
    ]
    assert [os.fsdecode(unquote_to_bytes(link)) for link in links] == [f"own-pages/{name}"]
    assert not {":", "?", "#", "<", '"'} & set(links[0])
    publish(project)


@pytest.mark.parametrize("kind", ["file", "folder", "whole folder", "broken", "pipe"])
def test_own_page_that_is_no_plain_file_is_refused_and_nothing_is_replaced(project, tmp_path, kind):
    publish(project)
    before = files_of(project.reports)
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "secret.html").write_text("<title>secret</title>")
    folder = project.root / "own-pages"
    if kind == "whole folder":
        folder.symlink_to(secret)
    elif kind == "pipe":
        folder.mkdir()
        os.mkfifo(folder / "page.html")
    else:
        folder.mkdir()
        (folder / "page.html").symlink_to(
            {"file": secret / "secret.html", "folder": secret, "broken": secret / "nothing"}[kind]
        )
    with pytest.raises(UsageError, match="cannot be published" if kind == "pipe" else "is a symbolic link"):
        publish(project)
    assert files_of(project.reports) == before


def test_full_disk_while_own_pages_are_copied_leaves_the_old_site_whole(project, monkeypatch):
    publish(project)
    before = files_of(project.reports)
    own_page(project, "page.html", "<title>new</title>")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(StoreError, match="no room left"):
        publish(project)
    assert files_of(project.reports) == before


def test_reports_among_the_own_pages_are_refused(tmp_path):
    project = make_project(tmp_path / "payments")
    (project.root / "settings.ini").write_text("[mlnb]\nreports = own-pages/site\n")
    with pytest.raises(UsageError, match="folder of the project's own pages"):
        publish(read_project(project.root))


@pytest.mark.parametrize("name", ["README.md", "elsewhere"])
def test_symbolic_link_in_the_folder_of_the_site_is_refused_and_untouched(project, name):
    publish(project)
    (project.reports / name).symlink_to(project.root / ("settings.ini" if name == "README.md" else "nbs"))
    with pytest.raises(UsageError, match=name):
        publish(project)
    assert (project.reports / name).is_symlink()
