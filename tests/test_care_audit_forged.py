"""The audit log against somebody who forges it: each way to tamper is a finding, and nothing is followed
that is no file of the log's own."""

import os
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plain_records import write_run
from test_care_audit_months import written

from mlnb.care.audit import (
    LogReading,
    audit,
    checkpoint_finding,
    events,
    init_audit,
    make_checkpoint,
    tell_late,
    verify_log,
)
from mlnb.care.burial import bury, new_tombstone
from mlnb.care.chain import NOTHING, audit_entry, new_line
from mlnb.care.evidence import ToldRuns, Untold, still_there
from mlnb.care.log_file import log_path, read_log, write_head
from mlnb.care.merkle import leaf_of
from mlnb.care.months import closed_files, closed_lines, closed_path, month_before, removal, to_leaves
from mlnb.care.notes import Note, with_signature
from mlnb.care.retention import drop_months
from mlnb.care.signing import key_text, read_key, sign, trust, trusted_keys
from mlnb.care.tree_heads import known_origin, origin_of, read_heads, signed_head
from mlnb.sharing import anchors
from mlnb.sharing.anchors import (
    anchor,
    anchor_place,
    heads_at,
    keep_head_at,
    kept_elsewhere,
    known_at,
    place_at,
    refuse_other_log,
)
from mlnb.sharing.push import push
from mlnb.sharing.remote import open_remote
from mlnb.store.digests import canonical_json, digest_of, sha256
from mlnb.store.disk import write_durably
from mlnb.store.errors import IntegrityError, StoreError
from mlnb.store.objects import open_store, put
from mlnb.store.tombstones import tombstone_path

RUN = "20261127T100000000-0001"
STAGES = [{"name": "train", "attempts": 1, "state": "committed", "each": None}]


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A store with a key, a run that is told, and a checkpoint; never changed."
    made = open_store(tmp_path_factory.mktemp("made") / "store")
    init_audit(made)
    write_run(made, {"run": RUN, "pipeline": "shop", "state": "committed", "stages": STAGES})
    audit(made, "run", "committed", run=RUN, pipeline="shop")
    make_checkpoint(made)
    return made


@pytest.fixture
def store(made, tmp_path):
    "A copy of it."
    shutil.copytree(made.root, tmp_path / "store")
    return open_store(tmp_path / "store")


def checked(store, **more):
    return verify_log(store, with_runs=True, **more)


def messages(found):
    return [one.message for one in found.findings]


# what is no file of the log's own


def away(path):
    "A place outside of the store."
    return next(one for one in path.parents if one.name == "store").parent / "elsewhere"


def link(path):
    path.symlink_to(path.rename(away(path)))


def dangling_link(path):
    path.rename(away(path))
    path.symlink_to("nowhere")


def hard_link(path):
    os.link(path, away(path))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def plain_file(path):
    shutil.rmtree(path)
    path.write_text("a file")


NO_FILES = [
    *(
        (name, how)
        for name in ("log.jsonl", "head.json")
        for how in (link, dangling_link, hard_link, pipe, folder)
    ),
    *(("checkpoints/00000002.json", how) for how in (link, hard_link, pipe)),
    *((name, how) for name in ("", "checkpoints") for how in (link, dangling_link, plain_file)),
]


def content(path):
    "Everything below a path, or a file."
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {one: one.read_bytes() for one in files if one.is_file()}


@pytest.mark.parametrize(
    "name, how", NO_FILES, ids=lambda value: getattr(value, "__name__", value or "audit")
)
def test_what_is_no_file_of_the_log_is_a_finding_and_nothing_goes_through_it(store, name, how):
    path = log_path(store).parent / name
    how(path)
    before = content(away(path))
    found = checked(store)
    assert (found.state, found.findings[0].n) == ("bad", None)
    assert found.message.startswith(
        f"audit/{name}".rstrip("/") + (" is " if how is not hard_link else " has ")
    )
    assert found.findings[0].mend
    with pytest.raises(IntegrityError, match="cannot be vouched for"):
        make_checkpoint(store)
    if name in ("", "log.jsonl", "head.json"):
        with pytest.raises(StoreError, match="nothing is written to the audit log"):
            audit(store, "gc")
    assert content(away(path)) == before


def test_mend_of_a_linked_log_heals_it(store):
    path = log_path(store)
    link(path)
    assert checked(store).state == "bad"
    shutil.copy(path.resolve(), path.with_name("copy"))
    os.replace(path.with_name("copy"), path)
    assert checked(store).state == "ok"


# months


MONTHS = [["2026-06"], ["2026-07"] * 2, ["2026-08"], ["2026-09"]]


@pytest.fixture
def months(tmp_path):
    "A log of five months, the oldest of them compressed."
    store = open_store(tmp_path / "store")
    written(store, MONTHS, ["2026-10"])
    audit(store, "run", run="now")
    return store


