"""Collecting garbage frees what nothing leads to, and never what somebody needs, whoever writes meanwhile."""

import json
import multiprocessing
import os
import time

import pytest
from msgspec.structs import replace
from plain_records import commit, write_run

from mlnb.care import gc
from mlnb.care.concerned import concerned, sound_records
from mlnb.care.gc import FileAmount, Quarantine, Retention, collect
from mlnb.care.verify import verify_store
from mlnb.notebook.each import unit_name
from mlnb.store.artifacts import put_value
from mlnb.store.errors import LockedError
from mlnb.store.objects import get, has, open_store, path_of, put
from mlnb.store.pins import forget_pins, pinned, protect
from mlnb.store.records import find_record, is_whole
from mlnb.store.refs import move_ref
from mlnb.store.runs import hold_run, run_folder, run_ids


@pytest.fixture
def store(tmp_path):
    yield open_store(tmp_path / "store")
    forget_pins()


def run_name(n):
    return f"202611{n:02d}T100000000-aaaa"


def described(digest, size=1):
    return {"digest": digest, "codec": "text", "bytes": size}


def add(store, n, stage="train", inputs=(), evidence=None):
    "One committed stage in a run of its own; its output is the text `STAGE N`."
    text = f"{stage} {n}".encode()
    output = described(put(store, text), len(text))
    record = {
        "key": f"{n:064d}",
        "parts": {},
        "pipeline": "fraud",
        "stage": stage,
        "run": run_name(n),
        "inputs": {f"in{i}": described(d) for i, d in enumerate(inputs)},
        "outputs": {stage: output},
        "metrics": {},
        "notebook": put(store, b"notebook of " + text),
    }
    commit(store, record)
    if evidence:
        commit(
            store,
            record | {"outputs": {stage: output | {"digest": put(store, evidence), "bytes": len(evidence)}}},
        )
    write_run(
        store,
        {
            "run": run_name(n),
            "pipeline": "fraud",
            "state": "committed",
            "keys": {stage: record["key"]},
            "stages": [],
        },
    )
    return output["digest"]


def twice(store, *args, **kwargs):
    collect(store, *args, **kwargs)
    return collect(store, *args, **kwargs)


def test_nothing_goes_by_default_but_what_no_record_names(store):
    kept, garbage = [add(store, n) for n in range(1, 4)], put(store, b"garbage")
    forget_pins()
    found = collect(store)
    assert (found.moved.objects, found.moved.bytes, found.moved.records, found.moved.runs) == (1, 7, 0, 0)
    assert collect(store).deleted.bytes == 7
    assert not has(store, garbage) and all(has(store, d) for d in kept) and verify_store(store).clean


def test_dry_run_says_the_same_and_changes_nothing(store):
    add(store, 1)
    put(store, b"garbage")
    (store.root / "objects" / ".tmp-left").write_bytes(b"123")
    forget_pins()
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*")}
    planned = collect(store, Retention(records=0, runs=0), dry_run=True)
    assert {p: p.stat().st_mtime_ns for p in store.root.rglob("*")} == before
    done = collect(store, Retention(records=0, runs=0))
    assert replace(planned, dry_run=False) == done and done.temporaries == FileAmount(files=1, bytes=3)
    assert json.loads(json.dumps(done.as_dict())) == done.as_dict()


def test_retention_keeps_the_newest_and_what_refs_lead_to(store):
    digests = {n: add(store, n) for n in range(1, 8)}
    move_ref(store, "heads/fraud/default", run_name(1), "first")
    move_ref(store, "heads/fraud/default", run_name(2), "second")
    move_ref(store, "names/fraud/train/champion", digests[3], "gate")
    move_ref(store, "names/fraud/train/champion", run_name(4), "gate")
    forget_pins()
    twice(store, Retention(records=2, runs=1))
    assert {n for n, d in digests.items() if has(store, d)} == {2, 3, 4, 6, 7}
    assert set(run_ids(store)) == {run_name(n) for n in (2, 3, 4, 6, 7)}
    assert verify_store(store).clean


