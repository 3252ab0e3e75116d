"""Erasing: what was erased is gone from everywhere, says so, and does not come back; what was made from it is
found."""

import json
import os
import signal
import subprocess
import sys
from hashlib import sha256

import pytest
from plain_records import commit, write_run

from mlnb.care.audit import events, init_audit, verify_log
from mlnb.care.burial import bury, copies_of, new_tombstone
from mlnb.care.erase import erase, trace
from mlnb.care.gc import Retention, Unnamed, collect
from mlnb.care.roots import read_records, with_origins
from mlnb.care.signing import SignatureError, make_key, trusted_keys
from mlnb.care.taken_over import accept_tombstone, tombstone_problems
from mlnb.care.verify import verify_store
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.digests import digest_of
from mlnb.store.errors import IntegrityError, UsageError
from mlnb.store.objects import get, has, open_store, path_of, put, put_file, quarantine
from mlnb.store.pins import forget_pins
from mlnb.store.records import find_record, record_path
from mlnb.store.runs import hold_run, read_run, run_folder
from mlnb.store.tombstones import ErasedError, is_erased, tombstone_path


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store")
    init_audit(store)
    return store


def record(store, stage, number, inputs=(), outputs=()):
    "Commit a record whose inputs and outputs are artifacts by name."
    made = {
        "key": f"{number:064x}",
        "pipeline": "fraud",
        "stage": stage,
        "run": "r1",
        "inputs": {n: a.as_dict() for n, a in inputs},
        "outputs": {n: a.as_dict() for n, a in outputs},
        "metrics": {},
        "notebook": put(store, f"shown by {stage}".encode()),
    }
    return commit(store, made).record


@pytest.fixture
def chain(store):
    "Artifacts a → b → c, and a folder with one file of its own and one that is b's text too."
    a, b, c = (put_value(store, text) for text in ("raw rows", "features", "model"))
    record(store, "ingest", 1, (), [("a", a)])
    record(store, "features", 2, [("a", a)], [("b", b)])
    record(store, "train", 3, [("b", b)], [("c", c)])
    return a, b, c


def in_run(store, run, stage, inputs=(), outputs=(), pipeline="fraud", **about):
    "Commit a record of a run, its values texts by name."
    made = {
        "key": digest_of([run, pipeline, stage]),
        "pipeline": pipeline,
        "stage": stage,
        "run": run,
        "inputs": {n: put_value(store, text).as_dict() for n, text in dict(inputs).items()},
        "outputs": {n: put_value(store, text).as_dict() for n, text in dict(outputs).items()},
        "metrics": {},
        "notebook": put(store, f"{run} {stage}".encode()),
    }
    return commit(store, made | about).record


@pytest.fixture
def customers(store):
    "Rows of two customers, of which two runs made an equal table, and of that a model each."
    for run in ("r1", "r2"):
        in_run(store, run, "ingest", {}, {"rows": f"rows {run}"})
        in_run(store, run, "features", {"rows": f"rows {run}"}, {"table": "equal"})
        in_run(store, run, "train", {"table": "equal"}, {"model": f"model {run}"})
    return {
        text: put_value(store, text).digest
        for text in ("rows r1", "rows r2", "equal", "model r1", "model r2")
    }


def gone(store, digests):
    "Which of some values are no longer there."
    return {text for text, digest in digests.items() if not has(store, digest)}


def content_left(store, text):
    "Files below the store that still hold a text."
    return [p for p in store.root.rglob("*") if p.is_file() and text in p.read_bytes()]


def test_erased_object_reads_as_erased_never_as_corrupt(store, chain):
    erase(store, chain[0].digest, "customer 17 asked for it")
    with pytest.raises(ErasedError, match="customer 17 asked for it") as error:
        get(store, chain[0].digest)
    assert not isinstance(error.value, IntegrityError)
    assert error.value.exit_code == 6
    with pytest.raises(ErasedError):
        get_value(store, chain[0], store.root)


def test_erased_object_does_not_come_back_by_running_its_stage_again(store, chain, tmp_path):
    erase(store, chain[0].digest, "asked for")
    with pytest.raises(ErasedError):
        put_value(store, "raw rows")
    (tmp_path / "again").write_bytes(b"raw rows")
    with pytest.raises(ErasedError):
        put_file(store, tmp_path / "again")
    with pytest.raises(ErasedError):
        put(open_store(tmp_path / "overlay", below=store), b"raw rows")
    assert find_record(store, "fraud", "ingest", f"{1:064x}") is None
    assert [p for p in store.root.rglob(".tmp-*")] == []


