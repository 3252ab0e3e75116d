"""Signed where it is made: whoever alters a result after that is found out, and only what somebody trusted
signed is sent, and used where a project asks for it."""

import base64
import json
import os
import shutil
from functools import partial

import pytest
from plain_records import as_record, as_run, commit, write_run

from mlnb.care.audit import init_audit
from mlnb.care.signing import key_path, make_key, own_key, sign, trust
from mlnb.care.vouched import (
    Keys,
    judging,
    sign_result,
    signer,
    standing_of,
    standings,
    store_keys,
    told_standings,
)
from mlnb.flow.plan import plan_pipeline
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push, send_object, sign_unsigned
from mlnb.sharing.remote import open_remote, write_remote
from mlnb.sharing.trust import record_place
from mlnb.store.artifacts import put_value
from mlnb.store.digests import canonical_json
from mlnb.store.documents import read_json, sealed
from mlnb.store.errors import IntegrityError, UsageError
from mlnb.store.exports import export_value
from mlnb.store.objects import open_store, put
from mlnb.store.project_id import project_id, take_id
from mlnb.store.records import find_record, find_result, outcome_of, output_digests, record_path
from mlnb.store.refs import move_ref
from mlnb.store.settings import find_project


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


RUN = "20261123T100000000-0a1b"


def made(store, n=1, text="a model"):
    "A record with an output, and some code."
    return {
        "key": f"a{n:063x}",
        "pipeline": "fraud",
        "stage": "train",
        "each": None,
        "run": RUN,
        "parts": {"cells": ["x"], "parameters": {"depth": {"value": 3}}},
        "inputs": {},
        "outputs": {"model": put_value(store, text).as_dict()},
        "metrics": {"auc": 0.9},
        "notebook": put(store, b"a notebook"),
        "texts": {},
        "modules": {},
        "seconds": 1.5,
    }


@pytest.fixture
def ana(tmp_path):
    store = open_store(tmp_path / "ana")
    init_audit(store)
    return store


def resealed(store, n=1, change=None):
    "Alter a record as somebody does who can write to the store and knows how seals are made."
    path = record_path(store, "fraud", "train", f"a{n:063x}")
    path.chmod(0o600)
    path.write_bytes(sealed(path, change(read_json(path))))
    return path


def states(store):
    told = told_standings(standings(store, store_keys(store)))
    return {
        state: getattr(told, state)
        for state in ("own", "trusted", "untrusted", "unsigned", "altered")
        if getattr(told, state)
    }


def test_whatever_member_of_a_result_is_altered_added_or_taken_away_its_signature_does_not_fit(ana):
    record = sign(ana, "record", made(ana))
    keys = store_keys(ana)
    others = [record | {name: "other"} for name in record if name != "signed"]
    others += [{k: v for k, v in record.items() if k != name} for name in record if name != "signed"]
    others += [record | {"as_run": "r2"}, record | {"metrics": {"auc": 0.91}}, record | {"new": 1}]
    others += [record | {"signed": record["signed"] | {"signature": "A" * 88}}, record | {"signed": 7}]
    assert {standing_of("record", other, keys).state for other in others} == {"altered"}
    assert standing_of("record", json.loads(json.dumps(record)), keys).state == "own"


def test_result_that_takes_the_place_of_another_is_signed_with_what_it_says_then(ana):
    first, second = made(ana), made(ana, text="another") | {"run": RUN[:-1] + "c"}
    for record, replace in ((first, False), (second, True)):
        commit(ana, record, replace, signer(ana, "record"))
    assert "as_run" in read_json(record_path(ana, "fraud", "train", first["key"]))
    assert states(ana) == {"own": 2}
    stage = {"name": "train", "state": "committed", "key": first["key"]}
    stage["outputs"] = output_digests(as_record(first))
    before = as_run({"pipeline": "fraud", "state": "committed", "stages": [stage]})
    found = find_result(judging(ana), before, "train", first["key"])
    assert found == as_record(first | {"replaced_by": second["run"]})


