"""The audit log against whoever can write everything: what runs left in the store, what was kept elsewhere,
and what is innocent."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import convert, to_builtins
from plain_records import commit, write_run

from mlnb.care.audit import audit, events, init_audit, make_checkpoint, sound_log, tell_late, verify_log
from mlnb.care.chain import NOTHING, new_line, split_lines
from mlnb.care.evidence import LogReport, ToldLate, UntoldCounts
from mlnb.care.log_file import log_path, read_log, write_head
from mlnb.care.notes import WITNESS_KEY, Verifier, read_note, with_signature
from mlnb.care.signing import trusted_keys
from mlnb.care.tree_heads import Elsewhere, origin_of, signed_head, vouched
from mlnb.care.vouched import signer
from mlnb.sharing.anchors import anchor, anchor_place, heads_at, kept_elsewhere
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push
from mlnb.sharing.remote import open_remote
from mlnb.store.digests import sha256
from mlnb.store.errors import IntegrityError, UsageError
from mlnb.store.objects import open_store, put
from mlnb.store.runs import hold_run

RUNS = [f"20261127T1000000{n:02d}-00{n:02x}" for n in range(12)]


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


def run_of(store, run, state="committed", told=True, attempts=1):
    "What a run leaves: document, record, and an entry of the log when it is told."
    stages = [{"name": "train", "attempts": attempts, "state": state, "each": None}]
    document = {"run": run, "pipeline": "shop", "state": state, "stages": stages}
    write_run(store, document, signer(store, "run"))
    if attempts:
        output = {"digest": put(store, run.encode()), "codec": "text", "type": "str", "bytes": len(run)}
        record = {"pipeline": "shop", "stage": "train", "key": sha256(run.encode()), "run": run}
        rest = {"source": None, "notebook": None, "lock": None, "modules": {}, "inputs": {}, "metrics": {}}
        commit(store, record | rest | {"outputs": {"model": output}}, sign=signer(store, "record"))
    if told:
        audit(store, "run", "committed", run=run, pipeline="shop")
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A store with a key and five runs, all told; never changed."
    made = open_store(tmp_path_factory.mktemp("made") / "store")
    init_audit(made)
    for run in RUNS[:5]:
        run_of(made, run)
    return made


@pytest.fixture
def store(made, tmp_path):
    "A copy of it."
    shutil.copytree(made.root, tmp_path / "store")
    return open_store(tmp_path / "store")


def checked(store, **more):
    return verify_log(store, with_runs=True, **more)


def begun_anew(store, lines):
    "Write a log of (event, about) as if nothing else had ever been; checkpoints in the store go."
    shutil.rmtree(log_path(store).parent)
    previous, made = NOTHING, []
    for n, (event, about) in enumerate(lines, 1):
        made.append(new_line(n, previous, event, "ok", None, about))
        previous = sha256(made[-1])
    log_path(store).parent.mkdir(mode=0o700)
    log_path(store).write_bytes(b"".join(line + b"\n" for line in made))
    if made:
        write_head(store, len(made), made[-1])


# an emptied, shortened, replaced or removed log


def remove_folder(store):
    shutil.rmtree(log_path(store).parent)


def remove_files(store):
    for path in log_path(store).parent.rglob("*.json*"):
        path.unlink()


def empty(store):
    begun_anew(store, [])


def shorten(store):
    begun_anew(store, [("init", {}), *(("run", {"run": run}) for run in RUNS[:3])])


def replace(store):
    begun_anew(store, [("run", {"run": run}) for run in RUNS[5:10]])


def leave_one_out(store):
    begun_anew(store, [("run", {"run": run}) for run in (*RUNS[:2], *RUNS[3:5])])


def remove_and_go_on(store):
    remove_folder(store)
    run_of(store, RUNS[5])


ATTACKS = {
    remove_folder: (5, 0),
    remove_files: (5, 0),
    empty: (5, 0),
    shorten: (2, 3),
    replace: (5, 0),
    leave_one_out: (1, 2),
    remove_and_go_on: (5, 0),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_log_that_lost_its_runs_is_a_finding_that_counts_them(store, attack):
    assert checked(store).state == "ok"
    attack(store)
    found, (n, first) = checked(store), ATTACKS[attack]
    assert (found.state, found.untold.runs, found.untold.records) == ("bad", n, n)
    assert found.untold.first == RUNS[first]
    assert RUNS[first] in found.message and f"by {n} run" in found.message


@pytest.mark.parametrize("gone", ["records", "runs"])
def test_one_kind_of_traces_is_enough(store, gone):
    shutil.rmtree(store.root / gone)
    remove_folder(store)
    assert checked(store).untold.runs == 5


# what is innocent


def test_store_without_a_run_and_without_a_log_is_good(tmp_path):
    found = checked(open_store(tmp_path / "new"))
    assert (found.state, found.entries, found.message) == ("ok", 0, "")


def test_run_that_attempted_nothing_need_not_be_told(store):
    run_of(store, RUNS[6], told=False, attempts=0)
    assert checked(store).state == "ok"


def test_living_run_need_not_be_told_yet_and_a_killed_one_is_named_with_its_mend(store):
    run_of(store, RUNS[6], state="running", told=False)
    with hold_run(store, RUNS[6]):
        assert checked(store).state == "ok"
    found = checked(store)
    assert (found.state, found.untold.killed, found.findings) == ("untold", 1, [])
    assert RUNS[6] in found.message
    tell_late(store, "the machine stopped")
    found = checked(store)
    assert (found.state, found.told_late[0].why) == ("ok", "the machine stopped")


def test_untold_runs_are_told_late_in_an_entry_that_stays(store):
    remove_folder(store)
    told = tell_late(store, "the folder was lost in a move")
    assert (told.ended, events(store, "told_late")[0].about["run_ids"]) == (RUNS[:5], RUNS[:5])
    found = checked(store)
    told = ToldLate(n=1, runs=5, tombstones=0, tombstones_gone=0, keys=0, why="the folder was lost in a move")
    assert (found.state, found.told_late) == ("ok", [told])
    assert tell_late(store, "again").ended == [] and len(events(store)) == 1


def test_runs_that_retention_removed_leave_entries_and_no_finding(store):
    shutil.rmtree(store.root / "runs" / RUNS[0])
    for path in (store.root / "records").rglob(f"{sha256(RUNS[0].encode())}.json"):
        path.unlink()
    assert checked(store).state == "ok"


def test_pulled_runs_are_named_by_the_pull_and_runs_beside_them_are_not(store, tmp_path):
    ben = open_store(tmp_path / "ben")
    push(store, str(tmp_path / "remote"))
    taken = pull(ben, str(tmp_path / "remote"), trusted=trusted_keys(store))
    assert (taken.records, taken.runs) == (5, 5)
    assert events(ben, "pull")[0].about["run_ids"] == RUNS[:5]
    assert checked(ben).state == "ok"
    run_of(ben, RUNS[9], told=False)
    others = {kind: [] for kind in ("tombstones", "tombstones_gone", "keys")}
    assert checked(ben).untold == UntoldCounts(runs=1, killed=0, records=1, first=RUNS[9], **others)


def test_pull_of_an_older_mlnb_that_named_no_runs_is_believed_up_to_its_count(store):
    begun_anew(store, [("pull", {"runs": 2, "records": 3})])
    assert checked(store).state == "ok"
    begun_anew(store, [("pull", {"runs": 2, "records": 2})])
    assert checked(store).untold.runs == 5


# forks, with what was kept elsewhere


def forked(store, place, rng):
    "The log computed anew from one line on, as somebody does who can write everything."
    lines = split_lines(log_path(store).read_bytes())[0][: place - 1]
    for _ in range(rng.randint(0, 6)):
        previous = sha256(lines[-1]) if lines else NOTHING
        lines.append(new_line(len(lines) + 1, previous, "run", "ok", None, {"forged": rng.random()}))
    log_path(store).write_bytes(b"".join(line + b"\n" for line in lines))
    write_head(store, len(lines), lines[-1] if lines else b"")


def forks_found(store, n_forks, seed):
    "Every fork is found, and its first line named, when each length of the log was kept elsewhere."
    log, rng = sound_log(store)[0], random.Random(seed)
    shutil.rmtree(log_path(store).parent / "checkpoints")
    data, head = log_path(store).read_bytes(), log_path(store).with_name("head.json").read_bytes()
    trusted, origin = trusted_keys(store), origin_of(store)
    parts = [log._replace(lines=log.lines[:n]) for n in range(1, log.n + 1)]
    heads = [vouched(str(signed_head(store, part)), origin, trusted) for part in parts]
    kept = kept_elsewhere([], origin, trusted)._replace(heads=tuple(heads))
    for _ in range(n_forks):
        place = rng.randint(1, log.n)
        forked(store, place, rng)
        found = verify_log(store, elsewhere=kept)
        assert (found.state, found.first_bad) == ("bad", place)
        log_path(store).write_bytes(data)
        log_path(store).with_name("head.json").write_bytes(head)
    assert verify_log(store, elsewhere=kept).signed_to == log.n
    return n_forks


def test_forks_are_found_by_what_was_kept_elsewhere_and_their_first_line_is_named(store):
    assert forks_found(store, 60, seed=1) == 60


def altered_line(data):
    "Line 4 of 6 changed."
    lines = data.split(b"\n")
    return b"\n".join([*lines[:3], lines[3].replace(b"shop", b"shed"), *lines[4:]])


DAMAGE = {
    "altered": (altered_line, 4, "entry 4 was changed: it is not what was written"),
    "cut": (lambda data: data[:-30], 6, "entry 6 was cut: the newline behind it is gone"),
    "gone at its end": (
        lambda data: b"\n".join([*data.split(b"\n")[:4], b""]),
        5,
        "entry 5 is gone: the log had 6",
    ),
    "gone in it": (
        lambda data: b"\n".join(data.split(b"\n")[:2] + data.split(b"\n")[3:]),
        3,
        "entry 3 is gone: ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_thing_that_is_wrong_is_one_finding_whatever_was_signed_of_the_log(store, damage):
    change, first, said = DAMAGE[damage]
    log, trusted, origin = sound_log(store)[0], trusted_keys(store), origin_of(store)
    make_checkpoint(store)
    parts = [log._replace(lines=log.lines[:n]) for n in range(1, log.n + 1)]
    heads = tuple(vouched(str(signed_head(store, part)), origin, trusted) for part in parts)
    log_path(store).write_bytes(change(log_path(store).read_bytes()))
    found = verify_log(store, elsewhere=Elsewhere((), heads))
    assert [one.message[: len(said)] for one in found.findings] == [said]
    assert (found.first_bad, found.signed_to) == (first, first - 1)


@pytest.mark.parametrize("seed", range(5))
def test_log_computed_anew_is_one_finding_and_so_is_what_is_gone_of_it(store, seed):
    log, trusted, origin = sound_log(store)[0], trusted_keys(store), origin_of(store)
    parts = [log._replace(lines=log.lines[:n]) for n in (2, 4, 5, 6)]
    heads = tuple(vouched(str(signed_head(store, part)), origin, trusted) for part in parts)
    shutil.rmtree(log_path(store).parent / "checkpoints")
    forked(store, 3, random.Random(seed))
    n, findings = read_log(store).n, verify_log(store, elsewhere=Elsewhere((), heads)).findings
    replaced = ["one of the entries 3 to 4 was replaced and the chain computed anew"] if n >= 4 else []
    gone = [f"entry {n + 1} is gone"] if n < 6 else []
    assert [one.message.split(":")[0] for one in findings] == [*replaced, *gone]
    assert all("if a copy of this store wrote on" in one.mend for one in findings[: len(replaced)])


@pytest.mark.slow
def test_two_thousand_forks_are_found_and_their_first_line_is_named(store):
    assert forks_found(store, 2000, seed=2) == 2000


# anchors


@pytest.fixture(params=["file", "folder", "url", "git"])
def place(request, store, tmp_path):
    "Each kind of place."
    root = tmp_path / "project"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    folder = f"{tmp_path}/shelf/"
    names = {
        "file": f"{tmp_path}/log.txt",
        "folder": folder,
        "url": f"memory://{tmp_path.name}",
        "git": "git",
    }
    return anchor_place(names[request.param], origin_of(store), root)


def asked(store, place, **more):
    return kept_elsewhere([place], origin_of(store), trusted_keys(store), **more)


def test_anchor_is_consistent_with_the_log_that_grew_and_refuses_another(store, place):
    assert anchor(store, place).n == 6
    run_of(store, RUNS[5])
    assert anchor(store, place).consistency.since == 6
    assert [read_note(text).text.split("\n")[1] for text in place.read()] == ["6", "8"]
    found = checked(store, elsewhere=asked(store, place))
    assert (found.state, found.signed_to, found.entries) == ("ok", 8, 9)
    begun_anew(store, [("run", {"run": run}) for run in RUNS[:9]])
    found = verify_log(store, elsewhere=asked(store, place))
    assert (found.state, found.first_bad) == ("bad", 1)
    with pytest.raises(IntegrityError, match="knows another audit log: one of the entries 1 to 6"):
        anchor(store, place)
    assert len(place.read()) == 2


def test_anchor_of_a_log_whose_name_went_with_it_is_a_finding(store, place):
    anchor(store, place)
    shutil.rmtree(log_path(store).parent)
    (store.root / "audit-origin").unlink()
    audit(store, "run", run="r")
    found = verify_log(store, elsewhere=asked(store, place))
    assert found.state == "bad" and "has no checkpoint of this log" in found.message


@pytest.mark.parametrize("damage", ["", "no note\n", "mlnb/x\n1\n\n", "\n\n\n", "\x00" * 50, "— a b\n"])
def test_place_with_anything_else_in_it_is_no_place_and_says_so(store, tmp_path, damage):
    (tmp_path / "log.txt").write_text(damage)
    place = anchor_place(f"{tmp_path}/log.txt", "x", tmp_path)
    with pytest.raises(UsageError, match="keeps no checkpoint, and no entry says that it was told"):
        verify_log(store, elsewhere=asked(store, place))
    audit(store, "anchor", where=place.shown, lines=6, origin=origin_of(store))
    found = verify_log(store, elsewhere=asked(store, place))
    assert (found.state, found.first_bad) == ("bad", None)
    assert found.message == f"{place.shown} knows 0 entries, and entry 7 says that it knew 6"


def test_note_signed_by_a_stranger_counts_for_nothing(store, tmp_path):
    other = open_store(tmp_path / "other")
    init_audit(other)
    (other.root / "audit-origin").write_text(origin_of(store) + "\n")
    path = tmp_path / "log.txt"
    path.write_text(str(signed_head(other, read_log(other))))
    found = verify_log(store, elsewhere=asked(store, anchor_place(str(path), origin_of(store), tmp_path)))
    assert "signed by nobody who is trusted" in found.message


def test_witness_that_is_asked_for_must_have_signed_and_signed_well(store, tmp_path):
    path, key = tmp_path / "log.txt", Ed25519PrivateKey.generate()
    watch = Verifier("witness.example/w1", WITNESS_KEY, key.public_key().public_bytes_raw())
    where = anchor_place(str(path), origin_of(store), tmp_path)
    anchor(store, where)
    found = verify_log(store, elsewhere=asked(store, where, witnesses=[watch]))
    assert (found.state, found.message[:35]) == ("bad", "no witness signed a checkpoint at " + "/")
    note = with_signature(read_note(path.read_text()), watch.name, key, WITNESS_KEY)
    path.write_text(str(note))
    found = verify_log(store, elsewhere=asked(store, where, witnesses=[watch]))
    assert (found.state, found.witnessed_to, found.signed_to) == ("ok", 6, 6)
    *good, last = note.signatures[1].raw
    forged = note.signatures[1]._replace(raw=bytes([*good, last ^ 1]))
    path.write_text(str(note._replace(signatures=(note.signatures[0], forged))))
    found = verify_log(store, elsewhere=asked(store, where, witnesses=[watch]))
    assert "signature of witness.example/w1 is wrong" in found.message


# a remote


@pytest.mark.parametrize("attack", [remove_folder, shorten, replace], ids=lambda attack: attack.__name__)
def test_push_of_a_log_that_went_back_is_refused_and_sends_nothing(store, tmp_path, attack):
    url = str(tmp_path / "remote")
    push(store, url)
    attack(store)
    run_of(store, RUNS[11])
    before = sorted(p for p in (tmp_path / "remote").rglob("*") if p.is_file())
    with pytest.raises(IntegrityError, match="knows another audit log"):
        push(store, url)
    assert sorted(p for p in (tmp_path / "remote").rglob("*") if p.is_file()) == before


def test_mend_of_a_refused_push_works_when_followed_literally(store, tmp_path):
    url = str(tmp_path / "remote")
    push(store, url)
    remove_folder(store)
    run_of(store, RUNS[11])
    with pytest.raises(IntegrityError) as refused:
        push(store, url)
    folder = refused.value.mend.partition("remove ")[2].partition(" at the remote")[0]
    shutil.rmtree(tmp_path / "remote" / folder)
    assert push(store, url).records == 1
    assert len(heads_at(open_remote(url), origin_of(store))) == 1


def test_two_stores_share_a_remote_and_each_is_held_to_its_own_log(store, tmp_path):
    url, ben = str(tmp_path / "remote"), open_store(tmp_path / "ben")
    init_audit(ben)
    for _ in range(2):
        push(store, url)
        push(ben, url)
    assert len(heads_at(open_remote(url), origin_of(ben))) == 2


# the command line


SETTINGS = "[mlnb]\nstore = .mlnb\n{more}\n[pipeline.shop]\nnotebooks = nbs\n"


@pytest.fixture
def project(store, tmp_path):
    root = tmp_path / "shop"
    (root / "nbs").mkdir(parents=True)
    (root / "settings.ini").write_text(SETTINGS.format(more=""))
    shutil.move(store.root, root / ".mlnb")
    return root


def test_verb_says_what_is_missing_ends_with_5_and_its_mend_heals_it(project, asked):
    shutil.rmtree(project / ".mlnb" / "audit")
    result = asked("audit", "verify", cwd=project)
    assert result.code == 5
    said = "the log is empty, and 5 records were committed by 5 runs that no entry tells of; the first is "
    assert said + RUNS[0] in result.stderr
    assert asked("audit", "tell", cwd=project).code == 2
    assert asked("audit", "tell", "--why", "lost in a move", cwd=project).code == 0
    result = asked("audit", "verify", cwd=project)
    assert (result.code, "5 runs were told late by entry 1" in result.stdout) == (0, True)
    assert [e["event"] for e in asked("audit", "--json", cwd=project).json["events"]] == ["told_late"]


def test_verb_asks_the_place_and_the_remote_of_the_settings(project, asked, tmp_path):
    (project / "settings.ini").write_text(SETTINGS.format(more=f"remote = {tmp_path}/remote"))
    assert asked("push", cwd=project).code == 0
    found = asked("audit", "anchor", f"{tmp_path}/log.txt", "--json", cwd=project)
    assert (found.code, found.json["n"]) == (0, 7)
    ok = asked("audit", "verify", "--anchor", f"{tmp_path}/log.txt", "--json", cwd=project)
    assert (ok.code, ok.json["signed_to"]) == (0, 7)
    kept = (project / ".mlnb" / "audit").rename(tmp_path / "audit-away")
    store = open_store(project / ".mlnb")
    begun_lines = [("init", {}), *(("run", {"run": run}) for run in RUNS[:5])]
    log_path(store).parent.mkdir()
    begun_anew(store, begun_lines)
    found = asked("audit", "verify", "--json", cwd=project)
    assert (found.code, found.json["first_bad"], found.json["untold"]["runs"]) == (5, 1, 0)
    assert asked("push", cwd=project).code == 5
    (tmp_path / "remote").rename(tmp_path / "remote-away")
    assert asked("audit", "verify", cwd=project).code == 0
    assert asked("audit", "verify", "--anchor", f"{tmp_path}/log.txt", cwd=project).code == 5
    shutil.rmtree(project / ".mlnb" / "audit")
    kept.rename(project / ".mlnb" / "audit")
    assert asked("audit", "verify", "--anchor", f"{tmp_path}/log.txt", cwd=project).code == 0


def test_verify_makes_no_store_and_gives_no_name(project, asked):
    before = sorted((project / ".mlnb").rglob("*"))
    shutil.move(project / ".mlnb", project / "away")
    assert asked("audit", "verify", cwd=project).code == 0
    assert not (project / ".mlnb").exists()
    shutil.move(project / "away", project / ".mlnb")
    assert asked("audit", "verify", cwd=project).code == 0
    assert sorted((project / ".mlnb").rglob("*")) == before


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("anchor", "nowhere://x"), 2),
        (("anchor", "/proc/none/log.txt"), 2),
        (("anchor", "git"), 2),
        (("verify", "--anchor", "git"), 2),
        (("verify", "--anchor", "none.txt"), 2),
        (("tell", "--why", " "), 2),
    ],
)
def test_verb_refuses_in_a_sentence(project, asked, arguments, code):
    result = asked("audit", *arguments, cwd=project)
    assert (result.code, "mend:" in result.stderr, "Traceback" in result.stderr) == (code, True, False)


def test_witnesses_of_the_settings_are_read_strictly(project, asked, tmp_path):
    (project / "settings.ini").write_text(SETTINGS.format(more="witnesses = w1+00000000+AAAA"))
    result = asked("audit", "verify", cwd=project)
    assert (result.code, "is no key of a log or a witness" in result.stderr) == (2, True)


def test_event_of_an_anchor_names_place_length_and_root(store, tmp_path):
    anchor(store, anchor_place(f"{tmp_path}/log.txt", origin_of(store), tmp_path))
    about = events(store, "anchor")[0].about
    assert (about["lines"], len(about["root"]), about["where"]) == (6, 44, f"{tmp_path}/log.txt")


KILLED = """
import os, signal, sys
from mlnb.sharing import anchors
from mlnb.store.objects import open_store
store = open_store(sys.argv[1])
anchors.audit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
anchors.anchor(store, anchors.anchor_place(sys.argv[2], anchors.origin_of(store), anchors.Path(".")))
"""


def test_kill_between_an_anchor_and_its_entry_leaves_both_good(store, tmp_path):
    path = str(tmp_path / "log.txt")
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.root), path], timeout=60, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    where = anchor_place(path, origin_of(store), tmp_path)
    assert (checked(store, elsewhere=asked(store, where)).signed_to, events(store, "anchor")) == (6, [])
    assert anchor(store, where).n == 6


def test_log_that_does_not_verify_is_not_anchored(store, tmp_path):
    data = log_path(store).read_bytes()
    log_path(store).write_bytes(data.replace(b'"init"', b'"gone"', 1))
    with pytest.raises(IntegrityError, match="entry 1 was changed"):
        anchor(store, anchor_place(f"{tmp_path}/log.txt", origin_of(store), tmp_path))
    assert not (tmp_path / "log.txt").exists()


def test_anchor_without_a_key_says_how_to_make_one(tmp_path):
    store = open_store(tmp_path / "none")
    audit(store, "run", run="r")
    with pytest.raises(UsageError) as refused:
        anchor(store, anchor_place(f"{tmp_path}/log.txt", origin_of(store), tmp_path))
    assert "mlnb audit init" in refused.value.mend and not (tmp_path / "log.txt").exists()


def test_report_is_plain_json(store):
    report = checked(store)
    assert convert(json.loads(json.dumps(to_builtins(report))), LogReport) == report
