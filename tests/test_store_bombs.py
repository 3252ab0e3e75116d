"""Files that were made to do harm: nothing of them runs, nothing grows beyond the limits, and honest ones
beside them are read."""

import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from mlnb.store.artifacts import Artifact, get_value, put_value, tree_of
from mlnb.store.codecs import decode, encode
from mlnb.store.digests import canonical_json
from mlnb.store.errors import DefinitionError, IntegrityError, ValueRefusedError
from mlnb.store.model_files import dump_model, load_model
from mlnb.store.objects import open_store, put
from mlnb.store.parquet_sizes import table_growth
from mlnb.store.settings import project_store, read_project
from mlnb.store.value_limits import DEFAULT_LIMITS, ValueLimits, json_growth, read_limits

X, y = make_classification(60, 4, random_state=0)
HONEST = dump_model(LogisticRegression().fit(X, y))
TREE = dump_model(DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y))


# building files


def node(module, name, loader, **more):
    return {"__class__": name, "__module__": module, "__loader__": loader, **more}


def plain(value):
    return node("builtins", "str", "JsonNode", content=json.dumps(value), is_json=True)


def row(*items, kind="tuple", **more):
    loader = {"tuple": "TupleNode", "list": "ListNode", "set": "SetNode"}[kind]
    return node("builtins", kind, loader, content=list(items), **more)


def call(module, name, *arguments):
    return node(module, name, "ConstructorFromReduceNode", content=row(*arguments))


def array(file, **more):
    return node("numpy", "ndarray", "NdArrayNode", type="numpy", file=file, **more)


def zipped(members, how=zipfile.ZIP_STORED, change=lambda info: None):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", how, compresslevel=1) as archive:
        warnings.filterwarnings("ignore", message="Duplicate name")
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            change(info)
            archive.writestr(info, content)
    return buffer.getvalue()


def members_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def model(root, *members, how=zipfile.ZIP_STORED):
    "A model file with something else in the place of its coefficients."
    schema = json.loads(members_of(HONEST)["schema.json"])
    schema["content"]["content"]["coef_"] = root
    rest = [(name, data) for name, data in members_of(HONEST).items() if name != "schema.json"]
    return zipped([("schema.json", json.dumps(schema)), *rest, *members], how)


def npy(header, content=b""):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"fortran_order": False, **header})
    return buffer.getvalue() + content


def numbers(n=3):
    return npy({"descr": "<f8", "shape": (n,)}, bytes(8 * n))


def as_link(info):
    info.external_attr = 0o120777 << 16


def overlapping():
    "A zip whose entries are all the same bytes."
    data = zipped([(f"{n:03d}.npy", numbers(1 << 14) if n == 0 else b"") for n in range(200)])
    begin, entries = data.index(b"PK\x01\x02"), bytearray(data)
    for _ in range(200):
        entries[begin + 16 : begin + 28] = entries[data.index(b"PK\x01\x02") + 16 :][:12]
        entries[begin + 42 : begin + 46] = bytes(4)
        begin = entries.find(b"PK\x01\x02", begin + 4)
    return bytes(entries)


def lying():
    "A zip that declares ten bytes and holds a mebibyte."
    data = bytearray(zipped([("schema.json", bytes(1 << 20))], zipfile.ZIP_DEFLATED))
    for begin, at in ((0, 22), (data.rindex(b"PK\x01\x02"), 24)):
        data[begin + at : begin + at + 4] = (10).to_bytes(4, "little")
    return bytes(data)


def unfolding():
    "Forty lists, each of which is twice the one before, by their ids."
    lists = [row(plain(1), kind="list", __id__=1)]
    lists += [
        row(row(kind="list", __id__=n), row(kind="list", __id__=n), kind="list", __id__=n + 1)
        for n in range(1, 40)
    ]
    return model(row(*lists, kind="list"))


