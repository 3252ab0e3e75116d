"""A thousand random corruptions: every one is found, and no wrong data is ever given out."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plain_records import commit, write_run

from mlnb.care.verify import document_files, object_files, verify_store
from mlnb.store import codecs
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.documents import read_json
from mlnb.store.errors import IntegrityError
from mlnb.store.objects import get, open_store, put
from mlnb.store.records import find_record
from mlnb.store.refs import move_ref, ref_history

RUN = "20261123T100000000-aaaa"


def flip(data, chooser):
    position = chooser.randrange(len(data) * 8)
    altered = bytearray(data)
    altered[position // 8] ^= 1 << position % 8
    return bytes(altered)


def cut(data, chooser):
    return data[: chooser.randrange(len(data))]


def zero(data, chooser):
    start = chooser.randrange(len(data))
    end = min(len(data), start + 1 + chooser.randrange(64))
    return data[:start] + bytes(end - start) + data[end:]


DAMAGES = {"bit flip": flip, "truncation": cut, "zero fill": zero}


@pytest.fixture
def world(tmp_path):
    "A store with values of every kind, two records, runs and refs; with everything that is in it."
    store = open_store(tmp_path / "store")
    chooser = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"amount": chooser.normal(size=500), "id": chooser.integers(0, 9, 500), "text": ["a", "b"] * 250}
    )
    values = {
        "frame": frame,
        "series": frame["amount"],
        "array": chooser.normal(size=100),
        "dict": {"roc_auc": 0.91, "n": 3},
        "text": "words " * 50,
        "frames": iter([frame.iloc[:250].reset_index(drop=True), frame.iloc[250:].reset_index(drop=True)]),
    }
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "notes.txt").write_text("notes " * 30)
    (tmp_path / "folder" / "rows.csv").write_text("a,b\n1,2\n")
    values |= {"file": tmp_path / "folder" / "rows.csv", "folder": tmp_path / "folder"}
    artifacts = {name: put_value(store, value) for name, value in values.items()}
    for n, (name, artifact) in enumerate(artifacts.items()):
        commit(
            store,
            {
                "key": f"{n}" * 64,
                "parts": {},
                "pipeline": "demo",
                "stage": name,
                "run": RUN,
                "inputs": {},
                "outputs": {name: artifact.as_dict()},
                "metrics": {"n": n},
                "notebook": put(store, f"notebook of {name}".encode()),
            },
        )
    write_run(
        store,
        {
            "run": RUN,
            "pipeline": "demo",
            "state": "committed",
            "keys": {name: f"{n}" * 64 for n, name in enumerate(artifacts)},
        },
    )
    for n in range(3):
        move_ref(store, "heads/demo/default", RUN, f"move {n}")
    return store, artifacts, tmp_path / "files"


def write(path, data):
    path.chmod(0o600)
    path.write_bytes(data)


def contents_of(value):
    "A value as text; of files, what is in them."
    if not isinstance(value, Path):
        return str(value)
    return str({str(p.relative_to(value)): p.read_bytes() for p in [value, *value.rglob("*")] if p.is_file()})


def read_all(store, artifacts, files):
    "Everything that can be read of the damaged artifact, as text; raises `IntegrityError`."
    return {name: contents_of(get_value(store, artifact, files)) for name, artifact in artifacts.items()}


def damage_of_one(world, chooser, whole):
    "Damage one file in one way; it must be found by reading and by `verify`, and nothing wrong be given out."
    store, artifacts, files = world
    objects, documents = (
        [store.root / "objects" / e.name[:2] / e.name for e in object_files(store.root)],
        list(document_files(store.root)),
    )
    path = chooser.choice(chooser.choice([objects, documents]))
    before = path.read_bytes()
    kind = chooser.choice([*DAMAGES, "swap"])
    other = (
        chooser.choice(
            [p for p in (objects if path in objects else documents) if p != path and p.read_bytes() != before]
        )
        if kind == "swap"
        else None
    )
    content = {path: before} | ({other: other.read_bytes()} if other else {})
    write(path, content[other] if other else DAMAGES[kind](before, chooser))
    if other:
        write(other, before)
    if path.read_bytes() == before:  # zeros over zeros
        return False
    for p in content:
        with pytest.raises(IntegrityError):
            get(store, p.name) if p in objects else read_json(p)
        if p in objects:
            assert not p.exists()  # set aside
            p.write_bytes(
                content[other] if p == path and other else b"wrong"
            )  # as if reading had not set it aside: `verify` finds it by itself
    found = verify_store(store)
    shown = {d.digest or d.file for d in found.damaged if d.kind != "missing"}
    assert {p.name if p in objects else p.relative_to(store.root).as_posix() for p in content} <= shown, (
        kind,
        path,
    )
    if path in objects:
        for name, artifact in artifacts.items():
            try:
                said = contents_of(get_value(store, artifact, files))
            except IntegrityError:
                continue
            assert said == whole[name], (kind, path, name)
    for p, data in content.items():
        p.unlink(missing_ok=True)
        p.write_bytes(data)
    return True


def corrupt_many(world, times, seed):
    store, artifacts, files = world
    whole, chooser = read_all(store, artifacts, files), random.Random(seed)
    done = sum(damage_of_one(world, chooser, whole) for _ in range(times))
    assert verify_store(store).clean and read_all(store, artifacts, files) == whole
    return done


def test_random_corruptions_are_all_found_and_give_no_wrong_data(world):
    assert corrupt_many(world, 80, seed=1) >= 70


@pytest.mark.slow
def test_thousand_random_corruptions_are_all_found_and_give_no_wrong_data(world, record_property):
    done = corrupt_many(world, 1_050, seed=2)
    record_property("times", done)
    assert done >= 1_000


def test_bits_of_a_record_all_count_those_of_its_seal_too(world):
    store, _, _ = world
    path = next(p for p in document_files(store.root) if "records" in p.parts)
    data = path.read_bytes()
    for position in [*range(90 * 8), *range(90 * 8, len(data) * 8, 11)]:
        altered = bytearray(data)
        altered[position // 8] ^= 1 << position % 8
        write(path, bytes(altered))
        with pytest.raises(IntegrityError):
            read_json(path)
    write(path, data)
    assert find_record(store, "demo", path.parent.name, path.stem)


def test_refs_that_changed_places_are_found(world):
    store, _, _ = world
    first, second = [store.root / "refs" / "heads" / "demo" / "default" / f"0000000{n}.json" for n in (1, 2)]
    a, b = first.read_bytes(), second.read_bytes()
    write(first, b)
    write(second, a)
    with pytest.raises(IntegrityError):
        ref_history(store, "heads/demo/default")


@pytest.mark.parametrize("name", ["frame", "series"])
def test_parquet_pages_carry_checksums_that_find_damage_without_a_digest(name):
    frame = pd.DataFrame({"amount": np.arange(5_000, dtype="float64")})
    encoded = codecs.encode(frame if name == "frame" else frame["amount"])
    found = 0
    for position in range(100, 8_000, 50):
        altered = bytearray(encoded.data)
        altered[position] ^= 1
        try:
            back = codecs.decode(encoded.codec, bytes(altered))
        except IntegrityError:
            found += 1
        else:
            assert str(back) == str(codecs.decode(encoded.codec, encoded.data))
    assert found >= 100


def test_document_without_a_seal_is_read_and_with_half_a_seal_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"state": "committed"}))
    assert read_json(path) == {"state": "committed"}
    path.write_text('{"sha256": "ab", "state": "committed"}')
    with pytest.raises(IntegrityError):
        read_json(path)