def test_erasing_without_down_lists_what_was_made_and_leaves_it(store, chain):
    a, b, c = chain
    done = erase(store, a.digest, "asked for")
    assert {(m.kind, m.name, m.is_erased) for m in done.made_from} == {
        ("notebook", "ingest", False),
        ("output", "b", False),
        ("notebook", "features", False),
        ("output", "c", False),
        ("notebook", "train", False),
    }
    assert (has(store, a.digest), has(store, b.digest), has(store, c.digest)) == (False, True, True)


def test_erasing_down_erases_all_that_was_made_and_nothing_else(store, chain):
    other = put_value(store, "another pipeline's")
    record(store, "other", 4, (), [("other", other)])
    erase(store, chain[1].digest, "asked for", down=True)
    assert [has(store, one.digest) for one in chain] == [True, False, False]
    assert get_value(store, other, store.root) == "another pipeline's"
    assert find_record(store, "fraud", "other", f"{4:064x}")


def test_erased_content_is_gone_from_every_folder_of_the_store(store, chain):
    digest = chain[0].digest
    copy = store.root / "overlay" / "ana" / "objects" / digest[:2] / digest
    trashed = store.root / "trash" / "objects" / digest[:2] / digest
    for path in (copy, trashed):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"raw rows")
    quarantine(store, digest)
    put(store, b"raw rows")
    assert len(content_left(store, b"raw rows")) == 4
    erase(store, digest, "asked for")
    assert content_left(store, b"raw rows") == []
    assert not has(store, digest)


@pytest.mark.parametrize("dry_run", [True, False])
def test_copy_of_the_store_by_hard_links_keeps_what_is_erased_and_is_named(store, chain, tmp_path, dry_run):
    raw, other = chain[0].digest, chain[1].digest
    path = path_of(store, raw)
    os.link(path, tmp_path / "backup")  # as `cp -al` and many backup programs copy
    [linked] = erase(store, raw, "customer 17", dry_run=dry_run).linked
    assert (linked.digest, linked.names, linked.inode) == (raw, 1, (tmp_path / "backup").stat().st_ino)
    assert (path.exists(), (tmp_path / "backup").read_bytes()) == (dry_run, b"raw rows")
    assert erase(store, other, "customer 17", dry_run=dry_run).linked == []


def test_folder_loses_its_own_files_and_keeps_those_that_others_have(store, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "own.txt").write_text("only here")
    (tmp_path / "folder" / "shared.txt").write_text("shared")
    folder, shared = put_value(store, tmp_path / "folder"), put_value(store, "shared")
    record(store, "a", 1, (), [("folder", folder)])
    record(store, "b", 2, (), [("text", shared)])
    done = erase(store, folder.digest, "asked for")
    assert done.shared == [shared.digest]
    assert content_left(store, b"only here") == []
    assert get_value(store, shared, store.root) == "shared"


def test_part_of_a_folder_counts_as_input_of_what_read_the_folder(store, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "rows.txt").write_text("rows")
    folder, model = put_value(store, tmp_path / "folder"), put_value(store, "model")
    record(store, "train", 1, [("folder", folder)], [("model", model)])
    assert model.digest in {m.digest for m in trace(store, [folder.parts[0]]).made}


def test_equal_bytes_of_an_unrelated_run_are_kept_and_so_is_what_was_made_of_them(store, customers):
    done = erase(store, customers["rows r1"], "customer 1 asked for it", down=True)
    assert gone(store, customers) == {"rows r1", "model r1"}
    assert done.shared == [customers["equal"]]
    (table,) = [one for one in done.made_from if one.name == "table"]
    assert (table.run, table.is_shared, table.is_erased) == ("r1", True, False)
    assert done.may_be_made_from == []
    assert not has(store, put_value_digest(b"r1 features")) and has(store, put_value_digest(b"r2 features"))


def put_value_digest(data):
    "Digest of an object with this content."
    return sha256(data).hexdigest()


def test_erasing_the_equal_content_itself_takes_both_models(store, customers):
    erase(store, customers["equal"], "asked for", down=True, names={("fraud", "table")})
    assert gone(store, customers) == {"equal", "model r1", "model r2"}