def test_what_a_kept_result_was_made_from_is_kept_back_to_the_beginning(store):
    rows = add(store, 1, "rows")
    features = add(store, 2, "features", [rows])
    model = add(store, 3, "train", [features])
    other = add(store, 4, "rows")
    move_ref(store, "names/fraud/train/champion", model, "gate")
    forget_pins()
    twice(store, Retention(records=0, runs=0))
    assert all(has(store, d) for d in (rows, features, model)) and not has(store, other)


def test_evidence_stays_with_its_record_and_goes_with_it(store):
    add(store, 1, evidence=b"another result")
    other = add(store, 2)
    digest = next((store.root / "records").rglob("*.evidence"))
    forget_pins()
    collect(store)
    assert digest.exists() and put(store, b"another result") and verify_store(store).objects == 5
    forget_pins()
    twice(store, Retention(records=1, runs=0))
    assert not digest.exists() and has(store, other)


def test_trash_is_given_back_to_whoever_asks_before_the_next_collection(store):
    digest = add(store, 1)
    forget_pins()
    collect(store, Retention(records=0, runs=0))
    assert not path_of(store, digest).exists()
    assert get(store, digest) == b"train 1" and find_record(store, "fraud", "train", f"{1:064d}")
    move_ref(store, "heads/fraud/default", digest, "used again")
    forget_pins()
    twice(store, Retention(records=0, runs=0))
    assert get(store, digest) == b"train 1" and verify_store(store).clean


def test_put_of_what_lies_in_the_trash_keeps_it(store):
    digest = put(store, b"content")
    forget_pins()
    collect(store)
    assert put(store, b"content") == digest
    for _ in range(3):
        collect(store)
    assert get(store, digest) == b"content"


def test_running_run_keeps_its_journal_its_inputs_and_its_records(store):
    digests = {n: add(store, n) for n in range(1, 4)}
    saved = put(store, b"saved by a kernel that has ended")
    forget_pins()
    run = run_name(20)
    with hold_run(store, run):
        write_run(
            store,
            {
                "run": run,
                "pipeline": "fraud",
                "state": "running",
                "stages": [{"name": "train", "state": "running", "key": f"{1:064d}"}],
            },
        )
        scratch = run_folder(store, run) / "scratch" / "train-1"
        scratch.mkdir(parents=True)
        (scratch / "journal.jsonl").write_text(
            json.dumps({"save": "x", "artifact": {"digest": saved}}) + "\n" + '{"save": "cut'
        )
        (scratch / "context.json").write_text(json.dumps({"inputs": {"model": {"digest": digests[2]}}}))
        twice(store, Retention(records=0, runs=0))
        assert [has(store, d) for d in (digests[1], digests[2], digests[3], saved)] == [
            True,
            True,
            False,
            True,
        ]
    twice(store, Retention(records=0, runs=0))
    assert not any(has(store, d) for d in (*digests.values(), saved))


def test_overlay_keeps_what_it_reads_through_to_and_is_collected_by_itself(store):
    below = put(store, b"of the project")
    overlay = open_store(store.root / "overlay" / "ada", below=store)
    mine, dropped = put(overlay, b"mine"), put(overlay, b"dropped")
    (overlay.root / "values" / "fraud").mkdir(parents=True)
    (overlay.root / "values" / "fraud" / "x.json").write_text(json.dumps({"digest": below, "parts": [mine]}))
    forget_pins()
    twice(store, Retention(records=0, runs=0))
    assert has(store, below)
    twice(overlay)
    assert has(overlay, mine) and not has(overlay, dropped) and has(store, below)


def test_damaged_record_keeps_what_it_still_mentions(store):
    digest = add(store, 1)
    path = next((store.root / "records").rglob("*.json"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-3])
    forget_pins()
    twice(store, Retention(records=0))
    assert path.exists() and has(store, digest)


