"""The command line keeps its word: forms of --json, exit codes, where each word is printed, order of values,
selections, files."""

import contextlib
import datetime
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlnb.cli import run_command
from mlnb.store import errors
from mlnb.store.artifacts import put_value
from mlnb.store.objects import open_store
from mlnb.terminal.frame import EXIT_MEANINGS
from mlnb.terminal.keep import value_text

OURS = "from mlnb import load, metric, save"
SETTINGS = """[mlnb]
[pipeline.demo]
notebooks = nbs
[pipeline.other]
notebooks = other
[source.raw]
path = raw.csv
[profile.ci.demo]
days = 35        ; fewer
[profile.full.demo]
days = 180
"""
STAGES = {
    "10_ingest.ipynb": [
        ("parameters", 'days: int = 60  # 1..183\nkind: str = "a"'),
        OURS,
        "save('rows', list(range(days)))\nmetric('n_rows', days, low=1, high=99)",
    ],
    "20_train.ipynb": [
        ("parameters", "days: int = 60  # 1..183\ndepth: int | None = 5  # 1..50"),
        OURS + "\nimport pandas as pd\nfrom pathlib import Path",
        "save('model', {'depth': depth, 'n': len(load('rows'))})\n"
        "save('table', pd.DataFrame({'a': load('rows')}))",
        "frames = (pd.DataFrame({'a': [n]}) for n in range(2))\nsave('parts', frames)\n"
        "Path('made').mkdir(exist_ok=True)\nPath('made/a.txt').write_text('a')\n"
        "save('made', Path('made'))\nsave('note', Path('made/a.txt'))\nsave('text', 'words')",
    ],
    "30_judge.ipynb": [OURS, "save('verdict', load('model')['depth'])"],
    "40_side.ipynb": [OURS, "save('side', len(load('raw')))"],
    "other/10_score.ipynb": [OURS, "save('score', [load('demo/model'), load('demo/side')])"],
}
DIGEST = re.compile(r"[0-9a-f]{64}")


def planned(result):
    return {name for name, state in result.states.items() if state != "cached"}


@pytest.fixture(scope="module")
def inside(command_result, outside_environment):
    """The command line inside this process, for verbs that start no kernel: a tenth of the time of a process
    of its own."""

    def of(*arguments, cwd, **environment):
        before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
        out, err = io.StringIO(), io.StringIO()
        os.environ.clear()
        os.environ.update(outside_environment(**environment))
        try:
            with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run_command([str(a) for a in arguments])
        finally:
            signal.signal(signal.SIGTERM, handler)
            os.environ.clear()
            os.environ.update(before)
        return command_result(code, out.getvalue(), err.getvalue())

    return of


@pytest.fixture(scope="module")
def project(make_shared_project):
    made = make_shared_project(STAGES, SETTINGS)
    (made.root / "raw.csv").write_text("id\n007\n")
    return made


@pytest.fixture(scope="module")
def never_run(make_shared_project):
    made = make_shared_project(STAGES, SETTINGS)
    (made.root / "raw.csv").write_text("id\n007\n")
    return made


@pytest.fixture(scope="module")
def first(project, mlnb):
    "The first run; the tests below it only ask."
    result = mlnb("run", "demo", "--json", cwd=project.root)
    assert result.code == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def ask(project, first, inside):
    "A verb with --json on the project after its first run."

    def of(*arguments, code=0, **environment):
        result = inside(*arguments, "--json", cwd=project.root, **environment)
        assert result.code == code, result.stderr
        return result.json

    return of


# run


