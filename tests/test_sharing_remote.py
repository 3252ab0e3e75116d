"""Push and pull: two stores share work through any place, and a place that lies can make them take nothing
false."""

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from plain_records import as_record, commit, write_run

from mlnb.care.audit import events, init_audit, verify_log
from mlnb.care.erase import blanked, erase
from mlnb.care.signing import make_key, own_key, sign, trust
from mlnb.care.vouched import sign_result, signer
from mlnb.sharing.exchanges import LeftAlone, SentRef
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push, sign_unsigned
from mlnb.sharing.remote import (
    Transfer,
    can_create,
    create_remote,
    fetch,
    open_remote,
    read_remote,
    remove_remote,
    sizes_below,
    write_remote,
)
from mlnb.sharing.remote_care import check_remote, gc_remote
from mlnb.sharing.trust import object_place, project_place, record_place, tombstone_place
from mlnb.store.digests import canonical_json, sha256
from mlnb.store.documents import read_json, sealed
from mlnb.store.errors import IntegrityError, LockedError, StoreError, UsageError
from mlnb.store.objects import get, has, open_store, path_of, put
from mlnb.store.project_id import project_id, take_id
from mlnb.store.records import find_record, record_path, records_of
from mlnb.store.refs import move_ref, read_ref, ref_history
from mlnb.store.runs import read_run
from mlnb.store.tombstones import ErasedError, Tombstone, is_erased
from mlnb.store.url import shown_url

RUN = "20261123T100000000-0a1b"
pytestmark = pytest.mark.usefixtures("unflushed")


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture(scope="session")
def s3():
    "A server of the S3 protocol on loopback."
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def place(request, tmp_path, monkeypatch):
    "URL and options of an empty place of the kind that the test asks for."
    kind = getattr(request, "param", "local")
    if kind == "local":
        return str(tmp_path / "shared"), None
    if kind == "memory":
        return f"memory://{tmp_path.name}-{random.randrange(10**9)}", None
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    options = {"endpoint_url": request.getfixturevalue("s3")}
    bucket = f"bucket-{random.randrange(10**9)}"
    open_remote(f"s3://{bucket}", options).fs.mkdir(bucket)
    return f"s3://{bucket}/team/store", options


on_three = pytest.mark.parametrize("place", ["local", "memory", "s3"], indirect=True)
everywhere = pytest.mark.parametrize(
    "place", ["local", "memory", pytest.param("s3", marks=pytest.mark.slow)], indirect=True
)


def store_of(folder, name, *friends):
    "A store with a key, that trusts others."
    store = open_store(folder / name)
    init_audit(store)
    for friend in friends:
        befriend(store, friend)
    return store


def befriend(store, friend):
    trust(store, friend.root.name, own_key(friend))


def result(store, number=1, text="a model", inputs=()):
    "Commit a record with one output and some code."
    digest = put(store, text.encode())
    record = {
        "key": f"{number + 1:064x}",
        "pipeline": "fraud",
        "stage": "train",
        "run": RUN,
        "metrics": {"auc": 0.9},
        "inputs": {
            f"in_{n}": {"digest": put(store, i.encode()), "codec": "text", "type": "str", "bytes": len(i)}
            for n, i in enumerate(inputs)
        },
        "outputs": {"model": {"digest": digest, "codec": "text", "type": "str", "bytes": len(text.encode())}},
        "notebook": put(store, f"notebook {number}".encode()),
        "source": put(store, b"source"),
        "lock": None,
        "modules": {"shop.features": put(store, b"def f(): ...")},
    }
    commit(store, record, sign=signer(store, "record"))
    return as_record(record)


@pytest.fixture
def ana(tmp_path):
    return store_of(tmp_path, "ana")


@pytest.fixture
def ben(tmp_path, ana):
    store = store_of(tmp_path, "ben", ana)
    take_id(store, project_id(ana))
    return store