def older(files):
    files[1].path.rename(files[1].path.with_name(files[1].path.name.replace("2026-07", "2020-07")))


def other_numbers(files):
    files[1].path.rename(
        files[1].path.with_name(files[1].path.name.replace("000000000003.", "000000000009."))
    )


def exchanged(files):
    "Two months under each other's names."
    one, two = files[2].path, files[3].path
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def doubled(files):
    shutil.copy(files[3].path, files[3].named("jsonl").with_name("000000000009-000000000009.2026-09.jsonl"))


def scribbled(files):
    files[0].path.with_name("note.txt").write_text("x")


def linked(files):
    files[0].path.symlink_to(files[0].path.rename(away(files[0].path)))


def removed(files):
    files[1].path.unlink()


def truncated(files):
    files[3].path.write_bytes(b"")


def lines_as_leaves(files):
    files[0].named("leaves").write_bytes(b"x" * 32)
    files[0].path.unlink()


HARMS = (older, other_numbers, exchanged, doubled, scribbled, linked, removed, truncated, lines_as_leaves)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_month_that_is_not_what_it_is_called_is_a_finding_and_nothing_is_removed(months, harm):
    assert verify_log(months).state == "ok"
    harm(closed_files(log_path(months).parent))
    found = verify_log(months)
    assert found.state == "bad" and "Traceback" not in found.message
    assert drop_months(months, 3).entries == 0


# what is there and no entry tells of, and the other way round


def lay_tombstone(store):
    digest = put(store, b"x" * 100)
    stone = new_tombstone(store, digest, "request", ("shop", "rows"))
    write_durably(tombstone_path(store.root, digest, ("shop", "rows")), canonical_json(stone))
    return f"no entry tells who put the tombstone there of object {digest[:12]} (shop/rows)"


def take_tombstone(store):
    digest = put(store, b"y" * 100)
    bury(store, new_tombstone(store, digest, "request"))
    assert checked(store).state == "ok"
    tombstone_path(store.root, digest).unlink()
    return f"a tombstone is gone of which an entry tells: of object {digest[:12]}"


def lay_key(store):
    trust(store, "eve", key_text(bytes([2] * 32)))
    return "the key of `eve` is trusted here, and no entry says since when and by whom"


def exchange_key(store):
    trust(store, "eve", key_text(bytes([2] * 32)))
    audit(store, "trust", "trusted", name="eve", key=key_text(bytes([2] * 32)))
    assert checked(store).state == "ok"
    (store.root / "trusted" / "eve.key").write_text(key_text(bytes([1] * 32)))
    return "the key of `eve` is trusted here, and no entry says since when and by whom"


def bring_back_key(store):
    audit(store, "trust", "trusted", name="eve", key=key_text(bytes([2] * 32)))
    audit(store, "trust", "distrusted", name="eve")
    return lay_key(store)


@pytest.mark.parametrize(
    "how",
    [lay_tombstone, take_tombstone, lay_key, exchange_key, bring_back_key],
    ids=lambda how: how.__name__,
)
def test_erasure_or_key_that_no_entry_tells_of_is_a_finding_until_it_is_told(store, how):
    said = how(store)
    found = checked(store)
    assert (found.state, messages(found)) == ("bad", [said])
    assert "mlnb audit tell --why" in found.findings[0].mend
    assert tell_late(store, "somebody knows why").is_anything
    found = checked(store)
    assert (found.state, found.told_late[0].why) == ("ok", "somebody knows why")
    assert not tell_late(store, "again").is_anything


@pytest.mark.parametrize("old, new", [(b'"shop"', b'"shed"'), (b'"committed"', b'"x"'), (b'"n":2', b'"n":7')])
def test_entry_that_was_changed_is_one_finding_and_what_it_told_no_other(store, old, new):
    path = log_path(store)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(old, new))
    shutil.rmtree(path.parent / "checkpoints")
    found = checked(store)
    assert messages(found)[0] == "entry 2 was changed: it is not what was written"
    assert not any("no entry tells of" in one for one in messages(found))


def test_emptied_log_is_held_against_runs_erasures_and_keys_at_once(store):
    lay_tombstone(store)
    lay_key(store)
    shutil.rmtree(log_path(store).parent)
    found = checked(store)
    said = found.untold
    assert (said.runs, said.killed) == (1, 0)
    assert [len(some) for some in (said.tombstones, said.tombstones_gone, said.keys)] == [1, 0, 1]
    assert (found.state, len(found.findings)) == ("bad", 3)


ODD_TELLING = [
    {"run_ids": 5},
    {"run_ids": [1]},
    {"run": {}},
    {"tombstones": [7]},
    {"tombstones_gone": "x"},
    {"keys": [[]]},
    {"why": 7},
]