def test_pins_of_dead_processes_protect_nothing_and_are_removed(store):
    if (pid := os.fork()) == 0:
        put(store, b"of a dead process")
        os._exit(0)
    os.waitpid(pid, 0)
    assert len(list((store.root / "pins").iterdir())) == 1 and pinned(store.root, remove_dead=False) == set()
    assert collect(store).moved.objects == 1 and not list((store.root / "pins").iterdir())


def test_second_collection_at_the_same_time_is_refused_and_a_killed_one_holds_nobody_up(store):
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        with gc.collecting(store):
            os.write(writing, b"x")
            time.sleep(60)
    os.read(reading, 1)
    with pytest.raises(LockedError) as caught:
        collect(store)
    assert caught.value.exit_code == 75
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    collect(store)


def test_object_that_becomes_needed_between_two_looks_stays(store, monkeypatch):
    "The promise of the marker: whichever of `put` and the collection comes first, one sees the other."
    digest = put(store, b"wanted in a moment")
    forget_pins()
    real, looks = gc.look, []

    for wanted_at in (1, 2, 3):
        for want in (lambda: protect(store.root, digest), lambda: put(store, b"wanted in a moment")):

            def look(*args, wanted_at=wanted_at, want=want, **kwargs):
                looks.append(1)
                if len(looks) == wanted_at:
                    want()
                return real(*args, **kwargs)

            looks.clear()
            monkeypatch.setattr(gc, "look", look)
            collect(store)
            assert len(looks) == 3 and path_of(store, digest).exists(), wanted_at
            forget_pins()


def busy(root, number, rounds, queue):
    """Put, commit and read, over and over; values come from a small set, so that what is garbage now is
    needed soon."""
    try:
        store = open_store(root)
        for n in range(rounds):
            value = (number * 7 + n * 3) % 10
            text = f"train {value}".encode()
            digest = put(store, text)
            key = f"{number:032d}{n:032d}"
            commit(
                store,
                {
                    "key": key,
                    "parts": {},
                    "pipeline": "fraud",
                    "stage": "train",
                    "run": f"r{number}-{n:06d}",
                    "inputs": {},
                    "metrics": {},
                    "outputs": {"model": {"digest": digest, "codec": "text", "bytes": len(text)}},
                },
            )
            move_ref(store, f"heads/fraud/p{number}", digest, "latest")
            record = find_record(store, "fraud", "train", key)
            assert record is not None and get(store, record.outputs["model"].digest) == text
            if n % 5 == 4:
                forget_pins()
        queue.put(None)
    except BaseException as error:
        queue.put(f"{type(error).__name__}: {error}")


def collect_while_busy(root, n_processes, rounds):
    store = open_store(root)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [
        context.Process(target=busy, args=(root, number, rounds, queue)) for number in range(n_processes)
    ]
    for p in processes:
        p.start()
    moved = 0
    while any(p.is_alive() for p in processes):
        moved += collect(store, Retention(records=1, runs=0)).moved.records
    assert [queue.get(timeout=60) for _ in processes] == [None] * n_processes
    found = verify_store(store)
    assert found.damaged == [], found.damaged[:3]
    for record in sound_records(store):
        assert is_whole(store, record.outputs["model"])
    return moved


def test_collecting_while_others_write_and_read_loses_nothing(tmp_path):
    assert collect_while_busy(tmp_path / "store", 2, 60) >= 1


@pytest.mark.slow
def test_collecting_while_many_write_and_read_loses_nothing(tmp_path):
    assert collect_while_busy(tmp_path / "store", 6, 400) >= 10


def test_quarantine_goes_only_when_asked(store):
    (store.root / "quarantine").mkdir()
    (store.root / "quarantine" / "x").write_bytes(b"1234")
    assert (
        collect(store).quarantine == Quarantine(files=1, bytes=4, kept=True)
        and (store.root / "quarantine" / "x").exists()
    )
    assert (
        not collect(store, Retention(quarantine=False)).quarantine.kept
        and not (store.root / "quarantine").exists()
    )