def snapshot(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


# sharing


@on_three
def test_teammate_gets_results_objects_runs_and_sees_refs_without_moving_heads(place, ana, ben):
    url, options = place
    record = result(ana, inputs=("raw",))
    write_run(
        ana,
        {"run": RUN, "pipeline": "fraud", "state": "committed", "stages": [], "keys": {"train": record.key}},
        signer(ana, "run"),
    )
    move_ref(ana, "heads/fraud/default", RUN, "done", sign=signer(ana, "ref"))
    move_ref(ben, "heads/fraud/default", "my-own-run", "done", sign=signer(ben, "ref"))
    sent = push(ana, url, options=options)
    assert (sent.objects, sent.records, sent.runs, sent.left_out) == (5, 1, 1, [])
    taken = pull(ben, url, options=options)
    assert (taken.objects, taken.records, taken.runs, taken.refused, taken.exit_code) == (5, 1, 1, [], 0)
    assert find_record(ben, "fraud", "train", record.key) == record
    assert get(ben, record.outputs["model"].digest) == b"a model"
    assert get(ben, record.inputs["in_0"].digest) == b"raw"
    assert read_run(ben, "latest").keys == {"train": record.key}
    assert read_ref(ben, "heads/fraud/default").target == "my-own-run"
    assert read_ref(ben, "remotes/origin/heads/fraud/default").target == RUN


def counts_of(moved):
    return moved.objects, moved.bytes, moved.records, moved.runs


@everywhere
def test_second_push_and_second_pull_move_nothing(place, ana, ben):
    url, options = place
    result(ana)
    push(ana, url, options=options)
    pull(ben, url, options=options)
    assert counts_of(push(ana, url, options=options)) == (0, 0, 0, 0)
    assert counts_of(pull(ben, url, options=options)) == (0, 0, 0, 0)


@everywhere
def test_only_missing_objects_are_sent(place, ana):
    url, options = place
    result(ana, 1, "first")
    push(ana, url, options=options)
    result(ana, 2, "second")
    sent = []
    push(ana, url, options=options, transfer=Transfer(lambda kind, what: sent.append((kind, what))))
    assert sorted(kind for kind, _ in sent) == ["object", "object", "record"]


@everywhere
def test_two_laptops_and_a_ci_cache_share_work_in_both_directions(place, ana, ben):
    url, options = place
    befriend(ana, ben)
    mine, theirs = result(ana, 1, "ana's"), result(ben, 2, "ben's")
    push(ana, url, options=options)
    push(ben, url, options=options)
    pull(ana, url, options=options)
    pull(ben, url, options=options)
    for store in (ana, ben):
        assert sorted(r.key for r in records_of(store, "fraud", "train")) == [mine.key, theirs.key]


@everywhere
def test_remote_is_erased_by_the_next_push_and_the_teammate_by_the_next_pull(place, ana, ben):
    url, options = place
    record = result(ana)
    digest = record.outputs["model"].digest
    push(ana, url, options=options)
    pull(ben, url, options=options)
    erase(ana, digest, "customer 17 asked for it")
    assert push(ana, url, options=options).erased == 1
    assert object_place(digest) not in sizes_below(open_remote(url, options), "objects")
    assert pull(ben, url, options=options).erased == 1
    with pytest.raises(ErasedError, match="customer 17"):
        get(ben, digest)
    assert push(ben, url, options=options).objects == 0
    for store in (ana, ben):
        again = pull(store, url, options=options)
        assert (again.keys, again.records, again.refused) == ([], 0, [])


@everywhere
def test_erased_object_is_not_brought_back_by_somebody_who_still_has_it(place, ana, ben):
    url, options = place
    befriend(ana, ben)
    digest = result(ana).outputs["model"].digest
    push(ana, url, options=options)
    pull(ben, url, options=options)
    erase(ana, digest, "asked for")
    push(ana, url, options=options)
    push(ben, url, options=options)
    assert object_place(digest) not in sizes_below(open_remote(url, options), "objects")
    assert pull(ana, url, options=options).refused == []
    assert not has(ana, digest)


def test_pipelines_can_be_chosen(place, ana, ben):
    record = result(ana)
    assert push(ana, place[0], pipelines=["other"]).records == 0
    push(ana, place[0])
    assert pull(ben, place[0], pipelines=["other"]).records == 0
    assert pull(ben, place[0], pipelines=["fraud"]).records == 1
    assert has(ben, record.outputs["model"].digest)


@pytest.mark.parametrize("folder", ["objects", "records", "runs", "refs/heads", "tombstones"])
def test_folder_of_a_remote_that_nobody_may_list_is_said_and_holds_not_nothing(
    ana, ben, tmp_path, monkeypatch, folder
):
    record = result(ana)
    write_run(
        ana,
        {"run": RUN, "pipeline": "fraud", "state": "committed", "stages": [], "keys": {"train": record.key}},
        signer(ana, "run"),
    )
    move_ref(ana, "heads/fraud/default", RUN, "done", sign=signer(ana, "ref"))
    push(ana, str(tmp_path / "remote"))
    (tmp_path / "remote" / "tombstones").mkdir(exist_ok=True)
    listed = os.scandir

    def closed(path="."):
        if Path(path) == tmp_path / "remote" / folder:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(StoreError, match="Permission denied"):
        pull(ben, str(tmp_path / "remote"))
    monkeypatch.undo()
    assert pull(ben, str(tmp_path / "remote")).exit_code == 0
    assert find_record(ben, "fraud", "train", record.key) == record


def test_different_result_for_one_key_is_kept_as_evidence(place, ana, ben):
    result(ana, 1, "one")
    mine = result(ben, 1, "another")
    push(ana, place[0])
    path_of(ben, mine.notebook).unlink()
    pull(ben, place[0])
    assert find_record(ben, "fraud", "train", mine.key).outputs == mine.outputs


def test_push_and_pull_are_audit_events(place, ana, ben):
    result(ana)
    push(ana, place[0])
    pull(ben, place[0])
    assert events(ana)[-1].event == "push" and events(ana)[-1].about["objects"] == 4
    assert (events(ben)[-1].event, events(ben)[-1].outcome) == ("pull", "ok")


def test_checkpoint_at_the_remote_shows_that_the_log_was_cut(place, ana, tmp_path):
    result(ana)
    push(ana, place[0])
    remote = open_remote(place[0])
    [path] = sizes_below(remote, "checkpoints")
    (tmp_path / "kept.json").write_bytes(read_remote(remote, path, 10_000))
    assert verify_log(ana, (tmp_path / "kept.json",)).state == "ok"
    for file in (ana.root / "audit").rglob("*.json*"):
        file.unlink()
    init = ana.root / "audit" / "log.jsonl"
    assert not init.exists()
    assert verify_log(ana, (tmp_path / "kept.json",)).first_bad == 1


def test_teammate_runs_nothing_that_was_run_before(make_project, mlnb, place, tmp_path):
    project = make_project(
        {
            "10_first.ipynb": ['from mlnb import save\nsave("x", {"a": 1})'],
            "20_second.ipynb": ['from mlnb import load, save\nsave("y", load("x")["a"] + 1)'],
        }
    )
    ours = open_store(project.root / ".mlnb")
    init_audit(ours)
    first = mlnb("run", "demo", "--json", cwd=project.root)
    assert first.states == {"first": "committed", "second": "committed"}, first.stderr
    laptop = tmp_path / "laptop"
    shutil.copytree(project.root, laptop, ignore=shutil.ignore_patterns(".mlnb"))
    theirs = open_store(laptop / ".mlnb")
    trust(theirs, "ours", own_key(ours))
    sent = push(ours, place[0])
    assert (sent.records, sent.runs, [r.state for r in sent.refs]) == (2, 1, ["moved"])
    assert pull(theirs, place[0]).records == 2
    again = mlnb("run", "demo", "--json", cwd=laptop)
    assert again.states == {"first": "cached", "second": "cached"}, again.stderr
    assert again.stage("second")["outputs"] == first.stage("second")["outputs"]


# refs


@everywhere
def test_ref_moves_only_by_who_has_seen_where_it_was(place, ana, ben):
    url, options = place
    befriend(ana, ben)
    move_ref(ana, "aliases/champion", "a" * 64, "better", sign=signer(ana, "ref"))
    move_ref(ben, "aliases/champion", "b" * 64, "better still", sign=signer(ben, "ref"))
    assert push(ana, url, options=options).refs == [SentRef("aliases/champion", "moved")]
    late = push(ben, url, options=options)
    assert (late.refs, late.exit_code) == ([SentRef("aliases/champion", "behind", 1)], 3)
    assert pull(ben, url, options=options).refs == ["aliases/champion"]
    assert push(ben, url, options=options).refs == [SentRef("aliases/champion", "moved")]
    pull(ana, url, options=options)
    assert [v.target for v in ref_history(ana, "remotes/origin/aliases/champion")] == ["a" * 64, "b" * 64]
    assert push(ana, url, options=options).refs == [SentRef("aliases/champion", "moved")]


@on_three
def test_conditional_create_has_one_winner(place):
    remote = open_remote(*place)
    assert can_create(remote)
    assert [create_remote(remote, "refs/x/00000001.json", name.encode()) for name in "abc"] == [
        True,
        False,
        False,
    ]
    assert read_remote(remote, "refs/x/00000001.json", 10) == b"a"
    assert sizes_below(remote, "probes") == {}


def try_create(url, name, start, results):
    remote = open_remote(url)
    start.wait()
    results.put([create_remote(remote, f"refs/x/{n:08d}.json", name.encode()) for n in range(50)])


def test_conditional_create_in_a_folder_has_one_winner_of_three_processes(place):
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(3), spawn.Queue()
    workers = [spawn.Process(target=try_create, args=(place[0], str(n), start, results)) for n in range(3)]
    for worker in workers:
        worker.start()
    won = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert [sum(each) for each in zip(*won, strict=True)] == [1] * 50


def test_remote_that_cannot_create_exclusively_takes_no_refs(place, ana, monkeypatch):
    from mlnb.sharing import push as module

    monkeypatch.setattr(module, "can_create", lambda remote: False)
    result(ana)
    move_ref(ana, "heads/fraud/default", RUN, "done", sign=signer(ana, "ref"))
    sent = push(ana, place[0])
    assert (sent.records, sent.refs) == (1, [SentRef("heads/fraud/default", "not_possible")])
    assert sizes_below(open_remote(place[0]), "refs") == {}


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_server_that_ignores_the_condition_is_found_out(place, monkeypatch):
    remote = open_remote(*place)
    plain = remote.fs.pipe_file
    monkeypatch.setattr(remote.fs, "pipe_file", lambda path, data, **_: plain(path, data))
    assert can_create(remote) is False


# interruptions

KILLED = """
import os, signal, sys
from mlnb.store.objects import open_store
from mlnb.sharing.remote import Transfer
from mlnb.sharing.{verb} import {verb}
left = [int(sys.argv[3])]
def tell(kind, what):
    left[0] -= 1
    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
{verb}(open_store(sys.argv[1]), sys.argv[2], transfer=Transfer(tell, workers=2))
"""


def killed(verb, store, url, after):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.replace("{verb}", verb), str(store.root), url, str(after)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    "after", [4, pytest.param(1, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)]
)
def test_killed_push_goes_on_where_it_stopped(place, ana, ben, after):
    for number in range(3):
        result(ana, number, f"model {number}")
    killed("push", ana, place[0], after)
    pull(ben, place[0])
    for record in records_of(ben, "fraud", "train"):
        assert get(ben, record.outputs["model"].digest)
    there = len(sizes_below(open_remote(place[0]), "objects"))
    assert there >= min(after, 8) - 1
    assert push(ana, place[0]).objects == 8 - there
    assert check_remote(ana, place[0]).refused == []
    assert pull(ben, place[0]).exit_code == 0
    assert len(records_of(ben, "fraud", "train")) == 3


