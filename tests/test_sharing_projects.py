"""Results are signed for their project: what somebody trusted signed in another one is neither taken nor
believed, and clones of one project share theirs, however they came to know that they are one."""

import json
import shutil
import subprocess

import pytest
from plain_records import as_record, as_run, commit, write_run

from mlnb.care.signing import make_key, own_key, sign, trust
from mlnb.care.vouched import sign_result, signer, standings, store_keys
from mlnb.sharing.exchanges import Offer
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push, sign_unsigned
from mlnb.sharing.remote import open_remote, read_remote, write_remote
from mlnb.sharing.trust import MOST_DOCUMENT, project_place, record_place
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.digests import canonical_json
from mlnb.store.objects import open_store, put
from mlnb.store.project_id import git_id, project_id, project_ids, take_id
from mlnb.store.records import records_of
from mlnb.store.refs import RefValue, move_ref

RUN = "20261123T100000000-0a1b"
OURS, OTHER = "a" * 32, "b" * 32
REF = "heads/fraud/default"


pytestmark = pytest.mark.usefixtures("unflushed")


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


def store_at(folder, *friends, project=None):
    "A store with a key, that trusts others."
    store = open_store(folder)
    make_key(store)
    for friend in friends:
        trust(store, friend.root.parent.name, own_key(friend))
    if project:
        take_id(store, project)
    return store


def record_in(store, n=1):
    output = {"digest": put(store, b"a model"), "codec": "text", "type": "str", "bytes": 7}
    about = {"key": f"{n:064x}", "pipeline": "fraud", "stage": "train", "run": RUN}
    return about | {"outputs": {"model": output}, "notebook": put(store, b"a notebook")}


def all_made(store, n=1):
    "A record, a run and a head, signed by whoever has the store."
    record = as_record(record_in(store, n))
    commit(store, record, sign=signer(store, "record"))
    ended = {"run": RUN, "pipeline": "fraud", "state": "committed", "keys": {"train": record.key}}
    write_run(store, ended, signer(store, "run"))
    move_ref(store, REF, RUN, "done", sign=signer(store, "ref"))
    return record


SIGNED_FOR = ("ours", "other", "none", "stripped", "exchanged")
TAKEN_AS = {"ours": None, "other": "foreign", "none": "foreign", "stripped": "forged", "exchanged": "forged"}
LIES_AS = {"ours": "own", "other": "foreign", "none": "own", "stripped": "altered", "exchanged": "altered"}


def signed_for(store, purpose, plain, how):
    "A document, signed in a project or for none, or with the project changed afterwards."
    project = {"ours": OURS, "none": None}.get(how, OTHER)
    found = sign(store, purpose, plain, project)
    if how == "stripped":
        found["signed"].pop("project")
    if how == "exchanged":
        found["signed"]["project"] = OURS
    return found


def plain_document(store, purpose, n):
    "Where a document lies at a remote, and what it says."
    if purpose == "record":
        record = as_record(record_in(store, n))
        return record_place(record), record.as_dict()
    if purpose == "run":
        run = RUN[:-1] + "9cdef"[n - 2]
        return f"runs/{run}.json", as_run({"run": run, "pipeline": "fraud", "state": "failed"}).as_dict()
    ref = f"names/fraud/model/m{n}"
    return f"refs/{ref}/00000001.json", {
        "name": ref,
        **RefValue(1, "r2", "ana", "x", "2026-11-27T10:00:00+00:00")._asdict(),
    }


@pytest.mark.parametrize("purpose", ["record", "run", "ref"])
def test_document_is_taken_only_when_it_was_signed_for_this_project(tmp_path, purpose):
    ana = store_at(tmp_path / "ana" / "store", project=OURS)
    ben = store_at(tmp_path / "ben" / "store", ana, project=OURS)
    all_made(ana)
    push(ana, str(tmp_path / "shared"))
    remote, expected = open_remote(str(tmp_path / "shared")), {}
    for n, how in enumerate(SIGNED_FOR, 2):
        path, plain = plain_document(ana, purpose, n)
        write_remote(remote, path, canonical_json(signed_for(ana, purpose, plain, how)))
        expected[path.removesuffix("/00000001.json")] = TAKEN_AS[how]
    taken = pull(ben, str(tmp_path / "shared"))
    refused = {one.path: one.reason for one in taken.refused}
    assert refused == {path: reason for path, reason in expected.items() if reason}
    assert (taken.foreign, taken.exit_code) == ({OTHER: 1, "none": 1}, 5)
    counts = {"record": taken.records, "run": taken.runs, "ref": len(taken.refs)}
    assert counts == {"record": 1, "run": 1, "ref": 1} | {purpose: 2}


