"""Approvals between two people: said by one, pushed, pulled, counted by the other; refusals say what to do
instead, and that works."""

import contextlib
import io
import json
import re
import signal

import nbformat
import pytest
from msgspec.structs import replace
from nbformat.v4 import new_code_cell, new_notebook

from mlnb.care.approvals import approvals_that_count
from mlnb.care.audit import events
from mlnb.care.signing import key_path, make_key, parse_keys
from mlnb.care.vouched import signer, store_keys
from mlnb.cli import ENDING, run_command
from mlnb.flow.session import find_by_hand, session_by_hand
from mlnb.store.descriptions import Artifact
from mlnb.store.documents import read_json, sealed
from mlnb.store.model_settings import model_declared
from mlnb.store.objects import open_store, put
from mlnb.store.record import Record
from mlnb.store.records import commit
from mlnb.store.refs import actor, move_ref
from mlnb.store.version_statements import VersionStatement, say_of_version
from mlnb.store.versions import ModelVersion, register_version, version_place

SETTINGS = """[mlnb]
trusted_keys = {keys}
remote = {remote}
[pipeline.fraud]
notebooks = fraud
[pipeline.fraud_gate]
notebooks = gate
[profile.production.fraud]
[model.fraud]
artifact = fraud/model
gate = fraud_gate
protected = production
"""
KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
RUN = "20260101-120000-aa"
GATE = {"first": "c" * 64, "second": "d" * 64}
SAID = model_declared({"artifact": "fraud/model", "gate": "fraud_gate"})


class Person:
    "A copy of the project, with a key of its own."

    def __init__(self, folder):
        self.root, self.store = folder, open_store(folder / ".mlnb")
        self.key = make_key(self.store)
        for name in ("fraud", "gate"):
            (folder / name).mkdir()

    def mlnb(self, *words):
        "The command line, inside this process: exit code, document and what stderr says."
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command([*words, "--json"])
        return code, json.loads(out.getvalue()), err.getvalue()

    def make(self, key, pipeline="fraud", name="model", content=b"a model", sign=None):
        output = Artifact("estimator", put(self.store, content), len(content))
        record = Record(
            key=key,
            pipeline=pipeline,
            stage="train",
            run=RUN,
            outputs={name: output},
            notebook=put(self.store, b"{}"),
        )
        commit(self.store, record, sign=signer(self.store, "record") if sign is None else sign)
        return output

    def register(self, digit="a", signed=True):
        output = self.make(digit * 64, content=f"model {digit}".encode())
        new = ModelVersion(
            model="fraud", number=1, stage="train", key=digit * 64, run=RUN, declared=SAID, output=output
        )
        return register_version(self.store, new, signer(self.store, "version") if signed else dict).version

    def judge(self, version, gate="first", says="passed", against=None):
        self.make(GATE[gate], "fraud_gate", "checks", gate.encode())
        said = VersionStatement(
            model="fraud",
            number=version.number,
            digest=version.digest,
            says=says,
            gate=GATE[gate],
            against=against,
            run=RUN,
            at_utc=f"2026-01-0{[*GATE].index(gate) + 1}T00:00:00+00:00",
        )
        return say_of_version(self.store, said, signer(self.store, "version"))

    def who(self, version, gate="first", **about):
        declared = parse_keys(f"anna {self.keys['anna']}, ben {self.keys['ben']}")
        heard = approvals_that_count(
            self.store, version, GATE[gate], store_keys(self.store, declared), **about
        )
        return [one.key for one in heard.counted]


