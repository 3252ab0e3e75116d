"""Lineage follows digests from partitions of outside data to published pages, in both directions."""

import gc
import re
from xml.etree import ElementTree

import pytest
from plain_records import commit, write_run

from mlnb.flow.heads import at_reference
from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan
from mlnb.flow.run import run_pipeline
from mlnb.flow.run_document import RunSettings
from mlnb.flow.selection import select
from mlnb.history.lineage import lineage_of, lineage_up, record_graph
from mlnb.history.lineage_drawing import show_lineage
from mlnb.history.results import versions_of
from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.store.artifacts import put_value
from mlnb.store.digests import digest_of
from mlnb.store.errors import UsageError
from mlnb.store.objects import open_store
from mlnb.store.refs import move_ref
from mlnb.store.settings import project_store, read_project
from mlnb.store.tombstones import tombstone_path
from mlnb.terminal.keep import version_row

# nbclient leaves the event loop of each thread, and its sockets, to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:Exception ignored in. <{what}")
    for what in ("function BaseEventLoop.__del__", "socket.socket fd", "zmq.")
]
SETTINGS = (
    "[mlnb]\n[pipeline.demo]\nnotebooks = nbs/demo\n[pipeline.score]\nnotebooks = nbs/score\n[source.raw]\n"
    "path = data\n"
)
STAGES = {
    "nbs/demo/10_rows.ipynb": ["from mlnb import load, save", "save('rows', sum(load('raw'), []))"],
    "nbs/demo/20_train.ipynb": [
        ("parameters", "depth: int = 2"),
        "from mlnb import load, save\nfrom own import grow",
        "save('model', grow(load('rows'), depth))",
        "save('note', 'trained')",
    ],
    "nbs/score/10_predict.ipynb": [
        "from mlnb import load, save",
        "save('predictions', [load('demo/model')])",
    ],
}


def run(root, name, **options):
    project = read_project(root)
    pipeline = require_sound(read_pipeline(project, name))
    plan = make_plan(
        project,
        project_store(project),
        pipeline,
        "default",
        resolve(project, pipeline, "default", {}, options),
    )
    document = run_pipeline(plan, select(pipeline), RunSettings(is_profile_run=not options))
    gc.collect()
    assert document.state == "committed", document
    return document


@pytest.fixture(scope="module")
def shop(make_shared_project):
    "A project with two pipelines, run in turn; then the first once more with another depth."
    folder = make_shared_project(STAGES, SETTINGS)
    for day, text in ((1, "[1, 2]"), (2, "[3]")):
        (folder.root / f"data/day={day}").mkdir(parents=True)
        (folder.root / f"data/day={day}/a.json").write_text(text)
    (folder.root / "own.py").write_text("def grow(rows, depth): return {'depth': depth, 'n': len(rows)}\n")
    runs = [run(folder.root, "demo"), run(folder.root, "score"), run(folder.root, "demo", depth="5")]
    page = folder.root / "reports" / "score" / runs[1].run / "predict.html"
    page.parent.mkdir(parents=True)
    page.write_text("a page")
    project = read_project(folder.root)
    return project, project_store(project), runs


def named(found, *kinds):
    return [f"{n.kind} {n.name}" for n in found.nodes if n.kind in kinds]


def test_up_leads_from_a_prediction_to_partitions_code_and_packages(shop):
    project, store, _ = shop
    up = lineage_of(store, project, "score/predictions", "default", "up")
    assert named(up, "partition") == ["partition data/day=1/a.json", "partition data/day=2/a.json"]
    assert named(up, "artifact") == [
        "artifact score/predictions",
        "artifact demo/model",
        "artifact demo/rows",
    ]
    assert named(up, "stage") == ["stage score/predict", "stage demo/train", "stage demo/rows"]
    assert named(up, "module") == ["module own"] and len(named(up, "notebook")) == 3
    assert named(up, "page") == [f"page score/{shop[2][1].run}/predict.html"]
    ids = {n.id for n in up.nodes}
    assert len(ids) == len(up.nodes) and all({e.start, e.end} <= ids for e in up.edges)