@pytest.mark.parametrize("about", ODD_TELLING, ids=str)
@pytest.mark.parametrize("event", ["run", "pull", "told_late"])
def test_entry_that_tells_in_no_form_tells_of_nothing_and_is_a_finding(tmp_path, event, about):
    store = open_store(tmp_path / "store")
    audit(store, event, **about)
    found = checked(store)
    is_odd = event == "told_late" or about.keys() <= {"run", "run_ids"}
    assert (found.state, found.entries) == ("bad" if is_odd else "ok", 1)
    assert [one.n for one in found.findings] == ([1] if is_odd else [])
    assert (found.told_late, event in found.message) == ([], is_odd)
    write_run(store, {"run": RUN, "pipeline": "shop", "state": "committed", "stages": STAGES})
    assert checked(store).untold.first == RUN


# what was told by lines that are kept no longer


def test_what_removed_lines_told_is_carried_over_as_long_as_it_is_there(tmp_path):
    store, run = open_store(tmp_path / "store"), "20250515T100000000-0001"
    years = [[month_before("2026-11", n)] for n in range(18, 0, -1)]
    written(store, years, first={"run_ids": [run, "r-gone"]})
    write_run(store, {"run": run, "pipeline": "shop", "state": "committed", "stages": STAGES})
    assert checked(store).state == "ok"
    assert drop_months(store, 12).entries == 6
    assert events(store, "retention")[0].about == {"run_ids": [run]}
    assert checked(store).state == "ok"


def test_of_erasures_and_keys_only_what_still_holds_is_carried_over(store):
    digest, key = put(store, b"z" * 100), key_text(bytes([2] * 32))
    bury(store, new_tombstone(store, digest, "request"))
    trust(store, "eve", key)
    audit(store, "trust", "trusted", name="eve", key=key)
    told = LogReading()
    for entry in events(store):
        told.note(entry)
    gone = ToldRuns({"r-gone"}, erased={(digest, ""), ("3f" * 32, "")}, keys={"eve": key, "old": key})
    assert still_there(store, gone, told.told) == Untold(tombstones=[digest], keys=[f"eve {key}"])


# a log that is another one's


def test_log_of_another_store_says_whose_it_is_and_is_never_signed(store, tmp_path):
    other = open_store(tmp_path / "other")
    init_audit(other)
    audit(other, "run", "committed", run=RUN, pipeline="shop")
    shutil.rmtree(log_path(store).parent)
    shutil.copytree(log_path(other).parent, log_path(store).parent)
    found = checked(store, trusted=trusted_keys(store) | trusted_keys(other))
    assert (found.state, found.first_bad) == ("bad", 1)
    assert found.message == (
        f"entry 1 was written to the log {known_origin(other)}, and this is {known_origin(store)}"
    )
    assert any("a checkpoint that" in one for one in messages(found))
    with pytest.raises(IntegrityError, match="cannot be vouched for"):
        make_checkpoint(store)


def test_log_that_lost_its_name_is_a_finding_whose_mend_heals_it(store):
    name = known_origin(store)
    (store.root / "audit-origin").unlink()
    found = checked(store)
    assert (found.state, f"`{name}`" in found.findings[0].mend) == ("bad", True)
    (store.root / "audit-origin").write_text(f"{name}\n")
    assert checked(store).state == "ok"


def test_checkpoint_of_another_log_counts_for_nothing(store, tmp_path):
    other = open_store(tmp_path / "other")
    init_audit(other)
    forged = log_path(store).parent / "checkpoints" / "00000009.json"
    shutil.copy(log_path(other).parent / "checkpoints" / "00000001.json", forged)
    found = checked(store, trusted=trusted_keys(store) | trusted_keys(other))
    assert found.state == "bad" and known_origin(other) in found.message


# notes that are kept elsewhere


@pytest.fixture(params=["file", "folder", "url", "git"])
def place(request, store, tmp_path):
    "Each kind of place, with three notes."
    root = tmp_path / "project"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    names = {"file": f"{tmp_path}/log.txt", "folder": f"{tmp_path}/shelf/", "git": "git"}
    url = f"memory://{tmp_path.name}-{os.getpid()}"
    found = anchor_place(names.get(request.param, url), origin_of(store), root)
    for _ in range(3):
        anchor(store, found)
    return found


def kept(store, place):
    return kept_elsewhere([place], origin_of(store), trusted_keys(store))


def shortened(store, n):
    "The log as it was, with `n` entries, and nothing in the store that knows better."
    lines = log_path(store).read_bytes().splitlines(keepends=True)[:n]
    log_path(store).write_bytes(b"".join(lines))
    write_head(store, n, lines[-1].rstrip())
    shutil.rmtree(log_path(store).parent / "checkpoints")


def test_old_notes_added_later_hide_no_newer_one(store, place, monkeypatch):
    monkeypatch.setattr(anchors, "MOST_NOTES", 2)
    old = place.read()[0]
    for number in range(3):
        place.write(old, 2 if place.shown != "git" and place.path is None else number)
    assert kept(store, place).known == ((place.shown, 4),)
    shortened(store, 3)
    assert verify_log(store, elsewhere=kept(store, place)).state == "bad"