@pytest.mark.parametrize("how", SIGNED_FOR)
def test_document_that_lies_in_the_store_says_for_which_project_it_was_signed(tmp_path, how):
    ana = store_at(tmp_path / "ana" / "store", project=OURS)
    commit(ana, record_in(ana), sign=lambda plain: signed_for(ana, "record", plain, how))
    [found] = standings(ana, store_keys(ana)).values()
    assert found.state == LIES_AS[how]
    assert found.is_vouched == (LIES_AS[how] == "own")
    sent = push(ana, str(tmp_path / "shared"))
    reasons = {"ours": [], "none": ["unbound"]}.get(how, [LIES_AS[how]])
    assert [one.reason for one in sent.left_out] == reasons
    signed_now = sign_unsigned(ana)
    assert len(signed_now) == (how == "none")
    assert push(ana, str(tmp_path / "shared")).records == (how == "none")


def test_remote_with_nothing_but_another_project_ends_with_3_and_counts_what_is_there(tmp_path):
    ana = store_at(tmp_path / "ana" / "store", project=OTHER)
    ben = store_at(tmp_path / "ben" / "store", ana, project=OURS)
    all_made(ana)
    push(ana, str(tmp_path / "shared"))
    taken = pull(ben, str(tmp_path / "shared"))
    assert (taken.records, taken.runs, taken.refs) == (0, 0, [])
    assert (taken.foreign, taken.exit_code) == ({OTHER: 3}, 3)
    assert taken.keys == [Offer(own_key(ana), "ana", offered=3, taken=0, refused=3)]


def test_program_is_one_after_push_and_pull(tmp_path):
    ana = store_at(tmp_path / "ana" / "store", project=OURS)
    ben = store_at(tmp_path / "ben" / "store", ana, project=OURS)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("score", "notes"):
        (tools / name).write_text(name)
    (tools / "score").chmod(0o755)
    made = {"file": put_value(ana, tools / "score"), "folder": put_value(ana, tools)}
    plain = record_in(ana) | {"outputs": {name: one.as_dict() for name, one in made.items()}}
    commit(ana, as_record(plain), sign=signer(ana, "record"))
    push(ana, str(tmp_path / "shared"))
    assert pull(ben, str(tmp_path / "shared")).records == 1
    [record] = records_of(ben, "fraud", "train")
    assert record.outputs == made
    file, folder = (get_value(ben, one, tmp_path / "out") for one in record.outputs.values())
    places = (file, folder / "score", folder / "notes")
    assert [place.stat().st_mode & 0o777 for place in places] == [0o700, 0o700, 0o600]


def git(folder, *words):
    who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def cloned(tmp_path, first, name):
    git(tmp_path, "clone", "-q", str(first), name)
    return tmp_path / name


@pytest.mark.parametrize("when", ["before_any_result", "after_the_first_result"])
def test_clones_share_results_whenever_the_first_commit_was_made(tmp_path, when):
    first = tmp_path / "ana"
    first.mkdir()
    git(first, "init", "-q")
    (first / ".gitignore").write_text(".mlnb\n")
    ana = store_at(first / ".mlnb")
    if when == "after_the_first_result":
        all_made(ana)
    git(first, "add", ".")
    git(first, "commit", "-q", "-m", "begin")
    if when == "before_any_result":
        all_made(ana)
    assert (project_id(ana) == git_id(ana)) == (when == "before_any_result")
    push(ana, str(tmp_path / "shared"))
    fresh = store_at(cloned(tmp_path, first, "fresh") / ".mlnb", ana)
    busy = store_at(cloned(tmp_path, first, "busy") / ".mlnb", ana)
    mine = all_made(busy, 7)
    for store in (fresh, busy):
        taken = pull(store, str(tmp_path / "shared"))
        assert (taken.records, taken.exit_code, taken.foreign) == (1, 0, {})
        assert {one.state for one in standings(store, store_keys(store)).values()} <= {"own", "trusted"}
    trust(ana, "busy", own_key(busy))
    push(busy, str(tmp_path / "shared"))
    again = pull(ana, str(tmp_path / "shared"))
    assert (again.records, again.foreign, again.exit_code) == (1, {}, 0)
    assert (ana.root / "records" / "fraud" / "train" / f"{mine.key}.json").exists()
    assert set(project_ids(ana)) == set(project_ids(busy)) >= {git_id(fresh)}