@pytest.mark.parametrize("replaced_by", [None, RUN])
def test_record_and_evidence_that_were_exchanged_give_a_run_what_its_document_names(ana, replaced_by):
    one, two = made(ana), made(ana, text="another") | {"run": RUN[:-1] + "c"}
    for record, replace in ((one, False), (two, True)):
        commit(ana, record, replace, signer(ana, "record"))
    path = record_path(ana, "fraud", "train", one["key"])
    (evidence,) = path.parent.glob("*.evidence")
    before, now = read_json(evidence), read_json(path)
    now |= {"replaced_by": replaced_by} if replaced_by else {}
    named = {name: outcome_of(output_digests(as_record(said))) for name, said in (("one", one), ("two", two))}
    evidence.unlink()
    path.unlink()
    path.write_bytes(sealed(path, {k: v for k, v in before.items() if k != "replaced_by"}))
    moved = path.with_name(f"{path.stem}.{named['two']}.evidence")
    moved.write_bytes(sealed(moved, now))
    assert states(ana) == {"own": 2}
    for name, said in (("one", one), ("two", two)):
        document = as_run({"pipeline": "fraud", "state": "committed", "outcomes": {one["key"]: named[name]}})
        found = find_result(judging(ana), document, "train", one["key"])
        assert output_digests(found) == output_digests(as_record(said))


KINDS = ("own", "trusted", "untrusted", "unsigned", "altered")


@pytest.fixture
def five(ana, tmp_path):
    "A store with a result in each state."
    friend, stranger = (open_store(tmp_path / name) for name in ("friend", "stranger"))
    for store in (friend, stranger):
        make_key(store)
        take_id(store, project_id(ana))
    trust(ana, "friend", own_key(friend))
    for n, store in enumerate((ana, friend, stranger, None, ana)):
        as_signed = signer(store, "record") if store else dict
        commit(ana, made(ana, n, f"model {n}"), sign=as_signed)
    resealed(ana, 4, lambda record: record | {"metrics": {"auc": 1.0}})
    return ana


def test_only_what_is_vouched_for_is_sent_and_the_rest_is_named_with_its_reason(five, tmp_path):
    sent = push(five, str(tmp_path / "shared"))
    assert sent.records == 2
    assert {one.path[-6:-5]: one.reason for one in sent.left_out} == {str(n): KINDS[n] for n in (2, 3, 4)}
    other = open_store(tmp_path / "other")
    for name, key in (("ana", own_key(five)), ("friend", own_key(open_store(tmp_path / "friend")))):
        trust(other, name, key)
    taken = pull(other, str(tmp_path / "shared"))
    assert (taken.records, taken.exit_code) == (2, 0)
    assert [(one.name, one.taken) for one in taken.keys] == [("ana", 1), ("friend", 1)]
    assert states(other) == {"trusted": 2}


def test_only_what_nobody_signed_is_signed_afterwards_and_only_when_somebody_says_so(five, tmp_path):
    assert [path[-6:-5] for path in sign_unsigned(five)] == ["3"]
    assert states(five) == {"own": 2, "trusted": 1, "untrusted": 1, "altered": 1}
    assert push(five, str(tmp_path / "shared")).records == 3


def test_where_signatures_are_required_only_what_is_vouched_for_is_a_result(five):
    strict = judging(five)
    found = [find_record(strict, "fraud", "train", f"a{n:063x}") is not None for n in range(5)]
    assert found == [True, True, False, False, False]
    for n, said in ((2, "not trusted here"), (3, "nobody signed it"), (4, "altered after it was signed")):
        with pytest.raises(IntegrityError, match=said) as error:
            find_result(strict, as_run({"pipeline": "fraud", "state": "failed"}), "train", f"a{n:063x}")
        assert "mlnb run fraud train" in error.value.mend
        again = commit(strict, made(five, n, f"model {n}"), sign=signer(five, "record"))
        assert (again.is_first, again.is_reproduced) == (True, True)
        assert find_record(strict, "fraud", "train", f"a{n:063x}")
    assert states(five) == {"own": 4, "trusted": 1}