@pytest.mark.parametrize("place", ["file", "git"], indirect=True)
@pytest.mark.parametrize(
    "junk",
    [
        "a\n" * 500_000,
        ("x" * 70 + "\n") * 20_000 + "\n" + "\u2014 \n" * 5,
        "a\n\n" * 20_000,
        "\u2014 x\n" * 200_000,
    ],
    ids=["lines", "long lines", "parts", "signatures"],
)
def test_megabyte_that_is_no_note_is_read_once_and_hides_none(store, place, junk):
    place.write(junk, 4)
    assert kept(store, place).known == ((place.shown, 4),)
    anchor(store, place)
    assert kept(store, place).known == ((place.shown, 5),)


def test_note_that_stands_under_a_higher_number_is_a_finding(store, tmp_path):
    shelf = anchor_place(f"{tmp_path}/shelf/", origin_of(store), tmp_path)
    anchor(store, shelf)
    old = shelf.read()[0]
    for _ in range(2):
        anchor(store, shelf)
    for number in range(30):
        shelf.write(old, 10**11 + number)
    remote = open_remote(f"{tmp_path}/remote")
    shutil.copytree(tmp_path / "shelf", tmp_path / "remote" / "audit")
    for texts in (shelf.read(), heads_at(remote, origin_of(store))):
        _, refused = read_heads(texts, "x", origin_of(store), trusted_keys(store))
        assert refused[0].message == "a checkpoint lies under another number than its own (x)"
    with pytest.raises(IntegrityError, match="another number than its own"):
        refuse_other_log(store, remote)


def test_place_that_went_back_is_found_by_what_the_log_says_it_was_told(store, tmp_path):
    file = tmp_path / "log.txt"
    place = anchor_place(str(file), origin_of(store), tmp_path)
    anchor(store, place)
    before = file.read_text()
    anchor(store, place)
    assert verify_log(store, elsewhere=kept(store, place)).state == "ok"
    file.write_text(before)
    found = verify_log(store, elsewhere=kept(store, place))
    assert found.message == f"{file} knows 2 entries, and entry 4 says that it knew 3"


def test_note_of_another_key_or_log_does_not_count(store, tmp_path):
    place = anchor_place(f"{tmp_path}/log.txt", origin_of(store), tmp_path)
    anchor(store, place)
    stranger = Ed25519PrivateKey.generate()
    note = signed_head(store, read_log(store))
    lie = Note(note.text.replace("\n3\n", "\n9\n"), ())
    place.write(str(with_signature(lie, origin_of(store), stranger)), 9)
    other = Note(lie.text.replace(origin_of(store), "mlnb/other"), ())
    place.write(str(with_signature(other, "mlnb/other", read_key(store))), 9)
    found = kept(store, place)
    assert [one.head.n for one in found.heads] == [2]
    assert ["nobody who is trusted" in one.message for one in found.refused] == [True]


@pytest.mark.parametrize("what", ["none", "link", "pipe"])
def test_anchor_that_is_no_file_is_a_finding_and_nothing_goes_through_it(store, tmp_path, what):
    file = tmp_path / "log.txt"
    place = anchor_place(str(file), origin_of(store), tmp_path)
    anchor(store, place)
    before = file.rename(tmp_path / "elsewhere").read_bytes()
    if what == "link":
        file.symlink_to(tmp_path / "elsewhere")
    if what == "pipe":
        os.mkfifo(file)
    found = verify_log(store, elsewhere=kept(store, place))
    said = "knows 0 entries, and entry 3 says that it knew 2" if what == "none" else "is no file"
    assert found.state == "bad" and said in messages(found)[-1] + messages(found)[0]
    if what != "none":
        with pytest.raises(StoreError, match="is no file"):
            anchor(store, place)
    assert (tmp_path / "elsewhere").read_bytes() == before


def test_remote_is_an_anchor_by_its_own_path_and_is_found_when_it_went_back(store, tmp_path):
    remote = tmp_path / "remote"
    push(store, str(remote))
    shutil.copytree(remote / "audit", tmp_path / "before")
    push(store, str(remote))
    place = anchor_place(str(remote), origin_of(store), tmp_path)
    assert kept(store, place).known == ((place.shown, 3),)
    shutil.rmtree(remote / "audit")
    shutil.copytree(tmp_path / "before", remote / "audit")
    found = verify_log(
        store,
        elsewhere=known_at(place_at(str(remote), origin_of(store)), origin_of(store), trusted_keys(store)),
    )
    assert "knows 2 entries, and entry 4 says that it knew 3" in found.message
    shutil.rmtree(remote / "audit")
    found = verify_log(
        store,
        elsewhere=known_at(place_at(str(remote), origin_of(store)), origin_of(store), trusted_keys(store)),
    )
    assert "knows 0 entries" in found.message


# what the verbs say of it

