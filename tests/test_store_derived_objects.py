"""What follows from a model: verified before it is read, gone with its model, never shared."""

import itertools
import os
import shutil

import pytest

from mlnb.care.burial import bury, copies_of, new_tombstone
from mlnb.care.gc import collect, odd_files
from mlnb.care.repair import repair_documents
from mlnb.care.signing import make_key
from mlnb.care.verify import verify_store
from mlnb.store.derived_objects import FastWay, derived_files, derived_place, keep_derived, kept_derived
from mlnb.store.digests import sha256
from mlnb.store.errors import IntegrityError
from mlnb.store.objects import open_store, path_of, put
from mlnb.store.tombstones import ErasedError

MADE = {"mlnb": "0.1.0", "treelite": "4.8.1"}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    return open_store(tmp_path / "store")


def kept(store, content=b"a model"):
    digest = put(store, content)
    return FastWay(digest=digest, made_with=MADE, how="treelite", largest_difference=0.0, trees=("cd" * 32,))


def test_every_flipped_bit_and_every_cut_is_told(store):
    one = kept(store)
    path = keep_derived(store, one)
    good = path.read_bytes()
    flips = [bytes([*good[:k], good[k] ^ 1 << k % 8, *good[k + 1 :]]) for k in range(0, len(good), 3)]
    for bad in itertools.chain(flips, (good[:k] for k in range(0, len(good), 19)), [good + b" "]):
        path.write_bytes(bad)
        with pytest.raises(IntegrityError):
            kept_derived(store, one.digest, MADE)
    path.write_bytes(good)
    assert kept_derived(store, one.digest, MADE) == one


@pytest.mark.parametrize("place", ["other model", "other versions", "a link", "a folder"])
def test_document_in_another_place_is_told(store, place):
    one = kept(store)
    path = keep_derived(store, one)
    versions = {"other versions": MADE | {"treelite": "9"}}.get(place, MADE)
    digest = "ef" * 32 if place == "other model" else one.digest
    there = store.root / derived_place(digest, versions)
    if place in ("a link", "a folder"):
        path.rename(store.root / "away")
        there.mkdir() if place == "a folder" else os.symlink(store.root / "away2", there)
    else:
        shutil.copy(path, there)
    with pytest.raises((IntegrityError, OSError)):
        kept_derived(store, digest, versions)


def test_same_bytes_whoever_writes_it(store, tmp_path):
    other = open_store(tmp_path / "other")
    assert keep_derived(store, kept(store)).read_bytes() == keep_derived(other, kept(other)).read_bytes()


def test_it_goes_with_its_model(store):
    one = FastWay(digest=sha256(b"not pinned by us"), made_with=MADE, how="scikit-learn", why="no trees")
    place = path_of(store, one.digest)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"not pinned by us")
    path = keep_derived(store, one)
    assert collect(store, roots=frozenset([one.digest])).moved.objects == 0
    assert path.exists()
    collect(store)
    assert not path.exists()
    assert not path_of(store, one.digest).exists()
    assert kept_derived(store, one.digest, MADE) is None
    collect(store)
    assert not list((store.root / "trash" / "derived").rglob("*.json"))


def test_erasing_a_model_removes_what_follows_from_it(store):
    make_key(store)
    one = kept(store)
    path = keep_derived(store, one)
    assert path in copies_of(store, one.digest)
    bury(store, new_tombstone(store, one.digest, "asked for"))
    assert not path.exists()
    with pytest.raises(ErasedError):
        keep_derived(store, one)
    assert derived_files(store.root) == []


def test_verification_names_it_and_repair_removes_it(store):
    one = kept(store)
    path = keep_derived(store, one)
    assert verify_store(store).clean
    path.write_bytes(path.read_bytes()[:-3])
    found = verify_store(store)
    assert [(d.kind, d.names) for d in found.damaged] == [
        ("document", [f"fast way of model {one.digest[:12]}"])
    ]
    done = repair_documents(store, found.damaged)
    assert (len(done.told_again), done.unknown) == (1, [])
    assert verify_store(store).clean
    path.mkdir()
    assert odd_files(store.root) == [path.relative_to(store.root).as_posix()]


def test_overlay_reads_what_is_below_and_keeps_its_own(store, tmp_path):
    one = kept(store)
    keep_derived(store, one)
    overlay = open_store(store.root / "overlay" / "o", below=store)
    assert kept_derived(overlay, one.digest, MADE) == one
    other = kept(overlay, b"another")
    own = keep_derived(overlay, other)
    assert own in copies_of(store, other.digest)
    assert kept_derived(store, other.digest, MADE) is None