def lost(store):
    key_path(store).unlink()


def replaced(store):
    lost(store)
    make_key(store)


def readable_by_others(store):
    key_path(store).chmod(0o644)


def of_other_content(store):
    key_path(store).write_text("hello")


def of_unknown_kind(store):
    body = key_path(store).read_text().splitlines()[1]
    other = base64.b64decode(body).replace(b"\x2b\x65\x70", b"\x2b\x65\x7f")  # OID of no key there is
    text = base64.b64encode(other).decode()
    key_path(store).write_text(f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")


def of_another_user(store):
    os.chown(key_path(store), 4321, -1)


KEYS = [
    (lost, "there is no key to sign with", "untrusted"),
    (replaced, None, "untrusted"),
    (readable_by_others, "can be read by others", None),
    (of_other_content, "holds no Ed25519 key", None),
    (of_unknown_kind, "holds no Ed25519 key", None),
    pytest.param(
        *(of_another_user, "belongs to another user", None),
        marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away"),
    ),
]


@pytest.mark.parametrize(("become", "refusal", "state"), KEYS)
def test_key_that_is_lost_replaced_or_unsafe(ana, tmp_path, become, refusal, state):
    commit(ana, made(ana), sign=signer(ana, "record"))
    old = own_key(ana)
    become(ana)
    url = str(tmp_path / "shared")
    if refusal:
        with pytest.raises(UsageError, match=refusal):
            push(ana, url)
    if become in (readable_by_others, of_other_content, of_unknown_kind, of_another_user):
        with pytest.raises(UsageError, match=refusal):
            signer(ana, "record")  # what `mlnb run` asks before anything runs
        return
    assert states(ana) == {state: 1}
    trust(ana, "me_before", old)
    assert states(ana) == {"trusted": 1}
    if become is replaced:
        assert push(ana, url).records == 1


def test_variable_that_names_no_key_is_refused_before_anything_runs(ana, tmp_path, monkeypatch):
    monkeypatch.setenv("MLNB_SIGNING_KEY", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="no key to sign with"):
        signer(ana, "run")


def test_moves_and_runs_that_were_laid_into_the_store_stay_here(ana, tmp_path):
    write_run(ana, {"run": RUN, "pipeline": "fraud", "state": "committed", "stages": []})
    move_ref(ana, "heads/fraud/default", RUN, "laid here")
    sent = push(ana, str(tmp_path / "shared"))
    assert (sent.runs, sent.refs[0].state, states(ana)) == (0, "not_vouched", {"unsigned": 2})
    assert [one.reason for one in sent.left_out] == ["unsigned"]


SAVES = {
    "10_a.ipynb": ['from mlnb import save\nsave("yes", True)\nsave("also", True)'],
    "20_b.ipynb": ['from mlnb import load, save\nsave("out", [load("yes"), load("also")])'],
}


@pytest.mark.slow
def test_in_a_project_that_requires_signatures(make_project, mlnb, asked):
    root = make_project(SAVES).root
    assert mlnb("run", "demo", "--json", cwd=root).code == 0
    assert asked("audit", "init", cwd=root).code == 0
    assert asked("run", "demo", "-n", "--json", cwd=root).states == {"a": "cached", "b": "cached"}
    (root / "settings.ini").write_text("[mlnb]\nrequire_signed = true\n[pipeline.demo]\nnotebooks = nbs\n")
    planned = asked("run", "demo", "-n", "--json", cwd=root)
    assert planned.states["a"] == "stale" and "nobody signed it" in planned.stage("a")["why"][0]["message"]
    got = asked("get", "demo/out", "--json", cwd=root)
    assert got.code == 5 and "nobody signed it" in got.stderr and "mend:" in got.stderr
    shown = asked("show", "latest", "--json", cwd=root).json
    assert [one["signature"]["state"] for one in (shown, *shown["stages"])] == ["unsigned"] * 3
    assert "signature of a: nobody signed it" in asked("show", "latest", cwd=root).stdout
    found = asked("verify", "--json", cwd=root)
    assert (found.code, found.json["signatures"]["unsigned"], found.json["clean"]) == (0, 4, True)
    assert mlnb("run", "demo", "--json", cwd=root).states == {"a": "committed", "b": "committed"}
    assert asked("get", "demo/out", "--json", cwd=root).code == 0
    graph = asked("lineage", "demo/out", "--json", cwd=root).json
    signed = [node["signature"]["state"] for node in graph["nodes"] if node["kind"] == "stage"]
    assert signed == ["own", "own"]
    (path,) = (root / ".mlnb" / "records" / "demo" / "b").glob("*.json")
    path.chmod(0o600)
    path.write_bytes(sealed(path, read_json(path) | {"seconds": 99.0}))
    found = asked("verify", "--json", cwd=root)
    assert found.code == 5 and [one["kind"] for one in found.json["damaged"]] == ["resealed"]
    assert "altered after it was signed" in asked("lineage", "demo/out@latest", cwd=root).stdout
    assert asked("get", "demo/out", cwd=root).code == 5


def test_mend_names_the_key_that_was_lost_with_all_that_stood_beside_it(make_project, asked, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    root = make_project(SAVES).root
    (root / "settings.ini").write_text("[mlnb]\nrequire_signed = true\n[pipeline.demo]\nnotebooks = nbs\n")
    refused = asked("run", "demo", cwd=root)
    assert (refused.code, "mend: make your key with `mlnb audit init`, and" in refused.stderr) == (2, True)
    lost = asked("audit", "init", "--json", cwd=root).json["key"]
    shutil.rmtree(root / ".mlnb" / "private")
    refused, mend = asked("run", "demo", cwd=root), f"`mlnb audit trust me_before {lost}`"
    assert (refused.code, "back from a copy" in refused.stderr, mend in refused.stderr) == (2, True, True)
    assert mend in asked("audit", "init", cwd=root).stderr
    assert asked("audit", "verify", cwd=root).code == 5
    assert asked("audit", "trust", "me_before", lost, cwd=root).code == 0
    assert asked("audit", "verify", cwd=root).code == 0


def test_lost_key_is_named_by_every_verb_that_would_sign_and_by_a_run_that_goes_on(
    make_project, asked, mlnb, tmp_path
):
    root = make_project({"10_a.ipynb": ["from mlnb import save\nsave('a', 1)"]}).root
    unsigned = mlnb("run", "demo", cwd=root)
    assert unsigned.code == 0 and "signed" not in unsigned.stdout + unsigned.stderr
    lost = asked("audit", "init", "--json", cwd=root).json["key"]
    shutil.rmtree(root / ".mlnb" / "private")
    places = {name: str(tmp_path / name) for name in ("remote", "anchor.txt", "today.json")}
    for words in (
        ["push", places["remote"]],
        ["audit", "anchor", places["anchor.txt"]],
        ["audit", "checkpoint", "--out", places["today.json"]],
        ["erase", "demo/a@6b86b273ff34", "--reason", "asked for", "--yes"],
    ):
        refused = asked(*words, cwd=root)
        assert refused.code == 2 and "back from a copy" in refused.stderr and lost in refused.stderr, refused
    again = mlnb("run", "demo", "--force", cwd=root)
    assert again.code == 0 and f"nothing is signed, and your key was {lost}: put " in again.stderr
    assert "signed" not in mlnb("run", "demo", cwd=root).stderr


NAMES = ["/x", "../x", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "aux.txt", "y" * 300, "x\u202e"]
ODD = [
    ["../x"],
    ["/x"],
    ["a", "a"],
    ["a", "A"],
    ["a", "a/b"],
    ["é", "e\u0301"],
    ["a//b"],
    ["nul"],
    ["a\u202eb"],
]


def folder_of(store, paths):
    "A folder with these files, as somebody describes it who writes the list by hand."
    files = [put(store, f"{n}".encode()) for n, _ in enumerate(paths)]
    tree = [{"path": path, "digest": file, "bytes": 1} for path, file in zip(paths, files, strict=True)]
    listed = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    about = {"codec": "folder", "type": "pathlib.Path", "bytes": len(paths)}
    return about | {"digest": put(store, listed), "parts": files}


def test_file_or_folder_that_would_lie_elsewhere_is_damage_and_an_honest_one_is_taken(ana, tmp_path):
    value = put_value(ana, "x").as_dict() | {"codec": "file"}
    honest = [value | {"filename": "x.csv"}, folder_of(ana, ["sub/a", "b"])]
    odd = [value | {"filename": name} for name in NAMES] + [folder_of(ana, paths) for paths in ODD]
    odd.append(folder_of(ana, ["b"]) | {"parts": [put(ana, b"z")]})
    for n, one in enumerate(honest):
        commit(ana, made(ana, n) | {"outputs": {"model": one}}, sign=signer(ana, "record"))
    push(ana, str(tmp_path / "shared"))
    remote = open_remote(str(tmp_path / "shared"))
    for n, one in enumerate(odd, len(honest)):
        record = made(ana, n) | {"outputs": {"model": one}}
        place = record_place(as_record(record | {"outputs": {}}))
        write_remote(remote, place, canonical_json(sign_result(ana, "record", record)))
        for digest in (one["digest"], *one.get("parts", ())):
            send_object(ana, remote, digest)
    ben = open_store(tmp_path / "ben")
    trust(ben, "ana", own_key(ana))
    taken = pull(ben, str(tmp_path / "shared"))
    assert (taken.records, taken.exit_code, len(list(ben.root.rglob("records/*/*/*.json")))) == (2, 5, 2)
    assert sorted(int(one.path[-12:-5], 16) for one in taken.refused) == [*range(2, 2 + len(odd))]
    assert {one.reason for one in taken.refused} == {"damaged"}


@pytest.mark.parametrize("place", ["data.csv", "sub"])
def test_value_is_not_written_through_a_link_that_lies_in_its_folder(ana, tmp_path, place):
    folder, out, target = (tmp_path / name for name in ("folder", "out", "target"))
    (folder / "sub").mkdir(parents=True)
    for name in ("data.csv", "sub/more.csv"):
        (folder / name).write_text("rows")
    target.mkdir()
    out.mkdir()
    (out / place).symlink_to(target / "file" if place == "data.csv" else target)
    artifact = put_value(ana, folder)
    with pytest.raises(UsageError, match="link"):
        export_value(ana, artifact, out, True)
    assert list(target.iterdir()) == []
    shutil.rmtree(out)
    export_value(ana, artifact, out, True)
    assert (out / "sub" / "more.csv").read_text() == "rows"


def test_keys_without_anybody_trust_nobody(ana):
    assert standing_of("record", sign(ana, "record", made(ana)), Keys({})).state == "untrusted"
    assert [standing_of("record", one, Keys({})).state for one in ({}, [], None, "x")] == ["unsigned"] * 4


STATES = {
    "unsigned": "nobody signed it",
    "untrusted": "not trusted here",
    "foreign": "for another project",
    "altered": "altered after it was signed",
}


@pytest.fixture
def strict_project(make_project, tmp_path):
    "A project that requires signatures, and a function that fills it, each kind signed in some way."
    root = make_project(SAVES).root
    (root / "settings.ini").write_text("[mlnb]\nrequire_signed = true\n[pipeline.demo]\nnotebooks = nbs\n")
    store, stranger = open_store(root / ".mlnb"), open_store(tmp_path / "stranger")
    make_key(store)
    make_key(stranger)
    ways = {
        "own": lambda what, plain: sign_result(store, what, plain),
        "unsigned": lambda what, plain: plain,
        "untrusted": lambda what, plain: sign_result(stranger, what, plain),
        "foreign": lambda what, plain: sign(store, what, plain, "e" * 32),
        "altered": lambda what, plain: sign_result(store, what, plain) | {"actor": "somebody else"},
    }

    def fill(**states):
        signed = {what: partial(ways[states.get(what, "own")], what) for what in ("record", "run", "ref")}
        record = made(store) | {"pipeline": "demo", "stage": "b"}
        record["outputs"] = {"out": put_value(store, [1, 2]).as_dict()}
        commit(store, record, sign=signed["record"])
        run = {"run": RUN, "pipeline": "demo", "state": "committed", "keys": {"b": record["key"]}}
        write_run(store, run, signed["run"])
        move_ref(store, "heads/demo/default", RUN, "done", sign=signed["ref"])
        return root

    return fill


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("what", ["record", "run", "ref"])
def test_head_run_or_record_that_nobody_vouches_for_gives_no_result_and_verbs_say_so(
    strict_project, asked, what, state
):
    root = strict_project(**{what: state})
    got = asked("get", "demo/out", "--json", cwd=root)
    assert got.code == 5 and STATES[state] in got.stderr and "mend:" in got.stderr
    if what == "run":
        assert asked("get", f"demo/out@{RUN}", "--json", cwd=root).code == 5
    told = asked("status", cwd=root)
    assert told.code == 0 and (STATES[state] in told.stderr) == (what != "record")
    told = asked("lineage", f"demo/out@{RUN}", "--json", cwd=root)
    assert told.code == 0 and (STATES[state] in told.stderr) == (what != "record")
    for words in (("artifacts",), ("artifacts", "demo"), ("artifacts", "demo/out"), ("lineage", "demo/out")):
        told = asked(*words, "--json", cwd=root)
        assert told.code == (0 if what == "record" else 5), words
        assert (STATES[state] in told.stderr) == (what != "record"), words
    listed, versions = (asked("artifacts", *words, "--json", cwd=root).json for words in ((), ("demo/out",)))
    assert (len(listed["artifacts"]), len(listed["refused"])) == ((1, 0) if what == "record" else (0, 1))
    assert [one["is_meant"] for one in versions["artifacts"]] == [what == "record"]


MARKS = {
    "own": "",
    "unsigned": "unsigned",
    "untrusted": "signed by a stranger",
    "foreign": "signed for another project",
    "altered": "altered after it was signed",
}


@pytest.mark.parametrize("state", MARKS)
def test_value_whose_record_nobody_vouches_for_is_given_with_a_note(strict_project, asked, state):
    root = strict_project(record=state)
    (root / "settings.ini").write_text("[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n")
    got = asked("get", "demo/out", cwd=root)
    assert (got.code, MARKS[state] in got.stderr, "`mlnb verify`" in got.stderr) == (0, True, state != "own")
    assert asked("get", "demo/out", "--json", cwd=root).json["signature"] == MARKS[state]


@pytest.mark.parametrize("what", ["run", "ref"])
def test_card_of_a_pipeline_whose_head_is_refused_says_so_and_why(strict_project, asked, what):
    root = strict_project(**{what: "unsigned"})
    assert asked("publish", cwd=root).code == 0
    card = (root / "reports" / "index.html").read_text()
    assert "he head of <code>demo</code> under profile <code>default</code> is refused" in card
    assert STATES["unsigned"] in card and "<code>mlnb run demo</code> sets it anew" in card
    assert "has committed every stage yet" not in card and "Never ran" not in card


def test_head_run_and_record_that_are_vouched_for_are_used(strict_project, asked):
    root = strict_project()
    assert asked("get", "demo/out", "--json", cwd=root).code == 0
    assert "refused" not in asked("status", cwd=root).stderr


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_run_that_finds_all_fresh_writes_nothing_that_nobody_can_sign(make_project, asked, monkeypatch):
    root = make_project({"10_a.ipynb": ['from mlnb import save\nsave("yes", True)']}).root
    (root / "settings.ini").write_text("[mlnb]\nrequire_signed = true\n[pipeline.demo]\nnotebooks = nbs\n")
    public, store = asked("audit", "init", "--json", cwd=root).json["key"], open_store(root / ".mlnb")
    step = plan_pipeline(find_project(root), store, "demo", "default", {}, {}).steps["a"]
    record = made(store) | {"pipeline": "demo", "stage": "a", "key": step.key}
    record["outputs"] = {"yes": put_value(store, True).as_dict()}
    commit(store, record, sign=signer(store, "record"))
    assert asked("audit", "trust", "ann", public, cwd=root).code == 0
    run = asked("run", "demo", "--cold", "--json", cwd=root).json
    assert (run["stages"][0]["state"], run["head"]) == ("cached", True)
    monkeypatch.setenv("LOGNAME", "ben")
    before = everything(root / ".mlnb")
    refused = asked("run", "demo", "--cold", cwd=root)
    assert refused.code == 2 and "you have no key" in refused.stderr and "mlnb audit init" in refused.stderr
    assert everything(root / ".mlnb") == before
    assert asked("status", "--json", cwd=root).json["stages"][0]["state"] == "fresh"
    assert asked("get", "demo/yes", cwd=root).code == 0


def test_run_without_a_key_is_refused_where_signatures_are_required(make_project, asked):
    root = make_project(SAVES).root
    (root / "settings.ini").write_text("[mlnb]\nrequire_signed = true\n[pipeline.demo]\nnotebooks = nbs\n")
    refused = asked("run", "demo", "--cold", cwd=root)
    assert refused.code == 2 and "you have no key" in refused.stderr and "mlnb audit init" in refused.stderr
    assert not (root / ".mlnb" / "runs").exists()


def test_result_made_again_with_a_key_is_signed_then_and_an_equal_one_changes_nothing_else(ana):
    commit(ana, made(ana))
    assert states(ana) == {"unsigned": 1}
    again = commit(ana, made(ana) | {"run": RUN[:-1] + "c"}, sign=signer(ana, "record"))
    assert (again.is_reproduced, states(ana)) == (True, {"own": 1})
    written = record_path(ana, "fraud", "train", again.record.key).read_bytes()
    commit(ana, made(ana) | {"run": RUN[:-1] + "d"}, sign=signer(ana, "record"))
    commit(ana, made(ana) | {"run": RUN[:-1] + "e"})
    assert record_path(ana, "fraud", "train", again.record.key).read_bytes() == written


@pytest.mark.parametrize("state", ["own", *STATES])
def test_runs_diff_and_show_say_of_a_run_whether_somebody_vouches_for_it(strict_project, asked, state):
    root, second = strict_project(run=state), RUN[:-1] + "c"
    store = open_store(root / ".mlnb")
    write_run(store, {"run": second, "pipeline": "demo", "state": "failed"}, signer(store, "run"))
    for words in (("runs",), ("runs", "--compare", "demo"), ("diff", RUN, second)):
        told = asked(*words, "--json", cwd=root)
        named = [(one["run"], one["state"]) for one in told.json["not_vouched"]]
        assert (told.code, named) == (0, [] if state == "own" else [(RUN, state)]), words
        assert (STATES.get(state, "nobody vouches") in told.stderr) == (state != "own")
    shown = asked("show", RUN, cwd=root).stdout
    assert ("signature: it is signed by " in shown) == (state in ("own", "untrusted"))
    assert STATES.get(state, "") in shown
    assert ", with your key" in asked("show", second, cwd=root).stdout


def test_lost_key_is_told_before_anything_runs_and_the_mends_work(make_project, asked, monkeypatch):
    root = make_project(SAVES).root
    store = open_store(root / ".mlnb")
    old = asked("audit", "init", "--json", cwd=root).json["key"]
    commit(store, made(store), sign=signer(store, "record"))
    assert asked("audit", "tell", "--why", "it was made by hand", cwd=root).code == 0
    key_path(store).rename(root / "kept")
    told = asked("run", "demo", "--cold", cwd=root)
    assert told.code == 2 and f"trust me_before {old}" in told.stderr and "from a copy" in told.stderr
    made_anew = asked("audit", "init", cwd=root)
    assert f"you had another key, {old}" in made_anew.stderr and made_anew.code == 0
    told = asked("audit", "verify", cwd=root)
    assert told.stderr.count("error:") == 1 and f"`mlnb audit trust me_before {old}`" in told.stderr
    assert asked("audit", "trust", "me_before", old, cwd=root).code == 0
    assert "not trusted here" not in asked("audit", "verify", cwd=root).stderr
    assert states(store) == {"trusted": 1}
    monkeypatch.setenv("MLNB_SIGNING_KEY", str(root / "absent"))
    told = asked("run", "demo", "--cold", cwd=root)
    assert told.code == 2 and "correct MLNB_SIGNING_KEY" in told.stderr and "audit init" not in told.stderr
    monkeypatch.setenv("MLNB_SIGNING_KEY", str(root / "no" / "folder" / "signing.key"))
    told = asked("audit", "init", cwd=root)
    assert (told.code, f"no folder {root}/no/folder" in told.stderr, (root / "no").exists()) == (
        2,
        True,
        False,
    )
    monkeypatch.setenv("MLNB_SIGNING_KEY", str(root / "mistyped.key"))
    told = asked("audit", "init", cwd=root)
    assert told.code == 0 and f"MLNB_SIGNING_KEY says: {root}/mistyped.key" in told.stderr
    assert "you had another key, ed25519:" in told.stderr
    key_path(open_store(root / ".mlnb")).unlink()
    monkeypatch.setenv("MLNB_SIGNING_KEY", "")
    (root / ".mlnb" / "private").rename(root / "private")
    told = asked("run", "demo", "--cold", cwd=root)
    assert told.code == 2 and "MLNB_SIGNING_KEY is empty" in told.stderr and "unset" in told.stderr


def test_replaced_key_is_explained_by_push_and_audit_verify_and_not_as_a_crime(make_project, asked, tmp_path):
    root, url = make_project(SAVES).root, f"{tmp_path}/shared"
    store = open_store(root / ".mlnb")
    old = asked("audit", "init", "--json", cwd=root).json["key"]
    commit(store, made(store), sign=signer(store, "record"))
    assert asked("audit", "tell", "--why", "it was made by hand", cwd=root).code == 0
    assert asked("push", url, cwd=root).code == 0
    key_path(store).rename(root / "kept")
    assert asked("audit", "init", cwd=root).code == 0
    told = asked("push", url, cwd=root)
    assert "mlnb audit trust me_before KEY" in told.stderr and "another audit log" not in told.stderr
    (root / "settings.ini").write_text(f"[mlnb]\nremote = {url}\n[pipeline.demo]\nnotebooks = nbs\n")
    told = asked("audit", "verify", "--anchor", url, cwd=root)
    assert (told.code, told.stderr.count("error:"), told.stderr.count("mend:")) == (5, 1, 1)
    assert f"`mlnb audit trust me_before {old}`" in told.stderr and "it was yours" in told.stderr
    assert asked("audit", "trust", "me_before", old, cwd=root).code == 0
    assert asked("audit", "verify", "--anchor", url, cwd=root).code == 0
    assert asked("push", url, cwd=root).code == 0


def test_trusting_another_key_under_a_name_says_what_becomes_of_the_first(make_project, asked, tmp_path):
    root = make_project(SAVES).root
    first, second = (make_key(open_store(tmp_path / name)) for name in ("a", "b"))
    assert asked("audit", "trust", "ann", first, cwd=root).stderr == ""
    told = asked("audit", "trust", "ann", second, cwd=root)
    assert told.code == 0 and f"`mlnb audit trust ann_before {first}`" in told.stderr
    assert asked("audit", "trust", "ann", second, cwd=root).stderr == ""