@pytest.mark.parametrize(
    "after", [4, pytest.param(1, marks=pytest.mark.slow), pytest.param(9, marks=pytest.mark.slow)]
)
def test_killed_pull_goes_on_where_it_stopped(place, ana, ben, after):
    for number in range(3):
        result(ana, number, f"model {number}")
    push(ana, place[0])
    killed("pull", ben, place[0], after)
    for record in records_of(ben, "fraud", "train"):
        assert get(ben, record.outputs["model"].digest)
    here = sum(1 for p in (ben.root / "objects").glob("??/*"))
    assert here >= min(after, 8)
    assert pull(ben, place[0]).objects == 8 - here
    assert len(records_of(ben, "fraud", "train")) == 3


@everywhere
def test_truncated_object_at_the_remote_is_sent_again(place, ana, ben):
    url, options = place
    digest = result(ana).outputs["model"].digest
    push(ana, url, options=options)
    write_remote(open_remote(url, options), object_place(digest), b"a mo")
    assert push(ana, url, options=options).objects == 1
    assert pull(ben, url, options=options).exit_code == 0


# a place that lies


def hostile(place, ana, ben):
    "Something pushed, the place, and what is in the store and beside it before the pull."
    record = result(ana)
    push(ana, place[0], options=place[1])
    return record, open_remote(*place)


def nothing_taken(ben, place, record, reason, exit_code=5):
    outside = snapshot(ben.root.parent / "ana")
    taken = pull(ben, place[0], options=place[1])
    assert taken.records == 0
    assert reason in {r.reason for r in taken.refused}
    assert taken.exit_code == exit_code
    assert find_record(ben, "fraud", "train", record.key) is None
    assert snapshot(ben.root.parent / "ana") == outside
    assert {p.name for p in ben.root.parent.iterdir()} <= {"ana", "ben", "shared", "elsewhere"}
    for path in (ben.root / "objects").glob("??/*"):
        assert sha256(path.read_bytes()) == path.name
    assert list(ben.root.rglob(".tmp-*")) == []
    return taken


@everywhere
@pytest.mark.parametrize(
    "content",
    [b"a modeL", b"a mod", b"", b"a model and much more"],
    ids=["swapped", "truncated", "empty", "longer"],
)
def test_object_that_is_not_what_its_name_says_is_refused(place, ana, ben, content):
    record, remote = hostile(place, ana, ben)
    write_remote(remote, object_place(record.outputs["model"].digest), content)
    nothing_taken(ben, place, record, "damaged")
    assert [r.reason for r in check_remote(ana, place[0], options=place[1]).refused] == ["damaged"]


def test_two_objects_that_changed_places_are_refused(place, ana, ben):
    record, remote = hostile(place, ana, ben)
    one, two = object_place(record.outputs["model"].digest), object_place(record.notebook)
    first, second = read_remote(remote, one, 99), read_remote(remote, two, 99)
    write_remote(remote, one, second)
    write_remote(remote, two, first)
    nothing_taken(ben, place, record, "damaged")


def test_object_larger_than_its_record_says_is_not_read_to_its_end(place, ana, ben):
    record, remote = hostile(place, ana, ben)
    digest = record.outputs["model"].digest
    with open(remote.place(object_place(digest)), "wb") as file:
        file.truncate(1 << 40)
    taken = nothing_taken(ben, place, record, "damaged")
    assert "larger than the 7 bytes" in str(taken.refused)


@everywhere
def test_forged_records_are_refused(place, ana, ben, tmp_path):
    record, remote = hostile(place, ana, ben)
    path = record_place(record)
    signed = json.loads(read_remote(remote, path, 1 << 20))
    trojan = {"model": replace(record.outputs["model"], digest=record.notebook, bytes=10).as_dict()}
    for forged in (
        signed | {"outputs": trojan},
        {k: v for k, v in signed.items() if k != "signed"},
        signed | {"signed": {"key": own_key(ana), "signature": "A" * 88}},
        [],
        "text",
        {},
    ):
        write_remote(remote, path, json.dumps(forged).encode())
        nothing_taken(ben, place, record, "forged")
    mallory = store_of(tmp_path / "elsewhere", "mallory")
    write_remote(
        remote, path, canonical_json(sign(mallory, "record", record.as_dict() | {"outputs": trojan}))
    )
    nothing_taken(ben, place, record, "untrusted", exit_code=3)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b"null", b"7", b'{"signed": 1e999}']
)
def test_record_that_is_no_json_is_refused(place, ana, ben, data):
    record, remote = hostile(place, ana, ben)
    write_remote(remote, record_place(record), data)
    taken = pull(ben, place[0])
    assert (taken.records, taken.exit_code) == (0, 5)


def test_huge_record_is_not_read_to_its_end(place, ana, ben):
    record, remote = hostile(place, ana, ben)
    with open(remote.place(record_place(record)), "wb") as file:
        file.truncate(1 << 40)
    assert "larger than" in str(nothing_taken(ben, place, record, "damaged").refused)


def test_record_signed_for_another_place_is_refused(place, ana, ben):
    record, remote = hostile(place, ana, ben)
    signed = read_remote(remote, record_place(record), 1 << 20)
    remove_remote(remote, record_place(record))
    write_remote(remote, record_place(replace(record, key="f" * 64)), signed)
    nothing_taken(ben, place, record, "damaged")


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": "../../outside"},
        {"stage": "/etc"},
        {"key": "../x"},
        {"run": "../../x"},
        {"outputs": {"../x": {"digest": "0" * 64, "codec": "text", "bytes": 1}}},
        {"outputs": {"model": {"digest": "../../outside", "codec": "text", "bytes": 1}}},
        {"outputs": {"model": {"digest": "0" * 64, "codec": "text", "bytes": -1}}},
        {"outputs": []},
        {"notebook": "../../x"},
        {"modules": {"a": "../x"}},
        {"inputs": {"a": None}},
    ],
)
def test_trusted_record_with_names_that_lead_outside_is_refused(place, ana, ben, change):
    record, remote = hostile(place, ana, ben)
    write_remote(
        remote, record_place(record), canonical_json(sign_result(ana, "record", record.as_dict() | change))
    )
    nothing_taken(ben, place, record, "damaged")