def test_run_document_has_the_contract_s_form(first):
    document = first.json
    assert {"format", "exit_code", "problems", "run", "pipeline", "state", "seconds", "stages"} <= set(
        document
    )
    assert (
        document["format"],
        document["exit_code"],
        document["problems"],
        document["pipeline"],
        document["state"],
    ) == (1, 0, [], "demo", "committed")
    for entry in document["stages"]:
        assert {
            "name",
            "each",
            "state",
            "kind",
            "attempts",
            "seconds",
            "why",
            "outputs",
            "metrics",
            "error",
        } <= set(entry)
        assert (entry["each"], entry["state"], entry["kind"], entry["attempts"], entry["error"]) == (
            None,
            "committed",
            None,
            1,
            None,
        )
        assert (
            all(
                set(w) >= {"kind", "name", "before", "after", "message"} and w["kind"] == "new"
                for w in entry["why"]
            )
            and entry["why"]
        )
        assert all(DIGEST.fullmatch(d) for d in entry["outputs"].values()) and entry["seconds"] > 0
    assert first.stage("ingest")["metrics"] == {"n_rows": 60, "n_rows_low": 1, "n_rows_high": 99}
    assert set(first.stage("train")["outputs"]) == {"model", "table", "parts", "made", "note", "text"}


def test_run_again_does_nothing_says_so_and_is_cached(first, project, mlnb):
    again = mlnb("run", "demo", "--json", cwd=project.root)
    assert set(again.states.values()) == {"cached"} and all(
        e["why"] == [] and e["outputs"] == first.stage(e["name"])["outputs"] for e in again.json["stages"]
    )
    words = mlnb("run", "demo", cwd=project.root)
    assert (words.code, "nothing to do" in words.stdout) == (0, True)


def test_dry_run_is_planned_and_writes_nothing(ask, project):
    def everything():
        return {
            p: p.stat().st_mtime_ns for p in (project.root / ".mlnb").rglob("*") if "cache" not in p.parts
        }

    before = everything()
    document = ask("run", "demo", "-n", "-p", "depth", "7")
    assert (document["state"], document["run"]) == ("planned", None)
    assert {e["name"]: e["state"] for e in document["stages"]} == {
        "ingest": "cached",
        "train": "stale",
        "judge": "unknown",
        "side": "cached",
    }
    assert [w["kind"] for e in document["stages"] if e["name"] == "train" for w in e["why"]] == ["parameter"]
    assert everything() == before


def test_dry_run_in_a_folder_without_a_store_makes_none(make_project, inside):
    project = make_project({"10_a.ipynb": ["x = 1"]})
    result = inside("run", "demo", "-n", "--json", cwd=project.root)
    assert (result.code, result.states) == (0, {"a": "stale"})
    assert (
        not (project.root / ".mlnb" / "runs").exists() and not (project.root / ".mlnb" / "records").exists()
    )


@pytest.mark.parametrize(
    ("arguments", "selected"),
    [
        ((), {"ingest", "train", "judge", "side"}),
        (("train",), {"ingest", "train"}),
        (("judge", "side"), {"ingest", "train", "judge", "side"}),
        (("--to", "train"), {"ingest", "train"}),
        (("--from", "train"), {"ingest", "train", "judge"}),
        (("--from", "ingest", "--to", "train"), {"ingest", "train"}),
        (("ingest", "--only"), {"ingest"}),
        (("side", "ingest", "--only"), {"ingest", "side"}),
    ],
)
def test_selection_of_stale_stages(never_run, inside, arguments, selected):
    result = inside("run", "demo", "-n", *arguments, "--json", cwd=never_run.root)
    assert result.code == 0, result.stderr
    assert planned(result) == selected


@pytest.mark.parametrize(
    ("arguments", "selected"),
    [
        (("--force",), {"ingest", "train", "judge", "side"}),
        (("train", "--force"), {"train"}),
        (("--from", "train", "--force"), {"train", "judge"}),
        (("--to", "train", "--force"), {"train"}),
        (("judge", "--only", "--force"), {"judge"}),
        (("judge",), set()),
        (("--from", "train"), set()),
    ],
)
def test_force_takes_the_selected_stages_and_never_their_upstream(ask, arguments, selected):
    document = ask("run", "demo", "-n", *arguments)
    assert {e["name"] for e in document["stages"] if e["state"] != "cached"} == selected
    assert all(
        [w["kind"] for w in e["why"]] == ["forced"] for e in document["stages"] if e["name"] in selected
    )


