"""What counts for a stage's key and what does not, one table; records are written as a run would write them,
no kernel is started."""

import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plain_records import commit, write_run

from mlnb.care.audit import init_audit
from mlnb.care.erase import erase
from mlnb.flow import key, plan
from mlnb.flow.freshness import stale_reasons
from mlnb.flow.heads import head_name
from mlnb.flow.key import explain
from mlnb.flow.meaning import find_artifact
from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan
from mlnb.notebook.packages import installed_packages, list_path
from mlnb.notebook.pipeline import read_pipeline
from mlnb.store.artifacts import put_value
from mlnb.store.errors import DefinitionError, UsageError
from mlnb.store.objects import open_store, path_of
from mlnb.store.refs import move_ref
from mlnb.store.settings import project_store, read_project

INGEST = [
    ("parameters", "days: int = 60  # length, 1..183"),
    "from mlnb import save",
    ("md", "# Ingest"),
    "rows = days * 2",
    "save('rows', rows)",
]
TRAIN = [
    ("parameters", "depth: int | None = 5  # 1..50"),
    "from mlnb import load, save\nimport own.trees",
    "import numpy as np",
    "save('model', load('rows'))",
]
SETTINGS = (
    "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[pipeline.other]\nnotebooks = other\n[source.raw]\n"
    "path = raw/*.csv\n[profile.ci.demo]\ndays = 35\n[profile.ci.source.raw]\npath = raw/a.csv\n"
)


class World:
    "A project of two pipelines whose runs are pretended."

    def __init__(self, folder, packages):
        self.folder = folder
        self.write("own/__init__.py", "")
        self.write("own/trees.py", "from own import roots\ndef grow(): return roots.DEPTH  # trees\n")
        self.write("own/roots.py", "DEPTH = 2\n")
        self.write("own/unused.py", "x = 1\n")
        self.write("raw/a.csv", "a\n1\n")
        self.write("raw/b.csv", "a\n2\n")
        folder.stage("nbs/10_ingest.ipynb", *INGEST)
        folder.stage("nbs/20_train.ipynb", *TRAIN)
        folder.stage("nbs/30_source.ipynb", "from mlnb import load, save\nsave('table', load('raw'))")
        folder.stage("other/10_score.ipynb", "from mlnb import load, save\nsave('score', load('demo/model'))")
        self.project = read_project(folder.root)
        self.store = project_store(self.project)
        self.number = 0
        (self.store.root / "cache").mkdir()
        shutil.copy(packages, list_path(self.store.root))

    def write(self, name, text):
        path = self.folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def plan(self, pipeline="demo", profile="default", **options):
        self.project = read_project(self.folder.root)
        found = read_pipeline(self.project, pipeline)
        return make_plan(
            self.project, self.store, found, profile, resolve(self.project, found, profile, {}, options)
        )

    def states(self, *args, **options):
        return {name: step.state for name, step in self.plan(*args, **options).steps.items()}

    def run(self, pipeline="demo", profile="default", moves_head=True, value=None, **options):
        "Commit a record for every stage that has none, then the run's document and head."
        self.number += 1
        run, keys = f"20261123T{self.number:09d}-aaaa", {}
        for name in read_pipeline(self.project, pipeline).order:
            step = self.plan(pipeline, profile, **options).steps[name]
            if not step.record:
                outputs = {
                    n: put_value(self.store, value or f"{n} {step.key}").as_dict() for n in step.stage.saves
                }
                commit(
                    self.store,
                    {
                        "key": step.key,
                        "parts": step.parts,
                        "pipeline": pipeline,
                        "stage": name,
                        "run": run,
                        "outputs": outputs,
                        "metrics": {},
                    },
                )
            keys[name] = step.key
        write_run(
            self.store,
            {"run": run, "pipeline": pipeline, "profile": profile, "state": "committed", "keys": keys},
        )
        if moves_head:
            move_ref(self.store, head_name(pipeline, profile), run, "test")
        return run


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    "The list of installed packages, which takes half a second to read, as a store caches it."
    store = open_store(tmp_path_factory.mktemp("packages") / "store")
    installed_packages(store)
    return list_path(store.root)


@pytest.fixture
def world(make_project, packages):
    return World(make_project({}, SETTINGS), packages)