# a head and the parts of a fan-out, by values that look like anything but a part

VALUES = ("u", "a[0]", "x]y", "it's", "1.5", "k=v")


def fold(store, run, value, n):
    "Commit a part of the fan-out `fold` that saved its own value."
    record = {"key": f"{n:064d}", "parts": {}, "pipeline": "demo", "stage": "fold", "run": run}
    record |= {"each": {"kind": value}, "inputs": {}, "metrics": {}, "notebook": put(store, value.encode())}
    return commit(store, record | {"outputs": {"m": put_value(store, value).as_dict()}}).record


@pytest.fixture
def partial_head(make_project):
    "A head that was set by a run of another stage, after an earlier run had made the parts."
    cells = {
        "10_a.ipynb": ["from mlnb import save", 'save("kinds", [])'],
        "20_fold.ipynb": [
            "#| each: kind in kinds\nfrom mlnb import save",
            ("parameters", 'kind: str = "z"'),
            'save("m", kind)',
        ],
    }
    root = make_project(cells).root
    store = open_store(root / ".mlnb")
    parts = {value: fold(store, run_name(1), value, n) for n, value in enumerate(VALUES, 1)}
    keys = {unit_name("fold", {"kind": value}): record.key for value, record in parts.items()}
    document = {"run": run_name(1), "pipeline": "demo", "profile": "default", "state": "failed"}
    write_run(store, document | {"keys": keys, "stages": []})
    document |= {"run": run_name(2), "state": "committed", "head": True, "keys": keys}
    write_run(store, document | {"stages": [{"name": "b", "state": "committed", "key": None}]})
    move_ref(store, "heads/demo/default", run_name(2), "all is committed")
    forget_pins()
    return root, store, parts


def test_head_keeps_the_parts_that_an_earlier_run_made(partial_head, asked):
    root, store, parts = partial_head
    twice(store, Retention(records=0, runs=0))
    kept = [find_record(store, "demo", "fold", record.key) for record in parts.values()]
    assert [record.each["kind"] for record in kept] == list(VALUES)
    assert verify_store(store).clean
    told = asked("get", "m", "--json", cwd=root)
    assert (told.code, sorted(told.json["values"]), told.json["run"]) == (0, sorted(VALUES), run_name(2))
    move_ref(store, "heads/demo/default", run_name(9), "its run is not there")
    twice(store, Retention(records=0, runs=0))
    assert not any(has(store, record.outputs["m"].digest) for record in parts.values())


def test_damage_of_a_part_names_every_run_that_rests_on_it(partial_head):
    _, store, parts = partial_head
    digests = {record.notebook for record in parts.values()}
    assert all(about.runs == [run_name(1), run_name(2)] for about in concerned(store, digests).values())


@pytest.mark.slow
def test_collecting_after_a_partial_run_changes_no_answer(make_project, mlnb):
    root = make_project(
        {
            "10_a.ipynb": ["from mlnb import save", 'save("kinds", ["u", "a[0]"])'],
            "20_fold.ipynb": [
                "#| each: kind in kinds\nfrom mlnb import save",
                ("parameters", 'kind: str = "z"'),
                'save("m", kind)',
            ],
            "30_b.ipynb": [
                'from mlnb import save\nfrom pathlib import Path\nPath("../ok").read_text()',
                'save("b", 1)',
            ],
        }
    ).root
    assert mlnb("run", "demo", "-k", cwd=root).code == 1
    (root / "ok").write_text("")
    assert mlnb("run", "demo", "b", "--json", cwd=root).json["head"]
    before = [mlnb(*verb, "--json", cwd=root).json for verb in (("get", "m"), ("status",))]
    for _ in range(2):
        assert mlnb("gc", "--keep-records", "0", "--keep-runs", "0", cwd=root).code == 0
    assert [mlnb(*verb, "--json", cwd=root).json for verb in (("get", "m"), ("status",))] == before
    assert mlnb("verify", cwd=root).code == 0