def test_only_with_a_missing_input_names_the_stage_that_makes_it(never_run, inside):
    project = never_run
    result = inside("run", "demo", "judge", "--only", "--json", cwd=project.root)
    assert (result.code, result.json["exit_code"]) == (2, 2)
    assert "train" in result.json["problems"][0]["message"] + result.json["problems"][0]["mend"]
    assert not (project.root / ".mlnb" / "runs").exists()


def test_name_of_a_pipeline_that_never_ran_is_2_and_says_which_to_run(never_run, inside):
    project = never_run
    result = inside("run", "other", "--json", cwd=project.root)
    assert result.code == 2 and "mlnb run demo" in result.json["problems"][0]["mend"]
    assert inside("check", "other", cwd=project.root).code == 0


def test_errors_of_another_pipeline_do_not_stop_a_run(make_project, inside):
    project = make_project(
        {"10_a.ipynb": ["x = 1"], "other/10_bad.ipynb": ["x = = 1"]},
        SETTINGS.replace("days", "#days")
        .replace("#days = 35        ; fewer\n", "")
        .replace("#days = 180\n", ""),
    )
    assert inside("run", "demo", "-n", cwd=project.root).code == 0
    assert inside("run", "other", "-n", cwd=project.root).code == 2
    assert inside("check", cwd=project.root).code == 2


# values


@pytest.mark.parametrize(
    ("arguments", "environment", "value", "origin"),
    [
        ((), {}, 60, "default"),
        (("--profile", "ci"), {}, 35, "profile"),
        ((), {"MLNB_PROFILE": "ci"}, 35, "profile"),
        (("--profile", "full"), {"MLNB_PROFILE": "ci"}, 180, "profile"),
        (("--profile", "ci", "-f", "p.yaml"), {}, 40, "file"),
        (("--profile", "ci", "-f", "p.yaml", "-p", "days", "50"), {}, 50, "option"),
        (("-p", "days", "50"), {}, 50, "option"),
        (("-f", "p.json"), {}, 41, "file"),
    ],
)
def test_values_default_profile_file_option(ask, project, arguments, environment, value, origin):
    (project.root / "p.yaml").write_text("days: 40\n")
    (project.root / "p.json").write_text('{"days": 41}')
    found = {p["name"]: p for p in ask("params", "demo", *arguments, **environment)["parameters"]}
    assert {k: found["days"][k] for k in ("name", "type", "value", "origin", "stages")} == {
        "name": "days",
        "type": "int",
        "value": value,
        "origin": origin,
        "stages": ["ingest", "train"],
    }
    assert found["depth"]["origin"] == "default" and found["depth"]["type"] == "int | None"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("-p", "dayz", "1"), "did you mean `days`?"),
        (("-p", "days", "x"), "days"),
        (("-p", "days", "0"), "at least 1"),
        (("-p", "days", "1.5"), "int"),
        (("-p", "days", "1", "-p", "days", "2"), "twice"),
        (("-p", "days"), "-p NAME VALUE"),
        (("-f", "none.yaml"), "none.yaml"),
        (("-f", "list.yaml"), "list.yaml"),
        (("-f", "text.yaml"), "int"),
        (("-f", "broken.yaml"), "broken.yaml"),
        (("--profile", "cii"), "did you mean `ci`?"),
        (("--from", "trian"), "did you mean `train`?"),
        (("trian",), "did you mean `train`?"),
        (("--only",), "--only"),
        (("-j", "x"), "-j"),
        (("--nope",), "--nope"),
        (("--wait", "soon"), "--wait"),
        (("-p", "days=1;import os #", "1"), "days=1;import os #"),
        (("-p", "depth", "none"), "depth"),
    ],
)
def test_wrong_usage_is_2_with_a_mend_and_starts_nothing(project, first, inside, arguments, word):
    for name, text in {"list.yaml": "- 1\n", "text.yaml": "days: '40'\n", "broken.yaml": "days: [\n"}.items():
        (project.root / name).write_text(text)
    runs = sorted((project.root / ".mlnb" / "runs").iterdir())
    result = inside("run", "demo", "--json", *arguments, cwd=project.root)
    document = result.json
    assert (
        result.code,
        document["exit_code"],
        document["format"],
        document["pipeline"],
        document["run"],
        document["stages"],
        document["state"],
    ) == (2, 2, 1, "demo", None, [], "failed")
    assert (
        all(
            {"rule", "file", "cell", "message", "mend"} <= set(p) and p["message"] and p["mend"]
            for p in document["problems"]
        )
        and document["problems"]
    )
    assert any(word in p["message"] + p["mend"] for p in document["problems"]) and word in result.stderr
    assert sorted((project.root / ".mlnb" / "runs").iterdir()) == runs


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "dmeo"),
        ("why", "trian"),
        ("why", "demo/x"),
        ("params", "dmeo"),
        ("dag", "dmeo"),
        ("check", "dmeo"),
        ("runs", "dmeo"),
        ("show", "2020"),
        ("diff", "latest", "2020"),
        ("artifacts", "dmeo"),
        ("get", "modle"),
        ("get", "Bad Name"),
        ("get", "demo/model@2020"),
        ("get", "dmeo/model"),
        ("show",),
        ("get",),
        ("run",),
        ("nothing",),
    ],
)
def test_unknown_names_are_2_with_one_document_and_a_mend(project, first, inside, arguments):
    result = inside(*arguments, "--json", cwd=project.root)
    assert (result.code, result.json["exit_code"]) == (2, 2)
    assert all(p["message"] and p["mend"] for p in result.json["problems"]) and result.stderr.strip()