def test_equal_content_under_another_name_is_in_doubt_and_kept(store, customers):
    in_run(store, "r3", "copy", {}, {"other": "equal"}, "second")
    in_run(store, "r3", "use", {"other": "equal"}, {"page": "a page"}, "second")
    page = put_value(store, "a page").digest
    done = erase(store, customers["equal"], "asked for", down=True, names={("fraud", "table")})
    assert has(store, page)
    assert page in {one.digest for one in done.may_be_made_from}
    assert all(not one.is_erased for one in done.may_be_made_from)


def test_reader_of_either_of_two_equal_tables_is_in_doubt_until_a_document_tells(store, customers):
    in_run(store, "r3", "train", {"table": "equal"}, {"model": "model r3"})
    customers["model r3"] = put_value(store, "model r3").digest
    doubt = erase(store, customers["rows r1"], "asked for", down=True, dry_run=True)
    assert customers["model r3"] not in doubt.erased
    assert customers["model r3"] in {one.digest for one in doubt.may_be_made_from}
    used = {
        "name": "features",
        "each": None,
        "state": "cached",
        "key": digest_of(["r1", "fraud", "features"]),
    }
    write_run(store, {"run": "r3", "pipeline": "fraud", "state": "committed", "stages": [used]})
    told = erase(store, customers["rows r1"], "asked for", down=True, dry_run=True)
    assert customers["model r3"] in told.erased and told.may_be_made_from == []
    other = erase(store, customers["rows r2"], "asked for", down=True)
    assert gone(store, customers) == {"rows r2", "model r2"} and other.may_be_made_from == []


def test_damaged_document_of_a_run_stops_an_erasure(store, customers):
    (store.root / "runs" / "r3").mkdir(parents=True)
    (store.root / "runs" / "r3" / "run.json").write_bytes(b"{")
    with pytest.raises(IntegrityError, match="mlnb verify --repair"):
        erase(store, customers["rows r1"], "asked for", down=True)
    assert gone(store, customers) == set()


def test_what_was_made_is_found_in_the_trash_and_among_evidence(store):
    rows = put_value(store, "rows")
    in_run(store, "r1", "train", {"rows": "rows"}, {"model": "first"})
    in_run(store, "r1", "train", {"rows": "rows"}, {"model": "another"})
    assert len(list(store.root.rglob("*.evidence"))) == 1
    in_run(store, "r2", "train", {"rows": "rows"}, {"model": "third"})
    path = record_path(store, "fraud", "train", digest_of(["r2", "fraud", "train"]))
    trashed = store.root / "trash" / path.relative_to(store.root)
    trashed.parent.mkdir(parents=True)
    path.rename(trashed)
    erase(store, rows.digest, "asked for", down=True)
    assert [content_left(store, text) for text in (b"first", b"another", b"third")] == [[], [], []]


def test_what_read_a_partition_of_outside_data_is_found(store):
    day = put(store, b"payments of a day")
    in_run(store, "r1", "ingest", {}, {"rows": "rows"}, sources={"raw": [["day1.csv", 17, day]]})
    in_run(store, "r1", "other", {}, {"more": "more"}, sources={"raw": [["day2.csv", 17, "0" * 64]]})
    erase(store, day, "asked for", down=True)
    assert not has(store, put_value_digest(b"rows")) and has(store, put_value_digest(b"more"))


def test_cycle_of_records_ends(store):
    a, b = put_value(store, "a"), put_value(store, "b")
    record(store, "one", 1, [("a", a)], [("b", b)])
    record(store, "two", 2, [("b", b)], [("a", a)])
    assert b.digest in {m.digest for m in trace(store, [a.digest]).made}


def test_erasure_is_an_audit_event_before_anything_is_removed(store, chain, monkeypatch):
    from mlnb.care import burial as module

    def refuse(*given):
        raise OSError("killed here")

    monkeypatch.setattr(module, "remove_content", refuse)
    with pytest.raises(OSError, match="killed here"):
        erase(store, chain[0].digest, "asked for")
    assert (events(store)[-1].event, events(store)[-1].object) == ("erasure", chain[0].digest)
    assert path_of(store, chain[0].digest).exists()