def test_names_that_lead_outside_are_never_used_as_paths(place, ana, ben):
    _, remote = hostile(place, ana, ben)
    root = Path(remote.root)
    for name in (
        "objects/ab/..%2f..%2foutside",
        "records/fraud/train/..%2f.json",
        "records/x.json",
        "runs/..%2f..%2fx.json",
        "refs/..hidden/00000001.json",
        "refs/a b/00000001.json",
        "refs/heads/x/1.json",
        "tombstones/..%2fx.json",
        "objects/zz/" + "z" * 64,
        "refs/" + "n" * 200 + "/00000001.json",
    ):
        path = root / name.replace("%2f", "\\..\\")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    before = snapshot(ben.root.parent / "shared")
    taken = pull(ben, place[0])
    assert taken.records == 1
    assert {p.name for p in ben.root.parent.iterdir()} == {"ana", "ben", "shared"}
    assert snapshot(ben.root.parent / "shared") == before


def test_links_in_a_folder_lead_nowhere(place, ana, ben):
    record, remote = hostile(place, ana, ben)
    root, digest = Path(remote.root), record.outputs["model"].digest
    (root / "objects" / "loop").symlink_to(root)
    (root / object_place(digest)).unlink()
    (root / object_place(digest)).symlink_to(ben.root / "private")
    os.mkfifo(root / "records" / "fraud" / "train" / ("e" * 64 + ".json"))
    taken = pull(ben, place[0])
    assert (taken.records, has(ben, digest)) == (0, False)


ODD = {"pipe": os.mkfifo, "folder": os.mkdir, "link to itself": lambda path: os.symlink(path, path)}


@pytest.mark.parametrize("odd", ODD)
def test_what_stands_in_the_place_of_a_remotes_format_and_is_no_file_is_named_and_nobody_waits(
    place, ana, ben, odd
):
    result(ana)
    push(ana, place[0])
    path = Path(place[0]) / "format"
    path.unlink()
    ODD[odd](path)
    for act, store in ((pull, ben), (push, ana)):
        with pytest.raises(IntegrityError, match=r"format at .* is no file") as refused:
            act(store, place[0])
        assert "move it away" in refused.value.mend


@pytest.mark.parametrize("folder", ["objects", "records", "runs", "refs", "projects"])
def test_folder_in_the_place_of_what_is_sent_is_named_and_the_mend_works(place, ana, ben, tmp_path, folder):
    result(ana)
    write_run(ana, {"run": RUN, "pipeline": "fraud", "state": "committed", "stages": []}, signer(ana, "run"))
    move_ref(ana, "heads/fraud/default", RUN, "done", sign=signer(ana, "ref"))
    push(ana, str(tmp_path / "other"), "other")
    name = next(name for name in snapshot(tmp_path / "other") if name.startswith(folder))
    path = Path(place[0]) / name
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match=f"{path.name} is no file") as refused:
        push(ana, place[0])
    assert "move it away" in refused.value.mend
    path.rmdir()
    assert push(ana, place[0]).exit_code == 0
    assert counts_of(pull(ben, place[0]))[2:] == (1, 1)


@everywhere
def test_ref_forged_replayed_or_rolled_back_is_noticed(place, ana, ben):
    url, options = place
    remote = open_remote(url, options)
    for target in ("a" * 64, "b" * 64):
        move_ref(ana, "aliases/champion", target, "better", sign=signer(ana, "ref"))
        push(ana, url, options=options)
    pull(ben, url, options=options)
    seen = [v.target for v in ref_history(ben, "remotes/origin/aliases/champion")]
    assert seen == ["a" * 64, "b" * 64]
    old = read_remote(remote, "refs/aliases/champion/00000001.json", 10_000)
    write_remote(remote, "refs/aliases/champion/00000003.json", old)
    assert [r.reason for r in pull(ben, url, options=options).refused] == ["forged"]
    remove_remote(remote, "refs/aliases/champion/00000003.json")
    remove_remote(remote, "refs/aliases/champion/00000002.json")
    taken = pull(ben, url, options=options)
    assert "went back" in taken.refused[0].message and taken.exit_code == 5
    assert [v.target for v in ref_history(ben, "remotes/origin/aliases/champion")] == seen


def altered(document):
    "What a file of JSON holds after somebody edited it, and left its signature."
    return canonical_json(json.loads(document) | {"reason": "edited", "pipeline": "edited"})


def test_verification_of_a_remote_names_each_document_that_was_altered_and_each_object_that_is_missing(
    place, ana, ben
):
    record, bad_run, bad_move = result(ana), f"runs/{RUN}.json", "refs/aliases/champion/00000001.json"
    ended = {"run": RUN, "pipeline": "fraud", "state": "committed", "stages": []}
    write_run(ana, ended, signer(ana, "run"))
    move_ref(ana, "aliases/champion", "a" * 64, "better", sign=signer(ana, "ref"))
    push(ana, place[0])
    remote, gone = open_remote(place[0]), object_place(record.notebook)
    for path in (bad_run, bad_move):
        write_remote(remote, path, altered(read_remote(remote, path, 10_000)))
    remove_remote(remote, gone)
    found = check_remote(ana, place[0])
    assert [(one.path, one.reason) for one in found.refused] == [
        (bad_run, "forged"),
        (bad_move, "forged"),
        (gone, "missing"),
    ]
    assert (found.records, found.runs, found.refs) == (1, 1, 1)
    assert all("`mlnb push`" in one.mend for one in found.refused)
    strangers = check_remote(ben, place[0], trusted={}).refused
    said = project_place(project_id(ana))
    assert {one.path for one in strangers if one.reason == "untrusted"} == {record_place(record), said}
    assert check_remote(ana, place[0], repair=True).removed == [bad_move, bad_run]
    sent = push(ana, place[0])
    assert ([ref.state for ref in sent.refs], sent.runs, sent.objects) == (["again"], 1, 1)
    assert check_remote(ana, place[0]).refused == []


def test_verification_of_a_remote_believes_no_tombstone_of_a_stranger_and_names_what_it_hides(
    place, ana, tmp_path
):
    record = result(ana)
    push(ana, place[0])
    remote, eve = open_remote(place[0]), store_of(tmp_path, "eve")
    digest = record.outputs["model"].digest
    said = Tombstone.from_dict(tombstone_of(eve, digest, project_id(ana)))
    write_remote(remote, tombstone_place(said), canonical_json(tombstone_of(eve, digest, project_id(ana))))
    remove_remote(remote, object_place(digest))
    reasons = {one.path: one.reason for one in check_remote(ana, place[0]).refused}
    assert reasons == {object_place(digest): "missing", tombstone_place(said): "untrusted"}


def test_ref_of_a_remote_that_was_emptied_is_sent_again_and_taken_by_who_had_seen_it(place, ana, ben):
    url, ref = place[0], "aliases/champion"
    for target in ("a" * 64, "b" * 64):
        move_ref(ana, ref, target, "better", sign=signer(ana, "ref"))
        push(ana, url)
    pull(ben, url)
    remote = open_remote(url)
    for path in sizes_below(remote, "refs"):
        remove_remote(remote, path)
    (lost,) = pull(ben, url).refused
    assert "went back" in lost.message and "`mlnb push` sends the ref again" in lost.mend
    assert [one.path for one in check_remote(ben, url).refused] == [f"refs/{ref}"]
    assert [push(ana, url).refs[0].state for _ in range(2)] == ["again", "same"]
    assert list(sizes_below(remote, "refs")) == [f"refs/{ref}/00000003.json"]
    taken = [pull(ben, url) for _ in range(2)]
    assert [(one.refs, one.refused, one.exit_code) for one in taken] == [([ref], [], 0), ([], [], 0)]
    assert (read_ref(ben, f"remotes/origin/{ref}").number, check_remote(ben, url).refused) == (3, [])
    move_ref(ana, ref, "c" * 64, "better", sign=signer(ana, "ref"))
    push(ana, url)
    assert pull(ben, url).refs == [ref]
    kept = read_remote(remote, f"refs/{ref}/00000003.json", 10_000)
    remove_remote(remote, f"refs/{ref}/00000003.json")
    assert "went back" in pull(ben, url).refused[0].message
    write_remote(
        remote, f"refs/{ref}/00000003.json", canonical_json(json.loads(kept) | {"begins_again": False})
    )
    assert [one.reason for one in pull(ben, url).refused] == ["forged"]


