"""Pipelines of many stages: what is remembered never changes what is said, and nothing costs more than its
share."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plain_records import commit, write_run

from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan, plan_step
from mlnb.flow.problems import check_of
from mlnb.flow.run import run_pipeline
from mlnb.flow.schedule import BROKEN, DONE, Schedule
from mlnb.flow.selection import select
from mlnb.history.graph import StageEdge, StageGraph, columns_of
from mlnb.notebook import read_cache
from mlnb.notebook.drafts import stage_files
from mlnb.notebook.neighbours import saved_names
from mlnb.notebook.pipeline import graph_order, read_pipeline
from mlnb.notebook.read_cache import packed, read_kept, read_stages, reader_digest, unpacked, write_kept
from mlnb.notebook.stage import read_content, read_stage
from mlnb.store.artifacts import put_value
from mlnb.store.digests import sha256
from mlnb.store.objects import put
from mlnb.store.run_entries import Entry
from mlnb.store.runs import note_stage, noted_document, read_run
from mlnb.store.settings import find_project, project_store, read_project

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = "from mlnb import load, save"


def kept_of(project, pipeline="demo"):
    return project.store / "cache" / f"{pipeline}.readings"


def fresh_stages(project, pipeline):
    return [read_stage(p, pipeline, project.root) for p in stage_files(project, pipeline)]


def read_counted(project, pipeline="demo"):
    "The stages, and the files that were parsed for them."
    parsed = []

    def count(content, file):
        parsed.append(Path(file).name)
        return read_content(content, file)

    return read_stages(project, pipeline, stage_files(project, pipeline), count), parsed


# what is remembered is what would be read

NOTEBOOKS = {
    "10_plain.ipynb": [
        ("parameters", "days: int = 7  # length [days], 1..60\nkind: Literal['a', 'b'] = 'a'"),
        ("md", "# Title"),
        OURS,
        "save('plain', load('raw') * days)",
    ],
    "11_magic.ipynb": [
        "%time from mlnb import save",
        "%%capture out\nsave('magic', 1)",
        "!ls",
        "%matplotlib inline",
        "df.head();",
    ],
    "12_options.ipynb": [
        "#| timeout: 20m\n#| env: REGION, ZONE\n#| threads: 2\n#| retries: 3\n#| memory: 2GiB\n"
        "#| report: hide-code\nx = 1",
        "#| threads: 4\ny = 2",
    ],
    "13_defaults.ipynb": [
        (
            "parameters",
            "a: int | None = None\nb: list[float] = [1, 2.5]\nc: dict[str, int] = {'x': 1}\n"
            "d: float = -0.0\ne: bool = True\nf = 1",
        )
    ],
    "14_no_json.ipynb": [("parameters", "a = (1, 2)\nb = {1: 2}\nc = {1, 2}\nd = b'x'\ne = 1e999\nf = 2j")],
    "15_syntax.ipynb": ["x = = 1", "from mlnb import load\nload(name)", "def f(:"],
    "16_Bad_Name.ipynb": [OURS, "save('Bad Name', 1)", "load('a/b/c')"],
    "17_two_cells.ipynb": [("parameters", "a: int = 1"), ("parameters", "b: int = 2")],
    "18_bad_default.ipynb": [
        ("parameters", "a: int = 70  # 1..60\nb: int = 'x'\nc: what = 1\nimport os\nd: str = os.name")
    ],
    "19_surrogate.ipynb": ["x = '\\ud800'", "open('x.csv')", "import pandas as pd\npd.read_csv('x')"],
    "20_skipped.ipynb": [("skip-execution", "load('never')"), ("raises-exception", "1 / 0")],
    "21_empty.ipynb": [],
    "22_plain.ipynb": [OURS, "save('plain', load('22'))"],
}
BROKEN_FILES = {
    "30_merge.ipynb": b"<<<<<<< HEAD\n{}",
    "31_old.ipynb": b'{"nbformat": 3, "worksheets": []}',
    "32_cells.ipynb": b'{"nbformat": 4, "cells": [{"cell_type": "code"}]}',
    "33_bytes.ipynb": b"\xff\xfe",
    "34_none.ipynb": b"",
    "35_no_kernel.ipynb": b'{"nbformat": 4, "cells": [], "metadata": {}}',
    "36_other.ipynb": b'{"nbformat": 4, "cells": [], '
    b'"metadata": {"kernelspec": {"name": "ir", "language": "R"}}}',
}


@pytest.fixture
def project(make_project):
    "A project of sound and broken notebooks, with a store."
    folder = make_project(NOTEBOOKS)
    for name, content in BROKEN_FILES.items():
        (folder.root / "nbs" / name).write_bytes(content)
    (folder.root / "nbs" / "40_folder.ipynb").mkdir()
    found = read_project(folder.root)
    project_store(found)
    return found


def test_second_reading_says_the_same_of_sound_and_broken_notebooks(project):
    without_store = replace(project, store=project.root / "elsewhere")
    fresh, first, second = fresh_stages(project, "demo"), read_counted(project), read_counted(project)
    assert [repr(s) for s in first[0]] == [repr(s) for s in second[0]] == [repr(s) for s in fresh]
    assert len(first[1]) == len(NOTEBOOKS) + len(BROKEN_FILES)
    assert second[1] == ["14_no_json.ipynb"]
    assert check_of(project, ["demo"]) == check_of(without_store, ["demo"])
    assert len(check_of(project, ["demo"])) > 20
    assert not without_store.store.exists()


@pytest.mark.parametrize("pipeline", ["fraud", "score", "monitor", "employment"])
def test_second_reading_of_the_repository_s_pipelines_parses_nothing(tmp_path, pipeline):
    project = replace(read_project(REPOSITORY), store=tmp_path / "store")
    project_store(project)
    fresh, first, second = (
        fresh_stages(project, pipeline),
        read_counted(project, pipeline),
        read_counted(project, pipeline),
    )
    assert len(first[1]) == len(fresh) > 0 and second[1] == []
    assert [repr(s) for s in second[0]] == [repr(s) for s in fresh]


TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "from mlnb import load, save",
            "save('x', load('y'))",
            "%time save('x', 1)",
            "a: int = 7  # 1..9",
            "a: float = 1",
            "a = (1,)",
            "a = {None: 1}",
            "a = {'k': [1, {'b': True}]}",
            "#| threads: 2",
            "#| treads: 2",
            "#| env: A, B",
            "metric(n, 1)",
            "load(f'{x}')",
            "import a.b as c",
            "x;",
            "1 +",
            "a: Literal['x', 1] = 'x'",
            "\ud800",
            "a = 1e999",
            "a: int = True",
        ]
    ),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "parameters", "skip-execution", "raises-exception"]),
            st.lists(TEXTS, max_size=3).map("\n".join),
        ),
        max_size=4,
    ),
    st.sampled_from(["10_a.ipynb", "nbs/10_A.ipynb", "nbs/é.ipynb"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_notebook_is_remembered_exactly_or_not_at_all(cells, file):
    made = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {"tags": [tag]} if tag else {}, "source": text}
        for n, (tag, text) in enumerate(cells)
    ]
    content = json.dumps(
        {"nbformat": 4, "cells": made, "metadata": {"kernelspec": {"name": "python3"}}}
    ).encode()
    found = read_content(content, file)
    kept = packed(found)
    assert kept is None or repr(unpacked(json.loads(json.dumps(kept)))) == repr(found)


def test_edited_cell_renamed_file_and_new_notebook_are_read_again_and_the_rest_is_not(make_project):
    folder = make_project({f"{n}_s{n}.ipynb": [OURS, f"save('s{n}', {n})"] for n in range(4)})
    project = read_project(folder.root)
    project_store(project)
    read_counted(project)
    folder.stage("nbs/2_s2.ipynb", OURS, "save('changed', 2)")
    (folder.root / "nbs/3_s3.ipynb").rename(folder.root / "nbs/3_other.ipynb")
    folder.stage("nbs/4_s4.ipynb", OURS, "save('s4', 4)")
    stages, parsed = read_counted(project)
    assert parsed == ["2_s2.ipynb", "3_other.ipynb", "4_s4.ipynb"]
    assert [list(s.saves) for s in stages] == [["s0"], ["s1"], ["changed"], ["s3"], ["s4"]]
    assert [s.name for s in stages] == ["s0", "s1", "s2", "other", "s4"]
    assert saved_names(project, "demo") == {
        "s0": "s0",
        "s1": "s1",
        "changed": "s2",
        "s3": "other",
        "s4": "s4",
    }
    assert len(read_kept(kept_of(project))) == 5


def test_same_time_and_size_with_other_content_is_read_again(make_project):
    folder = make_project({"10_a.ipynb": [OURS, "save('one', 1)"]})
    project = read_project(folder.root)
    project_store(project)
    read_counted(project)
    path = folder.root / "nbs/10_a.ipynb"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"'one'", b"'two'"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert list(read_counted(project)[0][0].saves) == ["two"]


def resealed(change):
    "Alter the body of a cache and give it a fitting digest."

    def apply(path):
        body = json.loads(path.read_bytes().partition(b"\n")[2])
        change(body)
        text = json.dumps(body).encode()
        path.write_bytes(sha256(text).encode() + b"\n" + text)

    return apply


def put_in_place(make):
    def apply(path):
        path.unlink()
        make(path)

    return apply


DAMAGES = {
    "deleted": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-20]),
    "a byte flipped": lambda p: p.write_bytes(p.read_bytes().replace(b'"s1"', b'"s9"')),
    "no digest": lambda p: p.write_bytes(p.read_bytes().partition(b"\n")[2]),
    "no JSON": lambda p: p.write_bytes(sha256(b"[").encode() + b"\n["),
    "of another reader": resealed(lambda body: body.update(reader="0" * 64)),
    "a folder": put_in_place(lambda p: p.mkdir()),
    "a pipe": put_in_place(os.mkfifo),
    "a link": put_in_place(lambda p: p.symlink_to(p.parent / "elsewhere")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_cache_that_cannot_be_used_is_made_again_silently(make_project, damage, capfd):
    folder = make_project({f"{n}_s{n}.ipynb": [OURS, f"save('s{n}', {n})"] for n in range(3)})
    project = read_project(folder.root)
    project_store(project)
    expected = [repr(s) for s in read_counted(project)[0]]
    path = kept_of(project)
    (path.parent / "elsewhere").write_bytes(path.read_bytes())
    DAMAGES[damage](path)
    stages, parsed = read_counted(project)
    assert ([repr(s) for s in stages], len(parsed)) == (expected, 3)
    assert (read_counted(project)[1] == []) == (damage != "a folder")
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_cache_of_another_user_is_not_believed_unless_a_group_shares_the_store(tmp_path):
    path = tmp_path / "demo.readings"
    write_kept(path, {"a": {"problems": []}})
    os.chown(path, 12345, -1)
    assert (read_kept(path), read_kept(path, is_shared=True)) == ({}, {"a": {"problems": []}})


def test_cache_is_private_or_the_group_s(tmp_path):
    write_kept(tmp_path / "own", {})
    write_kept(tmp_path / "shared", {}, is_shared=True)
    assert [oct((tmp_path / n).stat().st_mode & 0o777) for n in ("own", "shared")] == ["0o600", "0o640"]


def test_store_that_cannot_be_written_does_without(make_project, mlnb):
    folder = make_project({"10_a.ipynb": [OURS, "save('a', 1)"]})
    project = read_project(folder.root)
    project_store(project)
    (project.store / "cache").write_text("a file stands where the cache would be")
    assert [read_counted(project)[1] for _ in range(2)] == [["10_a.ipynb"]] * 2
    assert mlnb("status", cwd=folder.root).code == 0


def test_without_a_store_nothing_is_written(make_project, mlnb):
    folder = make_project({"10_a.ipynb": [OURS, "save('a', 1)"]})
    assert [mlnb(verb, cwd=folder.root).code for verb in ("status", "check")] == [0, 0]
    assert sorted(p.name for p in folder.root.iterdir()) == ["nbs", "settings.ini"]


def test_reader_is_another_one_when_its_source_or_a_package_changes(monkeypatch):
    def digest():
        reader_digest.cache_clear()
        return reader_digest()

    before = digest()
    with monkeypatch.context() as changed:
        changed.setattr(read_cache, "_version_file", lambda inner: "0")
        assert digest() != before
    with monkeypatch.context() as changed:
        changed.setattr(read_cache, "PARTS", read_cache.PARTS[:-1])
        assert digest() != before
    assert digest() == before


# nothing to do


def many(make_project, n, needs=lambda n: [n - 1] if n else []):
    "A project of `n` stages, each committed."

    def cells(s):
        return [
            OURS,
            *(f"x = load('s{m}')" for m in needs(s)),
            "%time y = 1" if s == 0 else "y = 1",
            f"save('s{s}', 1)",
        ]

    folder = make_project({f"{s:05d}_s{s}.ipynb": cells(s) for s in range(n)})
    project = read_project(folder.root)
    store, plan = project_store(project), planned(project)
    kept, value = put(store, b"{}"), put_value(store, 1).as_dict()
    for name in plan.pipeline.order:
        step = plan_step(plan, name)
        commit(
            store,
            {
                "key": step.key,
                "parts": step.parts,
                "pipeline": "demo",
                "stage": name,
                "run": "20261123T000000000-seed",
                "metrics": {},
                "notebook": kept,
                "file": step.stage.file,
                "outputs": dict.fromkeys(step.stage.saves, value),
                "environment": {"packages": {}},
            },
        )
        plan_step(plan, name)
    return project


def planned(project):
    pipeline = read_pipeline(project, "demo")
    return make_plan(
        project, project_store(project), pipeline, "default", resolve(project, pipeline, "default", {}, {})
    )


HEAVY = [
    *("papermill", "pandas", "numpy", "nbformat", "nbclient", "pyarrow", "IPython", "jupyter_client"),
    *("concurrent.futures", "logging", "pickle", "zoneinfo", "tempfile"),  # milliseconds of each start
    *("mlnb.store.codecs", "mlnb.sources.source", "mlnb.sources.table_files", "mlnb.notebook.clear_secrets"),
]


def test_status_and_a_run_with_nothing_to_do_import_neither_papermill_nor_pandas_nor_a_parser(
    make_project, outside_environment
):
    project = many(make_project, 3)
    for arguments, heavy in ((["status"], HEAVY), (["run", "demo"], HEAVY), (["check"], HEAVY[:8])):
        script = (
            f"import sys\nfrom mlnb.cli import run_command\ncode = run_command({arguments!r})\n"
            f"print(code, [m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=project.root,
            env=outside_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.splitlines()[-1] == "0 []", (arguments, done.stdout, done.stderr)


def n_calls(work):
    "How many calls a piece of work makes, of Python and of C functions."
    count = 0

    def see(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "needs", [lambda n: [n - 1] if n else [], lambda n: [0] if n else []], ids=["chain", "fan"]
)
def test_calls_of_a_plan_and_of_a_run_with_nothing_to_do_grow_with_the_stages_and_no_faster(
    make_project, tmp_path, needs
):
    project, counts = many(make_project, 120, needs), {}
    planned(project)
    files = stage_files(project, "demo")
    for n in (120, 30):
        for path in files[n:]:
            path.unlink()
        planned(project)
        plan = planned(project)
        counts[n] = (
            n_calls(lambda: planned(project)),
            n_calls(lambda plan=plan: run_pipeline(plan, select(plan.pipeline))),
        )
    assert all(a < 4.4 * b for a, b in zip(counts[120], counts[30], strict=True)), counts


def test_chain_longer_than_the_recursion_limit_is_planned_and_its_circle_is_found(make_project):
    n = sys.getrecursionlimit() + 500
    folder = make_project({})
    for s in range(n):
        cell = {
            "cell_type": "code",
            "id": "c",
            "metadata": {},
            "source": f"from mlnb import load, save\nsave('s{s}', load('s{s - 1}') if {s} else 0)"
            if s
            else "from mlnb import save\nsave('s0', 0)",
        }
        (folder.root / "nbs" / f"{s:05d}_s{s}.ipynb").write_text(
            json.dumps({"nbformat": 4, "cells": [cell], "metadata": {"kernelspec": {"name": "python3"}}})
        )
    project = read_project(folder.root)
    plan = planned(project)
    assert plan.pipeline.order == tuple(f"s{s}" for s in range(n))
    assert [s.state for s in plan.steps.values()] == ["stale"] + ["unknown"] * (n - 1)
    assert (
        len(select(plan.pipeline, from_="s0").selected)
        == len(select(plan.pipeline, to=f"s{n - 1}").scope)
        == n
    )
    assert (
        columns_of(
            StageGraph(
                list(plan.pipeline.order),
                [StageEdge(e.saver, e.loader, e.artifact) for e in plan.pipeline.edges],
            )
        )[f"s{n - 1}"]
        == n - 1
    )
    circle = [*plan.pipeline.edges, plan.pipeline.edges[0]._replace(saver=f"s{n - 1}", loader="s0")]
    (cycle,) = graph_order(list(plan.pipeline.order), circle)[1]
    assert (cycle.problem.rule, len(cycle.stages)) == ("cycle", n)


def test_module_edited_between_two_plans_of_one_process_is_seen(make_project):
    folder = make_project(
        {
            "10_a.ipynb": [OURS, "import own", "save('a', 1)"],
            "20_b.ipynb": [OURS, "import own", "save('b', 1)"],
        }
    )
    (folder.root / "own.py").write_text("x = 1")
    project = find_project(folder.root)
    before = planned(project)
    (folder.root / "own.py").write_text("x = 22")
    after = planned(project)
    assert [
        s.found.modules == t.found.modules
        for s, t in zip(before.steps.values(), after.steps.values(), strict=True)
    ] == [False, False]


# the schedule, beside looking at every stage each time


def ready_by_looking(schedule):
    "Waiting stages, in order, that have all they need or can never have it."
    failed = {schedule.part_of.get(s, s) for s, state in schedule.state.items() if state == "failed"}

    def is_behind(name):
        return any(schedule.state[s] in BROKEN for s in schedule.needs[name]) or (
            bool(failed) and failed != {schedule.part_of.get(name)} and not schedule.keep_going
        )

    return [
        n
        for n in schedule.order
        if schedule.state[n] == "waiting"
        and (is_behind(n) or all(schedule.state[s] in DONE for s in schedule.needs[n]))
    ]


def take_all(schedule):
    "Everything that could be decided now, given back."
    found = []
    while (name := schedule.take()) is not None:
        found.append(name)
    for name in found:
        schedule.look_at(name)
    return found


@given(st.data(), st.integers(1, 9), st.booleans())
@settings(max_examples=150, deadline=None)
def test_schedule_gives_what_looking_at_every_stage_gives(data, n, keep_going):
    order = tuple(f"s{s}" for s in range(n))
    schedule = Schedule(
        order,
        {
            name: data.draw(st.lists(st.sampled_from([*order[:s], "outside"]), unique=True, max_size=4))
            for s, name in enumerate(order)
        },
        keep_going,
        part_of=data.draw(st.dictionaries(st.sampled_from(order), st.sampled_from("AB"))),
    )
    for _ in range(data.draw(st.integers(0, 25))):
        assert take_all(schedule) == ready_by_looking(schedule)
        schedule.change(
            data.draw(st.sampled_from(order)),
            data.draw(st.sampled_from(["waiting", "running", *DONE, *BROKEN])),
        )
    assert take_all(schedule) == ready_by_looking(schedule)


# the document of a run


def test_changes_are_appended_and_the_document_is_written_twice(make_project, tmp_path):
    store = project_store(replace(read_project(make_project({}).root), store=tmp_path / "store"))
    document = {
        "run": "r1",
        "pipeline": "demo",
        "state": "running",
        "stages": [{"name": f"s{n}", "state": "stale", "metrics": {}} for n in range(300)],
    }
    write_run(store, document)
    path = store.root / "runs" / "r1" / "run.json"
    before = path.stat()
    for n in range(300):
        note_stage(store, "r1", Entry(name=f"s{n}", state="committed"))
    assert path.stat().st_ino == before.st_ino
    assert (store.root / "runs" / "r1" / "changes.jsonl").stat().st_size < 300 * 300
    assert {e.state for e in noted_document(store, "r1").stages} == {"committed"}
    assert oct((store.root / "runs" / "r1" / "changes.jsonl").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    "tail",
    [b"", b"\n", b'\n{"name": "b", "st', b"\n\xff\xfe", b"\n12", b'\n{"state": "failed"}', b"\n\n"],
    ids=repr,
)
def test_half_written_change_spoils_neither_what_was_before_nor_what_comes_after(
    tmp_path, make_project, tail
):
    store = project_store(read_project(make_project({}).root))
    write_run(
        store,
        {
            "run": "r1",
            "pipeline": "demo",
            "state": "running",
            "stages": [{"name": "a", "state": "stale"}, {"name": "b", "state": "stale"}],
        },
    )
    note_stage(store, "r1", Entry(name="a", state="committed"))
    with open(store.root / "runs" / "r1" / "changes.jsonl", "ab") as file:
        file.write(tail)
    assert [e.state for e in noted_document(store, "r1").stages] == ["committed", "stale"]
    note_stage(store, "r1", Entry(name="b", state="running"))
    assert [e.state for e in noted_document(store, "r1").stages] == ["committed", "running"]
    assert [e.state for e in read_run(store, "r1").stages] == ["committed", "cancelled"]


def test_document_can_be_read_at_any_moment_and_never_goes_back(make_project):
    store, n = project_store(read_project(make_project({}).root)), 200
    document = {
        "run": "r1",
        "pipeline": "demo",
        "state": "running",
        "stages": [{"name": f"s{s}", "state": "stale"} for s in range(n)],
    }
    write_run(store, document)
    is_over, seen = threading.Event(), []

    def look():
        while not is_over.is_set():
            seen.append(noted_document(store, "r1"))

    reader = threading.Thread(target=look)
    reader.start()
    for entry in document["stages"]:
        entry["state"] = "committed"
        note_stage(store, "r1", Entry(**entry))
    document["state"] = "committed"
    write_run(store, document)
    is_over.set()
    reader.join()
    seen.append(noted_document(store, "r1"))
    done = [sum(e.state == "committed" for e in d.stages) for d in seen]
    assert done == sorted(done) and done[-1] == n and all(len(d.stages) == n for d in seen)
    assert all(count == n for d, count in zip(seen, done, strict=True) if d.state == "committed")