KILLED = """
import os, signal, sys
from mlnb.care import burial
from mlnb.care.erase import erase
from mlnb.store.objects import open_store
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
setattr(burial, sys.argv[3], die)
erase(open_store(sys.argv[1]), sys.argv[2], "asked for", down=True)
"""


@pytest.mark.parametrize("at", ["write_durably", "audit", "remove_content", "flush_folder"])
def test_killed_erasure_is_finished_by_the_same_command(store, chain, at):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.root), chain[0].digest, at],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    if is_erased(store.root, chain[0].digest):
        with pytest.raises(ErasedError):
            get(store, chain[0].digest)
    erase(store, chain[0].digest, "asked for", down=True)
    assert [copies_of(store, one.digest) for one in chain] == [[], [], []]
    assert tombstone_problems(store, trusted_keys(store)) == []
    assert verify_log(store).state == "ok"
    assert {e.object for e in events(store, "erasure")} >= {one.digest for one in chain}


def test_erasing_without_a_key_is_refused_and_nothing_is_touched(tmp_path):
    store = open_store(tmp_path / "store")
    digest = put(store, b"x")
    with pytest.raises(UsageError, match="no key to sign with"):
        erase(store, digest, "asked for")
    assert get(store, digest) == b"x"
    assert not (store.root / "tombstones").exists()


def test_tombstone_of_a_stranger_or_altered_removes_nothing(store, tmp_path):
    digest = put(store, b"x")
    stranger = open_store(tmp_path / "stranger")
    make_key(stranger)
    theirs, mine = new_tombstone(stranger, digest, "vandalism"), new_tombstone(store, digest, "asked for")
    for document in (theirs, mine | {"reason": "another"}, mine | {"digest": "0" * 64}, {}, [], None):
        with pytest.raises(SignatureError):
            accept_tombstone(store, digest, document, trusted_keys(store))
    assert get(store, digest) == b"x"


def test_forged_tombstone_in_the_store_is_named_by_verification(store):
    digest = put(store, b"x")
    path = tombstone_path(store.root, digest)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"digest": digest, "actor": "mallory", "reason": "none"}))
    messages = [p.message for p in tombstone_problems(store, trusted_keys(store))]
    assert len(messages) == 2 and "not signed" in messages[0] and "still there" in messages[1]


def test_first_tombstone_stays(store):
    digest = put(store, b"x")
    bury(store, new_tombstone(store, digest, "first"))
    assert bury(store, new_tombstone(store, digest, "second")) is False
    with pytest.raises(ErasedError, match="first"):
        get(store, digest)
    assert len(events(store, "erasure")) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_store_that_cannot_be_written_is_one_clear_error(store, chain):
    store.root.chmod(0o500)
    try:
        with pytest.raises(Exception, match="permission denied"):
            erase(store, chain[0].digest, "asked for")
    finally:
        store.root.chmod(0o700)


# full texts, what failed stages left, and what nothing is known of

SECRET = "customer 17"


def test_full_texts_go_with_what_they_show_unless_others_have_them(store):
    text, both = (put(store, f"{said} of {SECRET}".encode()) for said in ("every row", "a line"))
    own = {"fit.cell-2.stdout.txt": text, "fit.cell-3.stdout.txt": both}
    in_run(store, "r1", "ingest", {}, {"rows": SECRET}, texts={"ingest.cell-1.stdout.txt": put(store, b"in")})
    in_run(store, "r1", "fit", {"rows": SECRET}, {"model": "m"}, texts=own)
    in_run(store, "r2", "other", {}, {"thing": "t"}, texts={"other.cell-1.stdout.txt": both})
    rows = put_value(store, SECRET).digest
    listed = erase(store, rows, "asked for", dry_run=True)
    assert {m.name for m in listed.made_from if m.kind == "text"} == {"ingest", "fit"}
    done = erase(store, rows, "asked for", down=True)
    assert not has(store, text) and not has(store, put_value_digest(b"in")) and has(store, both)
    assert done.shared == [both]