def forged_tree(change_arguments=lambda arguments: None, change_nodes=lambda nodes: None):
    "A decision tree with other numbers in it."
    members = members_of(TREE)
    schema = json.loads(members["schema.json"])
    tree = schema["content"]["content"]["tree_"]
    change_arguments(tree["__reduce__"]["args"]["content"])
    name = tree["content"]["content"]["nodes"]["file"]
    nodes = np.load(io.BytesIO(members[name]))
    change_nodes(nodes)
    buffer = io.BytesIO()
    np.save(buffer, nodes)
    members |= {name: buffer.getvalue(), "schema.json": json.dumps(schema).encode()}
    return zipped(members.items())


def set_field(name, value):
    def change(nodes):
        nodes[name][0] = value

    return change


def bombs(sentinel):
    "Malicious model files by name; `sentinel` is a folder that they would make."
    there, many = plain(str(sentinel)), [array("1000.npy")] * 3_000
    command = plain(["mkdir", str(sentinel)])
    code = plain(f"import os; os.mkdir({str(sentinel)!r})")
    named = {
        name: call(module, name, there)
        for module, name in [("os", "mkdir"), ("posix", "mkdir"), ("os", "makedirs")]
    }
    found = {f"calls {name} {n}": model(value) for n, (name, value) in enumerate(named.items())}
    func = node("os", "mkdir", "FunctionNode", content={"module_path": "os", "function": "mkdir"})
    nothing = node("builtins", "dict", "DictNode", content={}, key_types=row(kind="list"))
    partial = {"func": func, "args": row(there), "kwds": nothing, "namespace": plain(None)}
    method = {
        "func": "mkdir",
        "obj": node("pathlib", "PosixPath", "ConstructorFromReduceNode", content=row(there)),
    }
    zeros = [(f"{n}.npy", numbers((20 << 20) // 8)) for n in range(1_000, 1_014)]
    check = call("sklearn.utils.validation", "check_array", array("1000.npy"))
    objects = npy({"descr": "|O", "shape": (1,)}, pickle.dumps([1]))
    wide = node("builtins", "str", "JsonNode", content=f"[{'[],' * 3_000_000}0]")
    return found | {
        "subprocess": model(call("subprocess", "Popen", command)),
        "posixsubprocess": model(call("_posixsubprocess", "fork_exec", command)),
        "timeit": model(call("timeit", "timeit", code)),
        "pip": model(call("pip", "main", command)),
        "f2py": model(call("numpy.f2py.crackfortran", "myeval", code)),
        "builtins eval": model(call("builtins", "eval", code)),
        "operator": model(node("operator", "methodcaller", "OperatorFuncNode", attrs=row(plain("mkdir")))),
        "method": model(node("pathlib", "PosixPath", "MethodNode", content=method)),
        "partial": model(node("functools", "partial", "PartialNode", content=partial)),
        "listed function": model(check, ("1000.npy", numbers())),
        "cached": model(node("os", "mkdir", "CachedNode", __id__=7)),
        "pickle": pickle.dumps({"a": [1]}),
        "pickle inside": model(array("1000.npy"), ("1000.npy", pickle.dumps({"a": 1}))),
        "object array": model(array("1000.npy"), ("1000.npy", objects)),
        "zip slip": model(array("../1000.npy"), ("../1000.npy", numbers())),
        "absolute": model(array("/tmp/1000.npy"), ("/tmp/1000.npy", numbers())),
        "link": zipped([("schema.json", b"/etc/passwd")], change=as_link),
        "zip bomb": model(plain(1), *zeros, how=zipfile.ZIP_DEFLATED),
        "bzip2": model(plain(1), ("1000.npy", numbers(1 << 16)), how=zipfile.ZIP_BZIP2),
        "lzma": model(plain(1), ("1000.npy", numbers(1 << 16)), how=zipfile.ZIP_LZMA),
        "overlapping": overlapping(),
        "lying": lying(),
        "twice": zipped([("schema.json", b"{}"), ("schema.json", b"{}")]),
        "array header": model(array("1000.npy"), ("1000.npy", npy({"descr": "<f8", "shape": (10**9, 8)}))),
        "no size": model(array("1000.npy"), ("1000.npy", npy({"descr": "|V0", "shape": (10**12,)}))),
        "read again": model(row(*many, kind="list"), ("1000.npy", numbers(1 << 14))),
        "nodes": model(row(*[plain(1)] * 200_000, kind="list"), how=zipfile.ZIP_DEFLATED),
        "unfolding": unfolding(),
        "deep": zipped([("schema.json", b"[" * 200_000)]),
        "deep value": model(node("builtins", "str", "JsonNode", content="[" * 200_000)),
        "wide value": model(wide, how=zipfile.ZIP_DEFLATED),
        "tree outputs": forged_tree(lambda given: given.__setitem__(2, plain(10**9))),
        "tree loops": forged_tree(change_nodes=set_field("left_child", 0)),
        "tree leads out": forged_tree(change_nodes=set_field("right_child", 10**6)),
        "tree feature": forged_tree(change_nodes=set_field("feature", 10**6)),
    }


LOAD_ALL = """
import json, pathlib, sys
from mlnb.store.errors import IntegrityError
from mlnb.store.model_files import load_model
load_model(pathlib.Path(sys.argv[2]).read_bytes())
said = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.skops")):
    try:
        load_model(path.read_bytes())
    except IntegrityError as error:
        said[path.stem] = [error.message, error.mend]
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps([said, int(status.partition("VmHWM:")[2].split()[0]) // 1024]))
"""


def test_malicious_model_files_are_refused_run_nothing_and_stay_small(tmp_path):
    made = bombs(tmp_path / "sentinel")
    (tmp_path / "bombs").mkdir()
    (tmp_path / "honest").write_bytes(HONEST)
    for name, data in made.items():
        (tmp_path / "bombs" / f"{name}.skops").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, tmp_path / "bombs", tmp_path / "honest"],
        capture_output=True,
        text=True,
        timeout=5 * len(made),
    )
    assert done.returncode == 0, done.stderr
    said, peak_mib = json.loads(done.stdout)
    assert said.keys() == made.keys() and len(made) >= 15
    assert all(message and mend for message, mend in said.values())
    assert not (tmp_path / "sentinel").exists()
    assert peak_mib <= 512
    for name in ("zip bomb", "read again", "nodes", "wide value"):
        assert "would grow to" in said[name][0] and "model_ratio" in said[name][1], said[name]
    assert "sklearn.utils.validation.check_array" in said["listed function"][0]


def test_packed_forest_of_equal_trees_loads():
    forest = RandomForestClassifier(150, max_depth=1, random_state=0).fit(np.zeros((60, 4)), y)
    packed = zipped(members_of(dump_model(forest)).items(), zipfile.ZIP_DEFLATED)
    assert len(packed) * 20 < len(dump_model(forest))
    np.testing.assert_array_equal(load_model(packed).predict_proba(X), forest.predict_proba(X))


def test_mend_of_a_model_that_is_too_large_lets_it_load():
    small = ValueLimits(memory=1 << 20)
    with pytest.raises(ValueRefusedError, match="memory 1MiB") as refused:
        encode(RandomForestClassifier(150, max_depth=1, random_state=0).fit(X, y), limits=small)
    assert "limits = memory " in refused.value.mend
    said = refused.value.mend.partition("limits = ")[2].partition("`")[0]
    model = RandomForestClassifier(150, max_depth=1, random_state=0).fit(X, y)
    assert encode(model, limits=read_limits(said))


# tables


def written(table, **how):
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd", **how)
    return sink.getvalue().to_pybytes()


def repeated(columns, times):
    "A table of one row, many times."
    return written(pa.table({name: pa.repeat(value, times) for name, value in columns.items()}))


TABLE_BOMBS = {
    "rows of one value": lambda: repeated({"n": pa.scalar(7)}, 40_000_000),
    "rows of nothing": lambda: repeated({"n": pa.scalar(None, pa.int64())}, 40_000_000),
    "long text": lambda: written(pa.table({"t": ["x" * 100_000] * 10_000})),
    "long binary": lambda: written(pa.table({"t": pa.array([b"x" * 100_000] * 10_000)})),
    "lists": lambda: written(pa.table({"t": [["x" * 100_000] * 100] * 100})),
    "dates": lambda: repeated({"n": pa.scalar(0, pa.date32())}, 5_000_000),
}


@pytest.mark.parametrize("name", TABLE_BOMBS)
def test_table_bomb_is_refused_before_it_is_read(name):
    data = TABLE_BOMBS[name]()
    assert len(data) < 300_000
    for codec, as_ in (("frame", None), ("series", None), ("arrow", None), ("frame", "arrow")):
        before = pa.total_allocated_bytes()
        with pytest.raises(IntegrityError, match=r"a table in a file of .* would grow to") as refused:
            decode(codec, data, as_=as_)
        assert "table_ratio" in refused.value.mend and pa.total_allocated_bytes() - before < 1 << 20


def test_text_coded_by_what_it_shares_with_the_text_before_is_refused():
    words = pa.table({"t": ["x" * 10_000] * 1_000})
    data = written(words, use_dictionary=False, column_encoding={"t": "DELTA_BYTE_ARRAY"})
    with pytest.raises(IntegrityError, match="in a way that mlnb does not write"):
        decode("arrow", data)


def test_tables_that_compress_well_are_saved_and_loaded():
    frame = pd.DataFrame({f"n{n}": np.zeros(1_000_000) for n in range(4)} | {"word": ["a"] * 1_000_000})
    stored = encode(frame)
    assert len(stored.data) * 100 < 32_000_000
    pd.testing.assert_frame_equal(decode("frame", stored.data), frame)
    uneven = pd.DataFrame({"word": ["x" * 100_000, *["ab"] * 200_000]})
    pd.testing.assert_frame_equal(decode("frame", encode(uneven).data), uneven)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [True, False]}),
        pd.DataFrame({"when": pd.date_range("2026-01-01", periods=3), "c": pd.Categorical(["a", "b", "a"])}),
        pd.DataFrame({"a": pd.array([], dtype="int8")}),
        pd.DataFrame({"a": [1.5]}, index=pd.Index([7], name="key")),
        pd.DataFrame({"a.b": [1], "a": [2], "": [3]}),
    ],
    ids=["mixed", "times", "empty", "index", "dots"],
)
def test_small_frames_of_every_kind_pass(frame):
    pd.testing.assert_frame_equal(decode("frame", encode(frame).data), frame)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int32", "float32", "int64", "float64"])
