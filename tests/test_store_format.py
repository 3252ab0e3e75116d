"""A store says which layout it has: newer ones are refused with the version they need, older ones migrated
however often that is killed."""

import json
import os

import pytest
from plain_records import commit, write_run

from mlnb.care.verify import document_files, verify_store
from mlnb.store import crash_points
from mlnb.store.crash_points import STEPS
from mlnb.store.documents import is_sealed, read_json
from mlnb.store.errors import StoreError
from mlnb.store.layout import LAYOUT, layout_text, read_layout
from mlnb.store.objects import get, open_store, put
from mlnb.store.records import find_record, records_of
from mlnb.store.refs import move_ref, ref_history
from mlnb.store.runs import read_run

RUN = "20261123T100000000-aaaa"


def old_store(root):
    "A store as layout 1 had it: the same files without seals."
    store = open_store(root)
    for n in range(3):
        output = {"digest": put(store, f"value {n}".encode()), "codec": "text", "bytes": 7}
        commit(
            store,
            {
                "key": f"{n}" * 64,
                "pipeline": "demo",
                "stage": "rows",
                "run": RUN,
                "inputs": {},
                "outputs": {"rows": output},
                "metrics": {"n": n},
            },
        )
        move_ref(store, "heads/demo/default", RUN, f"move {n}")
    write_run(store, {"run": RUN, "pipeline": "demo", "state": "committed", "keys": {"rows": "2" * 64}})
    for path in document_files(root):
        document = read_json(path)
        mode = path.stat().st_mode
        path.chmod(0o600)
        path.write_text(json.dumps(document, indent=1))
        path.chmod(mode)
    (root / "format").write_text("1\n")
    return root


def content(store):
    "What a store says, whatever its layout."
    return (
        records_of(store, "demo", "rows"),
        ref_history(store, "heads/demo/default"),
        read_run(store, RUN),
        [get(store, r.outputs["rows"].digest) for r in records_of(store, "demo", "rows")],
    )


def in_child(work, point=""):
    if (pid := os.fork()) == 0:
        crash_points.visits.clear()
        os.environ["MLNB_CRASH"] = point
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_older_layout_is_migrated_when_opened_and_says_the_same(tmp_path):
    root = old_store(tmp_path / "store")
    modes = {p: p.stat().st_mode for p in document_files(root)}
    store = open_store(root)
    assert read_layout(root).number == LAYOUT and all(is_sealed(p.read_bytes()) for p in document_files(root))
    assert {p: p.stat().st_mode for p in document_files(root)} == modes
    records, history, run, values = content(store)
    assert (
        [r.metrics["n"] for r in records] == [0, 1, 2]
        and [v.number for v in history] == [1, 2, 3]
        and run.state == "committed"
    )
    assert values == [b"value 0", b"value 1", b"value 2"] and verify_store(store).clean


@pytest.mark.parametrize(
    "point",
    [
        *(f"document.{step}:{visit}" for step in STEPS for visit in (1, 4, 7)),
        *(f"layout.{step}" for step in STEPS),
    ],
)
def test_migration_killed_at_any_point_is_finished_by_the_next_opening(tmp_path, point):
    root = old_store(tmp_path / "store")
    assert in_child(lambda: open_store(root), point) == -9
    store = open_store(root)
    whole = content(open_store(old_store(tmp_path / "other")))
    assert content(store)[0] == whole[0] and content(store)[2:] == whole[2:]
    assert read_layout(root).number == LAYOUT and verify_store(store).clean


def test_migration_by_two_processes_at_once_happens_once(tmp_path):
    root = old_store(tmp_path / "store")
    pids = []
    for _ in range(4):
        if (pid := os.fork()) == 0:
            try:
                open_store(root)
            except BaseException:
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    assert verify_store(open_store(root)).clean


def test_damaged_document_of_an_older_layout_stays_and_is_reported(tmp_path):
    root = old_store(tmp_path / "store")
    path = next(p for p in document_files(root) if "records" in p.parts)
    path.chmod(0o600)
    path.write_text('{"key": ')
    found = verify_store(open_store(root))
    assert [d.kind for d in found.damaged] == ["document"] and path.read_text() == '{"key": '


@pytest.mark.parametrize(
    "needs, mend", [("", "install a newer mlnb"), ("1.4.0", "install mlnb 1.4.0 or a newer mlnb")]
)
def test_newer_layout_is_refused_with_the_version_it_needs_and_left_alone(tmp_path, needs, mend):
    root = old_store(tmp_path / "store")
    (root / "format").write_bytes(layout_text(LAYOUT + 1, needs) if needs else f"{LAYOUT + 1}\n".encode())
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with pytest.raises(StoreError) as caught:
        open_store(root)
    assert (
        f"layout {LAYOUT + 1}" in caught.value.message
        and caught.value.mend == mend
        and caught.value.exit_code == 69
    )
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_run_with_a_newer_store_ends_with_69_and_the_version_it_needs(make_project, mlnb):
    project = make_project({"10_rows.ipynb": ["from mlnb import save\nsave('rows', [1, 2])"]})
    (project.root / ".mlnb").mkdir()
    (project.root / ".mlnb" / "format").write_bytes(layout_text(9, "4.2.0"))
    done = mlnb("run", "demo", cwd=project.root)
    assert done.code == 69 and "install mlnb 4.2.0" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("derived", ["cache", "locks", "overlay", "pins", "trash", "quarantine"])
def test_derived_folder_may_be_deleted_at_any_time(tmp_path, derived):
    import shutil

    store = open_store(old_store(tmp_path / "store"))
    (store.root / derived).mkdir(exist_ok=True)
    shutil.rmtree(store.root / derived)
    assert verify_store(store).clean and find_record(store, "demo", "rows", "0" * 64)
    assert put(store, b"more") and move_ref(store, "heads/demo/default", RUN, "again").number == 4
