"""Approvals: they count for exactly one model and one record of the gate, said by another key; nothing that
was laid there, altered, taken away, renamed or copied makes one count."""

import json
import os
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
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push
from mlnb.store import crash_points
from mlnb.store.crash_points import STEPS
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import canonical_json
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


CHANGES = st.lists(st.tuples(st.sampled_from(["ben", "carla"]), st.integers(0, 3)), max_size=6)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(steps=CHANGES, seed=st.integers(0, 9))
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


class Attack:
    "Somebody who can write to a store, and who wants the second version approved."

    def __init__(self, folder, seed=0):
        self.house, self.seed = House(folder, ("ben", "carla")), random.Random(seed)
        self.eve = open_store(folder / "eve")
        make_key(self.eve)
        self.first, self.target = self.house.register("b"), self.house.register("d")
        self.other = self.house.register("d", "other")
        self.good = read_json(self.house.say(self.first))
        self.old = read_json(self.house.say(self.target, gate="e" * 64))
        self.of_other = read_json(self.house.say(self.other))
        self.root = self.house.store.root
        self.sound = {path: path.read_bytes() for path in self.root.glob("versions/*/*.json")}

    def place(self, document):
        said = VersionStatement.from_dict(document)
        return f"versions/{said.model}/{said.number:06d}.{statement_name(said)}.json"

    def word(self, **about):
        said = VersionStatement(
            model="fraud", number=2, digest=self.target.digest, says="approved", gate=GATE, actor="ben"
        )
        return replace(said, **about).as_dict()

    def eves(self, document):
        return sign(self.eve, "version", document, project_id(self.house.store))

    def at(self, document):
        return {self.place(document): document}

    def version(self, sign_it, **about):
        plain = replace(self.target, **about).as_dict()
        return {version_place("fraud", 2): sign_it(plain)}

    def swapped(self):
        one, two = version_place("fraud", 1), version_place("fraud", 2)
        return {two: read_json(self.root / one), one: read_json(self.root / two)}

    def kinds(self):
        "What is laid into the store, by kind: documents by their places."
        changed = {"number": 2, "digest": self.target.digest, "gate": GATE}
        anna = self.at(self.house.by("anna")(self.word(actor="anna")))
        junk = self.seed.randbytes(40).hex()
        return {
            "copied": {self.place(self.good).replace("000001", "000002"): self.good},
            "changed to fit": self.at(self.good | changed),
            "older gate record": self.at(self.old),
            "older gate record, changed": self.at(self.old | {"gate": GATE}),
            "other model": {self.place(self.of_other).replace("other/000001", "fraud/000002"): self.of_other},
            "other model, changed": self.at(self.of_other | {"model": "fraud", "number": 2}),
            "stranger": self.at(self.eves(self.word())),
            "stranger with a name": self.at(self.eves(self.word()) | {"signed_by": "ben"}),
            "signature of another": self.at(self.word() | {"signed": self.good["signed"]}),
            "unsigned": self.at(self.word()),
            "signed by nothing": self.at(self.word() | {"signed": {}}),
            "signed by junk": self.at(self.word() | {"signed": {"key": junk, "signature": junk}}),
            "own key": anna,
            "other project": self.at(self.house.by("ben", "e" * 32)(self.word())),
            "own key, version of nobody": anna | self.version(dict),
            "own key, version of a stranger": anna | self.version(self.eves),
            "version with another digest": self.version(dict, output=self.first.output),
            "versions exchanged": self.swapped(),
        }

    def lay(self, documents):
        for place, document in documents.items():
            path = self.root / place
            if path.exists():
                path.chmod(0o600)
            path.write_bytes(sealed(path, document))

    def undo(self):
        for path in self.root.glob("versions/*/*.json"):
            if path not in self.sound:
                path.unlink()
        for path, data in self.sound.items():
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)

    def is_counted(self):
        return bool(self.house.who(self.target))


def test_approval_that_was_laid_there_never_counts(tmp_path):
    attack = Attack(tmp_path)
    for kind, documents in attack.kinds().items():
        attack.lay(documents)
        assert not attack.is_counted(), kind
        attack.undo()
    assert attack.house.who(attack.first) == ["ben"] and attack.house.who(attack.other) == ["ben"]
    attack.house.say(attack.target)
    assert attack.is_counted()


@pytest.mark.slow
def test_hundred_attacks_here_and_at_a_remote_never_make_an_approval_count(tmp_path):
    attack = Attack(tmp_path)
    store, there = attack.house.store, tmp_path / "shared"
    push(store, str(there))
    pushed = {path: path.read_bytes() for path in there.glob("versions/*/*.json")}
    assert len(pushed) == 6  # versions and what was said of them
    for seed in range(100):
        attack.seed.seed(seed)
        kinds = attack.kinds()
        documents = kinds[attack.seed.choice([*kinds])]
        attack.lay(documents)
        path = attack.seed.choice(sorted(attack.root.glob("versions/fraud/*.json")))
        data, at = path.read_bytes(), attack.seed.randrange(len(path.read_bytes()))
        bad = (
            data,
            data[:at] + data[at + 1 :],
            data[:at] + b"x" + data[at:],
            data[:at] + b"x" + data[at + 1 :],
        )
        path.chmod(0o600)
        path.write_bytes(attack.seed.choice(bad))
        assert not attack.is_counted(), seed
        attack.undo()
        for place, document in documents.items():
            target = there / place
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(canonical_json(document))
        for gone in attack.root.glob("versions/fraud/000002*.json"):
            gone.unlink()
        taken = pull(store, str(there))
        assert taken.refused or taken.versions, seed
        if (attack.root / version_place("fraud", 2)).exists():
            assert not attack.is_counted(), seed
        for path in there.glob("versions/*/*.json"):
            path.unlink()
        for path, data in pushed.items():
            path.write_bytes(data)
        attack.undo()


@pytest.mark.parametrize("step", STEPS)
def test_who_is_killed_while_approving_has_approved_or_not_and_can_do_so_again(house, step):
    version = house.register()
    if (pid := os.fork()) == 0:
        crash_points.visits.clear()
        os.environ["MLNB_CRASH"] = f"version.{step}"
        house.say(version)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    assert house.who(version) in ([], ["ben"]) and verify_store(house.store).clean
    house.say(version)
    assert house.who(version) == ["ben"] and house.heard(version).refused == []