CHAMPION = "aliases/champion"


def refs_at(url):
    "What lies below `refs` at a remote, by path."
    remote = open_remote(url)
    return {path: read_remote(remote, path, 10_000) for path in sizes_below(remote, "refs")}


def make_refs(url, files):
    "Have a remote hold exactly these files below `refs`."
    remote = open_remote(url)
    for path in sizes_below(remote, "refs"):
        remove_remote(remote, path)
    for path, body in files.items():
        write_remote(remote, path, body)


def promote(store, target, ref=CHAMPION):
    "Move a ref of a store, signed."
    move_ref(store, ref, target * 64, "better", sign=signer(store, "ref"))


def state_of(sent):
    "What became of the only ref, and the exit code."
    return sent.refs[0].state, sent.exit_code


def test_ref_that_is_gone_is_not_begun_again_by_who_was_told_of_a_later_move(place, ana, ben):
    url = place[0]
    befriend(ana, ben)
    promote(ben, "a")
    push(ben, url)
    pull(ana, url)
    for target in "abc":
        promote(ana, target)
        push(ana, url)
    assert state_of(push(ben, url)) == ("behind", 3)
    make_refs(url, {})
    assert state_of(push(ben, url)) == ("gone", 3)
    assert refs_at(url) == {}
    assert state_of(push(ana, url)) == ("again", 0)
    assert (pull(ben, url).exit_code, read_ref(ben, f"remotes/origin/{CHAMPION}").target) == (0, "c" * 64)


def test_ref_that_is_gone_is_not_begun_again_by_who_only_saw_it(place, ana, ben):
    promote(ana, "a")
    promote(ben, "b")
    push(ana, place[0])
    pull(ben, place[0])
    make_refs(place[0], {})
    assert state_of(push(ben, place[0])) == ("gone", 3)


def test_history_that_comes_back_beside_one_that_began_again_is_a_fork(place, ana, ben, tmp_path):
    url = place[0]
    befriend(ana, ben)
    promote(ben, "a")
    push(ben, url)
    pull(ana, url)
    for target in "abc":
        promote(ana, target)
        push(ana, url)
    old = refs_at(url)
    first = f"refs/{CHAMPION}/00000001.json"
    make_refs(url, {})
    assert state_of(push(ben, url)) == ("again", 0)  # no push told of the later moves
    begun = refs_at(url)
    for back in (old | begun, {path: old[path] for path in old if path != first} | begun):
        make_refs(url, back)
        assert pull(ana, url).exit_code == 3  # her move 2 was rewritten
        for store in (ben, store_of(tmp_path, f"cy{len(back)}", ana, ben)):
            assert pull(store, url).exit_code == 5
        assert [state_of(push(store, url)) for store in (ana, ben)] == [("forked", 3)] * 2
        assert any("two histories" in one.message for one in check_remote(ben, url).refused)


def test_file_with_a_high_number_stops_no_push(place, ana):
    promote(ana, "a")
    push(ana, place[0])
    stray = f"refs/{CHAMPION}/99999999.json"
    make_refs(place[0], refs_at(place[0]) | {stray: b"{}"})
    promote(ana, "b")
    assert state_of(push(ana, place[0])) == ("moved", 0)


def test_verification_of_a_remote_reads_projects_and_names_what_is_no_file(place, ana):
    record = result(ana)
    push(ana, place[0])
    odd, pipe = project_place(project_id(ana)), "records/fraud/train/pipe.json"
    root = open_remote(place[0])
    write_remote(root, odd, altered(read_remote(root, odd, 10_000)))
    os.mkfifo(root.place(pipe))
    found = check_remote(ana, place[0])
    assert found.projects == 1 and record
    assert [(one.path, one.reason) for one in found.refused] == [(odd, "forged"), (pipe, "damaged")]


@pytest.mark.parametrize("kind", ["objects", "records", "runs", "refs", "projects", "tombstones"])
@pytest.mark.parametrize("is_empty", [True, False])
def test_folder_in_the_place_of_a_file_of_a_remote_is_told_and_goes_with_a_repair(place, ana, kind, is_empty):
    result(ana)
    write_run(ana, {"run": RUN, "pipeline": "fraud", "state": "committed"}, signer(ana, "run"))
    move_ref(ana, "heads/fraud/default", RUN, "first", sign=signer(ana, "ref"))
    push(ana, place[0])
    path = Path(place[0], "tombstones", f"{'a' * 64}.json")
    if kind != "tombstones":
        path = next(p for p in sorted(Path(place[0], kind).rglob("*")) if p.is_file())
        path.unlink()
    path.mkdir(parents=True)
    if not is_empty:
        (path / "note.txt").write_text("hello")
    odd, said = path.relative_to(place[0]).as_posix(), check_remote(ana, place[0])
    assert f"{odd} is no file" in [one.message for one in said.refused]
    assert odd in check_remote(ana, place[0], repair=True).removed
    assert not path.exists() and push(ana, place[0]).exit_code == 0
    assert check_remote(ana, place[0]).refused == []


def test_forged_word_about_a_project_is_told_by_a_pull_and_sent_again_by_a_push(place, ana, ben):
    result(ana)
    push(ana, place[0])
    said, root = project_place(project_id(ana)), open_remote(place[0])
    write_remote(root, said, altered(read_remote(root, said, 10_000)))
    taken = pull(ben, place[0])
    assert [(one.path, one.reason) for one in taken.refused] == [(said, "forged")]
    assert (taken.records, taken.exit_code) == (1, 5)
    push(ana, place[0])
    assert pull(ben, place[0]).exit_code == 0


def test_run_forged_or_misplaced_is_refused(place, ana, ben):
    result(ana)
    ended = {"run": RUN, "pipeline": "fraud", "state": "committed", "stages": []}
    write_run(ana, ended, signer(ana, "run"))
    push(ana, place[0])
    remote = open_remote(place[0])
    signed = json.loads(read_remote(remote, f"runs/{RUN}.json", 10_000))
    write_remote(remote, f"runs/{RUN}.json", json.dumps(signed | {"state": "failed"}).encode())
    write_remote(remote, f"runs/{RUN[:-1]}c.json", json.dumps(signed).encode())
    taken = pull(ben, place[0])
    assert (taken.runs, sorted(r.reason for r in taken.refused)) == (0, ["damaged", "forged"])


def tombstone_of(store, digest, project, name=("fraud", "model"), purpose="tombstone"):
    "A tombstone for an artifact of some project, signed with the key of a store."
    said = {"format": 2, "digest": digest, "reason": "r", "actor": "a", "at_utc": "t", "project": project}
    bound = dict(zip(("pipeline", "artifact", "part"), name, strict=False))
    return sign(store, purpose, said | {"pipeline": None, "artifact": None, "part": None} | bound)