def test_what_reading_a_table_takes_is_counted(kind):
    data = written(pa.table({"n": pa.array(np.zeros(2_000_000, kind))}), use_dictionary=False)
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        decode("arrow", data, limits=ValueLimits(table_ratio=1_000_000))
    finally:
        pa.set_memory_pool(usual)
    counted = table_growth(data, None, 1 << 30)
    assert counted / 2 < pool.max_memory() <= counted + (1 << 20)  # and a page


def test_columns_that_are_not_asked_for_do_not_count():
    data = written(pa.table({"long": ["x" * 100_000] * 10_000, "n": range(10_000)}))
    assert decode("arrow", data, columns=["n"]).num_rows == 10_000
    with pytest.raises(IntegrityError, match="would grow to"):
        decode("arrow", data, columns=["long"])


@pytest.mark.parametrize("seed", range(5))
def test_damaged_tables_are_integrity_errors_and_nothing_else(seed):
    chooser = np.random.default_rng(seed)
    data = encode(pd.DataFrame({"n": np.arange(1_000), "t": [f"t{n % 7}" for n in range(1_000)]})).data
    for _ in range(40):
        altered = bytearray(data)
        for at in chooser.integers(0, len(data), 3):
            altered[at] = chooser.integers(0, 256)
        try:
            decode("frame", bytes(altered))
        except IntegrityError:
            continue