# the other verbs


def test_status_document(ask):
    found = ask("status")["stages"]
    assert [(s["pipeline"], s["name"], s["each"], s["state"]) for s in found] == [
        ("demo", n, None, "fresh") for n in ("ingest", "side", "train", "judge")
    ] + [("other", "score", None, "never")]
    assert [s["why"] == [] for s in found] == [True] * 4 + [False]
    assert {s["name"]: s["state"] for s in ask("status", "demo", "-p", "depth", "9")["stages"]} == {
        "ingest": "fresh",
        "train": "stale",
        "judge": "stale",
        "side": "fresh",
    }


def test_why_document_names_what_changed(ask):
    assert ask("why", "train")["why"] == []
    (found,) = ask("why", "demo/train", "-p", "depth", "9")["why"]
    assert (found["kind"], found["name"], found["before"], found["after"]) == ("parameter", "depth", 5, 9)


def test_dag_document_and_drawings(ask, project, inside):
    found = ask("dag", "demo")
    assert (set(found["nodes"]), found["edges"]) == (
        {"ingest", "train", "judge", "side"},
        [
            {"from": "ingest", "to": "train", "artifact": "rows"},
            {"from": "train", "to": "judge", "artifact": "model"},
        ],
    )
    assert {"from": "demo/train", "to": "other/score", "artifact": "demo/model"} in ask("dag")["edges"]
    assert inside("dag", "demo", "--format", "mermaid", cwd=project.root).stdout.startswith("flowchart")
    svg = inside("dag", "--format", "svg", cwd=project.root).stdout
    from xml.etree import ElementTree

    assert ElementTree.fromstring(svg).tag.endswith("svg") and "href" not in svg


def test_check_document_of_a_sound_project(ask):
    assert [p for p in ask("check")["problems"] if p["level"] == "error"] == []


