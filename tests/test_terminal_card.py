"""`mlnb model card` on the command line: two people and what they vouch for, exit codes as of `model show`,
mends that work, files of each form."""

import contextlib
import json
import os
import shlex
import signal
import stat

import pytest
from test_terminal_approve import GATE, RUN, SETTINGS, Person, shared

from mlnb.care.erase import erase
from mlnb.care.vouched import signer
from mlnb.cli import ENDING
from mlnb.store.objects import path_of
from mlnb.store.refs import move_ref
from mlnb.store.version_statements import VersionStatement, say_of_version
from mlnb.terminal.card import _card_of, page_line


@pytest.fixture
def people(tmp_path, monkeypatch):
    "Anna and ben, who trust each other; the command line hears signals in a way of its own."
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    monkeypatch.delenv("MLNB_PROFILE", raising=False)
    before = {number: signal.getsignal(number) for number in ENDING}
    (tmp_path / "anna").mkdir(), (tmp_path / "ben").mkdir()
    found = [Person(tmp_path / name) for name in ("anna", "ben")]
    keys = ", ".join(f"{one.root.name} {one.key}" for one in found)
    for one in found:
        (one.root / "settings.ini").write_text(SETTINGS.format(keys=keys, remote=tmp_path / "shared"))
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def card(person, *words, version="fraud@1"):
    code, said, err = person.mlnb("model", "card", version, *words)
    return code, said, err


def kinds(said):
    return {one["kind"] for one in said["alarms"]}


@pytest.mark.slow
def test_card_travels_with_the_version_and_says_who_vouches(people):
    anna, ben = people
    shared(people)
    assert ben.mlnb("approve", "fraud@1", "--reason", "margins are wide")[0] == 0
    here, there = (card(one)[1] for one in (anna, ben))
    assert there["signature"] == "signed by anna" and here["decision"]["says"] == "passed"
    assert here["said"] == [] and there["decision"]["signature"] == "signed by anna"
    assert [(one["says"], one["doubt"]) for one in there["said"]] == [("approved", "")]
    assert "cannot be read" in here["missing"]["checks"]  # what the gate of this test saved are no checks


def test_card_of_a_version_that_a_stranger_signed_says_so_first(people):
    anna, ben = people
    shared(people)
    path = ben.root / "settings.ini"
    path.write_text(path.read_text().replace(anna.key, ben.key).replace(f"anna {ben.key}, ", ""))
    said = card(ben)[1]
    assert said["alarms"][0]["kind"] == "signature" and "not trusted here" in said["alarms"][0]["text"]


LAID_BY_HAND = ("the version", "the decision", "the checks", "the champion")


@pytest.mark.parametrize("by_hand", [None, *LAID_BY_HAND])
def test_what_nobody_signed_is_an_alarm_where_people_sign(people, by_hand):
    anna, _ = people
    version = anna.register(signed=by_hand != "the version")
    sign = {what: dict if what == by_hand else None for what in LAID_BY_HAND}
    anna.make(GATE["first"], "fraud_gate", "checks", b"checks", sign["the checks"])
    passed = {"says": "passed", "gate": GATE["first"], "digest": version.digest}
    said = VersionStatement(model="fraud", number=1, run=RUN, at_utc="2099-01-01T00:00:00+00:00", **passed)
    say_of_version(anna.store, said, sign["the decision"] or signer(anna.store, "version"))
    by = dict if by_hand == "the champion" else signer(anna.store, "ref")
    move_ref(anna.store, "names/fraud/model/champion", version.digest, "promoted", sign=by)
    told = [one["text"] for one in card(anna)[1]["alarms"] if one["kind"] == "signature"]
    assert [one.rpartition("for ")[2].partition(":")[0] for one in told] == (
        [] if by_hand is None else [SAID_OF[by_hand]]
    )
    assert all("nobody signed it" in one for one in told)


SAID_OF = {
    "the version": "fraud@1",
    "the decision": "the decision on fraud@1",
    "the checks": "`checks` of the gate",
    "the champion": "fraud@1 as champion",
}


def test_profile_of_a_version_is_told(people):
    anna, _ = people
    anna.register()
    said = card(anna)[1]
    assert said["training"]["profile"] == "default" and {"unjudged", "nobody"} <= kinds(said)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["damaged", "erased"])
def test_model_that_is_gone_keeps_its_facts_and_the_code_of_model_show(people, way):
    anna, _ = people
    version = anna.register()
    if way == "damaged":
        path = path_of(anna.store, version.digest)
        path.chmod(0o600)
        path.write_bytes(b"model z")
    else:
        erase(anna.store, version.digest, "asked for")
    shown = anna.mlnb("model", "show", "fraud@1")
    code, said, _ = card(anna, "--out", "made/")
    assert (code, way in kinds(said)) == (shown[0], True) and code in (5, 6)
    assert said["digest"] == version.digest and len(said["files"]) == 3
    page = (anna.root / "made/fraud-1.html").read_text()
    assert version.digest in page and page.index("✕") < page.index("<h1>")