def failed_run(store, run, name, inputs=(), saved=(), state="failed", evalue=f"bad row: {SECRET}", **about):
    "A run with a failed stage whose notebook, full text, error and events all show the secret."
    folder = run_folder(store, run)
    for file in (f"{name}.ipynb", f"{name}.cell-2.stdout.txt"):
        (folder / file).write_text(f"shown: {SECRET}")
    (folder / "events.jsonl").write_text(json.dumps({"event": "line", "text": f"again: {SECRET}"}) + "\n")
    error = {"cell": 2, "cell_id": "c", "ename": "ValueError", "evalue": evalue}
    given, made = (
        {n: put_value(store, text).as_dict() for n, text in dict(values).items()}
        for values in (inputs, saved)
    )
    stage = name.split(".")[0]
    entry = {"name": stage, "each": None, "state": state, "kind": "user_error", "key": None, "metrics": {}}
    entry |= {"error": error, "last_lines": [evalue], "notebook": f"/elsewhere/{name}.ipynb"}
    entry |= {"inputs": given, "saved": made}
    other = {"name": "other", "state": "failed", "error": error | {"evalue": "no digits"}, "notebook": None}
    document = {"run": run, "pipeline": "fraud", "profile": "default", "state": "failed", "keys": {}}
    write_run(store, document | {"stages": [entry | about, other]})
    return folder


def shown_in_runs(store):
    "Files of runs that show the secret, as paths in the store."
    return {path.relative_to(store.root).as_posix() for path in content_left(store, SECRET.encode())} & {
        path.relative_to(store.root).as_posix() for path in (store.root / "runs").rglob("*")
    }


@pytest.fixture
def rows(store):
    in_run(store, "r1", "ingest", {}, {"rows": SECRET})
    return put_value(store, SECRET).digest


@pytest.mark.parametrize("state", ["failed", "cancelled"])
@pytest.mark.parametrize(
    ("inputs", "saved"),
    [({"rows": SECRET}, {}), ({"rows": SECRET}, {"model": f"of {SECRET}"}), ({}, {"rows": SECRET})],
    ids=["read it", "read it and saved", "saved it itself"],
)
def test_what_a_failed_stage_left_goes_or_is_named(store, rows, state, inputs, saved):
    failed_run(store, "r2", "fit", inputs, saved, state)
    listed = erase(store, rows, "asked for", dry_run=True)
    assert set(listed.may_show) == shown_in_runs(store) and listed.removed_files == []
    before = shown_in_runs(store)
    planned = erase(store, rows, "asked for", down=True, dry_run=True)
    assert shown_in_runs(store) == before
    done = erase(store, rows, "asked for", down=True)
    told = ("removed_files", "may_show", "unnamed", "overlays")
    assert [getattr(done, key) for key in told] == [getattr(planned, key) for key in told]
    assert done.removed_files == ["runs/r2/fit.cell-2.stdout.txt", "runs/r2/fit.ipynb"]
    assert set(done.may_show) == shown_in_runs(store) == {"runs/r2/events.jsonl"}
    entry, other = read_run(store, "r2").stages
    assert verify_store(store).clean
    assert (entry.error.ename, entry.error.cell, entry.state) == ("ValueError", 2, state)
    assert other.error.evalue == "no digits"
    assert erase(store, rows, "asked for", down=True).removed_files == []


def test_failed_stage_that_read_something_else_keeps_all(store, rows):
    failed_run(store, "r2", "fit", {"sales": "other"}, {"model": "m"})
    before = shown_in_runs(store)
    done = erase(store, rows, "asked for", down=True)
    assert (done.removed_files, done.may_show) == ([], []) and shown_in_runs(store) == before
    assert before >= {"runs/r2/fit.ipynb", "runs/r2/run.json"}


def test_failed_stage_in_doubt_and_a_living_run_are_named_and_left(store, rows):
    in_run(store, "r5", "copy", {}, {"same": SECRET}, "second")
    failed_run(store, "r2", "doubtful", {"second/same": SECRET})
    failed_run(store, "r3", "living", {"rows": SECRET})
    before = shown_in_runs(store)
    with hold_run(store, "r3"):
        done = erase(store, rows, "asked for", down=True, names={("fraud", "rows")})
    assert done.removed_files == [] and set(done.may_show) == shown_in_runs(store) == before


def test_part_of_a_fan_out_loses_its_own_files_only(store, rows):
    folder = failed_run(store, "r2", "fit.kind-a[0]", {"rows": SECRET}, each={"kind": "a[0]"})
    for name in ("fit.kind-b.ipynb", "fit.kind-a[0]b.cell-1.stdout.txt", "fit.kind-a0.cell-2.stdout.txt"):
        (folder / name).write_text("of another part")
    done = erase(store, rows, "asked for", down=True)
    assert done.removed_files == ["runs/r2/fit.kind-a[0].cell-2.stdout.txt", "runs/r2/fit.kind-a[0].ipynb"]
    assert len(list(folder.glob("fit.*"))) == 3


