"""A run can be repeated from what was kept, whatever the working tree says now; and nothing but evidence is
written."""

import gc
import json
import shutil
import sqlite3

import pytest
from msgspec import structs, to_builtins

from mlnb.care.audit import init_audit
from mlnb.care.erase import erase
from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan
from mlnb.flow.run import run_pipeline
from mlnb.flow.run_document import RunSettings
from mlnb.flow.selection import select
from mlnb.history.reproduce import (
    attempt_again,
    check_determinism,
    checkout,
    records_of_run,
    reproduce,
    write_modules,
)
from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.store.artifacts import get_value
from mlnb.store.digests import sha256
from mlnb.store.objects import get, has, put
from mlnb.store.settings import project_store, read_project

# nbclient leaves the event loop of each thread, and its sockets, to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:Exception ignored in. <{what}")
    for what in ("function BaseEventLoop.__del__", "socket.socket fd", "zmq.")
]
SETTINGS = """[mlnb]
[pipeline.demo]
notebooks = nbs/demo
[source.raw]
path = data/*/*.json
[source.table]
sql = SELECT n FROM t
connection = sqlite:///shop.db
"""
STAGES = {
    "nbs/demo/10_rows.ipynb": [
        ("parameters", "#| env: REGION\nfactor: int = 2  # 1..9"),
        "from mlnb import load, save, metric\nfrom own.maths import scaled\nimport os",
        "rows = scaled([n for part in load('raw') for n in part], factor)\nmetric('n', len(rows))\n"
        "save('rows', rows)",
        "save('region', os.environ.get('REGION', 'none'))",
    ],
    "nbs/demo/20_total.ipynb": [
        "from mlnb import load, save",
        "save('total', sum(load('rows')) + sum(load('table', as_='arrow')['n'].to_pylist()))",
    ],
    "nbs/demo/30_coin.ipynb": [
        "from mlnb import load, save, run_id\nimport uuid",
        "save('coin', [load('total'), run_id(), str(uuid.uuid4())])",
    ],
}


def planned(root, **options):
    project = read_project(root)
    pipeline = require_sound(read_pipeline(project, "demo"))
    return make_plan(
        project,
        project_store(project),
        pipeline,
        "default",
        resolve(project, pipeline, "default", {}, options),
    )


@pytest.fixture(scope="module")
def done(make_shared_project):
    "A project that was run once: its folder, its store, the run's document."
    folder = make_shared_project(STAGES, SETTINGS)
    root = folder.root
    for day, numbers in ((1, [1, 2]), (2, [3])):
        (root / f"data/day={day}").mkdir(parents=True)
        (root / f"data/day={day}/a.json").write_text(json.dumps(numbers))
    (root / "own").mkdir()
    (root / "own/__init__.py").write_text("STEP = 1\n")
    (root / "own/maths.py").write_text(
        "from own import STEP\n\ndef scaled(rows, factor): return [STEP * factor * n for n in rows]\n"
    )
    with sqlite3.connect(root / "shop.db") as database:
        database.execute("CREATE TABLE t (n INTEGER)")
        database.execute("INSERT INTO t VALUES (100)")
    database.close()
    plan = planned(root, factor="3")
    document = run_pipeline(plan, select(plan.pipeline), RunSettings(is_profile_run=False))
    gc.collect()
    assert document.state == "committed", document
    return root, plan.store, document


@pytest.fixture
def copy(done, tmp_path):
    "A copy of it that a test may change, with its working tree moved on."
    root, _, document = done
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/nbs")
    (tmp_path / "copy/nbs/demo").mkdir(parents=True)
    (tmp_path / "copy/own/maths.py").write_text("raise ImportError('rewritten')\n")
    with sqlite3.connect(tmp_path / "copy/shop.db") as database:
        database.execute("DELETE FROM t")
    database.close()
    project = read_project(tmp_path / "copy")
    return project, project_store(project), document


def files_of(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and "cache" not in p.parts and "pins" not in p.parts
    }


def again(copy, **options):
    project, store, document = copy
    found = reproduce(project, store, document, **options)
    gc.collect()
    return found


def test_run_is_reproduced_from_what_was_kept_whatever_the_working_tree_says(copy):
    before = files_of(copy[1].root)
    found = again(copy, stages=["rows", "total"])
    assert (found.state, found.exit_code, found.first) == ("reproduced", 0, None)
    assert [(s.name, [o.is_same for o in s.outputs]) for s in found.stages] == [
        ("rows", [True, True]),
        ("total", [True]),
    ]
    assert files_of(copy[1].root) == before


def test_first_output_that_differs_is_named_with_reasons_and_kept_as_evidence(copy):
    before = files_of(copy[1].root)
    found = again(copy)
    assert (found.state, found.exit_code) == ("differs", 5)
    assert (found.first.stage, found.first.name, found.first.how) == (
        "coin",
        "coin",
        found.stages[2].outputs[0].how,
    )
    assert "`[2]`" in found.first.how and "uuid.uuid4()" in found.first.why[0]
    after = files_of(copy[1].root)
    assert {k: v for k, v in after.items() if k in before} == before
    (evidence,) = [p for p in after if p.endswith(".evidence")]
    told = json.loads(after[evidence])
    digest = told["outputs"]["coin"]["digest"]
    assert digest == found.first.b and json.loads(get(copy[1], digest))[:2] == [118, copy[2].run]


