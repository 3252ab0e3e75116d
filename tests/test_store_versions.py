"""Versions of models: one number for one digest whoever registers when, a candidate that always resolves,
nothing half done at any crash point, and no byte of it altered unseen."""

import json
import os
import random
import re

import pytest
from msgspec.structs import replace

from mlnb.care.gc import collect
from mlnb.care.repair import repair_documents
from mlnb.care.roots import Retention
from mlnb.care.signing import make_key, trust
from mlnb.care.verify import verify_store
from mlnb.care.vouched import signer, standings, store_keys
from mlnb.flow.heads import at_reference
from mlnb.flow.registering import candidate_ref, register_model, version_of_run
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push, sign_unsigned
from mlnb.store import crash_points
from mlnb.store.crash_points import STEPS
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import sha256
from mlnb.store.documents import place_in_store, sealed
from mlnb.store.errors import DefinitionError, IntegrityError, UsageError
from mlnb.store.model_settings import ModelDeclaration, model_declared, model_faults
from mlnb.store.objects import has, open_store, put
from mlnb.store.record import Record
from mlnb.store.records import commit
from mlnb.store.refs import move_ref, read_ref, ref_history
from mlnb.store.run_entries import RunDocument
from mlnb.store.settings import read_project
from mlnb.store.version_statements import VersionStatement, say_of_version, statements_of, why_revoked
from mlnb.store.versions import (
    ModelVersion,
    alias_ref,
    is_alias,
    read_versions,
    register_version,
    version_place,
)

SAID = model_declared({"artifact": "fraud/model", "gate": "fraud_gate", "owner": "anna"})
RUN = "20260101-120000-aa"


def version(n):
    "A model that is not in any store."
    content = f"model {n}".encode()
    output = Artifact("text", sha256(content), len(content), "str")
    about = {
        "model": "fraud",
        "number": 1,
        "stage": "train",
        "key": f"{n + 1:064x}",
        "run": RUN,
        "reason": "new",
    }
    return ModelVersion(output=output, declared=SAID, **about)


def model(store, n):
    "A model of which there are a record and an object."
    found = version(n)
    put(store, f"model {n}".encode())
    about = {
        "key": found.key,
        "pipeline": "fraud",
        "stage": "train",
        "run": RUN,
        "notebook": put(store, b"{}"),
    }
    commit(store, Record(outputs={"model": found.output}, **about), sign=signer(store, "record"))
    return found


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def in_child(work, point=""):
    if (pid := os.fork()) == 0:
        crash_points.visits.clear()
        os.environ["MLNB_CRASH"] = point
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("n_processes", [2, 8])
def test_of_many_who_register_at_once_each_digest_gets_one_number(store, n_processes):
    versions = [model(store, n) for n in range(6)]

    def work(seed):
        order = random.Random(seed).sample(versions, len(versions))
        for version in order:
            register_model(store, version)

    assert [
        ended(pid) for pid in [in_child(lambda seed=seed: work(seed)) for seed in range(n_processes)]
    ] == [0] * n_processes
    found = read_versions(store, "fraud")
    assert [one.number for one in found] == [*range(1, 7)]
    assert sorted(one.digest for one in found) == sorted(one.digest for one in versions)
    moves = ref_history(store, candidate_ref(SAID))
    assert [one.number for one in moves] == [*range(1, len(moves) + 1)]
    assert moves[-1].target in {one.digest for one in found} and verify_store(store).clean


@pytest.mark.parametrize("point", [f"{kind}.{step}" for kind in ("version", "ref") for step in STEPS])
def test_who_is_killed_while_registering_leaves_nothing_half_done(store, point):
    register_model(store, model(store, 0))
    new = model(store, 1)
    assert ended(in_child(lambda: register_model(store, new), point)) == -9
    before = read_ref(store, candidate_ref(SAID))
    assert (
        before.target in {one.digest for one in read_versions(store, "fraud")} and verify_store(store).clean
    )
    assert register_model(store, new).version.number == 2
    assert read_ref(store, candidate_ref(SAID)).target == new.digest and verify_store(store).clean