@pytest.mark.parametrize("name", [(), ("fraud", "model")], ids=["everywhere", "bound"])
def test_tombstone_of_a_stranger_or_signed_for_another_place_erases_nothing(place, ana, ben, tmp_path, name):
    record, remote = hostile(place, ana, ben)
    pull(ben, place[0])
    digest, ours = record.outputs["model"].digest, project_id(ben)
    mallory = store_of(tmp_path / "elsewhere", "mallory")
    theirs = tombstone_of(mallory, digest, ours, name)
    old = {key: theirs[key] for key in ("digest", "reason", "actor", "at_utc")}
    there = tombstone_place(Tombstone.from_dict(theirs))
    for document, reason in (
        (theirs, "untrusted"),
        (theirs | {"reason": "other"}, "forged"),
        (tombstone_of(ana, digest, "e" * 32, name), "forged"),
        (sign(ana, "tombstone", old), "forged"),
        (tombstone_of(ana, digest, ours, ("fraud", "other")), "forged"),
        (tombstone_of(ana, digest, ours, name, purpose="record"), "forged"),
        ([], "damaged"),
        (sign(ana, "tombstone", theirs | {"artifact": "../x"}), "damaged"),
    ):
        write_remote(remote, there, canonical_json(document))
        taken = pull(ben, place[0])
        assert (taken.erased, [r.reason for r in taken.refused]) == (0, [reason])
    write_remote(remote, there, canonical_json(tombstone_of(ana, digest, ours, name)))
    assert get(ben, digest) == b"a model" and not (ben.root / "tombstones").exists()
    assert pull(ben, place[0]).erased == 1 and not has(ben, digest)


def test_tombstones_of_another_project_and_of_an_older_mlnb_are_counted_and_do_nothing(place, ana, ben):
    record, remote = hostile(place, ana, ben)
    pull(ben, place[0])
    digest, gone = record.outputs["model"].digest, "0" * 64
    foreign = tombstone_of(ana, digest, "e" * 32)
    write_remote(remote, tombstone_place(Tombstone.from_dict(foreign)), canonical_json(foreign))
    for one in (digest, gone):
        old = {"format": 1, "digest": one, "reason": "r", "actor": "a", "at_utc": "t"}
        write_remote(remote, f"tombstones/{one}.json", canonical_json(sign(ana, "tombstone", old)))
    taken = pull(ben, place[0])
    left = LeftAlone({"e" * 32: 1}, [digest], [digest])
    assert taken.tombstones == left
    assert (taken.erased, taken.exit_code, get(ben, digest)) == (0, 3, b"a model")
    assert is_erased(ben.root, gone)


def test_store_that_ran_before_it_pulled_is_another_project_and_an_empty_one_is_a_clone(
    place, ana, ben, tmp_path
):
    other = store_of(tmp_path, "other", ana)
    mine = result(other)
    theirs = result(ana)
    push(ana, place[0])
    for store in (ben, other):
        pull(store, place[0])
    assert project_id(ben) == project_id(ana) != project_id(other)
    digest = theirs.outputs["model"].digest
    erase(ana, digest, "asked for", names={("fraud", "model")})
    assert push(ana, place[0]).erased == 1
    assert [pull(store, place[0]).erased for store in (ben, other)] == [1, 0]
    assert find_record(other, "fraud", "train", mine.key) and get(other, digest) == b"a model"


def test_bytes_at_the_remote_stay_while_another_record_there_holds_them(place, ana, ben):
    befriend(ana, ben)
    record = result(ana)
    digest = record.outputs["model"].digest
    second = replace(record, key="9" * 64, stage="copy", outputs={"same": record.outputs["model"]})
    code = {"notebook": put(ben, b"n"), "source": put(ben, b"s"), "modules": {}}
    commit(ben, replace(second, **code), sign=signer(ben, "record"))
    put(ben, b"a model")
    push(ana, place[0])
    push(ben, place[0])
    erase(ana, digest, "asked for", names={("fraud", "model")})
    assert push(ana, place[0]).erased == 0 and object_place(digest) in sizes_below(
        open_remote(place[0]), "objects"
    )
    pull(ana, place[0])
    assert get(ana, digest) == b"a model"  # as fraud/same, which ben made
    with pytest.raises(ErasedError):
        get(replace(ana, name=("fraud", "model")), digest)
    assert find_record(ana, "fraud", "train", record.key) is None
    assert find_record(ana, "fraud", "copy", "9" * 64)


def test_record_without_its_objects_is_left_for_later(place, ana, ben):
    record, remote = hostile(place, ana, ben)
    data = read_remote(remote, object_place(record.notebook), 99)
    remove_remote(remote, object_place(record.notebook))
    taken = pull(ben, place[0])
    assert (taken.records, taken.incomplete, taken.exit_code) == (0, [record_place(record)], 0)
    write_remote(remote, object_place(record.notebook), data)
    assert pull(ben, place[0]).records == 1


def test_damaged_object_is_not_sent(place, ana):
    digest = result(ana).outputs["model"].digest
    path_of(ana, digest).chmod(0o600)
    path_of(ana, digest).write_bytes(b"a modeL")
    with pytest.raises(IntegrityError, match="not sent"):
        push(ana, place[0])
    remote = open_remote(place[0])
    assert sizes_below(remote, "records") == {} and sizes_below(remote, "pushing") == {}


def test_object_that_arrives_otherwise_is_removed_and_no_record_follows(place, ana, monkeypatch):
    from mlnb.sharing import push as module

    monkeypatch.setattr(
        module,
        "write_remote",
        lambda remote, path, data: write_remote(remote, path, b"x" if path.startswith("objects/") else data),
    )
    result(ana)
    with pytest.raises(IntegrityError, match="did not arrive"):
        push(ana, place[0])
    assert sizes_below(open_remote(place[0]), "records") == {}


# cleaning


@everywhere
def test_remote_gc_takes_two_passes_and_keeps_what_is_named(place, ana, ben):
    url, options = place
    result(ana)
    push(ana, url, options=options)
    remote = open_remote(url, options)
    write_remote(remote, object_place("f" * 64), b"left over")
    assert (gc_remote(url, options, dry_run=True).unreachable, gc_remote(url, options).removed) == (1, 0)
    write_remote(remote, object_place("e" * 64), b"new")
    assert gc_remote(url, options).removed == 1
    assert set(sizes_below(remote, "objects")) >= {object_place("e" * 64)}
    assert sizes_below(remote, "trash") == {}
    assert pull(ben, url, options=options).records == 1


def test_remote_gc_waits_for_pushes_and_takes_back_what_it_moved(place, ana, monkeypatch):
    from mlnb.sharing import remote_care as module

    result(ana)
    push(ana, place[0])
    remote = open_remote(place[0])
    write_remote(remote, object_place("f" * 64), b"left over")
    gc_remote(place[0])
    real = module.move_remote

    def move_and_push(remote, path, to):
        real(remote, path, to)
        write_remote(remote, "pushing/x.json", b"{}")

    monkeypatch.setattr(module, "move_remote", move_and_push)
    with pytest.raises(LockedError, match="under way or was killed"):
        gc_remote(place[0])
    monkeypatch.undo()
    assert object_place("f" * 64) in sizes_below(remote, "objects")
    with pytest.raises(LockedError):
        gc_remote(place[0])
    assert gc_remote(place[0], force=True).removed == 1