SETTINGS = "[mlnb]\nstore = .mlnb\n{more}\n[pipeline.shop]\nnotebooks = nbs\n"


@pytest.fixture
def project(store, tmp_path):
    root = tmp_path / "shop"
    (root / "nbs").mkdir(parents=True)
    (root / "settings.ini").write_text(SETTINGS.format(more=""))
    shutil.move(store.root, root / ".mlnb")
    return root


def test_verb_shows_all_findings_each_with_a_mend_that_can_be_pasted(project, asked):
    store = open_store(project / ".mlnb")
    lay_tombstone(store)
    for number in range(25):
        trust(store, f"eve{number}", key_text(bytes([number + 2] * 32)))
    result = asked("audit", "verify", cwd=project)
    assert (result.code, result.stderr.count("error: ")) == (5, 21)
    assert "error: no entry tells who put the tombstone there" in result.stderr
    assert "error: and 6 more, see --json" in result.stderr
    assert asked("audit", "tell", "--why", "the machine stopped in the middle", cwd=project).stdout == (
        "told of 1 tombstone, 25 keys\n"
    )
    result = asked("audit", "verify", cwd=project)
    assert (result.code, result.stderr) == (0, "")
    assert "; 1 tombstone was told late by entry 3; 25 keys were told late by entry 4" in result.stdout


def test_verb_names_what_is_gone_where_and_since_when_and_its_mend_can_be_pasted(project, asked):
    path = log_path(open_store(project / ".mlnb"))
    audit(open_store(project / ".mlnb"), "gc")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    result = asked("audit", "verify", cwd=project)
    assert result.code == 5
    assert (
        "error: entry 2 is gone: entry 1 of 20" in result.stderr
        and "is followed by entry 3 of 20" in result.stderr
    )
    assert 'mlnb audit report --what "the audit log was altered" --owner' in result.stderr
    assert (
        asked("audit", "report", "--what", "the audit log was altered", "--owner", "ann", cwd=project).code
        == 0
    )


def test_verification_calls_nothing_clean_where_a_tombstone_is_wrong(project, asked):
    lay_tombstone(open_store(project / ".mlnb"))
    result = asked("verify", cwd=project)
    assert (result.code, "clean" in result.stdout, "was erased, but" in result.stderr) == (5, False, True)
    assert ": 1 tombstone not as it should be\n" in result.stdout
    assert "  mend: erase it again: `mlnb erase " in result.stderr


def test_listing_marks_an_entry_that_was_altered(project, asked):
    path = log_path(open_store(project / ".mlnb"))
    path.write_bytes(path.read_bytes().replace(b'"shop"', b'"shed"'))
    for arguments in (("audit",), ("audit", "events")):
        result = asked(*arguments, cwd=project)
        assert (result.code, "ALTERED" in result.stdout) == (0, True)
        assert "note: 1 entry of the log was altered: 2" in result.stderr
    assert asked("audit", "--json", cwd=project).json["altered"] == [2]


def test_killed_run_is_a_note_and_no_error(project, asked):
    run = "20261127T100000000-0002"
    write_run(
        open_store(project / ".mlnb"), {"run": run, "pipeline": "shop", "state": "running", "stages": STAGES}
    )
    result = asked("audit", "verify", cwd=project)
    assert (result.code, "error:" in result.stderr) == (0, False)
    assert f"note: 1 run was killed before any entry told of it; the first is {run}" in result.stderr
    assert asked("audit", "tell", "--why", "the machine stopped", cwd=project).code == 0
    result = asked("audit", "verify", cwd=project)
    assert (result.stderr, "; 1 run was told late by entry 3" in result.stdout) == ("", True)


@pytest.mark.parametrize(
    "arguments",
    [("checkpoint", "--out", "stick/today.json"), ("anchor", "stick/log.txt"), ("anchor", "stick/")],
)
def test_nothing_is_written_where_no_stick_is_plugged_in(project, asked, arguments):
    result = asked("audit", *arguments, cwd=project)
    assert (result.code, (project / "stick").exists()) == (2, False)
    assert f"there is no folder {project}/stick" in result.stderr
    (project / "stick").mkdir()
    assert asked("audit", *arguments, cwd=project).code == 0


def test_remote_of_the_settings_is_an_anchor_by_its_own_path(project, asked, tmp_path):
    (project / "settings.ini").write_text(SETTINGS.format(more=f"remote = {tmp_path}/remote"))
    assert asked("push", cwd=project).code == 3, "nobody signed its run; the checkpoint is sent all the same"
    for place in (f"{tmp_path}/remote", f"file://{tmp_path}/remote"):
        found = asked("audit", "verify", "--anchor", place, "--json", cwd=project)
        assert (found.code, found.json["signed_to"]) == (0, 2)