def test_every_altered_removed_renamed_or_added_version_is_found(store):
    for n in range(3):
        register_model(store, model(store, n))
    path = store.root / version_place("fraud", 2)
    whole = path.read_bytes()
    path.chmod(0o600)
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert [one.kind for one in verify_store(store).damaged] == ["document"], at
        with pytest.raises(IntegrityError):
            read_versions(store, "fraud")
    path.write_bytes(whole)
    assert verify_store(store).clean
    moved = path.with_name("000007.json")
    path.rename(moved)
    found = verify_store(store).damaged
    assert {one.kind for one in found} == {"document", "gap"} and "fraud@2" in {
        n for one in found for n in one.names
    }
    moved.rename(path)
    path.unlink()
    assert [(one.kind, one.names) for one in verify_store(store).damaged] == [("gap", ["fraud@2"])]


def test_number_alias_and_digest_mean_the_same_and_nothing_else_does(store):
    first, second = (model(store, n) for n in range(2))
    for one in (first, second):
        register_model(store, one)
    move_ref(store, alias_ref("fraud/model", "champion"), first.digest, "the first")
    meant = {
        ref: at_reference(store, "fraud", "model", ref) for ref in ("1", "2", "3", "champion", "candidate")
    }
    digests = {ref: found and found.value.digest for ref, found in meant.items()}
    assert digests == {
        "1": first.digest,
        "2": second.digest,
        "3": None,
        "champion": first.digest,
        "candidate": second.digest,
    }
    assert at_reference(store, "fraud", "other", "1") is None
    odd = ("", "a b", "../x", "Champion", "latest", "deadbeef", "123456", "c" * 64, "champion/", "x" * 65)
    assert not any(is_alias(text) for text in odd) and all(map(is_alias, ("champion", "g", "shadow_2")))


def test_gc_keeps_all_champions_and_the_present_candidate(store):
    versions = [version(n) for n in range(4)]
    assert ended(in_child(lambda: [model(store, n) for n in range(4)])) == 0  # who puts something holds it
    for one in versions:
        register_version(store, one)
    for one in versions[:2]:
        move_ref(store, alias_ref("fraud/model", "champion"), one.digest, "promoted")
    for one in versions[2:]:
        move_ref(store, alias_ref("fraud/model", "candidate"), one.digest, "registered")
    for _ in range(2):
        collect(store, Retention(records=0, runs=0))
    assert [has(store, one.digest) for one in versions] == [True, True, False, True]
    assert len(read_versions(store, "fraud")) == 4


def test_versions_and_what_is_said_of_them_travel_and_numbers_do_not_collide(tmp_path):
    ana, ben, carla = (open_store(tmp_path / name) for name in ("ana", "ben", "carla"))
    keys = {name: make_key(one) for name, one in (("ana", ana), ("ben", ben), ("carla", carla))}
    for one in (ana, ben, carla):
        for name, key in keys.items():
            if one.root.name != name:
                trust(one, name, key)
    url = f"{tmp_path}/shared"
    push(ana, url)
    assert pull(carla, url).refused == []  # carla's store is of this project from now on
    first = register_version(ana, model(ana, 0), signer(ana, "version")).version
    said = VersionStatement(
        model="fraud", number=1, digest=first.digest, says="revoked", reason="it leaks", actor="ana"
    )
    say_of_version(ana, said, signer(ana, "version"))
    sent = push(ana, url)
    assert (sent.versions, sent.left_out, sent.exit_code) == (2, [], 0)
    assert push(ana, url).versions == 0
    taken = pull(ben, url)
    assert (taken.versions, taken.refused) == (2, [])
    assert (
        read_versions(ben, "fraud") == [first]
        and why_revoked(ben, first) == "fraud@1 was revoked by ana: it leaks"
    )
    assert verify_store(ben).clean and pull(ben, url).versions == 0
    assert {one.state for path, one in standings(ben, store_keys(ben)).items() if "versions" in path} == {
        "trusted"
    }
    register_version(carla, model(carla, 7), signer(carla, "version"))
    taken = pull(carla, url)
    assert [(one.reason, "fraud@1" in one.message) for one in taken.refused] == [("other", True)]
    assert [one.reason for one in push(carla, url).left_out] == ["other"]
    assert read_versions(carla, "fraud")[0].digest != first.digest