def test_id_that_a_stranger_or_another_project_tells_is_not_taken_over(tmp_path):
    ana = store_at(tmp_path / "ana" / "store", project=OURS)
    mallory = store_at(tmp_path / "mallory" / "store")
    all_made(ana)
    push(ana, str(tmp_path / "shared"))
    remote = open_remote(str(tmp_path / "shared"))
    honest = json.loads(read_remote(remote, project_place(OURS), MOST_DOCUMENT))
    ben = store_at(tmp_path / "ben" / "store", ana, project=OURS)
    lies = {"project": OURS, "same_as": OTHER}
    for said in (sign(mallory, "project", lies), honest | lies, sign(ana, "record", lies), [], {"signed": 7}):
        write_remote(remote, project_place(OURS), canonical_json(said))
        pull(ben, str(tmp_path / "shared"))
        assert project_ids(ben) == (OURS,)
    write_remote(remote, project_place(OTHER), canonical_json(sign(ana, "project", lies)))
    pull(ben, str(tmp_path / "shared"))
    assert project_ids(ben) == (OURS,)


def test_store_that_was_copied_without_its_id_believes_nothing_that_names_one(tmp_path):
    ana = store_at(tmp_path / "ana" / "store", project=OURS)
    all_made(ana)
    copy = open_store(shutil.copytree(ana.root, tmp_path / "copy" / "store"))
    (copy.root / "project").unlink()
    assert {one.state for one in standings(copy, store_keys(copy)).values()} == {"foreign"}
    (copy.root / "project").write_text(f"{OTHER}\n{OURS}\n")
    assert {one.state for one in standings(copy, store_keys(copy)).values()} == {"own"}
    assert sign_result(copy, "record", {})["signed"]["project"] == OTHER


def test_pull_with_mixed_results_is_no_error_and_one_with_nothing_to_take_is(make_project, asked, tmp_path):
    root, url = make_project({"10_a.ipynb": ["x = 1"]}).root, f"{tmp_path}/shared"
    here = open_store(root / ".mlnb")
    take_id(here, OURS)
    ana = store_at(tmp_path / "ana" / "store", project=OURS)
    carl = store_at(tmp_path / "carl" / "store", project=OURS)
    dora = store_at(tmp_path / "dora" / "store", project=OTHER)
    for n, store in enumerate((carl, dora), 1):
        commit(store, record_in(store, n), sign=signer(store, "record"))
        push(store, url)
    trust(here, "dora", own_key(dora))
    told = asked("pull", url, cwd=root)
    assert told.code == 3 and told.stderr.count("mend:") == 1
    assert "error: nothing was taken: all that is new there is strangers' or of other projects" in told.stderr
    assert (
        f"`mlnb audit trust NAME {own_key(carl)}`" in told.stderr and f"then `mlnb pull {url}`" in told.stderr
    )
    assert told.stderr.count("below the first one, then") == told.stderr.count(OTHER) == 1
    commit(ana, record_in(ana, 3), sign=signer(ana, "record"))
    push(ana, url)
    trust(here, "ana", own_key(ana))
    told = asked("pull", url, cwd=root)
    assert told.code == 0 and "error:" not in told.stderr and f"another project ({OTHER})" in told.stderr
    lines = [line for line in told.stderr.splitlines() if " offered, " in line]
    assert sorted(line.split()[0] for line in lines) == ["a", "ana", "dora"]