def test_check_lists_everything_at_once_with_places(make_project, inside):
    project = make_project(
        {
            "10_a.ipynb": [("md", "# A"), OURS, "save('x', 1)"],
            "20_b.ipynb": [OURS, "save('x', 2)\nload('z')"],
            "30_c.ipynb": [("parameters", "n: int = 'a'"), "!make"],
        }
    )
    result = inside("check", "--json", cwd=project.root)
    found = {p["rule"]: (p["file"], p["cell"], p["cell_id"], p["level"]) for p in result.json["problems"]}
    assert result.code == 2
    assert found == {
        "two-savers": ("nbs/20_b.ipynb", 2, "cell-2", "error"),
        "no-saver": ("nbs/20_b.ipynb", 2, "cell-2", "error"),
        "bad-default": ("nbs/30_c.ipynb", 1, "cell-1", "error"),
        "opaque-magic": ("nbs/30_c.ipynb", 2, "cell-2", "warning"),
    }
    run = inside("run", "demo", "--json", cwd=project.root)
    assert run.code == 2 and len(run.json["problems"]) == 3 and not (project.root / ".mlnb" / "runs").exists()


def test_runs_and_show_documents(ask, first):
    newest, *_ = ask("runs")["runs"]
    listed = next(r for r in ask("runs", "demo")["runs"] if r["run"] == first.json["run"])
    assert {"run", "pipeline", "state", "started_utc", "seconds"} <= set(newest) and (
        listed["pipeline"],
        listed["state"],
    ) == ("demo", "committed")
    assert [r["run"] for r in ask("runs")["runs"]] == sorted(
        (r["run"] for r in ask("runs")["runs"]), reverse=True
    )
    assert ask("runs", "other")["runs"] == []
    shown = ask("show", first.json["run"][:20])
    assert {"format", "run", "pipeline", "state", "stages", "parameters", "environment"} <= set(shown)
    assert all(DIGEST.fullmatch(e["key"]) and e["notebook"] for e in shown["stages"])
    assert ask("show", "latest")["run"] == newest["run"]


def test_artifacts_document(ask, first):
    found = {a["name"]: a for a in ask("artifacts")["artifacts"]}
    assert set(found) == {"rows", "model", "table", "parts", "made", "note", "text", "verdict", "side"}
    assert set(found["model"]) >= {"name", "digest", "pipeline", "stage", "run", "type", "bytes"}
    assert found["model"]["digest"] == first.stage("train")["outputs"]["model"] and (
        found["model"]["pipeline"],
        found["model"]["stage"],
    ) == ("demo", "train")


def test_diff_document_of_two_runs_with_other_values(ask, first, project, mlnb):
    second = mlnb("run", "demo", "ingest", "-p", "days", "61", "--json", cwd=project.root)
    assert (second.code, second.states) == (0, {"ingest": "committed"})
    found = ask("diff", first.json["run"], second.json["run"])
    assert {"parameters", "metrics", "artifacts", "packages", "cells", "seconds"} <= set(found)
    assert found["parameters"] == [{"name": "days", "a": 60, "b": 61}]
    assert {"name": "ingest.n_rows", "a": 60, "b": 61} in found["metrics"]
    assert found["cells"] == []
    assert mlnb("runs", "--json", cwd=project.root).json["runs"][0]["head"] is False
    taken = ask("get", "rows")
    assert (taken["run"], taken["digest"]) == (first.json["run"], first.stage("ingest")["outputs"]["rows"])
    tried = ask("get", f"rows@{second.json['run']}")
    assert (tried["experiment"], tried["digest"]) == (
        "experiment: days=61",
        second.stage("ingest")["outputs"]["rows"],
    )
    assert ask("get", f"rows@{first.json['run']}")["digest"] == first.stage("ingest")["outputs"]["rows"]


# get


