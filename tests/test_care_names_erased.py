"""Erased under a name: whatever is erased in whatever order, content stays exactly as long as another name
holds it, and an independent model of a few lines says the same."""

import json
import random
import subprocess

import pytest
from msgspec.structs import replace
from plain_records import commit

from mlnb.care.audit import init_audit
from mlnb.care.erase import doubt, erase
from mlnb.care.signing import trusted_keys
from mlnb.care.taken_over import tombstone_problems
from mlnb.care.verify import verify_store
from mlnb.store.artifacts import put_value
from mlnb.store.errors import MlnbError
from mlnb.store.objects import get, has, open_store, put
from mlnb.store.project_id import project_id
from mlnb.store.records import find_record
from mlnb.store.tombstones import ErasedError, is_erased, tombstone_path

NAMES = [(pipeline, name) for pipeline in ("fraud", "score") for name in ("a", "b")]
VALUES = ["true", "rows of customer 17"]


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


def store_in(folder):
    store = open_store(folder / "store")
    init_audit(store)
    return store


def holding(store, n, name, value):
    "A record in which an artifact has a value; put as a stage does."
    pipeline, artifact = name
    output = put_value(replace(store, name=name), value).as_dict()
    record = {
        "key": f"{n:064x}",
        "pipeline": pipeline,
        "stage": f"makes_{artifact}",
        "run": "r1",
        "metrics": {},
    }
    code = {"notebook": put(store, f"notebook {n}".encode()), "inputs": {}, "outputs": {artifact: output}}
    commit(store, record | code)
    return output["digest"]


class Model:
    "What should be: who saved which value, which names were erased, which values for all."

    def __init__(self):
        self.saved, self.erased, self.blocked = set(), set(), set()

    def may_save(self, name, value):
        return value not in self.blocked and (name, value) not in self.erased

    def is_there(self, value):
        holders = {name for name, saved in self.saved if saved == value}
        return any(self.may_save(name, value) for name in holders)

    def can_read(self, name, value):
        return self.may_save(name, value) and self.is_there(value)


def is_read(store, name, digest):
    try:
        return bool(get(replace(store, name=name), digest))
    except MlnbError:
        return False


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 60))]
)
def test_content_stays_exactly_as_long_as_a_name_holds_it(tmp_path, seed):
    choose, store, model, digests = random.Random(seed), store_in(tmp_path), Model(), {}
    for n in range(10):
        name, value = choose.choice(NAMES), choose.choice(VALUES)
        if n < 4 or choose.random() < 0.4:
            try:
                digests[value] = holding(store, n, name, value)
                model.saved.add((name, value))
                assert model.may_save(name, value)
            except ErasedError:
                assert not model.may_save(name, value)
        elif value in digests:
            everywhere = choose.random() < 0.2
            erase(store, digests[value], "asked for", names={name}, everywhere=everywhere)
            model.erased.add((name, value))
            model.blocked |= {value} if everywhere else set()
        for one, digest in digests.items():
            assert has(store, digest) == model.is_there(one), (n, one)
            assert [is_read(store, name, digest) for name in NAMES] == [model.can_read(k, one) for k in NAMES]
    assert tombstone_problems(store, trusted_keys(store)) == [] and verify_store(store).clean


def test_one_true_is_erased_and_every_other_stage_goes_on_saving_true(tmp_path):
    store = store_in(tmp_path)
    digest = holding(store, 1, ("fraud", "is_good"), True)
    assert holding(store, 2, ("score", "is_late"), True) == digest
    told = doubt(store, digest, {("fraud", "is_good")})
    assert "4 bytes" in told and told.endswith("held by score/is_late, where it stays")
    done = erase(store, digest, "customer 17", names={("fraud", "is_good")})
    assert done.held_by == {digest: ["score/is_late"]}
    assert find_record(store, "fraud", "makes_is_good", f"{1:064x}") is None
    assert find_record(store, "score", "makes_is_late", f"{2:064x}")
    assert holding(store, 3, ("score", "is_new"), True) == digest
    with pytest.raises(ErasedError, match="of fraud/is_good was erased"):
        holding(store, 4, ("fraud", "is_good"), True)


def test_everything_else_that_was_made_from_it_goes_under_all_its_names(tmp_path):
    store = store_in(tmp_path)
    rows = put_value(store, "rows of customer 17").as_dict()
    model = put_value(store, "a model of customer 17").as_dict()
    record = {"key": "1" * 64, "pipeline": "fraud", "stage": "fit", "run": "r1", "metrics": {}}
    inputs, outputs = {"rows": rows}, {"model": model, "best": model}
    commit(store, record | {"notebook": put(store, b"shows 17"), "inputs": inputs, "outputs": outputs})
    holding(store, 2, ("fraud", "rows"), "rows of customer 17")
    done = erase(store, rows["digest"], "asked for", down=True, names={("fraud", "rows")})
    assert done.held_by == {} and not any(has(store, one["digest"]) for one in (rows, model))
    assert all(is_erased(store.root, model["digest"], ("fraud", name)) for name in ("model", "best"))
    assert [p for p in store.root.rglob("*") if p.is_file() and b"of customer 17" in p.read_bytes()] == []


def test_code_of_a_stage_is_not_lost_with_an_artifact_of_the_same_bytes(tmp_path):
    store = store_in(tmp_path)
    digest = holding(store, 1, ("fraud", "text"), "import numpy")
    record = {"key": "2" * 64, "pipeline": "fraud", "stage": "other", "run": "r1", "metrics": {}}
    commit(store, record | {"inputs": {}, "outputs": {}, "modules": {"shop": digest}})
    done = erase(store, digest, "asked for", names={("fraud", "text")})
    assert done.held_by == {digest: ["fraud/other (code)"]} and has(store, digest)
    erase(store, digest, "asked for", names={("fraud", "text")}, everywhere=True)
    assert not has(store, digest)


def test_tombstone_of_an_older_mlnb_goes_on_blocking_what_it_erased(tmp_path):
    store = store_in(tmp_path)
    digest = holding(store, 1, ("fraud", "rows"), "rows")
    path = tombstone_path(store.root, digest)
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"format": 1, "digest": digest, "actor": "ana", "reason": "old", "at_utc": "t"})
    )
    for name in NAMES:
        with pytest.raises(ErasedError, match="old"):
            holding(store, 2, name, "rows")
    assert find_record(store, "fraud", "makes_rows", f"{1:064x}") is None


def test_clones_of_one_repository_are_one_project(tmp_path):
    def git(*words, cwd):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *who, *words], cwd=cwd, check=True, capture_output=True)

    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    git("init", "-q", cwd=first)
    git("commit", "-q", "--allow-empty", "-m", "begin", cwd=first)
    git("clone", "-q", str(first), str(second), cwd=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "more", cwd=first)
    other = tmp_path / "other"
    ids = [project_id(open_store(folder / ".mlnb")) for folder in (first, second, other)]
    assert ids[0] == ids[1] != ids[2]
