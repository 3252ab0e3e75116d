"""Approvals: they count for exactly one model and one record of the gate, said by another key; nothing that
was laid there, altered, taken away, renamed or copied makes one count."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mlnb.care.approvals import (
    approvals_that_count,
    note_refused,
    note_statement,
    rebuilds_that_count,
    why_not_usable,
)
from mlnb.care.audit import events
from mlnb.care.repair import repair_documents
from mlnb.care.signing import distrust, make_key, sign, trust
from mlnb.care.verify import verify_store
from mlnb.care.vouched import signer, store_keys
from mlnb.store.descriptions import Artifact
from mlnb.store.documents import read_json, sealed
from mlnb.store.errors import IntegrityError
from mlnb.store.model_settings import model_declared
from mlnb.store.objects import open_store
from mlnb.store.project_id import project_id
from mlnb.store.version_statements import VersionStatement, say_of_version, statement_name, why_revoked
from mlnb.store.versions import ModelVersion, register_version, version_place

SAID = model_declared({"artifact": "fraud/model", "gate": "fraud_gate"})
GATE = "c" * 64
ABOUT = {"stage": "train", "key": "a" * 64, "run": "20260101-120000-aa", "declared": SAID}


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


class House:
    "A store whose owner registers, and colleagues with keys of their own."

    def __init__(self, folder, colleagues=("ben", "carla")):
        self.store = open_store(folder / "anna")
        make_key(self.store)
        self.others = {name: open_store(folder / name) for name in colleagues}
        for name, one in self.others.items():
            trust(self.store, name, make_key(one))

    def register(self, digit="b", model="fraud", signed=True):
        output = Artifact("estimator", digit * 64, 9)
        new = ModelVersion(model=model, number=1, output=output, **ABOUT)
        return register_version(self.store, new, signer(self.store, "version") if signed else dict).version

    def by(self, name, project=None):
        if name == "anna":
            return signer(self.store, "version")
        bound = project or project_id(self.store)
        return lambda document: sign(self.others[name], "version", document, bound)

    def say(self, version, says="approved", by="ben", **about):
        word = {"gate": GATE, "actor": by} | about
        said = VersionStatement(
            model=version.model, number=version.number, digest=version.digest, says=says, **word
        )
        return say_of_version(self.store, said, self.by(by))

    def heard(self, version, gate=GATE, **about):
        return approvals_that_count(self.store, version, gate, store_keys(self.store), **about)

    def who(self, version, gate=GATE, **about):
        try:
            return [one.standing.by for one in self.heard(version, gate, **about).counted]
        except IntegrityError:
            return []


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def flipped(house, version, path, places):
    "Who is counted when a byte is another one, without and with a new seal."
    whole = path.read_bytes()
    path.chmod(0o600)
    for at in places:
        bad = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        path.write_bytes(bad)
        assert house.who(version) == [], at
        path.write_bytes(whole[:at] + whole[at + 1 :])
        assert house.who(version) == [], at
        try:
            resealed = sealed(path, {k: v for k, v in json.loads(bad).items() if k != "sha256"})
        except ValueError:
            continue
        path.write_bytes(resealed)
        assert house.who(version) == [] or read_json(path) == house.sound[path], at
    path.write_bytes(whole)
    assert house.who(version) == ["ben"]


def flip_all(house, n):
    version = house.register()
    files = [house.say(version), house.store.root / version_place("fraud", 1)]
    house.sound = {path: read_json(path) for path in files}
    for path in files:
        size = len(path.read_bytes())
        flipped(house, version, path, sorted(random.Random(7).sample(range(size), min(n, size))))


def test_altered_byte_of_version_or_approval_never_counts(house):
    flip_all(house, 12)


@pytest.mark.slow
def test_every_altered_byte_of_version_and_approval_never_counts(house):
    flip_all(house, 100_000)


@pytest.mark.parametrize("place", ["fraud/000002", "fraud/000009", "other/000001", "fraud/000001"])
def test_renamed_or_copied_approval_counts_nowhere(house, place):
    first, second = house.register("b"), house.register("d")
    other = house.register("b", "other")  # the same bytes under another name
    path = house.say(first)
    name = path.name.split(".")[1] if place != "fraud/000001" else "f" * 16
    for to in (path.rename, lambda new: new.write_bytes(path.read_bytes())):
        target = house.store.root / f"versions/{place}.{name}.json"
        target.parent.mkdir(exist_ok=True)
        to(target)
        assert house.who(second) == house.who(other) == []
        damaged = [one for one in verify_store(house.store).damaged if one.kind == "document"]
        assert [one.file for one in damaged] == [target.relative_to(house.store.root).as_posix()]
        assert [one.file for one in repair_documents(house.store, damaged).told_again] == [damaged[0].file]
        assert verify_store(house.store).clean
        if not path.exists():
            assert house.who(first) == []
            house.say(first)
        assert house.who(first) == ["ben"]


def test_resealed_copy_of_an_approval_counts_nowhere_else(house):
    first, second = house.register("b"), house.register("d")
    document = read_json(house.say(first))
    for number, changed in ((2, {}), (2, {"number": 2}), (2, {"number": 2, "digest": second.digest})):
        said = VersionStatement.from_dict(document | changed)
        path = house.store.root / f"versions/fraud/{number:06d}.{statement_name(said)}.json"
        path.write_bytes(sealed(path, document | changed))
        heard = house.heard(second)
        assert heard.counted == [] and len(heard.refused) == 1
        path.unlink()


WHY = {
    "older gate record": ({"gate": "e" * 64}, "another record of the gate"),
    "no gate record": ({"gate": None}, "another record of the gate, none"),
    "own key": ({"by": "anna"}, "somebody else has to say so"),
    "another digest": ({"digest": "e" * 64}, "about another model"),
    "another profile": ({"profile": "staging"}, "for profile `staging` only"),
}


@pytest.mark.parametrize("name", WHY)
def test_approval_of_something_else_is_refused_with_its_reason(house, name):
    version, (about, why) = house.register(), WHY[name]
    digest = about.get("digest", version.digest)
    house.say(
        replace(version, output=replace(version.output, digest=digest)),
        **{k: v for k, v in about.items() if k != "digest"},
    )
    heard = house.heard(version, profile="production")
    assert heard.counted == [] and [why in one.why for one in heard.refused] == [True]


def test_signature_that_is_not_trusted_or_of_another_project_never_counts(house):
    version = house.register()
    said = VersionStatement(model="fraud", number=1, digest=version.digest, says="approved", gate=GATE)
    elsewhere = say_of_version(house.store, said, house.by("ben", "e" * 32))
    assert "for another project" in house.heard(version).refused[0].why
    elsewhere.unlink()
    unbound = say_of_version(house.store, said, lambda doc: sign(house.others["ben"], "version", doc))
    assert "no project in particular" in house.heard(version).refused[0].why
    unbound.unlink()
    other_purpose = say_of_version(
        house.store, said, lambda doc: sign(house.others["ben"], "record", doc, project_id(house.store))
    )
    assert "altered" in house.heard(version).refused[0].why
    other_purpose.unlink()
    house.say(version)
    assert house.who(version) == ["ben"]
    distrust(house.store, "ben")
    assert house.who(version) == [] and "not trusted here" in house.heard(version).refused[0].why


def test_version_that_nobody_vouches_for_has_no_second_person(house):
    version = house.register(signed=False)
    house.say(version)
    heard = house.heard(version)
    assert (
        heard.counted == [] and "nobody vouches for fraud@1 itself (nobody signed it)" in heard.refused[0].why
    )
    path = house.store.root / version_place("fraud", 1)
    path.chmod(0o600)
    path.write_bytes(sealed(path, house.by("ben")(version.as_dict())))  # ben takes it over
    assert house.who(version) == []
    house.say(version, by="carla")
    assert house.who(version) == ["carla"]


STEPS = st.lists(st.tuples(st.sampled_from(["ben", "carla"]), st.integers(0, 3)), max_size=6)


@settings(max_examples=6, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 9))
def test_of_approvals_and_withdrawals_the_last_of_each_counts_whatever_clocks_say(
    tmp_path_factory, steps, seed
):
    house = House(tmp_path_factory.mktemp("house"))
    version, last = house.register(), {}
    for who, hour in steps:
        says, after = ("withdrawn" if last.get(who, ("", 0))[0] == "approved" else "approved"), last.get(who)
        name = statement_name(VersionStatement.from_dict(read_json(after[1]))) if after else None
        path = house.say(version, says, who, after=name, at_utc=f"2026-01-01T0{hour}:00:00+00:00")
        last[who] = (says, path)
        if seed % 2:
            note_statement(house.store, path)
    standing = {who for who, (says, _) in last.items() if says == "approved"}
    assert set(house.who(version)) == standing
    if seed % 2:  # the log remembers withdrawals whose files are taken away
        for path in house.store.root.glob("versions/fraud/000001.*.json"):
            if read_json(path)["says"] == "withdrawn":
                path.unlink()
        assert set(house.who(version)) == standing


def test_withdrawal_by_somebody_else_takes_nothing_back(house):
    version = house.register()
    name = statement_name(VersionStatement.from_dict(read_json(house.say(version))))
    for by in ("carla", "anna"):
        note_statement(house.store, house.say(version, "withdrawn", by, after=name))
    assert house.who(version) == ["ben"]


def test_key_that_says_something_twice_counts_once(house):
    version = house.register()
    for reason in ("first", "second"):
        house.say(version, reason=reason)
        house.say(version, "rebuilt", reason=reason)
    assert house.who(version) == ["ben"] and house.heard(version).refused == []
    assert len(rebuilds_that_count(house.store, version, store_keys(house.store)).counted) == 1


def test_refused_statement_is_an_event_once_and_revocation_outlives_its_file(house):
    version = house.register()
    house.say(version, by="anna")
    for _ in range(2):
        note_refused(house.store, house.heard(version).refused)
    house.say(version, gate="e" * 64)
    note_refused(house.store, house.heard(version).refused)
    assert [one.outcome for one in events(house.store, "version")] == ["not_counted"] * 2
    path = house.say(version, "revoked", reason="it leaks")
    note_statement(house.store, path)
    path.unlink()
    assert why_revoked(house.store, version) is None and "it leaks" in why_not_usable(house.store, version)
    assert why_not_usable(house.store, house.register("d")) is None