@pytest.mark.parametrize("place", ["{}/none.txt", "{}/none/", "{}/away/log.txt", "git"])
def test_place_that_was_mistyped_or_never_told_or_is_away_is_no_evidence(project, asked, tmp_path, place):
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (tmp_path / "stick").mkdir()
    assert asked("audit", "anchor", f"{tmp_path}/stick/", cwd=project).code == 0
    result = asked("audit", "verify", "--anchor", place.format(tmp_path), cwd=project)
    known = "mount its disk" if "away" in place else f"name one that was told: `--anchor {tmp_path}/stick`"
    assert (result.code, known in result.stderr, "bad" in result.stdout) == (2, True, False)


def test_places_that_know_the_log_and_were_not_asked_are_named(project, asked, tmp_path):
    (project / "settings.ini").write_text(SETTINGS.format(more=f"remote = {tmp_path}/remote"))
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    assert asked("push", cwd=project).code == 3 and asked("audit", "anchor", "git", cwd=project).code == 0
    (tmp_path / "remote").rename(tmp_path / "away")
    result = asked("audit", "verify", cwd=project)
    assert result.code == 0 and "`mlnb audit verify --anchor git`" in result.stderr
    assert f"{tmp_path}/remote cannot be reached, so it was not asked" in result.stderr
    (tmp_path / "away").rename(tmp_path / "remote")
    result = asked("audit", "verify", "--anchor", "git", "--json", cwd=project)
    assert (result.code, result.json["not_asked"], result.stderr) == (0, [], "")
    subprocess.run(["git", "update-ref", "-d", "refs/mlnb/audit"], cwd=project, check=True)
    result = asked("audit", "verify", "--anchor", "git", cwd=project)
    assert result.code == 5 and "git fetch origin refs/mlnb/audit" in result.stderr
    assert result.stderr.count("error:") == result.stderr.count("mend:") == 1


# lines that went before their time

YEARS = [[month_before("2026-11", n)] for n in range(18, 0, -1)]


def removed_by_hand(store, months):
    "The oldest month goes, with an entry that says that this was right."
    first = closed_files(log_path(store).parent)[0]
    lines = closed_lines(first)
    leaves = [leaf_of(line) for line in lines]
    said = removal(read_log(store).digest(1), leaves, sha256(lines[-1]), months, first.month)
    audit(store, "retention", **said.as_dict())
    to_leaves(first, 0o600)


@pytest.mark.parametrize("months", [24, 0, 2])
def test_month_that_went_before_its_time_is_a_finding_although_an_entry_tells_of_it(tmp_path, months):
    store = open_store(tmp_path / "store")
    written(store, YEARS, ["2026-11"])
    removed_by_hand(store, months)
    found = verify_log(store)
    assert (found.state, found.first_bad) == ("bad", 1)
    assert f"before their time: the newest of 2025-05, and {months} months are to be kept" in found.message


def at_time(line, at):
    "A line as if it had been written at another time."
    plain = audit_entry(line).as_dict() | {"at_utc": at}
    del plain["hash"]
    return canonical_json(plain | {"hash": digest_of(plain)})


def removed_by_forger(store, newest, at):
    "All lines go, and entries without a key say that this was right and carry over the run."
    lines = log_path(store).read_bytes().splitlines()
    leaves, n = [leaf_of(line) for line in lines], len(lines)
    said = removal(sha256(lines[0]), leaves, sha256(lines[-1]), 12, newest).as_dict()
    first = new_line(n + 1, sha256(lines[-1]), "retention", "carried", None, {"run_ids": [RUN]})
    second = at_time(new_line(n + 2, sha256(first), "retention", "ok", None, said), at)
    path = closed_path(log_path(store).parent / "closed", 1, n, newest).with_suffix(".leaves")
    path.parent.mkdir()
    path.write_bytes(b"".join(leaves))
    log_path(store).write_bytes(first + b"\n" + second + b"\n")
    write_head(store, n + 2, second)


NOW = "2026-11-27T12:00:00.000+00:00"
LIES = {
    "signed": ("2020-01", NOW, "entries up to 3 went as if the newest were of 2020-01, and "),
    "run": ("2020-01", NOW, f"entries went as if the newest were of 2020-01, and they told of run {RUN}"),
    "clock": ("2026-11", "2931-01-01T00:00:00", "entry 5 says that lines went on 2931-01-01, which is yet"),
    "late": ("2025-09", "2026-10-01T00:00:00", "entries up to 3 went as if the newest were of 2025-09, and "),
}


@pytest.mark.parametrize("kind", LIES)
def test_lie_about_the_age_of_lines_that_went_is_a_finding(store, kind):
    audit(store, "publication", pages=3)
    newest, at, said = LIES[kind]
    removed_by_forger(store, newest, at)
    if kind in ("run", "clock"):
        shutil.rmtree(log_path(store).parent / "checkpoints")
    found = checked(store)
    assert found.state == "bad"
    assert any(one.message.startswith(said) for one in found.findings), messages(found)