def test_failed_part_of_a_fan_out_goes_with_the_list_it_has_its_value_from(store, rows):
    listed = {"rows": put_value(store, SECRET).as_dict() | {"type": "list"}}
    failed_run(store, "r2", "fit.kind-a", each={"kind": "a"}, list=listed)
    done = erase(store, rows, "asked for", down=True)
    assert done.removed_files == ["runs/r2/fit.kind-a.cell-2.stdout.txt", "runs/r2/fit.kind-a.ipynb"]
    assert set(done.may_show) == shown_in_runs(store) == {"runs/r2/events.jsonl"}


def test_records_of_parts_that_have_their_value_from_it_are_named(store):
    names = put_value(store, ["ana", SECRET])
    record(store, "who", 1, (), [("names", names)])
    about = {"each": {"name": SECRET}, "list": {"names": names.as_dict()}}
    fit = in_run(store, "r1", "fit", {}, {"model": "m"}, **about)
    other = {"each": {"name": SECRET}, "list": {}}
    in_run(store, "r1", "other", {"names": SECRET}, {"thing": "t"}, **other)
    for down in (False, True):
        done = erase(store, names.digest, "asked for", down, names={("fraud", "names")})
        assert done.parts == [f"records/fraud/fit/{fit.key}.json"]
        assert (store.root / done.parts[0]).is_file()


def test_scratch_of_killed_runs_goes_and_that_of_living_ones_stays(store, rows):
    for run in ("r2", "r3"):
        scratch = run_folder(store, run) / "scratch" / "fit-1"
        scratch.mkdir(parents=True)
        (scratch / "out.ipynb").write_text(SECRET)
        write_run(store, {"run": run, "pipeline": "fraud", "state": "running", "stages": []})
    with hold_run(store, "r3"):
        assert erase(store, rows, "asked for").may_show == ["runs/r2/scratch"]
        assert erase(store, rows, "asked for", down=True).removed_files == ["runs/r2/scratch"]
    assert shown_in_runs(store) == {"runs/r3/scratch/fit-1/out.ipynb"}


def test_what_killed_tries_left_is_counted_and_removed_by_two_collections(store, rows):
    orphan = put(store, f"saved of {SECRET}".encode())
    failed_run(store, "r2", "fit", {}, {"model": f"model of {SECRET}"})
    forget_pins()
    assert erase(store, rows, "asked for", down=True).unnamed == Unnamed(objects=1)
    collect(store, Retention(runs=0))
    assert erase(store, rows, "asked for", down=True).unnamed == Unnamed(objects=2, runs=1)
    collect(store)
    assert not has(store, orphan) and content_left(store, SECRET.encode()) == []
    assert erase(store, rows, "asked for", down=True).unnamed == Unnamed()


def test_overlays_are_named_only_when_they_hold_values(store, rows):
    for who in ("ana", "ben"):
        open_store(store.root / "overlay" / who, below=store)
    assert erase(store, rows, "asked for", dry_run=True).overlays == []
    (store.root / "overlay" / "ben" / "values" / "fraud").mkdir(parents=True)
    (store.root / "overlay" / "ben" / "values" / "fraud" / "rows.json").write_text("{}")
    assert erase(store, rows, "asked for", dry_run=True).overlays == ["overlay/ben"]