def test_unsigned_version_is_not_sent_until_somebody_signs_it(tmp_path):
    ana = open_store(tmp_path / "ana")
    register_version(ana, model(ana, 0))
    make_key(ana)
    url = f"{tmp_path}/shared"
    assert [one.path for one in push(ana, url).left_out if "versions" in one.path] == [
        "versions/fraud/000001.json"
    ]
    signed = sign_unsigned(ana)
    assert "versions/fraud/000001.json" in signed
    assert push(ana, url).versions == 1


def test_statement_of_another_model_or_altered_one_never_counts(store):
    first = register_version(store, model(store, 0)).version
    about = {"model": "fraud", "number": 1, "digest": first.digest, "actor": "ben"}
    path = say_of_version(store, VersionStatement(**about, says="approved"))
    say_of_version(store, VersionStatement(**about | {"digest": "f" * 64}, says="revoked"))
    assert [one.says for _, one in statements_of(store, first)] == ["approved"] and why_revoked(
        store, first
    ) is None
    written = json.loads(path.read_text())
    path.chmod(0o600)
    path.write_text(
        json.dumps({name: value for name, value in written.items() if name != "sha256"} | {"actor": "eve"})
    )
    assert [one.kind for one in verify_store(store).damaged] == ["document"]


def test_thousand_versions_are_listed(store):
    one = model(store, 0)
    for n in range(1000):
        path = store.root / version_place("fraud", n + 1)
        new = replace(one, number=n + 1, output=Artifact("text", f"{n:064x}", 1, "str"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sealed(path, new.as_dict()))
    assert [found.number for found in read_versions(store, "fraud")] == [*range(1, 1001)]


BAD = {
    "no artifact": ({"artifact": ""}, "empty-value"),
    "no gate": ({"gate": None}, "missing-key"),
    "artifact without pipeline": ({"artifact": "model"}, "bad-setting"),
    "artifact with a reference": ({"artifact": "fraud/model@1"}, "bad-setting"),
    "unknown pipeline": ({"artifact": "freud/model"}, "unknown-pipeline"),
    "unknown gate": ({"gate": "fraud_gat"}, "unknown-pipeline"),
    "unknown profile": ({"profile": "prod"}, "unknown-profile"),
    "unknown protected": ({"protected": "prod, ci"}, "unknown-profile"),
    "tier": ({"tier": "0"}, "bad-setting"),
    "rebuilds": ({"rebuilds": "-1"}, "bad-setting"),
    "review": ({"review_by": "31.1.2026"}, "bad-setting"),
    "features": ({"features": "mlnb.fraud"}, "bad-setting"),
    "owner validates": ({"owner": "anna", "validator": "anna"}, "bad-setting"),
    "groups none": ({"groups": "none"}, "bad-setting"),
    "unknown key": ({"treshold": "fraud/threshold"}, "unknown-key"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_declaration_is_a_definition_error_with_its_mend(tmp_path, name):
    changed, rule = BAD[name]
    settings = {"artifact": "fraud/model", "gate": "fraud_gate"} | changed
    lines = [f"{key} = {value}" for key, value in settings.items() if value is not None]
    head = "[mlnb]\n[pipeline.fraud]\nnotebooks = a\n[pipeline.fraud_gate]\nnotebooks = b\n"
    head += "[profile.ci.fraud]\n[model.fraud]\n"
    (tmp_path / "settings.ini").write_text(head + "\n".join(lines))
    with pytest.raises(DefinitionError) as caught:
        read_project(tmp_path)
    assert rule in [one.rule for one in caught.value.problems] and all(
        one.mend for one in caught.value.problems
    )


def test_mends_of_declarations_are_taken(tmp_path):
    said = {"artifact": "fraud/model", "gate": "fraud_gate"}
    bad = {"groups": "none", "features": "mlnb.fraud", "review_by": "soon"}
    for key, value in bad.items():
        (mend,) = [
            mend for *_, mend in model_faults(said | {key: value}, ["fraud", "fraud_gate"], ["default"])
        ]
        code = re.search("`(.+)`", mend)[1].removeprefix(f"{key} = ")
        assert [*model_faults(said | {key: code}, ["fraud", "fraud_gate"], ["default"])] == []


def test_run_without_the_model_names_the_command_that_makes_it(store):
    with pytest.raises(UsageError) as caught:
        version_of_run(store, "fraud", SAID, RunDocument(run=RUN, pipeline="fraud", state="committed"), "why")
    assert caught.value.mend == "`mlnb run fraud` makes it"


def test_declaration_is_read_back_as_it_was_written(tmp_path):
    settings = {
        "artifact": "fraud/model",
        "gate": "fraud_gate",
        "groups": "SEX, RAC1P",
        "tier": "2",
        "rebuilds": "1",
    }
    found = model_declared(settings)
    assert (found.groups, found.tier, found.rebuilds) == (("SEX", "RAC1P"), 2, 1)
    assert ModelDeclaration.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_numbers_end(store, monkeypatch):
    monkeypatch.setattr("mlnb.store.versions._MOST_VERSIONS", 1)
    register_version(store, model(store, 0))
    with pytest.raises(UsageError, match="versions"):
        register_version(store, model(store, 1))


@pytest.mark.parametrize(
    "place",
    [
        *(
            f"records/{pair}/{'a' * 64}.json"
            for pair in ("versions/train", "fraud/versions", "versions/versions")
        ),
        f"records/versions/versions/{'a' * 64}.{'b' * 12}.evidence",
        *(f"refs/{ref}/00000001.json" for ref in ("heads/versions/ci", "names/fraud/versions/champion")),
        *("runs/20260101-120000-aa/run.json", "versions/versions/000001.json"),
        f"versions/records/000001.{'a' * 16}.json",
    ],
)
@pytest.mark.parametrize("root", ["/home/ana/store", "/versions/refs/records", "/runs/versions/store"])
def test_place_of_a_document_is_the_same_whatever_things_are_called(place, root):
    assert place_in_store(f"{root}/{place}") == place


@pytest.mark.parametrize("which", ["version", "statement"])
@pytest.mark.parametrize("how", ["damaged", "misplaced"])
def test_bad_file_among_the_versions_stays_here_and_keeps_nothing_else_back(tmp_path, which, how):
    ana, url = open_store(tmp_path / "ana"), f"{tmp_path}/shared"
    make_key(ana)
    first, second = (register_version(ana, model(ana, n), signer(ana, "version")).version for n in range(2))
    about = {"model": "fraud", "digest": first.digest, "says": "approved"}
    said = [
        say_of_version(ana, VersionStatement(**about, number=1, reason=why), signer(ana, "version"))
        for why in ("wide margins", "well calibrated")
    ]
    bad = said[0] if which == "statement" else ana.root / version_place("fraud", second.number)
    if how == "damaged":
        bad.chmod(0o600)
        bad.write_bytes(bad.read_bytes().replace(b"fraud", b"fraUd", 1))
    else:
        bad = bad.rename(bad.with_name(bad.name.replace("00000", "00004")))
    place = bad.relative_to(ana.root).as_posix()
    sent = push(ana, url)
    assert [(one.path, one.reason) for one in sent.left_out] == [(place, how)] and sent.versions == 3
    assert sent.exit_code == (5 if how == "damaged" else 3)
    if how == "damaged":
        assert "move it away and `mlnb pull` it" in sent.left_out[0].message
    else:
        assert repair_documents(ana, verify_store(ana).damaged).told_again[0].file == place
        assert push(ana, url).left_out == []