def test_down_leads_from_a_source_to_everything_made_of_it(shop):
    project, store, _ = shop
    down = lineage_of(store, project, "raw", "default", "down")
    assert sorted(set(named(down, "stage"))) == ["stage demo/rows", "stage demo/train", "stage score/predict"]
    assert len(named(down, "page")) == 1 and not named(down, "module", "package", "notebook")
    assert len([n for n in down.nodes if n.name == "demo/model"]) == 2


def test_down_follows_the_digest_and_not_the_name(shop):
    project, store, runs = shop
    old = lineage_of(store, project, f"demo/model@{runs[0].run}", "default", "down")
    new = lineage_of(store, project, f"demo/model@{runs[2].run}", "default", "down")
    assert named(old, "stage") == ["stage score/predict"] and named(new, "stage") == []


def test_name_with_run_digest_and_ref_mean_one_value(shop):
    project, store, runs = shop
    digest = runs[0].stages[1].outputs["model"]
    move_ref(store, "names/demo/model/champion", digest, "an example")
    refs = (digest, digest[:10], runs[0].run, "champion")
    assert {at_reference(store, "demo", "model", ref).value.digest for ref in refs} == {digest}
    versions = versions_of(store, project, "demo/model")
    assert [(v.run, v.refs) for v in versions] == [(runs[2].run, []), (runs[0].run, ["champion"])]
    with pytest.raises(UsageError, match="there is no `demo/model@none`"):
        lineage_of(store, project, "demo/model@none", "default")
    with pytest.raises(UsageError, match="no artifact `demo/modle`") as caught:
        versions_of(store, project, "demo/modle")
    assert "did you mean `model`?" in caught.value.mend


@pytest.mark.parametrize(
    ("name", "direction"),
    [("score/predictions", "up"), ("raw", "down"), ("raw", "up"), ("demo/model", "down")],
)
def test_every_form_shows_the_same_things(shop, name, direction):
    project, store, _ = shop
    found = lineage_of(store, project, name, "default", direction)
    told = {n.name for n in found.nodes if n.kind != "package"}
    text = show_lineage(found, "text")
    assert all(n in text for n in told)
    drawing = ElementTree.fromstring(show_lineage(found, "svg"))
    boxes = [e for e in drawing.iter() if e.tag.endswith("rect")]
    mermaid = show_lineage(found, "mermaid")
    assert (
        len(boxes)
        == len(re.findall(r"^  s\d+\[", mermaid, re.MULTILINE))
        == len([n for n in found.nodes if n.kind != "package"])
    )


def test_unread_source_is_said(shop):
    project, store, _ = shop
    with pytest.raises(UsageError, match="no stage has read"):
        lineage_of(store, project, "raw@123456", "default", "down")


def test_beginning_of_two_digests_is_refused_and_not_guessed(tmp_path):
    import hashlib

    from mlnb.store.objects import open_store

    store, seen = open_store(tmp_path / "store"), {}
    for n in range(100_000):
        digest = hashlib.sha256(str(n).encode()).hexdigest()
        if (twin := seen.setdefault(digest[:6], digest)) != digest:
            break
    for n, same in enumerate((twin, digest)):
        commit(
            store,
            {
                "key": f"{n:064x}",
                "parts": {},
                "pipeline": "demo",
                "stage": "train",
                "run": f"r{n}",
                "outputs": {"model": {"codec": "text", "digest": same, "bytes": 1, "type": "str"}},
            },
        )
    with pytest.raises(UsageError, match="the beginning of 2 digests"):
        at_reference(store, "demo", "model", digest[:6])
    assert at_reference(store, "demo", "model", digest[:20]).value.digest == digest


def committed(store, run, stage, inputs, outputs, **about):
    "Commit a record of a run, its values texts by name."

    def described(values):
        return {name: put_value(store, text).as_dict() for name, text in values.items()}

    record = {"key": digest_of([run, stage]), "pipeline": "demo", "stage": stage, "run": run, "metrics": {}}
    record |= {"parts": {}, "file": f"{stage}.ipynb", "environment": {"packages": {}}}
    commit(store, record | {"inputs": described(inputs), "outputs": described(outputs)} | about)