def test_lie_that_was_signed_before_its_date_stays_a_finding_when_the_date_has_come(store):
    removed_by_forger(store, "2026-11", "2028-01-01T00:00:00")
    said = {"n": 4, "log": read_log(store).start.previous, "hash": read_log(store).digest(4), "at_utc": NOW}
    log, reading = read_log(store), LogReading()
    for line in log.lines:
        reading.note(audit_entry(line))
    said |= {"log": reading.log_id(log)}
    found = checkpoint_finding(
        log, said["log"], sign(store, "checkpoint", said), trusted_keys(store), told=reading.removals
    )
    assert (found.n, "entry 4 says that lines went in 2028-01, and" in found.message) == (4, True)


def test_truth_about_lines_that_went_is_no_finding_whoever_signed_them(tmp_path):
    store = open_store(tmp_path / "store")
    written(store, YEARS, ["2026-11"], {"run": "20250515T120000000-0001"})
    log = read_log(store)
    signed = [(n, f"{month[0]}-20T12:00:00") for n, month in enumerate(YEARS, 1)]
    drop_months(store, 12)
    init_audit(store)
    for n, at in signed:
        said = {"log": log.digest(1), "n": n, "hash": log.digest(n), "at_utc": at}
        path = log_path(store).parent / "checkpoints" / f"{n:08d}.json"
        write_durably(path, canonical_json(sign(store, "checkpoint", said)), 0o600)
    assert (checked(store).state, checked(store).removed) == ("ok", 6)


def test_month_that_no_entry_tells_of_is_a_finding(tmp_path):
    store = open_store(tmp_path / "store")
    written(store, YEARS, ["2026-11"])
    to_leaves(closed_files(log_path(store).parent)[0], 0o600)
    assert "no entry says that they were kept long enough" in verify_log(store).message


def test_three_months_stay_whatever_is_asked(tmp_path):
    store = open_store(tmp_path / "store")
    written(store, YEARS, ["2026-11"])
    drop_months(store, 1)
    left = [one.month for one in closed_files(log_path(store).parent) if one.form != "leaves"]
    assert left[:2] == ["2026-08", "2026-09"]
    assert verify_log(store).state == "ok"


# settings that are read late


@pytest.mark.parametrize(
    "setting, said",
    [
        ("trusted_keys = bob", "`trusted_keys` has the name `bob` without a key"),
        ("trusted_keys = bob ed25519:AAAA", "`trusted_keys` has for `bob` what is no key: `ed25519:AAAA`"),
        ("witnesses = w1", "`w1` is no key of a log or a witness"),
        ("audit_months = 2 although less than 12", "[mlnb] has `audit_months = 2 although less than 12`"),
    ],
)
def test_setting_that_is_read_late_is_a_problem_of_check_with_its_line(project, asked, setting, said):
    (project / "settings.ini").write_text(SETTINGS.format(more=setting))
    result = asked("check", cwd=project)
    assert (result.code, f"error: line 3 of settings.ini: {said}" in result.stderr) == (2, True)
    assert "mend: " in result.stderr


# every way to tamper, against every kind of knowledge


def log_lines(store):
    return log_path(store).read_bytes().splitlines()


def put_lines(store, lines, head=True):
    "Write lines as they are; the head follows when the forger thought of it."
    log_path(store).write_bytes(b"".join(line + b"\n" for line in lines))
    if head:
        write_head(store, len(lines), lines[-1])


def computed_anew(store, keep):
    "The chain computed anew with those entries that `keep` says."
    previous, made = NOTHING, []
    for entry in filter(keep, events(store)):
        plain = entry.as_dict() | {"n": len(made) + 1, "previous": previous}
        plain = {name: value for name, value in plain.items() if name != "hash"}
        made.append(canonical_json(plain | {"hash": digest_of(plain)}))
        previous = sha256(made[-1])
    shutil.rmtree(log_path(store).parent / "checkpoints", ignore_errors=True)
    put_lines(store, made)


def delete_line(store):
    put_lines(store, [line for n, line in enumerate(log_lines(store)) if n != 2])


def insert_line(store):
    lines = log_lines(store)
    put_lines(store, [*lines[:2], new_line(3, sha256(lines[1]), "gc", "ok", None, {}), *lines[2:]])


def alter_line(store):
    lines = log_lines(store)
    put_lines(store, [lines[0].replace(b'"ok"', b'"no"'), *lines[1:]])


def alter_last_line(store):
    lines = log_lines(store)
    put_lines(store, [*lines[:-1], lines[-1].replace(b'"ok"', b'"no"')])


def reorder_lines(store):
    lines = log_lines(store)
    put_lines(store, [lines[1], lines[0], *lines[2:]])


def cut_end(store):
    put_lines(store, log_lines(store)[:-1], head=False)


def cut_end_and_head(store):
    shutil.rmtree(log_path(store).parent / "checkpoints", ignore_errors=True)
    put_lines(store, log_lines(store)[:-1])