@pytest.mark.parametrize(
    ("name", "out", "check"),
    [
        ("model", "m.json", lambda p: json.loads(p.read_text()) == {"depth": 5, "n": 60}),
        ("demo/model", "m2.json", lambda p: json.loads(p.read_text())["n"] == 60),
        ("text", "t.txt", lambda p: p.read_text() == "words"),
        ("table", "t.parquet", lambda p: p.read_bytes()[:4] == b"PAR1"),
        ("note", "n.txt", lambda p: p.read_text() == "a"),
        ("verdict", "deep/new/v.json", lambda p: json.loads(p.read_text()) == 5),
        (
            "parts",
            "parts/",
            lambda p: sorted(f.name for f in p.iterdir()) == ["part-00000.parquet", "part-00001.parquet"],
        ),
        ("made", "made/", lambda p: [(f.name, f.read_text()) for f in p.iterdir()] == [("a.txt", "a")]),
        ("note", "one/", lambda p: [(f.name, f.read_text()) for f in p.iterdir()] == [("a.txt", "a")]),
    ],
)
def test_get_out_writes_the_value_in_its_own_format(ask, project, name, out, check):
    ask("get", name, "--out", f"out/{out}")
    path = project.root / "out" / out
    assert check(path)
    assert all(
        stat.S_IMODE(p.stat().st_mode) & 0o077 == 0 for p in ([path] if path.is_file() else path.iterdir())
    )


def test_get_out_notes_a_name_that_promises_another_format(project, first, inside):
    for out, note in {"m.csv": "note: m.csv holds what `m.json` would", "m.json": "", "m": ""}.items():
        done = inside("get", "model", "--out", out, cwd=project.root)
        assert done.code == 0 and (note in done.stderr if note else "note:" not in done.stderr)
    assert (project.root / "m.csv").read_bytes() == (project.root / "m.json").read_bytes()


def test_get_out_parts_to_one_file_are_joined(ask, project):
    import pandas as pd

    ask("get", "parts", "--out", "out/parts.parquet")
    assert pd.read_parquet(project.root / "out/parts.parquet")["a"].tolist() == [0, 1]


def test_get_out_by_absolute_path_and_a_folder_to_a_file_is_refused(ask, project, first, inside, tmp_path):
    ask("get", "model", "--out", str(tmp_path / "m.json"))
    assert (tmp_path / "m.json").exists()
    refused = inside("get", "made", "--out", str(tmp_path / "file"), "--json", cwd=project.root)
    assert (
        refused.code == 2
        and refused.json["problems"][0]["mend"].endswith("/`")
        and not (tmp_path / "file").exists()
    )


def test_get_out_where_nothing_can_be_written_is_no_fault_of_mlnb(project, first, inside, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "taken", tmp_path / "file" / "below.json"):
        result = inside("get", "model", "--out", out, "--json", cwd=project.root)
        assert result.code in (2, 69), result.stderr


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            {("a", 1): 0.5, datetime.date(2026, 1, 1): None},
            "{('a', 1): 0.5, datetime.date(2026, 1, 1): None}",
        ),
        ({"rows": np.zeros((2, 3)), "n": {7: b"x"}}, "{'rows': <numpy.ndarray of 2 × 3>, 'n': {7: b'x'}}"),
        ([{1, 2}, (float("nan"), Decimal("1.50"))], "[{1, 2}, (nan, Decimal('1.50'))]"),
        (("a\x9b31m\u202e", [pd.Series([1])]), "('a\\x9b31m\\u202e', [<pandas.Series of 1>])"),
        ({"a": ["é", None], "b": {}}, '{\n "a": [\n  "é",\n  null\n ],\n "b": {}\n}'),
    ],
    ids=["keys", "members", "typed", "tuple", "json"],
)
def test_get_shows_a_value_of_every_kind(tmp_path, value, shown):
    store = open_store(tmp_path)
    assert value_text(store, put_value(store, value), ()) == shown


def test_get_without_out_is_a_summary(project, first, inside):
    result = inside("get", "model", cwd=project.root)
    assert result.code == 0 and "demo" in result.stdout and '"depth": 5' in result.stdout


# both faces

VERBS = [
    ("status",),
    ("why", "train"),
    ("params",),
    ("dag",),
    ("check",),
    ("runs",),
    ("show", "latest"),
    ("artifacts",),
    ("get", "model"),
    ("run", "demo", "-n"),
    ("run", "demo", "nothing"),
    ("diff", "latest", "latest"),
    ("--version",),
    ("--help",),
    ("run", "--help"),
    (),
]


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_words_for_people_hold_no_colour_and_no_traceback(project, first, inside, arguments):
    result = inside(*arguments, cwd=project.root)
    assert "\x1b" not in result.stdout + result.stderr and "Traceback" not in result.stderr
    assert result.stdout.strip() or result.code == 2