# the rest


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("json", b"[" * 100_000),
        ("json", b'{"a":' * 100_000),
        ("json", b"1" * 10_000),
        ("array", npy({"descr": "<f8", "shape": (10**12,)})),
        ("array", npy({"descr": "<f8", "shape": (-1,)})),
        ("array", npy({"descr": "|O", "shape": (1,)}, pickle.dumps([1]))),
        ("array", npy({"descr": [("a", "<f8", (10**9,))], "shape": (10,)})),
        ("array", pickle.dumps([1])),
        ("estimator", pickle.dumps([1])),
        ("frame", pickle.dumps([1])),
    ],
)
def test_hostile_small_values_are_integrity_errors(codec, data):
    with pytest.raises(IntegrityError) as refused:
        decode(codec, data)
    assert refused.value.mend


@pytest.mark.parametrize("codec", ["json", "text", "figure", "array"])
def test_value_beyond_the_memory_of_the_settings_is_refused_with_the_line_that_admits_it(codec):
    data = {"json": b"[" + b"{}," * 20_000 + b"{}]", "array": numbers(1 << 18)}.get(codec, b"x" * (2 << 20))
    with pytest.raises(IntegrityError, match=r"more than `memory 1MiB` of `\[mlnb\] limits`") as refused:
        decode(codec, data, limits=ValueLimits(memory=1 << 20))
    assert "write `limits = memory " in refused.value.mend
    assert decode(codec, data) is not None