@pytest.mark.slow
def test_after_an_erasure_every_file_that_shows_it_is_one_that_was_named(make_project, mlnb, tmp_path):
    read = 'from mlnb import load, require, save\nx = load("x")'
    root = make_project(
        {
            "10_a.ipynb": ["from mlnb import save", 'save("x", "SECRET" + "ALICE")'],
            "20_ok.ipynb": [read, "for i in range(30000):\n    print(x, i)", 'save("y", x + "der")'],
            "30_shows.ipynb": [read, 'print(x)\nraise ValueError("boom " + x)'],
            "40_saves.ipynb": [read, 'save("w", x + "failed")\nrequire(False, "no " + x)'],
            "50_dies.ipynb": [read, 'save("v", x + "died")\nimport os\nos._exit(1)'],
        }
    ).root
    here = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert mlnb("run", "demo", "-k", cwd=root).code != 0
    assert mlnb("publish", cwd=root).code == 0
    by_hand = "from mlnb import load, save; save('z', load('demo/x') + 'hand')"
    subprocess.run([sys.executable, "-c", by_hand], cwd=root / "nbs", check=True, capture_output=True)
    assert mlnb("audit", "init", cwd=root, **here).code == 0
    (one,) = mlnb("artifacts", "demo/x", "--json", cwd=root).json["artifacts"]
    asked = mlnb(
        "erase",
        f"demo/x@{one['digest'][:12]}",
        "--reason",
        "r",
        "--down",
        "--yes",
        "--json",
        cwd=root,
        **here,
    )
    assert asked.code == 0, asked.stderr
    store, said = root / ".mlnb", asked.json
    left = {path for path in root.rglob("*") if path.is_file() and b"SECRETALICE" in path.read_bytes()}
    named = {store / path for path in said["may_show"]}
    named |= {path for place in said["overlays"] for path in (store / place).rglob("*")}
    named |= set((root / "reports").rglob("*")) if said["published"] else set()
    assert said["published"] and said["overlays"] and left - named == set(), left - named
    assert all(word in asked.stderr for word in ("by hand", "mlnb publish"))
    assert mlnb("verify", cwd=root).code == 0


@pytest.fixture
def portraits(store):
    "A list of two people, a portrait of each, and a longer list under which the portraits are there already."
    about = {}
    for run, people in (("r1", ["ann", "bob"]), ("r2", ["ann", "bob", "cy"])):
        about[run] = put_value(store, people).as_dict()
        made = {"key": digest_of([run]), "outputs": {"person": about[run]}}
        commit(store, in_run(store, run, "people").as_dict() | made)
    keys = {person: digest_of([person]) for person in ("ann", "bob")}
    entries = [{"name": "profile", "state": "cached", "key": key} for key in keys.values()]
    people = {"name": "people", "state": "committed", "key": digest_of(["r2"])}
    write_run(store, {"run": "r2", "pipeline": "fraud", "state": "committed", "stages": [people, *entries]})

    def part(person, **given):
        each = {"each": {"person": person}, "key": keys[person]}
        in_run(store, "r1", "profile", {}, {"portrait": f"portrait of {person}"}, **each, **given)
        return put_value(store, f"portrait of {person}").digest

    return about, part


def test_portrait_goes_with_the_list_that_it_was_run_for_and_may_be_from_a_longer_one(store, portraits):
    lists, part = portraits
    digests = [part(person, list={"person": lists["r1"]}) for person in ("ann", "bob")]
    longer = erase(store, lists["r2"]["digest"], "asked for", down=True, names={("fraud", "person")})
    assert {one.digest for one in longer.may_be_made_from} > {*digests}
    assert all(has(store, digest) for digest in digests)
    erase(store, lists["r1"]["digest"], "asked for", down=True, names={("fraud", "person")})
    assert not any(has(store, digest) for digest in digests)


def test_portrait_of_before_lists_were_recorded_is_in_doubt_and_never_silent(store, portraits):
    lists, part = portraits
    digest = part("ann")
    for run in ("r1", "r2"):
        done = erase(store, lists[run]["digest"], "asked for", down=True, names={("fraud", "person")})
        assert digest in {one.digest for one in done.may_be_made_from} and has(store, digest)


def test_maker_of_a_list_is_kept_with_the_parts_that_ran_for_it(store, portraits):
    lists, part = portraits
    part("ann", list={"person": lists["r1"]})
    records = read_records(store, {})
    of_part = {path for path in records if digest_of(["ann"]) in path}
    kept = {records[path].document.stage for path in with_origins(records, of_part, set())}
    assert kept == {"profile", "people"}


def test_portrait_of_an_attempt_that_failed_goes_with_its_list(store, portraits):
    lists, _ = portraits
    saved = put_value(store, "half a portrait")
    entry = {"name": "profile", "each": {"person": "ann"}, "state": "failed", "key": None, "inputs": {}}
    entry |= {"saved": {"portrait": saved.as_dict()}, "list": {"person": lists["r1"]}}
    write_run(store, {"run": "r3", "pipeline": "fraud", "state": "failed", "stages": [entry]})
    erase(store, lists["r1"]["digest"], "asked for", down=True, names={("fraud", "person")})
    assert not has(store, saved.digest)