def test_no_color_at_a_terminal_too(project, first, outside_environment):
    import pty

    main, other = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "mlnb", "run", "demo"],
        cwd=project.root,
        env=outside_environment(TERM="xterm-256color"),
        stdout=other,
        stderr=other,
        close_fds=True,
    )
    os.close(other)
    seen = b""
    while True:
        try:
            data = os.read(main, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    assert done.wait(60) == 0
    os.close(main)
    assert not re.search(rb"\x1b\[(\d+;)*([34]\d|9\d|10\d)[;m]", seen) and b"nothing to do" in seen


def test_version_and_module_and_command_are_one(project, mlnb):
    import mlnb as package

    assert mlnb("--version", cwd=project.root).stdout == f"mlnb {package.__version__}\n"
    command = Path(sys.executable).with_name("mlnb")
    assert (
        subprocess.run([command, "--version"], capture_output=True, text=True).stdout
        == f"mlnb {package.__version__}\n"
    )


def test_closed_pipe_is_no_error(project, first, outside_environment):
    done = subprocess.run(
        f"{sys.executable} -m mlnb runs | head -c 1",
        shell=True,
        cwd=project.root,
        env=outside_environment(),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (None, "mlnb init"),
        ("", "mlnb init"),
        ("[mlnb\n", "settings.ini"),
        ("[mlnb]\n[pipelin.x]\n", "unknown section"),
        ("[mlnb]\n[pipeline.demo]\n", "notebooks"),
        ("[mlnb]\n[pipeline.demo]\nnotebooks = none\n", "no notebook"),
    ],
)
def test_missing_or_broken_settings_are_2_with_one_document(tmp_path, inside, settings, word):
    if settings is not None:
        (tmp_path / "settings.ini").write_text(settings)
    result = inside("run", "demo", "--json", cwd=tmp_path)
    assert (result.code, result.json["exit_code"]) == (2, 2) and word in result.stderr
    assert not (tmp_path / ".mlnb" / "runs").exists()


@pytest.mark.parametrize(("store", "code"), [("settings.ini/deep", 2), ("/proc/deep", 69)])
def test_store_that_cannot_be_written_is_2_when_no_folder_can_be_there_and_else_69(
    inside, make_project, store, code
):
    settings = f"[mlnb]\nstore = {store}\n[pipeline.demo]\nnotebooks = nbs\n"
    project = make_project({"10_a.ipynb": ["x = 1"]}, settings)
    result = inside("run", "demo", "--json", cwd=project.root)
    assert (result.code, result.json["exit_code"]) == (code, code) and result.json["problems"][0]["mend"]


def test_works_from_any_folder_of_the_project(project, first, inside):
    assert inside("status", "demo", "--json", cwd=project.root / "nbs").json["stages"][0]["state"] == "fresh"


def test_init_writes_a_project_that_runs_and_never_overwrites(tmp_path, mlnb):
    assert mlnb("init", "shop", cwd=tmp_path).code == 0
    assert mlnb("check", cwd=tmp_path / "shop").code == 0
    assert [s["state"] for s in mlnb("status", "--json", cwd=tmp_path / "shop").json["stages"]] == [
        "never",
        "never",
    ]
    again = mlnb("init", "shop", "--json", cwd=tmp_path)
    assert again.code == 2 and again.json["problems"][0]["mend"]


def test_exit_codes_are_those_of_the_errors_in_the_help_and_in_the_readme(asked, tmp_path):
    help_text = asked("--help", cwd=tmp_path).stdout
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for code, said in EXIT_MEANINGS.items():
        assert re.search(rf"^  {code} +{re.escape(said)}$", help_text, re.MULTILINE), code
        assert f"| {code} | {said} |" in readme, code
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert {one.exit_code for one in kinds if one is not Exception} <= EXIT_MEANINGS.keys()