@pytest.fixture(autouse=True)
def signals_as_before():
    "The command line hears signals in its own way, which is not that of the tests behind."
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def people(tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    monkeypatch.delenv("MLNB_PROFILE", raising=False)
    (tmp_path / "anna").mkdir(), (tmp_path / "ben").mkdir()
    found = [Person(tmp_path / name) for name in ("anna", "ben")]
    keys = dict(zip(("anna", "ben"), (one.key for one in found), strict=True))
    for one in found:
        one.keys = keys
        text = SETTINGS.format(
            keys=", ".join(f"{k} {v}" for k, v in keys.items()), remote=tmp_path / "shared"
        )
        (one.root / "settings.ini").write_text(text)
    return found


def shared(people):
    "Both people with the version that anna registered and judged."
    anna, ben = people
    version = anna.register()
    anna.judge(version)
    assert anna.mlnb("push")[0] == 0 and ben.mlnb("pull")[0] == 0
    return version


def test_approval_travels_to_who_promotes_and_so_does_its_withdrawal(people):
    anna, ben = people
    version = shared(people)
    code, said, err = ben.mlnb(
        "approve", "fraud@1", "--reason", "margins are wide", "--profile", "production"
    )
    assert (code, said["gate"], said["profile"], said["is_new"], err) == (
        0,
        GATE["first"],
        "production",
        True,
        "",
    )
    assert ben.mlnb("approve", "fraud@1", "--profile", "production")[1]["is_new"] is False
    assert anna.who(version) == [] and ben.mlnb("push")[0] == anna.mlnb("pull")[0] == 0
    assert anna.who(version, profile="production") == [ben.key] and anna.who(version, "second") == []
    assert anna.who(version, profile="staging") == []
    shown = anna.mlnb("model", "show", "fraud@1")[1]
    assert [one["by"] for one in shown["approvals"]] == ["ben"] and shown["not_counted"] == []
    assert [one.outcome for one in events(ben.store, "version")] == ["passed", "approved"]
    code, said, _ = ben.mlnb("approve", "fraud@1", "--withdraw", "--reason", "it leaks")
    assert [one.outcome for one in events(anna.store, "version")] == ["approved"]
    assert (code, [one["gate"] for one in said["withdrawn"]]) == (0, [GATE["first"]])
    assert ben.mlnb("push")[0] == anna.mlnb("pull")[0] == 0 and anna.who(version) == []
    assert ben.mlnb("approve", "fraud@1")[1]["is_new"] and ben.who(version) == [ben.key]


OLD, NEW = "e", "f"  # two champions before


def crowned(person, digits):
    "The digest of who is champion last, None for nobody."
    digest = None
    for digit in digits:
        digest = put(person.store, f"model {digit}".encode())
        sign = signer(person.store, "ref")
        move_ref(person.store, "names/fraud/model/champion", digest, "promoted", sign=sign)
    return digest


WHERE = {
    "nobody is champion where it is approved": ([OLD], [], True),
    "an older one is": ([OLD, NEW], [OLD], True),
    "that one was before": ([OLD], [OLD, NEW], False),
}  # champions of who judges, of who approves, whether it can be approved


@pytest.mark.parametrize("where", WHERE)
def test_who_approves_may_have_another_champion_and_is_told(people, where):
    anna, ben = people
    judges, approves, can = WHERE[where]
    version, against = anna.register(), crowned(anna, judges)
    anna.judge(version, against=against)
    assert anna.mlnb("push")[0] == 0 and ben.mlnb("pull")[0] == 0
    here = crowned(ben, approves)
    if not can:
        assert refusal(ben, "fraud@1")[1] == ["mlnb promote fraud@1"]
        return
    code, said, err = ben.mlnb("approve", "fraud@1")
    assert (code, said["against"], "judged beside" in err) == (0, against, against != here)
    ben.mlnb("push"), anna.mlnb("pull")  # a champion of two people stays where it is
    assert anna.who(version) == [ben.key]


def lost(path):
    path.rename(path.with_name("lost"))
    path.with_suffix(".pub").unlink()


def refusal(person, *words):
    "What is refused, and the command that its mend names first."
    code, said, _ = person.mlnb("approve", *words)
    (problem,) = said["problems"]
    assert code == 2, problem
    return problem["message"], re.findall("`(.+?)`", problem["mend"])


@pytest.mark.parametrize(
    "words", [("model", "revoke", "fraud@1"), ("model", "alias"), ("approve", "fraud@1", "--no")]
)
def test_mend_of_a_wrong_command_names_the_help_of_that_very_verb(people, words):
    code, said, _ = people[0].mlnb(*words)
    (asked,) = re.findall("`mlnb (.*) --help`", said["problems"][0]["mend"])
    assert code == 2 and [*words][: len(asked.split())] == asked.split()
    assert len(asked.split()) == 2 - (words[0] == "approve")


def test_champion_that_is_revoked_stays_and_whoever_revokes_it_is_told(people):
    anna = people[0]
    for digit in "ab":
        version = anna.register(digit)
        move_ref(anna.store, "names/fraud/model/champion", version.digest, "promoted")
    for number, leads_back in ((2, True), (1, False)):
        code, _, err = anna.mlnb("model", "revoke", f"fraud@{number}", "--reason", "leak")
        assert code == 0 and f"fraud@{number} is the champion, and stays it" in err
        assert ("`mlnb rollback fraud` goes back" in err) is leads_back and "`mlnb promote fraud@N`" in err
        said = anna.mlnb("promote", f"fraud@{number}")[1]
        assert said["state"] == "unchanged" and "`mlnb promote fraud@N`" in said["reasons"][0]
        assert ("`mlnb rollback fraud` goes back" in said["reasons"][0]) is leads_back
        assert anna.mlnb("rollback", "fraud")[0] == (0 if leads_back else 2)


def test_each_refusal_says_why_and_its_mend_works(people):
    anna, ben = people
    version = anna.register()
    assert anna.mlnb("push")[0] == 0 and ben.mlnb("pull")[0] == 0
    why, mends = refusal(ben, "fraud@1")
    assert "no gate has judged fraud@1" in why and mends == ["mlnb promote fraud@1"]
    anna.judge(version, says="refused")
    anna.mlnb("push"), ben.mlnb("pull")
    why, mends = refusal(ben, "fraud@1")
    assert "the gate has refused fraud@1" in why
    (option,) = mends
    assert refusal(ben, "fraud@1", "--override")[0] == "an exception needs a reason"
    code, said, _ = ben.mlnb("approve", "fraud@1", *option.replace('"…"', "urgent").split())
    assert (code, said["reason"], ben.who(version)) == (0, "urgent", [ben.key])
    why, mends = refusal(anna, "fraud@1")
    assert "your own key signed fraud@1" in why and mends == ["mlnb push", "mlnb pull"]
    anna.judge(version, "second")
    anna.mlnb("push"), ben.mlnb("pull")
    assert refusal(ben, "fraud@1", "--override", "--reason", "x")[1] == ["--override"]
    code, said, err = ben.mlnb("approve", "fraud@1")
    assert (code, said["gate"], len(said["not_counted"])) == (0, GATE["second"], 1)
    assert "is about another record of the gate" in err
    assert [one.outcome for one in events(ben.store, "version")][-1] == "not_counted"
    assert ben.mlnb("approve", "fraud@1")[0] == 0
    assert [one.outcome for one in events(ben.store, "version")].count("not_counted") == 1
    assert "there is no `fraud@7`" in refusal(ben, "fraud@7")[0]
    assert "has not approved fraud@1" in refusal(anna, "fraud@1", "--withdraw")[0]
    assert ben.mlnb("model", "revoke", "fraud@1", "--reason", "it leaks")[0] == 0
    why, mends = refusal(ben, "fraud@1")
    assert "it leaks" in why and ben.mlnb(*mends[0].split()[1:])[0] == 0


def test_who_has_no_key_or_a_version_that_nobody_signed_is_told_what_makes_one(people):
    anna, ben = people
    version = shared(people)
    lost(key_path(ben.store))
    why, mends = refusal(ben, "fraud@1")
    assert "no key" in why and mends == ["mlnb audit init"]
    assert ben.mlnb(*mends[0].split()[1:])[0] == 0
    assert ben.mlnb("approve", "fraud@1")[0] == 0 and ben.who(version) != []
    unsigned = anna.register("b", signed=False)
    anna.judge(unsigned)
    assert anna.mlnb("model", "show", "fraud@2")[1]["signature"]["state"] == "unsigned"
    why, mends = refusal(anna, "fraud@2")
    assert "nobody vouches for fraud@2 itself" in why and mends == [
        "mlnb audit init",
        "mlnb push --sign-unsigned",
    ]
    assert anna.mlnb("push", "--sign-unsigned")[0] == 0 and ben.mlnb("pull")[0] == 0
    assert ben.mlnb("approve", "fraud@2")[0] == 0


def test_decision_beside_another_champion_or_without_its_record_is_not_approved(people):
    _anna, ben = people
    version = shared(people)
    record = ben.store.root / f"records/fraud_gate/train/{GATE['first']}.json"
    away = record.rename(record.with_name("away"))
    why, mends = refusal(ben, "fraud@1")
    assert "is not here" in why and mends[0] == "mlnb pull"
    assert ben.mlnb("pull")[0] == 0 and ben.mlnb("approve", "fraud@1")[0] == 0
    away.unlink()
    move_ref(ben.store, "names/fraud/model/champion", "e" * 64, "another", sign=signer(ben.store, "ref"))
    assert "beside the champion of now" in refusal(ben, "fraud@1")[0] and ben.who(version) == [ben.key]


def test_version_at_the_place_of_another_is_damage_wherever_it_is_asked_for(people):
    anna, ben = people
    shared(people)
    second = replace(anna.register("b"), number=1)
    path = ben.store.root / version_place("fraud", 2)
    path.write_bytes(sealed(path, signer(ben.store, "version")(second.as_dict())))
    for words in (("approve", "fraud@2"), ("approve", "fraud@1"), ("model", "fraud")):
        code, said, _ = ben.mlnb(*words)
        assert code == 5 and "says that it belongs elsewhere" in said["problems"][0]["message"]


def test_revoked_model_says_so_by_whatever_name_it_is_got_or_loaded(people):
    anna, ben = people
    version = shared(people)
    for one in people:
        with (one.root / "settings.ini").open("a") as file:
            file.write("[pipeline.score]\nnotebooks = score\n")
        (one.root / "score").mkdir()
        written = {
            "fraud/10_train": "save('model', 1)",
            "score/10_score": "save('n', load('fraud/model@shadow'))",
        }
        for name, code in written.items():
            cells = [new_code_cell("from mlnb import load, save"), new_code_cell(code)]
            nbformat.write(new_notebook(cells=cells, metadata=KERNEL), one.root / f"{name}.ipynb")
        assert one.mlnb("model", "alias", "fraud@1", "shadow")[0] == 0
    assert anna.mlnb("model", "revoke", "fraud@1", "--reason", "it leaks")[0] == anna.mlnb("push")[0] == 0
    assert "revoked" not in ben.mlnb("run", "score", "-n")[2] and ben.mlnb("pull")[0] == 0
    for one in people:
        said = f"fraud@1 was revoked by {actor()}: it leaks"
        for name in ("1", "shadow", version.digest[:12], version.digest):
            code, found, err = one.mlnb("get", f"fraud/model@{name}")
            assert code == 0 and said in err and said in found["line"], name
        assert said in one.mlnb("run", "score", "-n")[2]
        with contextlib.chdir(one.root / "score"), contextlib.redirect_stdout(io.StringIO()) as out:
            session = session_by_hand()
            find_by_hand(session, "fraud/model@shadow")
        assert said in out.getvalue()
        for words in (("model", "fraud"), ("model", "show", "fraud@1")):
            assert "it leaks" in json.dumps(one.mlnb(*words)[1])


def test_newer_refusal_is_told_and_a_decision_that_nobody_signed_is_not_approved(people):
    anna, ben = people
    version = shared(people)
    anna.judge(version, "second", "refused")
    assert anna.mlnb("push")[0] == ben.mlnb("pull")[0] == 0
    code, said, err = ben.mlnb("approve", "fraud@1")
    assert (code, said["gate"]) == (0, GATE["first"]) and "has refused fraud@1 since then" in err
    second = anna.register("b")
    path = anna.judge(second)
    path.chmod(0o600)
    path.write_bytes(sealed(path, {k: v for k, v in read_json(path).items() if k != "signed"}))
    away = key_path(anna.store).rename(anna.root / "lost")
    make_key(anna.store)
    why, mends = refusal(anna, "fraud@2")
    assert "what the gate decided of fraud@2 does not count: nobody signed it" in why
    away.rename(key_path(anna.store))
    assert mends[-1] == "mlnb push --sign-unsigned" and anna.mlnb(*mends[-1].split()[1:])[0] == 0
    assert ben.mlnb("pull")[0] == 0 and ben.mlnb("approve", "fraud@2")[0] == 0
