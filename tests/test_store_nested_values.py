"""Dicts, lists and tuples of frames, arrays, models, figures and paths are several files, each in its own
format, and come back equal; the rest of mlnb treats them as it does folders."""

import collections
import enum
import json
import os
import re
import subprocess
import sys
import threading
import types
from pathlib import Path, PurePosixPath

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plain_records import commit
from sklearn.linear_model import LinearRegression

from mlnb.care.audit import init_audit
from mlnb.care.erase import erase
from mlnb.care.signing import own_key, trust
from mlnb.care.verify import verify_store
from mlnb.care.vouched import signer
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push
from mlnb.store.artifacts import damaged_trees, get_value, put_tree, put_value, tree_of
from mlnb.store.codecs import Svg
from mlnb.store.errors import IntegrityError, UsageError, ValueRefusedError
from mlnb.store.exports import export_value
from mlnb.store.objects import has, open_store, path_of, put
from mlnb.store.plain_values import ordered_json
from mlnb.store.value_limits import ValueLimits

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def frame():
    return pd.DataFrame({"a": [1, 2], "s": ["x", None]})


def model():
    return LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
    if isinstance(a, dict | list | tuple):
        pairs = zip(a.values(), b.values(), strict=True) if isinstance(a, dict) else zip(a, b, strict=True)
        for one, other in pairs:
            assert_equal(one, other)
    elif isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    elif isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, check_exact=True)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes() and a.shape == b.shape
    elif isinstance(a, pa.Table):
        assert a.equals(b, check_metadata=True)
    elif isinstance(a, LinearRegression):
        assert a.coef_.tobytes() == b.coef_.tobytes() and a.intercept_ == b.intercept_
    else:
        assert a == b


MEMBERS = {
    "frame": frame,
    "series": lambda: frame()["a"],
    "arrow": lambda: pa.table({"a": [1, None]}),
    "array": lambda: np.arange(6.0).reshape(2, 3),
    "estimator": model,
    "figure": lambda: Svg("<svg xmlns='http://www.w3.org/2000/svg'/>"),
}
SHAPES = {
    "dict": lambda make: {"z": make(), "a": 1},
    "list": lambda make: [make(), 2.5],
    "tuple": lambda make: (make(), make()),
    "keys": lambda make: {2018: make(), ("q", 1): {"n": (1, float("nan").hex(), make())}},
    "deep": lambda make: {"a": [{"b": (make(), {"c": [make(), pd.Timestamp("2026")]})}], "!member": "text"},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", MEMBERS)
def test_value_of_members_comes_back_equal_and_canonical(store, tmp_path, kind, shape):
    value = SHAPES[shape](MEMBERS[kind])
    saved = put_value(store, value)
    assert saved.codec == "values" and saved.is_tree and saved.type.startswith(f"{type(value).__name__} of ")
    again = get_value(store, saved, tmp_path / "files")
    assert_equal(again, value)
    assert put_value(store, again) == saved == put_value(store, SHAPES[shape](MEMBERS[kind]))
    assert len([path for path in tree_of(store, saved)]) == 2  # equal members are one file


def test_figure_comes_back_as_its_picture(store, tmp_path):
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    again = get_value(store, put_value(store, {"figures": [figure]}), tmp_path)
    plt.close(figure)
    assert type(again["figures"][0]) is Svg


def test_member_shared_or_copied_gives_the_same_bytes(store):
    one, other = frame(), frame()
    shared = put_value(store, {"a": one, "b": [one], "c": np.zeros(2)})
    assert put_value(store, {"a": one, "b": [other], "c": np.zeros(2)}) == shared
    assert sorted(tree_of(store, shared)) == ["00000-a.parquet", "00001-c.npy", "value.json"]
    assert put_value(store, {"b": [one], "a": one, "c": np.zeros(2)}).digest != shared.digest


def test_member_is_the_same_object_as_when_it_is_saved_alone(store):
    alone = put_value(store, frame())
    assert alone.digest in put_value(store, {"a": frame()}).parts


def test_paths_are_kept_as_files_and_folders(store, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "rows.csv").write_text("a\n1\n")
    (tmp_path / "in" / "sub" / "rows.csv").write_text("a\n1\n")
    value = {"one": tmp_path / "in" / "rows.csv", "all": [tmp_path / "in"], "n": 1}
    saved = put_value(store, value)
    again = get_value(store, saved, tmp_path / "files")
    assert again["one"].name == "rows.csv" and again["one"].read_text() == "a\n1\n"
    folder = again["all"][0]
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.csv")) == [
        "rows.csv",
        "sub/rows.csv",
    ]
    (tmp_path / "empty").mkdir()
    for path, said in (("absent", "there is no file or folder"), ("empty", "is empty and would be lost")):
        with pytest.raises(ValueRefusedError, match=rf"`a\[0\]`: .*{said}"):
            put_value(store, {"a": [tmp_path / path]})
    assert get_value(store, put_value(store, {"a": [str(tmp_path / "absent")]}), tmp_path)  # its mend