@pytest.fixture
def equal_tables(tmp_path):
    "A project with two runs whose features came out equal, and a third that read them: nobody knows which."
    (tmp_path / "settings.ini").write_text("[mlnb]\n[pipeline.demo]\nnotebooks = nbs/demo\n")
    project = read_project(tmp_path)
    store = open_store(project.store)
    for run in ("r1", "r2"):
        committed(store, run, "ingest", {}, {"rows": f"rows {run}"})
        committed(store, run, "features", {"rows": f"rows {run}"}, {"table": "equal"})
        committed(store, run, "train", {"table": "equal"}, {"model": f"model {run}"})
    committed(store, "r3", "train", {"table": "equal"}, {"model": "model r3"})
    return project, store


def stages_in(nodes):
    "Stages among the nodes of a lineage with their runs, and whether they are in doubt."
    stages = (node for node in nodes if node.kind == "stage")
    return {(n.name.removeprefix("demo/"), n.run): bool(n.may_be) for n in stages}


def test_up_leads_to_what_was_read_and_marks_what_may_be(equal_tables):
    project, store = equal_tables
    known = record_graph(store, project)

    def up(run):
        records = [r for r in known.records if (r.stage, r.run) == ("train", run)]
        return stages_in(lineage_up(known, project, records, "model").of_kind("stage"))

    for run in ("r1", "r2"):
        assert up(run) == {(stage, run): False for stage in ("train", "features", "ingest")}
    doubtful = {(stage, run): True for stage in ("features", "ingest") for run in ("r1", "r2")}
    assert up("r3") == {("train", "r3"): False} | doubtful


def test_down_leads_past_equal_bytes_of_another_run_and_marks_what_may_be(equal_tables):
    project, store = equal_tables
    start = f"demo/rows@{put_value(store, 'rows r1').digest[:12]}"
    down = lineage_of(store, project, start, "default", "down")
    assert stages_in(down.nodes) == {("features", "r1"): False, ("train", "r1"): False, ("train", "r3"): True}
    assert "run r3, may be" in show_lineage(down, "text")
    table = lineage_of(
        store, project, f"demo/table@{put_value(store, 'equal').digest[:12]}", "default", "down"
    )
    assert sorted(n.run for n in table.nodes if n.kind == "stage") == ["r1", "r2", "r3"]


@pytest.mark.parametrize("is_old", [False, True])
def test_list_of_a_fan_out_is_followed_both_ways(tmp_path, is_old):
    (tmp_path / "settings.ini").write_text("[mlnb]\n[pipeline.demo]\nnotebooks = nbs/demo\n")
    project = read_project(tmp_path)
    store, people = open_store(project.store), put_value(open_store(project.store), ["ann", "bob"])
    committed(store, "r1", "people", {}, {"person": ["ann", "bob"]})
    given = {} if is_old else {"list": {"person": people.as_dict()}}
    committed(store, "r1", "profile", {}, {"portrait": "ann"}, each={"person": "ann"}, **given)
    name, profile = f"demo/person@{people.digest[:12]}", ("profile[person=ann]", "r1")
    assert stages_in(lineage_of(store, project, name, "default", "down").nodes) == {profile: is_old}
    known = record_graph(store, project)
    of_ann = [record for record in known.records if record.each]
    up = stages_in(lineage_up(known, project, of_ann, "portrait").of_kind("stage"))
    assert up == {profile: False, ("people", "r1"): is_old}


def test_stages_of_experiments_and_erased_values_are_marked(equal_tables):
    project, store = equal_tables
    rows, model = (put_value(store, text).digest for text in ("rows r1", "model r1"))
    tried = {"parameters": {"depth": {"value": 3, "origin": "option"}}}
    about = {"run": "r1", "pipeline": "demo", "profile": "default", "state": "committed", "stages": []}
    write_run(store, about | tried)
    buried = tombstone_path(store.root, model)
    buried.parent.mkdir(parents=True)
    buried.write_text("{}")
    found = lineage_of(store, project, f"demo/rows@{rows[:12]}", "default", "down")
    marks = {n.run: n.experiment for n in found.nodes if n.kind == "stage"}
    assert marks == {"r1": "experiment: depth=3", "r3": None}
    assert [n.digest for n in found.nodes if n.erased] == [model]
    text = show_lineage(found, "text")
    assert "run r1, experiment: depth=3" in text and f"{model[:12]}, erased" in text
    versions = versions_of(store, project, "demo/model")
    assert {one.digest for one in versions if one.erased} == {model}
    assert "erased, experiment: depth=3" in [version_row(one)[-1] for one in versions]