FRESH = {"ingest": "cached", "train": "cached", "source": "cached"}


def change_cells(name, cells):
    return lambda w: w.folder.stage(f"nbs/{name}.ipynb", *cells)


def changed_notebook(name, change):
    def apply(w):
        path = w.folder.root / f"nbs/{name}.ipynb"
        notebook = json.loads(path.read_text())
        change(notebook)
        path.write_text(json.dumps(notebook))

    return apply


def add_outputs(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(
                execution_count=7, outputs=[{"output_type": "stream", "name": "stdout", "text": "hello"}]
            )


def touch_all(w):
    for path in w.folder.root.rglob("*"):
        if ".mlnb" not in path.parts:
            os.utime(path, (1_000_000_000, 1_000_000_000))


def rename(old, new):
    return lambda w: (w.folder.root / old).rename(w.folder.root / new)


DOES_NOT_COUNT = {
    "a comment": change_cells(
        "10_ingest",
        [INGEST[0], "from mlnb import save  # names", INGEST[2], "# twice\nrows = days * 2", INGEST[4]],
    ),
    "formatting": change_cells(
        "10_ingest", [INGEST[0], INGEST[1], "rows = (days*2)", 'save( "rows" , rows )']
    ),
    "markdown": change_cells(
        "10_ingest",
        [("md", "# New"), INGEST[0], ("md", "more"), INGEST[1], INGEST[3], INGEST[4], ("md", "end")],
    ),
    "a cell without code": change_cells("10_ingest", [*INGEST[:3], "# nothing yet", "", *INGEST[3:]]),
    "other tags": change_cells("10_ingest", [*INGEST[:3], ("hide-input", INGEST[3]), INGEST[4]]),
    "a skipped cell": change_cells("10_ingest", [*INGEST, ("skip-execution", "boom()")]),
    "comment and range of a parameter": change_cells(
        "10_ingest", [("parameters", "days: int = 60  # how long, 1..999"), *INGEST[1:]]
    ),
    "timeout, retries, memory, report": change_cells(
        "10_ingest",
        [
            (
                "parameters",
                "#| timeout: 5m\n#| retries: 2\n#| memory: 4GiB\n#| report: hide-code\ndays: int = 60",
            ),
            *INGEST[1:],
        ],
    ),
    "cell ids": changed_notebook(
        "10_ingest", lambda nb: [c.update(id=f"new-{n}") for n, c in enumerate(nb["cells"])]
    ),
    "outputs and counts": changed_notebook("10_ingest", add_outputs),
    "the kernel's name and other metadata": changed_notebook(
        "10_ingest",
        lambda nb: nb["metadata"].update(
            kernelspec={"name": "my-env", "display_name": "Mine", "language": "python"}, widgets={}
        ),
    ),
    "time stamps": touch_all,
    "the number in front of the file": rename("nbs/10_ingest.ipynb", "nbs/05_ingest.ipynb"),
    "a comment in a module": lambda w: w.write("own/roots.py", "DEPTH = 2  # deep\n\n"),
    "a module that is not imported": lambda w: w.write("own/unused.py", "x = 2\n"),
    "a new module": lambda w: w.write("own/fresh.py", "x = 2\n"),
    "another stage": lambda w: w.folder.stage("nbs/40_more.ipynb", "x = 1"),
    "environment variables": lambda w: os.environ.update(MLNB_TEST_OTHER="1"),
    "settings of places": lambda w: w.folder.settings(
        SETTINGS.replace("[mlnb]\n", "[mlnb]\nreports = pages\n")
    ),
    "a file beside the source": lambda w: w.write("raw/notes.txt", "x"),
}

COUNTS = {  # change -> (stage that becomes stale, kind, part of the message)
    "code": (
        change_cells("10_ingest", [*INGEST[:3], "rows = days * 3", INGEST[4]]),
        "ingest",
        "cell",
        "cell 4 changed",
    ),
    "a new cell": (
        change_cells("10_ingest", [*INGEST[:4], "rows += 1", INGEST[4]]),
        "ingest",
        "cell",
        "cell 5 is new",
    ),
    "a cell gone": (
        change_cells("10_ingest", [*INGEST[:2], "save('rows', days)"]),
        "ingest",
        "cell",
        "cell 3 changed",
    ),
    "the order of cells": (
        change_cells("20_train", [TRAIN[0], TRAIN[2], TRAIN[1], TRAIN[3]]),
        "train",
        "cell",
        "cell",
    ),
    "a semicolon": (
        change_cells("10_ingest", [*INGEST[:4], "save('rows', rows);"]),
        "ingest",
        "cell",
        "cell 5 changed",
    ),
    "the tag raises-exception": (
        change_cells("10_ingest", [*INGEST[:3], ("raises-exception", INGEST[3]), INGEST[4]]),
        "ingest",
        "cell",
        "cell 4 changed",
    ),
    "the tag skip-execution": (
        change_cells(
            "10_ingest", [INGEST[0], INGEST[1], ("skip-execution", INGEST[3]), "save('rows', days)"]
        ),
        "ingest",
        "cell",
        "cell",
    ),
    "the default of a parameter": (
        change_cells("10_ingest", [("parameters", "days: int = 61"), *INGEST[1:]]),
        "ingest",
        "parameter",
        "`days` was 60, is 61",
    ),
    "the type of a parameter": (
        change_cells("10_ingest", [("parameters", "days: float = 60"), *INGEST[1:]]),
        "ingest",
        "parameter",
        "days",
    ),
    "the name of a parameter": (
        change_cells("10_ingest", [("parameters", "weeks: int = 60"), INGEST[1], "rows = 2", INGEST[4]]),
        "ingest",
        "parameter",
        "days",
    ),
    "threads": (
        change_cells("10_ingest", [("parameters", "#| threads: 2\ndays: int = 60"), *INGEST[1:]]),
        "ingest",
        "option",
        "threads",
    ),
    "a declared variable": (
        change_cells("10_ingest", [("parameters", "#| env: MLNB_TEST_REGION\ndays: int = 60"), *INGEST[1:]]),
        "ingest",
        "option",
        "MLNB_TEST_REGION",
    ),
    "a module": (lambda w: w.write("own/trees.py", "def grow(): return 1\n"), "train", "module", "own.trees"),
    "a module that a module imports": (
        lambda w: w.write("own/roots.py", "DEPTH = 3\n"),
        "train",
        "module",
        "own.roots",
    ),
    "an __init__ on the way": (lambda w: w.write("own/__init__.py", "x = 1\n"), "train", "module", "`own`"),
    "an import of a module": (
        change_cells("20_train", [TRAIN[0], TRAIN[1] + "\nimport own.unused", *TRAIN[2:]]),
        "train",
        "module",
        "own.unused",
    ),
    "an import of a package": (
        change_cells("20_train", [*TRAIN[:2], TRAIN[2] + "\nimport yaml", TRAIN[3]]),
        "train",
        "package",
        "pyyaml",
    ),
    "a source's content": (lambda w: w.write("raw/b.csv", "a\n3\n"), "source", "input", "raw"),
    "another file of a source": (lambda w: w.write("raw/c.csv", "a\n3\n"), "source", "input", "raw"),
    "a source's path": (
        lambda w: w.folder.settings(SETTINGS.replace("raw/*.csv", "raw/b.csv")),
        "source",
        "input",
        "raw",
    ),
    "the name of the stage": (
        rename("nbs/10_ingest.ipynb", "nbs/10_intake.ipynb"),
        "intake",
        "new",
        "never ran",
    ),
}


@pytest.mark.parametrize("what", DOES_NOT_COUNT)
def test_key_does_not_count(world, monkeypatch, what):
    monkeypatch.setenv("MLNB_TEST_OTHER", "0")
    world.run()
    assert world.states() == FRESH
    DOES_NOT_COUNT[what](world)
    states = world.states()
    assert {n: states[n] for n in FRESH} == FRESH


@pytest.mark.parametrize("what", COUNTS)
def test_key_counts_and_why_names_it(world, what):
    change, name, kind, message = COUNTS[what]
    world.run()
    change(world)
    step = world.plan().steps[name]
    assert step.state == "stale"
    found = [r for r in step.why if r.kind == kind and message in r.message]
    assert found, step.why
    assert list(found[0].as_dict()) == ["kind", "name", "before", "after", "message"]
    json.dumps([one.as_dict() for one in step.why], allow_nan=False)
    others = {n for n, s in world.states().items() if s != "cached"}
    assert others == {name} | ({"train"} if name in ("ingest", "intake") else set())


def test_key_going_back_to_an_old_value_runs_nothing(world):
    world.run()
    assert world.states(days="35")["ingest"] == "stale"
    world.run(days="35")
    assert (
        world.states(days="35")
        == world.states()
        == world.states(profile="ci") | {"source": "cached"}
        == FRESH
    )


def test_key_value_from_any_origin_is_the_same_key(world):
    by_option, by_profile = (
        world.plan(days="35").steps["ingest"].key,
        world.plan(profile="ci").steps["ingest"].key,
    )
    world.folder.stage("nbs/10_ingest.ipynb", ("parameters", "days: int = 35"), *INGEST[1:])
    assert by_option == by_profile == world.plan().steps["ingest"].key


def test_key_of_a_stage_whose_input_came_out_equal_is_the_same(world):
    world.run(value=5)
    world.folder.stage("nbs/10_ingest.ipynb", *INGEST[:3], "rows = days + days", INGEST[4])
    assert world.states() == {"ingest": "stale", "train": "unknown", "source": "cached"}
    world.run(value=5)
    assert len(list((world.store.root / "records/demo/train").glob("*.json"))) == 1
    assert world.states() == FRESH


def test_key_declared_variable_counts_by_its_value(world, monkeypatch):
    world.folder.stage(
        "nbs/10_ingest.ipynb", ("parameters", "#| env: MLNB_TEST_REGION\ndays: int = 60"), *INGEST[1:]
    )
    monkeypatch.setenv("MLNB_TEST_REGION", "north")
    world.run()
    monkeypatch.setenv("MLNB_TEST_REGION", "south")
    (why,) = world.plan().steps["ingest"].why
    assert (why.kind, why.name, why.before, why.after) == ("option", "MLNB_TEST_REGION", None, None)
    assert "north" not in json.dumps(world.plan().steps["ingest"].parts)
    monkeypatch.setenv("MLNB_TEST_REGION", "north")
    assert world.states() == FRESH


def test_key_package_version_counts_for_what_uses_it_only(world, monkeypatch):
    world.run()
    packages = {**installed_packages(world.store)}
    packages["numpy"] = replace(packages["numpy"], version="99.0")
    monkeypatch.setattr(plan, "installed_packages", lambda store: packages)
    found = world.plan()
    # `train` imports it, `source` loads a table, which is read with it
    assert {n: s.state for n, s in found.steps.items()} == FRESH | {"train": "stale", "source": "stale"}
    (why,) = found.steps["train"].why
    assert (why.kind, why.name, why.after) == ("package", "numpy", "99.0")


@pytest.mark.parametrize(
    ("target", "value", "kind"),
    [("python_version_tuple", lambda: ("3", "99", "0"), "python"), ("machine", lambda: "other", "python")],
)
def test_key_python_and_platform_count_for_every_stage(world, monkeypatch, target, value, kind):
    world.run()
    monkeypatch.setattr(key.platform, target, value)
    found = world.plan().steps
    assert [found["ingest"].state, found["source"].state] == ["stale", "stale"]
    assert [r.kind for r in found["ingest"].why] == [kind]


def test_key_patch_release_of_python_does_not_count(world, monkeypatch):
    world.run()
    real = key.platform.python_version_tuple()
    monkeypatch.setattr(key.platform, "python_version_tuple", lambda: (*real[:2], "99"))
    assert world.states() == FRESH


def test_key_profile_source_counts(world):
    world.run()
    assert world.states(profile="ci")["source"] == "stale"
    world.run(profile="ci")
    assert world.states(profile="ci") == FRESH == world.states()


def test_key_of_mlnb_counts_the_modules_imported_by_name_only(world):
    world.folder.stage("nbs/20_train.ipynb", *TRAIN[:2], "from mlnb.store.digests import sha256", TRAIN[3])
    modules = world.plan().steps["train"].found.modules
    assert "mlnb.store.digests" in modules and not [m for m in modules if m.startswith("mlnb.flow")]
    assert "mlnb" not in world.plan().steps["train"].found.packages


def with_factor(value):
    return {"factor": {"type": "float", "value": value}}


def reasons_beside(world, history, head=None):
    "Why `ingest` would run: its key is that of none of these records, made in runs of the same ids."
    if head:
        move_ref(world.store, head_name("demo", "default"), head, "all stages committed")
    plan = world.plan()
    return [one.message for one in stale_reasons(plan, plan.steps["ingest"], history)]


def test_reason_compares_with_the_head_and_not_with_what_an_experiment_tried(world):
    world.run()
    made = world.plan().steps["ingest"].record
    tried = {"factor": {"value": 2.0, "origin": "option"}}
    for run, values in (("r1", {}), ("r2", tried), ("r3", {})):
        about = {"run": run, "pipeline": "demo", "state": "committed", "parameters": values}
        write_run(world.store, about | {"keys": {"ingest": run[1] * 64}})
    history = [
        replace(made, key=n * 64, run=f"r{n}", parts=made.parts | {"parameters": with_factor(value)})
        for n, value in (("1", 1.2), ("2", 2.0))
    ]
    (said,) = [one for one in reasons_beside(world, history, "r1") if "factor" in one]
    assert "1.2" in said and "2.0" not in said
    (said,) = [one for one in reasons_beside(world, history, "r2") if "factor" in one]  # it is the head now
    assert "2.0" in said
    later = replace(history[0], key="3" * 64, run="r3")
    assert reasons_beside(world, [*history, later]) == reasons_beside(world, [later])


# outputs that are gone or altered


def test_stage_whose_output_is_gone_is_stale_and_says_so(world):
    world.run()
    step = world.plan().steps["ingest"]
    path_of(world.store, step.record.outputs["rows"].digest).unlink()
    found = world.plan().steps
    assert (found["ingest"].state, found["train"].state) == ("stale", "unknown")
    assert "no longer whole" in found["ingest"].why[0].message


def test_stage_whose_output_was_erased_says_so_also_where_another_name_keeps_the_content(world, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    world.run()
    record = world.plan().steps["ingest"].record
    digest = record.outputs["rows"].digest
    beside = replace(record, stage="other", outputs={"copy": record.outputs["rows"]})
    commit(world.store, beside.as_dict())
    init_audit(world.store)
    erase(world.store, digest, "request 118", names={(record.pipeline, "rows")})
    why = world.plan().steps["ingest"].why[0].message
    assert why == "its output `rows` was erased on purpose; it runs again when what it reads has changed"
    assert path_of(world.store, digest).exists()


def test_stage_whose_output_has_another_size_is_stale(world):
    world.run()
    path = path_of(world.store, world.plan().steps["ingest"].record.outputs["rows"].digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    assert world.plan().steps["ingest"].state == "stale"


def test_stage_whose_folder_lost_a_file_is_stale(world, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.txt").write_text("a")
    world.run(value=tmp_path / "made")
    assert world.states() == FRESH
    part = world.plan().steps["ingest"].record.outputs["rows"].parts[0]
    path_of(world.store, part).unlink()
    assert world.plan().steps["ingest"].state == "stale"


# names of other pipelines


def test_other_pipeline_that_never_ran_is_said_with_the_command_that_runs_it(world):
    found = world.plan("other")
    assert found.steps["score"].state == "unknown"
    assert "mlnb run demo" in found.missing["demo/model"].mend


def test_other_pipeline_means_its_head_in_the_same_profile(world):
    world.run()
    default = world.plan("other").steps["score"].inputs["demo/model"].digest
    world.run(profile="ci")
    ci = world.plan("other", "ci").steps["score"].inputs["demo/model"].digest
    assert default != ci and world.plan("other").steps["score"].inputs["demo/model"].digest == default


def test_other_pipeline_runs_with_other_values_do_not_count(world):
    world.run()
    key = world.plan("other").steps["score"].key
    world.run(moves_head=False, days="99")
    assert world.plan("other").steps["score"].key == key


def test_other_pipeline_before_a_head_the_newest_committed_run_serves_and_a_line_says_so(world):
    run = world.run(moves_head=False, days="99")
    found = world.plan("other")
    assert found.steps["score"].state == "stale" and len(found.lines) == 1 and run in found.lines[0]


def test_other_pipeline_new_head_makes_stale_what_loads_it(world):
    world.run()
    world.run("other")
    assert world.states("other") == {"score": "cached"}
    world.folder.stage("nbs/20_train.ipynb", *TRAIN[:3], "save('model', [load('rows')])")
    world.run()
    (why,) = world.plan("other").steps["score"].why
    assert (why.kind, why.name) == ("input", "demo/model")


def test_reference_by_run_and_by_digest(world):
    run = world.run()

    def meant(ref):
        return find_artifact(world.store, world.project, f"demo/model@{ref}", "default")

    assert meant(run).record.run == run
    assert meant(meant(run).value.digest[:12]).value == meant(run).value
    with pytest.raises(UsageError):
        meant("nothing")


# values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dayz": "1"}, "dayz"),
        ({"days": "x"}, "days"),
        ({"days": "0"}, "at least 1"),
        ({"days": "184"}, "at most 183"),
        ({"depth": "51"}, "depth"),
        ({"days": "1.0"}, "days"),
    ],
)
def test_bad_value_is_a_definition_error_before_anything_is_planned(world, options, message):
    with pytest.raises(DefinitionError, match=message) as caught:
        world.plan(**options)
    assert caught.value.exit_code == 2 and all(p.mend for p in caught.value.problems)


def test_bad_values_of_every_origin_are_said_together(world):
    world.folder.settings(SETTINGS.replace("days = 35", "days = 0\ndeptj = 3"))
    found = read_pipeline(read_project(world.folder.root), "demo")
    with pytest.raises(DefinitionError) as caught:
        resolve(read_project(world.folder.root), found, "ci", {"dept": 5}, {"depth": "99"})
    assert sorted(p.rule for p in caught.value.problems) == [
        "bad-value",
        "bad-value",
        "unknown-parameter",
        "unknown-parameter",
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    default=st.integers(1, 183),
    profile=st.none() | st.integers(1, 183),
    file=st.none() | st.integers(1, 183),
    option=st.none() | st.integers(1, 183),
)
def test_values_default_then_profile_then_file_then_option(world, default, profile, file, option):
    found = read_pipeline(world.project, "demo")
    stage = found.stages["ingest"]
    (parameter,) = stage.parameters
    found = replace(
        found, stages={"ingest": replace(stage, parameters=(replace(parameter, default=default),))}
    )
    project = replace(
        world.project, profiles={"ci": {"demo": {} if profile is None else {"days": str(profile)}}}
    )
    value = resolve(
        project,
        found,
        "ci",
        {} if file is None else {"days": file},
        {} if option is None else {"days": str(option)},
    )["days"]
    given_ = [
        (v, o)
        for v, o in ((option, "option"), (file, "file"), (profile, "profile"), (default, "default"))
        if v is not None
    ]
    assert (value.value, value.origin) == given_[0]


# explaining


def test_explain_names_every_part_that_differs(world):
    parts = world.plan().steps["ingest"].parts
    for field in (
        "cells",
        "options",
        "parameters",
        "inputs",
        "sources",
        "modules",
        "packages",
        "python",
        "format",
    ):
        other = json.loads(json.dumps(parts))
        other[field] = {
            "cells": [],
            "options": {"threads": 9, "env": {}},
            "parameters": {},
            "inputs": {"x": {"codec": "json", "digest": "0" * 64}},
            "sources": {"x": "0" * 64},
            "modules": {"x": "0" * 64},
            "packages": {"x": "1"},
            "python": ["x"],
            "format": 9,
        }[field]
        kinds = {
            "cells": "cell",
            "options": "option",
            "parameters": "parameter",
            "inputs": "input",
            "sources": "input",
            "modules": "module",
            "packages": "package",
            "python": "python",
            "format": "option",
        }
        assert kinds[field] in {r.kind for r in explain(parts, other, [])}, field


def test_explain_same_digest_under_another_codec_is_a_reason(world):
    parts = world.plan().steps["ingest"].parts
    one, other = ({**parts, "inputs": {"x": {"codec": c, "digest": "0" * 64}}} for c in ("text", "json"))
    assert [r.kind for r in explain(one, other, [2, 4, 5])] == ["input"]


def test_plan_writes_nothing_but_its_cache(world):
    world.run()
    world.plan()
    before = {p: p.stat().st_mtime_ns for p in world.store.root.rglob("*") if "cache" not in p.parts}
    world.plan(days="3")
    world.plan("other")
    assert {p: p.stat().st_mtime_ns for p in world.store.root.rglob("*") if "cache" not in p.parts} == before