def test_nothing_is_written_when_evidence_is_not_wanted(copy):
    before = files_of(copy[1].root)
    assert again(copy, keep=False).state == "differs"
    assert files_of(copy[1].root) == before


def test_other_environment_is_listed_and_stops_it(copy, monkeypatch):
    monkeypatch.setenv("REGION", "eu")
    found = again(copy)
    assert (found.state, found.exit_code, found.stages) == ("environment", 2, [])
    assert [d.name for d in found.environment] == ["variable REGION"] and "eu" not in json.dumps(
        to_builtins(found.environment)
    )
    before = files_of(copy[1].root)
    found = again(copy, any_environment=True, stages=["rows"])
    assert (found.state, [o.is_same for o in found.stages[0].outputs]) == ("differs", [True, False])
    assert files_of(copy[1].root) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda root, store, record: (root / "data/day=2/a.json").write_text("[4]"),
            "data/day=2/a.json of source `raw` has other content now",
        ),
        (
            lambda root, store, record: (root / "data/day=2/a.json").unlink(),
            "data/day=2/a.json of source `raw` is gone",
        ),
        (
            lambda root, store, record: (
                store.root / "objects" / record.sources["table"][0][2][:2] / record.sources["table"][0][2]
            ).unlink(),
            "the answer for source `table` is no longer in the store",
        ),
    ],
    ids=["changed", "gone", "answer gone"],
)
def test_sources_that_are_not_what_they_were_are_said_and_nothing_starts(copy, change, said):
    project, store, document = copy
    change(project.root, store, records_of_run(store, document)[1])
    found = again(copy)
    assert (found.state, found.exit_code, found.sources, found.stages) == ("sources", 1, [said], [])


def test_new_partitions_do_not_disturb(copy):
    (copy[0].root / "data/day=3").mkdir()
    (copy[0].root / "data/day=3/a.json").write_text("[9]")
    assert again(copy, stages=["rows"]).state == "reproduced"


def test_input_that_is_gone_from_the_store_is_made_again(copy):
    _, store, document = copy
    rows = records_of_run(store, document)[0].outputs["rows"].digest
    (store.root / "objects" / rows[:2] / rows).unlink()
    assert again(copy, stages=["rows", "total"]).state == "reproduced"
    assert not has(store, rows)


def test_stage_whose_input_was_erased_says_so_and_guesses_nothing(copy, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    _, store, document = copy
    init_audit(store)
    erase(store, records_of_run(store, document)[0].outputs["rows"].digest, "request 118")
    found = again(copy, stages=["total"])
    (stage,) = found.stages
    assert (found.state, found.exit_code, stage.error.ename, stage.why) == ("failed", 6, "ErasedError", [])


def test_modules_of_mlnb_that_a_stage_imports_are_those_that_were_kept(make_project):
    folder = make_project(
        {
            "nbs/demo/10_doc.ipynb": [
                "from mlnb import save\nfrom mlnb.store.digests import sha256",
                "save('said', sha256(b''))",
            ]
        },
        "[mlnb]\n[pipeline.demo]\nnotebooks = nbs/demo\n",
    )
    plan = planned(folder.root)
    document = run_pipeline(plan, select(plan.pipeline))
    (record,) = records_of_run(plan.store, document)
    older = get(plan.store, record.modules["mlnb.store.digests"]) + (
        b"\n_real = sha256\n\ndef sha256(data): return 'kept ' + _real(data) if data == b'' else "
        b"_real(data)\n"
    )
    modules = record.parts["modules"] | {"mlnb.store.digests": "other"}
    record = structs.replace(
        record,
        modules=record.modules | {"mlnb.store.digests": put(plan.store, older)},
        parts=record.parts | {"modules": modules},
    )
    with checkout(plan.project, plan.store, [record], "default") as (twin, step_of, scratch):
        assert write_modules(plan.store, record, twin.project.root, scratch / "site")
        attempt = attempt_again(twin, step_of(record), record.run, scratch / "attempt", scratch / "site")
        said = get_value(twin.store, attempt.outputs["said"], scratch)
    gc.collect()
    assert said == "kept " + sha256(b"")


def test_determinism_of_a_stage_is_checked_in_an_overlay(done, tmp_path):
    shutil.copytree(done[0], tmp_path / "copy")
    plan = planned(tmp_path / "copy", factor="3")
    before = files_of(plan.store.root)
    assert check_determinism(plan, "rows").state == "deterministic"
    assert files_of(plan.store.root) == before
    found = check_determinism(plan, "coin")
    gc.collect()
    assert (found.state, found.exit_code, found.evidence) == ("differs", 5, True)
    assert len(list(plan.store.root.rglob("*.evidence"))) == 1