@pytest.mark.parametrize("seed", range(3))
def test_estimate_of_json_is_above_what_it_takes(seed):
    import tracemalloc

    chooser = np.random.default_rng(seed)

    def made(depth):
        kind = chooser.integers(0, 6 if depth < 5 else 4)
        if kind == 4:
            return [made(depth + 1) for _ in range(chooser.integers(0, 8))]
        if kind == 5:
            return {f"k{n}{'é' * (n % 2)}": made(depth + 1) for n in range(chooser.integers(0, 8))}
        return [1.5, 10**12, "text", None][kind]

    data = json.dumps([made(0) for _ in range(300)]).encode()
    tracemalloc.start()
    try:
        json.loads(data)
        assert tracemalloc.get_traced_memory()[1] <= json_growth(data)
    finally:
        tracemalloc.stop()


def test_folder_of_too_many_files_is_refused_when_saved_and_when_read(tmp_path):
    store = open_store(tmp_path / "store", limits=ValueLimits(files=3))
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}").write_text(f"{n}")
    kept = put_value(store, folder)
    assert sorted(p.name for p in get_value(store, kept, tmp_path / "files").iterdir()) == ["0", "1", "2"]
    (folder / "3").write_text("3")
    with pytest.raises(ValueRefusedError, match=r"a folder of 4 files.*limits = files 4"):
        put_value(store, folder)
    digest = put(store, b"x")
    tree = put(store, canonical_json([{"path": f"{n}", "digest": digest, "bytes": 1} for n in range(9)]))
    with pytest.raises(IntegrityError, match=r"a folder of 9 files.*limits = files 9"):
        get_value(store, Artifact("folder", tree, 9, "pathlib.Path"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_million_entries_of_a_folder_are_refused_before_they_are_read(tmp_path):
    store = open_store(tmp_path / "store")
    tree = put(store, b"[" + b'{"bytes":1,"digest":"x","path":"y"},' * 1_000_000 + b"{}]")
    with pytest.raises(IntegrityError, match="1,000,001 files, more than `files 100000`"):
        tree_of(store, Artifact("folder", tree, 1, "pathlib.Path"))


def test_parts_of_frames_count_together(tmp_path):
    store = open_store(tmp_path / "store", limits=ValueLimits(memory=1 << 20))
    frames = [pd.DataFrame({"n": np.arange(50_000.0)}) for _ in range(3)]
    kept = put_value(store, iter(frames))
    with pytest.raises(
        IntegrityError, match=r"3 of 3 parts take 1.2 MiB, more than `memory 1MiB`.*memory 2MiB"
    ):
        get_value(store, kept, tmp_path)
    assert len(get_value(open_store(tmp_path / "store"), kept, tmp_path)) == 150_000


def test_large_frame_that_nobody_could_load_is_refused_when_it_is_saved(tmp_path):
    store = open_store(tmp_path / "store", limits=ValueLimits(memory=16 << 20))
    frame = pd.DataFrame({f"n{n}": np.arange(1_000_000.0) for n in range(3)})
    with pytest.raises(ValueRefusedError, match=r"would grow to 22.9 MiB.*limits = memory 23MiB"):
        put_value(store, frame)
    kept = put_value(open_store(tmp_path / "store", limits=ValueLimits(memory=23 << 20)), frame)
    with pytest.raises(IntegrityError, match="limits = memory"):
        get_value(store, kept, tmp_path)


# settings


def test_limits_come_from_the_settings_and_from_nowhere_else(tmp_path):
    (tmp_path / "settings.ini").write_text("[mlnb]\nlimits = memory 1MiB, files 2\n")
    store = project_store(read_project(tmp_path))
    assert store.limits == ValueLimits(memory=1 << 20, files=2)
    assert open_store(tmp_path / "overlay", below=store).limits == store.limits
    described = put_value(open_store(store.root), {"a": "x" * (2 << 20)}).as_dict()
    with pytest.raises(IntegrityError, match="memory 1MiB"):
        get_value(store, Artifact(**described), tmp_path)
    assert read_project(tmp_path).limits != DEFAULT_LIMITS


class Mine(LogisticRegression):
    "A model of the project."


NAME = f"{Mine.__module__}.Mine"


@pytest.mark.parametrize("where", ["schema", "member", "comment", "nodes"])
def test_model_that_brings_its_own_list_of_trusted_types_is_refused(where):
    trusted, members = [NAME, "os.mkdir"], members_of(dump_model(Mine().fit(X, y), (NAME,)))
    schema = json.loads(members["schema.json"])
    if where == "schema":
        schema |= {"trusted": trusted, "trusted_types": trusted}
    if where == "nodes":
        schema["content"] |= {"trusted": trusted, "trusted_types": trusted}
    members["schema.json"] = json.dumps(schema).encode()
    if where == "member":
        members |= {"trusted_types.json": json.dumps(trusted).encode()}
    buffer = io.BytesIO(zipped(members.items()))
    if where == "comment":
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = json.dumps({"trusted_types": trusted}).encode()
    with pytest.raises(IntegrityError, match=f"`{NAME}`, which is not on the list"):
        load_model(buffer.getvalue())
    np.testing.assert_array_equal(load_model(buffer.getvalue(), (NAME,)).classes_, [0, 1])


@pytest.mark.parametrize(
    ("line", "rule"),
    [("memry 1GiB", "unknown-key"), ("memory 16", "bad-setting"), ("files 3, files 4", "bad-setting")],
)
def test_wrong_limits_are_problems_of_the_settings(tmp_path, line, rule):
    (tmp_path / "settings.ini").write_text(f"[mlnb]\nlimits = {line}\n")
    with pytest.raises(DefinitionError) as refused:
        read_project(tmp_path)
    assert [problem.rule for problem in refused.value.problems] == [rule] and refused.value.problems[0].mend


@pytest.mark.slow
def test_file_of_any_size_is_kept_and_given_back_in_pieces(tmp_path):
    work = """
import pathlib, sys
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.objects import open_store
root = pathlib.Path(sys.argv[1])
store = open_store(root / "store")
peak = lambda: int(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = peak()
out = get_value(store, put_value(store, root / "big"), root / "files")
print(peak() - before, out.stat().st_size)
"""
    with open(tmp_path / "big", "wb") as file:
        for _ in range(512):
            file.write(os.urandom(1 << 20))
    done = subprocess.run([sys.executable, "-c", work, tmp_path], capture_output=True, text=True, check=True)
    grown_kib, size = map(int, done.stdout.split())
    assert size == 512 << 20 and grown_kib < 32 << 10