def leave_out_collection(store):
    computed_anew(store, lambda entry: entry.event != "gc")


def leave_out_run(store):
    computed_anew(store, lambda entry: entry.event != "run")


def leave_out_erasure(store):
    computed_anew(store, lambda entry: entry.event != "erasure")


def leave_out_trust(store):
    computed_anew(store, lambda entry: entry.event != "trust")


def remove_log(store):
    shutil.rmtree(log_path(store).parent)


def empty_log(store):
    shutil.rmtree(log_path(store).parent / "checkpoints", ignore_errors=True)
    log_path(store).write_bytes(b"")
    log_path(store).with_name("head.json").unlink()


TAMPERINGS = (
    *(delete_line, insert_line, alter_line, alter_last_line, reorder_lines, cut_end, cut_end_and_head),
    *(leave_out_collection, leave_out_run, leave_out_erasure, leave_out_trust, remove_log, empty_log),
)
ONLY_ELSEWHERE = {cut_end_and_head, leave_out_collection}  # nothing in the store contradicts them


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory):
    "A store that has run, erased, trusted and collected, pushed and anchored; never changed."
    folder = tmp_path_factory.mktemp("witnessed")
    store = open_store(folder / "store")
    init_audit(store)
    write_run(store, {"run": RUN, "pipeline": "shop", "state": "committed", "stages": STAGES})
    audit(store, "run", "committed", run=RUN, pipeline="shop")
    bury(store, new_tombstone(store, put(store, b"x" * 100), "request"))
    trust(store, "eve", key_text(bytes(range(32))))
    audit(store, "trust", "trusted", name="eve", key=key_text(bytes(range(32))))
    audit(store, "gc")
    audit(store, "gc", "ok", None, moved=1)
    keep_head_at(store, open_remote(str(folder / "remote")))
    note = str(signed_head(store, read_log(store)))
    (folder / "log.txt").write_text(note)
    return folder


SLOW = [pytest.param(place, marks=pytest.mark.slow) for place in ("anchor", "remote")]


@pytest.mark.parametrize("knows", ["store", *SLOW])
@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_tampering_is_found_by_whoever_can_know(witnessed, tmp_path, tamper, knows):
    shutil.copytree(witnessed / "store", tmp_path / "store")
    store = open_store(tmp_path / "store")
    where = {"anchor": "log.txt", "remote": "remote/audit/"}.get(knows)
    places = [anchor_place(f"{witnessed}/{where}", origin_of(store), tmp_path)] if where else []
    asked = kept_elsewhere(places, origin_of(store), trusted_keys(store))
    assert checked(store, elsewhere=asked).state == "ok"
    tamper(store)
    is_known = knows != "store" or tamper not in ONLY_ELSEWHERE
    assert (checked(store, elsewhere=asked).state == "bad") == is_known


def test_log_without_a_key_is_held_against_what_is_there_all_the_same(tmp_path):
    store = open_store(tmp_path / "store")
    write_run(store, {"run": RUN, "pipeline": "shop", "state": "committed", "stages": STAGES})
    for event, about in (("gc", {}), ("run", {"run": RUN}), ("gc", {}), ("gc", {"moved": 1})):
        audit(store, event, **about)
    data = log_path(store).read_bytes()
    for tamper in (delete_line, alter_line, reorder_lines, cut_end, leave_out_run, remove_log):
        assert checked(store).state == "ok"
        tamper(store)
        assert checked(store).state == "bad", tamper.__name__
        log_path(store).parent.mkdir(exist_ok=True)
        log_path(store).write_bytes(data)
        write_head(store, 4, data.splitlines()[-1])


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "bytes"])
def test_trusted_key_that_is_no_file_of_its_own_is_never_waited_for(project, asked, what):
    folder = project / ".mlnb" / "trusted"
    folder.mkdir(exist_ok=True)
    (project / "eve").write_text(key_text(bytes(range(32))))
    if what == "link":
        (folder / "eve.key").symlink_to(project / "eve")
    elif what == "pipe":
        os.mkfifo(folder / "eve.key")
    elif what == "folder":
        (folder / "eve.key").mkdir()
    else:
        (folder / "eve.key").write_bytes(b"\xff\x00")
    result = asked("audit", "verify", cwd=project)  # the log is looked at all the same
    assert result.code == 5 and "the key of `eve` is trusted here, and no entry says" in result.stderr
    assert "signed up to" in result.stdout
    listed = asked("audit", "trust", cwd=project)
    assert listed.code == 0 and ("trusted/eve.key` in the store holds no key" in listed.stderr) is (
        what != "link"
    )
    assert asked("audit", "trust", "ann", key_text(bytes(range(1, 33))), cwd=project).code == 0
    gone = asked("audit", "distrust", "eve", cwd=project)
    assert gone.code == (69 if what == "folder" else 0)
    if what == "folder":
        assert "mend: move the folder away" in gone.stderr