def test_files_hold_what_their_endings_say(people):
    anna, _ = people
    anna.register()
    for name in ("a.html", "b.json", "c.cdx.json"):
        assert card(anna, "--out", name)[1]["files"] == [name]
    assert (anna.root / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((anna.root / "b.json").read_text())["model"] == "fraud"
    assert json.loads((anna.root / "c.cdx.json").read_text())["bomFormat"] == "CycloneDX"
    (anna.root / "d").mkdir()
    made = card(anna, "--out", "d", "--as", "json")[1]["files"]
    assert made == ["d/fraud-1.json"] and card(anna, "--out", "d")[1]["files"][-1] == "d/fraud-1.json"


@pytest.mark.parametrize("words", [("get", "fraud@1"), ("model", "card", "fraud@1", "--as", "json")])
def test_pipe_or_device_is_never_replaced_by_a_file(people, words):
    anna, _ = people
    anna.register()
    os.mkfifo(anna.root / "pipe"), os.mknod(anna.root / "socket", stat.S_IFSOCK | 0o600)
    for place in ("pipe", "socket", "n" * 300 + ".json"):
        code, said, _ = anna.mlnb(*words, "--out", place)
        assert (code, said["problems"][0]["mend"]) == (2, "choose another place")
    assert (anna.root / "pipe").is_fifo() and (anna.root / "socket").is_socket()
    anna.mlnb(*words, "--out", "another.json")
    assert (anna.root / "another.json").is_file()


REFUSED = {
    "model": ("fraud", ()),
    "version": ("fraud@9", ()),
    "name": ("fraut@1", ()),
    "ending": ("fraud@1", ("--out", "card")),
    "form": ("fraud@1", ("--out", "card", "--as", "htm")),
    "no file": ("fraud@1", ("--as", "json")),
    "folder": ("fraud@1", ("--out", "there/not/a.html")),
    "folder of a folder": ("fraud@1", ("--out", "there/not/")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_end_with_2_and_write_nothing(people, case):
    anna, _ = people
    anna.register()
    version, words = REFUSED[case]
    before = sorted(anna.root.iterdir())
    code, said, _ = card(anna, *words, version=version)
    assert code == 2 and said["problems"][0]["mend"] and sorted(anna.root.iterdir()) == before


def test_mend_for_a_missing_folder_works(people):
    anna, _ = people
    anna.register()
    said = card(anna, "--out", "there/not/a.html")[1]["problems"][0]
    command = shlex.split(said["mend"].partition("`")[2].partition("`")[0])
    assert command[:2] == ["mkdir", "-p"]
    (anna.root / command[2]).mkdir(parents=True)
    assert card(anna, "--out", "there/not/a.html")[1]["files"] == ["there/not/a.html"]


def page_named(person):
    "What `mlnb model card` says of the page."
    with contextlib.chdir(person.root):
        made, project, _ = _card_of("fraud@1")
        return page_line(made, project)


def test_page_of_before_a_revocation_is_not_called_the_page_until_it_is_published_anew(people):
    anna, _ = people
    move_ref(anna.store, "names/fraud/model/champion", anna.register().digest, "promoted")
    assert page_named(anna) == "a page: `mlnb model card fraud@1 --out fraud-1.html`"
    assert anna.mlnb("publish")[0] == 0
    place = anna.root / "reports/models/fraud/card-1.html"
    assert page_named(anna) == f"page: {place}"
    told = anna.mlnb("model", "revoke", "fraud@1", "--reason", "leak")[2]
    assert told.endswith("`mlnb publish` shows it on the pages\n") and "Revoked" not in place.read_text()
    assert page_named(anna).startswith(
        "a page: `mlnb model card fraud@1 --out"
    ) and "is of before" in page_named(anna)
    assert anna.mlnb("publish")[0] == 0
    assert page_named(anna) == f"page: {place}" and "Revoked" in place.read_text()


@pytest.mark.parametrize("profile", ["default", "production"])
def test_version_that_is_not_there_is_made_by_the_command_that_is_named(people, profile):
    anna, _ = people
    path = anna.root / "settings.ini"
    path.write_text(path.read_text().replace("[model.fraud]", f"[model.fraud]\nprofile = {profile}"))
    option = "" if profile == "default" else " --profile production"
    assert card(anna)[1]["problems"][0]["mend"] == f"`mlnb run fraud{option}` registers the first version"
    anna.register()
    mend = card(anna, version="fraud@champion")[1]["problems"][0]["mend"]
    assert mend == f"`mlnb promote fraud{option}` lets the gate decide who is champion"
    alarm = next(one for one in card(anna)[1]["alarms"] if one["kind"] == "unjudged")
    assert alarm["text"].endswith(f"`mlnb promote fraud@1{option}` lets it")