def test_killed_remote_gc_is_put_right_by_the_next(place, ana):
    digest = result(ana).outputs["model"].digest
    push(ana, place[0])
    remote = open_remote(place[0])
    data = read_remote(remote, object_place(digest), 99)
    remove_remote(remote, object_place(digest))
    write_remote(remote, f"trash/{object_place(digest)}", data)
    gc_remote(place[0])
    assert check_remote(ana, place[0]).refused == []
    assert object_place(digest) in sizes_below(remote, "objects")


# addresses and access


def test_password_in_a_url_is_shown_nowhere(place, ana):
    assert shown_url("s3://key:secret@bucket/x?sig=1") == "s3://bucket/x"
    result(ana)
    with pytest.raises(UsageError) as error:
        push(ana, "nowhere://me:secret@host/x")
    assert "secret" not in str(error.value).replace(str(error.value.__cause__), "")


def test_bucket_that_does_not_exist_is_one_clear_error(s3, ana, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    result(ana)
    with pytest.raises(StoreError, match="cannot be used"):
        push(ana, "s3://no-such-bucket/x", options={"endpoint_url": s3})


def test_server_that_is_down_is_one_clear_error(ana, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    result(ana)
    with pytest.raises(StoreError, match="cannot be used"):
        push(
            ana,
            "s3://bucket/x",
            options={
                "endpoint_url": "http://127.0.0.1:9",
                "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 2},
            },
        )


def test_empty_foreign_and_newer_places_are_told_apart(place, ana):
    with pytest.raises(UsageError, match="nothing was pushed"):
        pull(ana, place[0])
    remote = open_remote(place[0])
    write_remote(remote, "format", b"2\nneeds mlnb 0.1.0\n")
    with pytest.raises(StoreError, match="not a store that mlnb pushed to"):
        push(ana, place[0])
    write_remote(remote, "format", b"mlnb remote 99\n")
    with pytest.raises(StoreError, match="layout 99"):
        pull(ana, place[0])


def test_push_needs_a_key_and_a_place_outside_the_store(place, tmp_path, ana):
    store = open_store(tmp_path / "keyless")
    result(store)
    with pytest.raises(UsageError, match="no key"):
        push(store, place[0])
    assert not Path(place[0]).exists()
    with pytest.raises(UsageError, match="in the store itself"):
        push(ana, str(ana.root))
    with pytest.raises(UsageError, match="no name for a remote"):
        push(ana, place[0], name="../x")


def test_private_key_and_audit_log_are_never_pushed(place, ana):
    result(ana)
    push(ana, place[0])
    content = b"".join(snapshot(Path(place[0])).values())
    assert b"PRIVATE" not in content and b'"event"' not in content


def test_shared_folder_keeps_the_permissions_it_has(place, ana):
    Path(place[0]).mkdir()
    Path(place[0]).chmod(0o2775)
    result(ana)
    push(ana, place[0])
    files = [p for p in Path(place[0]).rglob("*")]
    assert {p.stat().st_mode & 0o7777 for p in files if p.is_dir()} == {0o2775}
    assert {p.stat().st_mode & 0o7777 for p in files if p.is_file()} == {0o664}


def test_untrusting_stops_taking(place, ana, ben, tmp_path):
    other = open_store(tmp_path / "elsewhere" / "carl")
    make_key(other)
    result(ana)
    push(ana, place[0])
    assert pull(other, place[0]).records == 0
    befriend(other, ana)
    assert pull(other, place[0]).records == 1


def test_fetch_takes_what_is_exactly_as_large_as_allowed(place, ana):
    remote = open_remote(place[0])
    write_remote(remote, "x", b"12345")
    assert read_remote(remote, "x", 5) == b"12345"
    with pytest.raises(IntegrityError, match="larger than the 4 bytes"):
        read_remote(remote, "x", 4)
    with pytest.raises(FileNotFoundError):
        fetch(remote, "absent", io.BytesIO(), 5)


# SFTP, where paramiko is installed


@pytest.fixture
def sftp(tmp_path, monkeypatch):
    "An SFTP server on loopback that serves one folder; its port."
    pytest.importorskip("paramiko")
    from sftp_server import serve_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "served").mkdir()
    yield from serve_folder(tmp_path / "served")


def test_sftp_takes_objects_and_records_and_no_refs(sftp, ana, ben):
    url, any_host = f"sftp://ana:secret@127.0.0.1:{sftp}/team/store", {"host_key_policy": "auto_add"}
    record = result(ana)
    with pytest.raises(StoreError, match="known_hosts"):
        push(ana, url)
    move_ref(ana, "heads/fraud/default", RUN, "done", sign=signer(ana, "ref"))
    sent = push(ana, url, options=any_host)
    assert (sent.objects, sent.records, sent.refs) == (4, 1, [SentRef("heads/fraud/default", "not_possible")])
    assert sent.remote == f"sftp://127.0.0.1:{sftp}/team/store"
    assert push(ana, url, options=any_host).objects == 0
    assert pull(ben, url, options=any_host).records == 1
    assert get(ben, record.outputs["model"].digest) == b"a model"
    remote = open_remote(url, any_host)
    write_remote(remote, object_place(record.notebook), b"notebook X")
    assert check_remote(ana, url, options=any_host, repair=True).removed == [object_place(record.notebook)]
    assert push(ana, url, options=any_host).objects == 1
    write_remote(remote, object_place("f" * 64), b"left over")
    assert [gc_remote(url, any_host).removed, gc_remote(url, any_host).removed] == [0, 1]


@pytest.mark.parametrize("number", [1, 25, 30])
def test_ref_whose_history_was_rewritten_is_not_taken_and_not_pushed_on(place, ana, ben, number):
    remote, ref = open_remote(place[0]), "names/fraud/model/champion"
    for n in range(1, 31):
        value = {
            "name": ref,
            "number": n,
            "target": f"r{n}",
            "actor": "ana",
            "reason": "x",
            "at_utc": "2026-11-27T12:00:00+00:00",
        }
        said = canonical_json(sign_result(ana, "ref", value))
        write_remote(remote, f"refs/{ref}/{n:08d}.json", said)
    write_remote(remote, "format", b"mlnb remote 1\n")
    assert pull(ben, place[0]).refs == [ref]
    again = sign_result(ana, "ref", value | {"number": number, "target": "another"})
    write_remote(remote, f"refs/{ref}/{number:08d}.json", canonical_json(again))
    more = sign_result(ana, "ref", value | {"number": 31, "target": "r31"})
    write_remote(remote, f"refs/{ref}/00000031.json", canonical_json(more))
    taken = pull(ben, place[0])
    assert [(one.path, one.reason) for one in taken.refused] == [(f"refs/{ref}", "rewritten")]
    assert (taken.exit_code, taken.refs) == (3, [])
    assert f"its move {number} said something else" in taken.refused[0].message
    assert read_ref(ben, f"remotes/origin/{ref}").target == "r30"
    move_ref(ben, ref, "mine", "better", sign=signer(ben, "ref"))
    remove_remote(remote, f"refs/{ref}/00000031.json")
    sent = push(ben, place[0])
    assert (sent.refs[0].state, sent.exit_code) == (("rewritten", 3) if number == 30 else ("moved", 0))


FAILED_RUN = {
    "run": RUN,
    "pipeline": "fraud",
    "state": "failed",
    "stages": [
        {
            "name": "train",
            "state": "failed",
            "kind": "user_error",
            "notebook": f"runs/{RUN}/train.ipynb",
            "error": {"cell": 3, "ename": "ValueError", "evalue": "customer 17"},
            "last_lines": ["customer 17"],
        }
    ],
}


def blank_here(store):
    stages = [blanked(stage) for stage in read_run(store, RUN).stages]
    write_run(store, replace(read_run(store, RUN), stages=tuple(stages)), signer(store, "run"))


def text_of_run(store):
    return (store.root / "runs" / RUN / "run.json").read_text()


def test_run_that_was_blanked_after_it_was_sent_is_blanked_there_and_at_a_teammate(place, ana, ben):
    write_run(ana, FAILED_RUN, signer(ana, "run"))
    push(ana, place[0])
    assert pull(ben, place[0]).runs == 1 and "customer 17" in text_of_run(ben)
    (ben.root / "runs" / RUN / "train.ipynb").write_text("customer 17")
    blank_here(ana)
    sent = push(ana, place[0])
    assert (sent.blanked, sent.runs, sent.replaced) == (1, 1, [])
    assert "customer 17" not in read_remote(open_remote(place[0]), f"runs/{RUN}.json", 10_000).decode()
    taken = pull(ben, place[0])
    assert (taken.blanked, taken.exit_code) == (1, 0)
    assert "customer 17" not in "".join(p.read_text() for p in (ben.root / "runs" / RUN).iterdir())
    assert [push(ana, place[0]).blanked, pull(ben, place[0]).blanked] == [0, 0]
    befriend(ana, ben)
    assert push(ben, place[0]).runs == 0


@pytest.mark.parametrize("change", [{"profile": "ci"}, {"state": "committed"}, {"stages": []}])
def test_blanked_run_that_says_something_else_too_blanks_nothing(place, ana, ben, change):
    write_run(ana, FAILED_RUN, signer(ana, "run"))
    push(ana, place[0])
    pull(ben, place[0])
    blank_here(ana)
    altered = read_run(ana, RUN).as_dict() | change
    write_remote(open_remote(place[0]), f"runs/{RUN}.json", canonical_json(sign_result(ana, "run", altered)))
    assert pull(ben, place[0]).blanked == 0 and "customer 17" in text_of_run(ben)


def test_blanked_run_of_a_stranger_blanks_nothing(place, ana, ben, tmp_path):
    write_run(ana, FAILED_RUN, signer(ana, "run"))
    push(ana, place[0])
    pull(ben, place[0])
    mallory = store_of(tmp_path / "elsewhere", "mallory")
    blank_here(ana)
    said = canonical_json(sign_result(mallory, "run", read_run(ana, RUN).as_dict()))
    write_remote(open_remote(place[0]), f"runs/{RUN}.json", said)
    assert pull(ben, place[0]).blanked == 0 and "customer 17" in text_of_run(ben)


def test_file_that_was_laid_at_our_place_does_not_keep_ours_from_being_sent(place, ana, ben, tmp_path):
    mallory, remote = store_of(tmp_path / "elsewhere", "mallory"), open_remote(place[0])
    record, other = result(ana), result(ana, 2, "another")
    write_run(ana, FAILED_RUN, signer(ana, "run"))
    push(ana, place[0])
    path, run = record_place(record), f"runs/{RUN}.json"
    honest = {one: read_remote(remote, one, 100_000) for one in (path, run)}
    for laid in (
        b"",
        b"{",
        honest[path].replace(b"0.9", b"0.8"),
        canonical_json(record.as_dict()),
        canonical_json(sign_result(mallory, "record", record.as_dict())),
        canonical_json(sign(ana, "record", record.as_dict(), "e" * 32)),
        read_remote(remote, record_place(other), 100_000),
    ):
        write_remote(remote, path, laid)
        write_remote(remote, run, laid)
        sent = push(ana, place[0])
        assert sorted(one.path for one in sent.replaced) == [path, run]
        assert {one: read_remote(remote, one, 100_000) for one in honest} == honest
    assert pull(ben, place[0]).exit_code == 0


def test_push_that_leaves_out_what_nobody_vouches_for_ends_with_3_and_sends_the_rest(place, ana, ben):
    made = result(ana)
    assert push(ana, place[0]).exit_code == 0
    commit(ana, replace(made, key="8" * 64))
    sent = push(ana, place[0])
    assert (sent.exit_code, [one.reason for one in sent.left_out]) == (3, ["unsigned"])
    for path in (ana.root / "records").rglob("*.json"):
        path.unlink()
    assert push(ana, place[0]).exit_code == 0  # nothing is there
    move_ref(ana, "aliases/champion", "a" * 64, "better")
    sent = push(ana, place[0])
    assert (sent.exit_code, [ref.state for ref in sent.refs]) == (3, ["not_vouched"])


def _laid_in_a_foreign_place(store, kind):
    "A whole document of a store where it does not belong: its place in the store."
    (record,) = (store.root / "records").rglob("*.json")
    run = store.root / "runs" / RUN / "run.json"
    origin, place = {
        "copied": (record, f"records/fraud/score/{record.name}"),
        "sealed anew": (record, f"records/fraud/train/{'c' * 64}.json"),
        "no utf-8": (record, f"records/fraud/train/\udcff{record.name[1:]}"),
        "run": (run, "runs/20261123T110000000-0a1b/run.json"),
        "run of no utf-8": (run, "runs/\udcff/run.json"),
    }[kind]
    path = store.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    is_anew = kind in ("sealed anew", "run")
    path.write_bytes(sealed(path, read_json(origin)) if is_anew else origin.read_bytes())
    return place


@pytest.mark.parametrize("kind", ["copied", "sealed anew", "no utf-8", "run", "run of no utf-8"])
def test_push_passes_over_what_lies_in_a_foreign_place_names_it_and_sends_the_rest(place, ana, ben, kind):
    result(ana)
    write_run(ana, {"run": RUN, "pipeline": "fraud", "state": "committed"}, signer(ana, "run"))
    strange = _laid_in_a_foreign_place(ana, kind)
    sent = push(ana, place[0])
    assert (sent.records, sent.runs, sent.exit_code) == (1, 1, 3)
    assert [(one.path, one.reason) for one in sent.left_out] == [(strange, "misplaced")]
    assert sign_unsigned(ana) == []
    taken = pull(ben, place[0])
    assert (taken.records, taken.runs, taken.exit_code) == (1, 1, 0)


def test_pull_names_what_is_damaged_here_and_takes_the_rest(place, ana, ben):
    first = result(ana, 1)
    write_run(ana, {"run": RUN, "pipeline": "fraud", "state": "committed"}, signer(ana, "run"))
    push(ana, place[0])
    assert pull(ben, place[0]).exit_code == 0
    result(ana, 2)
    push(ana, place[0])
    for path in (record_path(ben, "fraud", "train", first.key), ben.root / "runs" / RUN / "run.json"):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-9])
    taken = pull(ben, place[0])
    assert (taken.records, taken.exit_code) == (1, 5)
    assert [(one.path, one.reason) for one in taken.refused] == [
        (record_place(first), "damaged"),
        (f"runs/{RUN}.json", "damaged"),
    ]
    assert all(str(ben.root) in one.message for one in taken.refused)