ARRAYS = st.lists(st.integers(0, 3), max_size=3).map(lambda v: np.array(v, "i8"))
NESTED = st.recursive(
    ARRAYS | st.integers() | st.text(st.characters(codec="utf-8"), max_size=3) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=3) | st.integers(), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@FEW
@given(st.lists(NESTED, max_size=3))
def test_any_nesting_comes_back_equal(store, tmp_path, value):
    saved = put_value(store, value)
    again = get_value(store, saved, tmp_path / "files")
    assert_equal(again, value)
    assert put_value(store, again) == saved


# refused


def objects_of(store):
    return {path.name for path in (store.root / "objects").rglob("*") if path.is_file()}


REFUSED = {
    "cycle": (lambda loop: loop["a"].append(loop) or loop, r"`a\[1\]` is the dict that it stands in"),
    "object": (lambda v: v | {"b": object()}, r"`b` is a `object`"),
    "frame of objects": (
        lambda v: v | {"b": [pd.DataFrame({"tags": [object(), 1]})]},
        r"`b\[0\]`: `tags\[0\]`",
    ),
    "objects": (lambda v: v | {"b": np.array([object()])}, r"`b`: an array of dtype `object`"),
    "generator": (lambda v: v | {"b": (n for n in [1])}, r"`b` is a `generator`.*list\(\.\.\.\)"),
    "axes": (lambda v: v | {"b": plt.figure().gca()}, r"`b` is a `Axes`.*get_figure"),
    "array in a set": (lambda v: v | {"b": {(1, len)}}, r"list\(b\)"),
    "open file": (lambda v: v | {"b": sys.__stdout__}, r"`b` is a `TextIOWrapper`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_value_that_would_not_come_back_is_refused_with_its_place(store, name):
    change, said = REFUSED[name]
    with pytest.raises(ValueRefusedError, match=said) as refused:
        put_value(store, change({"a": [frame()]}))
    plt.close("all")
    assert refused.value.mend
    if name not in ("frame of objects", "objects"):
        assert objects_of(store) == set()  # nothing is written before all is looked at


MENDED = {
    "generator": lambda: (n for n in [1]),
    "axes": lambda: plt.figure().gca(),
    "named tuple": lambda: collections.namedtuple("Pair", "a b")(frame(), 1),
    "ordered dict": lambda: collections.OrderedDict(a=frame()),
    "default dict": lambda: collections.defaultdict(list, a=[frame()]),
    "deque": lambda: collections.deque([frame()]),
    "namespace": lambda: types.SimpleNamespace(a=frame()),
    "enum": lambda: enum.IntEnum("Level", "low").low,
    "index": lambda: pd.Index([1, 2]),
    "pandas array": lambda: pd.array([1, 2]),
    "batch": lambda: pa.RecordBatch.from_pydict({"a": [1]}),
    "no path": lambda: Path("absent.csv"),
    "path that is pure": lambda: PurePosixPath("a/b"),
    "values of a dict": lambda: {"a": frame()}.values(),
    "long double": lambda: np.longdouble(1) / 3,
}


@pytest.mark.parametrize("name", MENDED)
def test_member_that_is_refused_is_kept_once_the_mend_is_followed(store, name):
    value = MENDED[name]()
    with pytest.raises(ValueRefusedError) as refused:
        put_value(store, {"x": [frame(), value]})
    code = re.findall(r"`([^`]*[.(][^`]*)`", refused.value.mend)[-1]
    scope = {"value": value, "axes": value, "index": value, "batch": value, "pandas": pd, "pyarrow": pa}
    made = eval(f"value{code}" if code.startswith(".") else code.replace("...", "value"), scope)
    assert put_value(store, {"x": [frame(), made]}).codec == "values"
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("make", [pa.table, pl.DataFrame, pd.DataFrame])
def test_table_that_is_too_wide_is_refused_alone_and_inside_before_it_is_written(store, make):
    column = pa.array([1])
    wide = pa.Table.from_arrays([column] * 200_001, list(map(str, range(200_001))))
    if make is not pa.table:
        zeros = np.zeros((1, 200_001))
        wide = make(zeros)
    for value in (wide, {"a": wide}):
        with pytest.raises(ValueRefusedError, match="200,001 columns"):
            put_value(store, value)


def test_untrusted_model_is_refused_with_its_place_and_a_trusted_one_is_kept(store, tmp_path):
    from sklearn.base import BaseEstimator

    Own = type("Own", (BaseEstimator,), {"__module__": "shop.models"})
    with pytest.raises(ValueRefusedError, match=r"`models\[0\]`: ") as refused:
        put_value(store, {"models": [Own()]})
    assert "trusted_types" in refused.value.mend or "shop.models.Own" in str(refused.value)


def test_limits_of_the_project_hold_for_all_members_together(tmp_path):
    value = {"a": np.zeros(60_000), "b": np.ones(60_000), "c": np.full(60_000, 2.0)}
    small = open_store(tmp_path / "store")
    saved = put_value(small, value)
    small = replace(small, limits=ValueLimits(memory=1 << 20))
    with pytest.raises(IntegrityError, match=r"members of a value take .* MiB.*memory 1MiB"):
        get_value(small, saved, tmp_path)
    with pytest.raises(ValueRefusedError, match="memory 2MiB"):
        put_value(small, value)
    small = replace(small, limits=ValueLimits(files=2))
    with pytest.raises(ValueRefusedError, match="a value of 3 files"):
        put_value(small, value)


def test_value_that_other_threads_change_is_kept_as_one_of_its_states(store, tmp_path):
    value, done = {"a": frame(), "rows": []}, threading.Event()

    def change():
        while not done.is_set():
            value["rows"].append(1)
            value.pop("more", None)
            del value["rows"][100:]
            value["more"] = 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(2):
            again = get_value(store, put_value(store, value), tmp_path / "files")
            assert again["a"].equals(frame()) and set(again["rows"]) <= {1}
    finally:
        done.set()
        thread.join()


def test_iterator_that_raises_half_way_saves_nothing_and_says_so(store):
    with pytest.raises(ZeroDivisionError) as raised:
        put_value(store, (frame() / (1 // n) if n < 1 else frame() for n in (2, 1, 0)))
    assert any("nothing was kept" in note for note in raised.value.__notes__)


# asked for


def test_value_is_a_folder_for_people_and_no_table(store, tmp_path):
    saved = put_value(store, {"train": frame(), "n": 3})
    folder = get_value(store, saved, tmp_path / "files", as_="path")
    assert sorted(p.name for p in folder.iterdir()) == ["00000-train.parquet", "value.json"]
    assert json.loads((folder / "value.json").read_text()) == {
        "train": {"!member": ["frame", "00000-train.parquet"]},
        "n": 3,
    }
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "00000-train.parquet"), frame(), check_dtype=False)
    out = export_value(store, saved, tmp_path / "out", True)
    assert sorted(p.name for p in out.iterdir()) == ["00000-train.parquet", "value.json"]
    with pytest.raises(UsageError, match="--out"):
        export_value(store, saved, tmp_path / "out.json", False)
    for options in ({"columns": ["a"]}, {"as_": "arrow"}, {"columns": ["a"], "as_": "path"}):
        with pytest.raises(UsageError) as refused:
            get_value(store, saved, tmp_path, **options)
        assert refused.value.mend


# damage


def forged(store, value, others=()):
    "A tree whose `value.json` somebody else wrote."
    data, member = ordered_json(value), put(store, b"\x93NUMPY")
    files = {"value.json": (put(store, data), len(data)), "00000.npy": (member, 6), **dict(others)}
    return put_tree(store, "values", "dict", files)


FORGED = {
    "absent": {"!member": ["array", "00001.npy"]},
    "of no codec": {"!member": ["pickle", "00000.npy"]},
    "of another codec": {"!member": ["estimator", "00000.npy"]},
    "of the value itself": {"!member": ["json", "../value.json"]},
    "damaged": {"!member": ["array", "00000.npy"]},
    "no folder": {"!member": ["folder", "00000"]},
    "above": {"!member": ["folder", ".."]},
    "everything": {"!member": ["folder", ""]},
    "number": {"!member": 0},
    "of one name": {"!member": ["array"]},
    "of lists": {"!member": [["array"], "00000.npy"]},
}


@pytest.mark.parametrize("name", FORGED)
def test_reference_that_leads_nowhere_is_damage(store, tmp_path, name):
    for value in (FORGED[name], {"a": [FORGED[name]]}):
        with pytest.raises(IntegrityError) as damaged:
            get_value(store, forged(store, value), tmp_path / "files")
        assert damaged.value.mend
    assert not (tmp_path / "files").exists()


def test_value_without_its_json_is_damage(store, tmp_path):
    lone = put_tree(store, "values", "dict", {"00000.npy": (put(store, b"x"), 1)})
    with pytest.raises(IntegrityError, match=r"has no member 'value\.json'"):
        get_value(store, lone, tmp_path)


def test_member_that_was_altered_or_lost_is_noticed(store, tmp_path):
    saved = put_value(store, {"a": frame(), "b": np.zeros(3)})
    path = path_of(store, tree_of(store, saved)["00001-b.npy"])
    assert list(damaged_trees(store, {"x": saved})) == []
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError):
        get_value(store, saved, tmp_path)


def record(store, number, outputs):
    "Commit a record with outputs by name."
    named = {name: one.as_dict() for name, one in outputs.items()}
    about = {"pipeline": "fraud", "stage": f"s{number}", "run": "r1", "inputs": {}, "metrics": {}}
    return commit(store, about | {"key": f"{number:064x}", "outputs": named, "notebook": put(store, b"{}")})


def test_verify_knows_the_members_and_erase_takes_those_that_nobody_else_has(store):
    saved, alone = put_value(store, {"a": frame(), "b": np.zeros(3)}), put_value(store, frame())
    record(store, 1, {"all": saved})
    record(store, 2, {"table": alone})
    assert verify_store(store).clean
    init_audit(store)
    done = erase(store, saved.digest, "asked for")
    assert done.shared == [alone.digest] and has(store, alone.digest)
    assert not any(has(store, one) for one in {saved.digest, *saved.parts} - {alone.digest})


def test_value_is_pushed_and_pulled_with_its_members(store, tmp_path):
    init_audit(store)
    saved = put_value(store, {"a": frame(), "b": (np.zeros(3), [model()])})
    about = {
        "pipeline": "fraud",
        "stage": "train",
        "run": "20261123T100000000-0a1b",
        "inputs": {},
        "metrics": {},
    }
    about |= {"outputs": {"all": saved.as_dict()}, "notebook": put(store, b"a notebook"), "key": "a" * 64}
    commit(store, about, sign=signer(store, "record"))
    assert push(store, str(tmp_path / "shared")).records == 1
    other = open_store(tmp_path / "other")
    trust(other, "ana", own_key(store))
    assert pull(other, str(tmp_path / "shared")).records == 1
    assert_equal(get_value(other, saved, tmp_path / "files"), get_value(store, saved, tmp_path / "files"))


def test_verify_names_the_value_whose_member_was_altered(store):
    saved = put_value(store, {"a": frame(), "b": np.zeros(3)})
    record(store, 1, {"all": saved})
    path = path_of(store, tree_of(store, saved)["00001-b.npy"])
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (damage,) = verify_store(store).damaged
    assert (damage.digest, damage.kind, damage.names) == (saved.parts[1], "altered", ["fraud/all"])


MAKE = """
import sys, numpy as np, pandas as pd
from pathlib import Path
from mlnb.store.artifacts import put_value
from mlnb.store.objects import open_store
names = {"a", "b", "c", "d"}
frames = {n: pd.DataFrame({"n": [1]}) for n in sorted(names)}
value = {"names": names, "frames": frames, "at": pd.Timestamp("2026")}
print(put_value(open_store(Path(sys.argv[1])), (value, np.arange(3))).digest)
"""


@pytest.mark.slow
def test_digest_is_the_same_in_another_process_with_another_hash_seed(tmp_path):
    digests = {
        subprocess.run(
            [sys.executable, "-c", MAKE, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_programs_stay_programs_wherever_they_stand_in_a_value(store, tmp_path):
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, mode in (("run.sh", 0o755), ("notes.sh", 0o644)):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(mode)
    value = {"one": folder / "run.sh", "other": folder / "notes.sh", "all": folder}
    back = get_value(store, put_value(store, value), tmp_path / "files")
    files = [back["one"], back["other"], back["all"] / "run.sh", back["all"] / "notes.sh"]
    assert [bool(file.stat().st_mode & 0o100) for file in files] == [True, False, True, False]
