"""Files, folders and partitions come back as they went in, and nothing in a store can write outside the
folder it is given."""

import errno
import itertools
import os
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.store import codecs, objects
from mlnb.store.artifacts import get_value, put_tree, put_value, tree_of, write_value
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import canonical_json, sha256
from mlnb.store.errors import IntegrityError, StoreError, UsageError, ValueRefusedError
from mlnb.store.exports import export_value
from mlnb.store.objects import get, open_store, path_of, put

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HOSTILE = ["../up", "/etc/mlnb", "a/../../up", "..", "a/..", "./../up", "a/b/../../../up"]


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def frame(**columns):
    return pd.DataFrame(columns or {"amount": [12.5, 80.0], "customer": [7, 9]})


def hostile_tree(store, path, codec="folder"):
    "A tree object as somebody with a pen in the store could write it."
    inner = put(store, b"planted")
    tree = put(store, canonical_json([{"path": path, "digest": inner, "bytes": 7}]))
    return Artifact(codec, tree, 7, "pathlib.Path", parts=(inner,))


# hostile descriptions


@pytest.mark.parametrize("path", HOSTILE)
def test_tree_path_that_leaves_its_folder_is_refused_and_writes_nothing(store, tmp_path, path):
    artifact = hostile_tree(store, path)
    with pytest.raises(IntegrityError):
        tree_of(store, artifact)
    with pytest.raises(IntegrityError):
        get_value(store, artifact, tmp_path / "files")
    with pytest.raises(IntegrityError):
        write_value(store, artifact, tmp_path / "out")
    planted = [p for p in tmp_path.rglob("*") if p.is_file() and p.read_bytes() == b"planted"]
    assert planted == [path_of(store, artifact.parts[0])]
    assert not (tmp_path / "up").exists() and not (tmp_path.parent / "up").exists()


@pytest.mark.parametrize("path", ["", ".", "./"])
def test_tree_path_that_names_no_file_is_refused(store, tmp_path, path):
    with pytest.raises(IntegrityError):
        get_value(store, hostile_tree(store, path), tmp_path / "files")


@pytest.mark.parametrize("text", [b"{}x", b"not json", b"[1]", b'[{"path": "a"}]', b"null"])
def test_tree_that_is_no_list_of_files_is_an_integrity_error(store, tmp_path, text):
    with pytest.raises(IntegrityError):
        get_value(store, Artifact("folder", put(store, text), 1, "pathlib.Path"), tmp_path / "files")


@pytest.mark.parametrize("name", ["../up", "/etc/mlnb", "a/b", "..", ".", ""])
def test_file_name_that_is_more_than_a_name_never_leaves_the_folder(store, tmp_path, name):
    artifact = Artifact("file", put(store, b"planted"), 7, "pathlib.Path", filename=name)
    files = tmp_path / "files"
    try:
        path = get_value(store, artifact, files)
    except IntegrityError:
        path = None
    assert path is None or (
        path.is_file() and path.resolve().is_relative_to(files.resolve()) and path.parent.parent == files
    )
    assert not (tmp_path / "up").exists()


def test_tree_with_a_damaged_part_is_an_integrity_error(store, tmp_path):
    days = put_value(store, iter([frame(), frame(amount=[1.0], customer=[1])]))
    part = path_of(store, days.parts[1])
    part.chmod(0o600)
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        get_value(store, days, tmp_path)


# files and folders


@pytest.mark.parametrize(
    "name", ["note.txt", "no suffix", "Zürich 100%.csv", ".hidden", "a" * 200, "-n", "x;rm -rf"]
)
def test_file_any_name_comes_back_with_name_and_content(store, tmp_path, name):
    (tmp_path / name).write_bytes(b"\0content")
    saved = put_value(store, tmp_path / name)
    back = get_value(store, Artifact.from_dict(saved.as_dict()), tmp_path / "files")
    assert (back.name, back.read_bytes(), saved.bytes) == (name, b"\0content", 8)


@FEW
@given(
    st.dictionaries(
        st.lists(
            st.text("abcÄ .", min_size=1, max_size=6).filter(lambda s: s[-1] not in ". "),
            min_size=1,
            max_size=3,
        ).map("/".join),
        st.binary(max_size=20),
        min_size=1,
        max_size=5,
    )
)
def test_folder_any_files_come_back(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("folder")
    store, written = open_store(folder / "store"), {}
    for name, data in files.items():
        path = folder / "in" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:  # one name is a folder of another
            continue
        written[name] = data
    if not written:
        return
    back = get_value(store, put_value(store, folder / "in"), folder / "files")
    assert {p.relative_to(back).as_posix(): p.read_bytes() for p in back.rglob("*") if p.is_file()} == written


def test_folder_digest_depends_on_names_and_content_only(store, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for name in ("b.txt", "deep/a.txt"):
            (tmp_path / folder / name).write_text(name)
    (tmp_path / "two" / "b.txt").chmod(0o666)
    os.utime(tmp_path / "two" / "b.txt", (1, 1))
    one, two = (put_value(store, tmp_path / f) for f in ("one", "two"))
    assert one == two and one.codec == "folder" and len(one.parts) == 2
    (tmp_path / "two" / "b.txt").rename(tmp_path / "two" / "c.txt")
    assert put_value(store, tmp_path / "two").digest != one.digest


def test_empty_folder_comes_back_empty(store, tmp_path):
    (tmp_path / "empty").mkdir()
    back = get_value(store, put_value(store, tmp_path / "empty"), tmp_path / "files")
    assert back.is_dir() and list(back.iterdir()) == []


def test_missing_path_and_other_kinds_of_file_are_refused(store, tmp_path):
    with pytest.raises(ValueRefusedError, match="no file or folder"):
        put_value(store, tmp_path / "none")
    (tmp_path / "odd").mkdir()
    os.mkfifo(tmp_path / "odd" / "pipe")
    for path in (tmp_path / "odd", tmp_path / "odd" / "pipe"):
        with pytest.raises(ValueRefusedError, match="neither file nor folder"):
            put_value(store, path)
    with pytest.raises(ValueRefusedError):
        put_value(store, tmp_path / "odd" / "pipe")


def test_dangling_link_in_a_folder_is_refused(store, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueRefusedError):
        put_value(store, tmp_path / "links")


def test_folder_with_an_empty_one_inside_is_refused_by_name(store, tmp_path):
    (tmp_path / "report" / "figures" / "late").mkdir(parents=True)
    (tmp_path / "report" / "text.md").write_text("x")
    with pytest.raises(ValueRefusedError, match="figures/late is empty") as caught:
        put_value(store, tmp_path / "report")
    assert caught.value.mend


def test_linked_folder_and_file_come_back_as_what_they_point_to(store, tmp_path):
    (tmp_path / "else" / "deep").mkdir(parents=True)
    (tmp_path / "else" / "deep" / "y.txt").write_text("y")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "else" / "deep")
    (tmp_path / "in" / "file").symlink_to(tmp_path / "else" / "deep" / "y.txt")
    back = get_value(store, put_value(store, tmp_path / "in"), tmp_path / "files")
    assert {p.relative_to(back).as_posix(): p.read_text() for p in back.rglob("*") if p.is_file()} == {
        "folder/deep/y.txt": "y",
        "again/y.txt": "y",
        "file": "y",
    }


@pytest.mark.parametrize("target", [".", "..", "../b"], ids=["itself", "above", "two links in a ring"])
def test_link_that_leads_back_up_is_refused(store, tmp_path, target):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a" / target)
    with pytest.raises(ValueRefusedError, match="a folder that it stands in"):
        put_value(store, tmp_path / "a")


def test_path_read_twice_can_be_written_to_without_harm(store, tmp_path):
    (tmp_path / "note.txt").write_text("seen")
    saved = put_value(store, tmp_path / "note.txt")
    get_value(store, saved, tmp_path / "files").write_text("scribbled over")
    assert get_value(store, saved, tmp_path / "files").read_text() == "seen"
    assert get(store, saved.digest) == b"seen"


# partitions


def test_partitions_come_back_as_one_frame_in_their_order(store, tmp_path):
    parts = [frame(amount=[float(n)] * 3, customer=[n] * 3) for n in range(12)]
    saved = put_value(store, iter(parts))
    back = get_value(store, saved, tmp_path)
    pd.testing.assert_frame_equal(back, pd.concat(parts, ignore_index=True))
    table = get_value(store, saved, tmp_path, columns=["customer"], as_="arrow")
    assert isinstance(table, pa.Table) and table.column_names == ["customer"] and table.num_rows == 36
    assert (saved.codec, len(saved.parts), saved.type) == ("frames", 12, "pandas.DataFrame")


def test_partitions_of_a_generator_are_taken_one_at_a_time(store):
    alive = []

    def parts():
        for n in range(3):
            alive.append(n)
            assert alive == list(range(n + 1))
            yield frame(amount=[float(n)], customer=[n])

    assert len(put_value(store, parts()).parts) == 3


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [frame(), frame(amount=[1.0])],
        [frame(), frame(amount=[1], customer=[1])],
        [frame(), frame(customer=[1], amount=[1.0])],
        [frame(), {"amount": 1}],
        [1, 2],
        [frame(), None],
    ],
    ids=["none", "a column less", "another type", "another order", "a dict", "numbers", "nothing"],
)
def test_partitions_that_do_not_fit_are_refused(store, parts):
    given = iter(parts)
    with pytest.raises(ValueRefusedError) as refused:
        put_value(store, given)
    is_spent = len(list(given)) < len(parts)
    assert ("make the iterator anew" in refused.value.mend) == is_spent


def test_iterator_of_other_values_is_kept_as_its_mend_says(store, tmp_path):
    with pytest.raises(ValueRefusedError, match="part 0 is a int") as refused:
        put_value(store, map(int, "12"))
    assert refused.value.mend.startswith("save `list(...)` of it; make the iterator anew")
    assert get_value(store, put_value(store, list(map(int, "12"))), tmp_path) == [1, 2]
    with pytest.raises(ValueRefusedError, match="not a data frame of pandas") as refused:
        put_value(store, iter([pa.table({"n": [1]})]))
    assert refused.value.mend.startswith("yield its `.to_pandas()`")
    again = put_value(store, (table.to_pandas() for table in [pa.table({"n": [1]})]))
    assert get_value(store, again, tmp_path)["n"].tolist() == [1]


class Traces:
    "Can be gone through, and is more than what it gives."

    def __iter__(self):
        return iter("ab")


def test_what_gives_less_than_it_holds_has_no_list_as_its_mend(store):
    with pytest.raises(ValueRefusedError, match="a `Traces` cannot be saved") as refused:
        put_value(store, Traces())
    assert "list(" not in refused.value.mend


RARE = pd.DataFrame({"g": [0, 1, 0, 1, 1], "v": range(5)})
CATEGORIES = [
    pd.DataFrame({"c": pd.Categorical(values, categories=kinds, ordered=ordered)})
    for values, kinds, ordered in (
        (["a"], ["a", "b"], False),
        (["b"], ["b", "c"], False),
        (["b"], ["b", "a"], False),
        (["b"], ["a", "b"], True),
    )
]


def with_attrs(unit):
    part = frame()
    part.attrs = {"unit": unit}
    return part


def decimals(text):
    import decimal

    return pd.DataFrame({"amount": pd.Series([decimal.Decimal(text)], dtype=object)})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([frame(), frame()[["customer", "amount"]]], "another order"),
        ([RARE.iloc[:2], RARE[RARE.g == 1]], "index that would be lost"),
        ([frame().set_index(pd.Index(["u", "v"], name="k"))], "index that would be lost"),
        ([frame().set_index(pd.to_datetime(["2026-11-23", "2026-11-24"]))], "index that would be lost"),
        ([frame().rename_axis("row")], "index that would be lost"),
        ([CATEGORIES[0], CATEGORIES[1]], "the type of column `c`"),
        ([CATEGORIES[0], CATEGORIES[2]], "the type of column `c`"),
        ([CATEGORIES[0], CATEGORIES[3]], "the type of column `c`"),
        ([decimals("1.50"), decimals("1.5000")], "the type of column `amount`"),
        ([with_attrs("EUR"), with_attrs("USD")], "`attrs`"),
        ([pd.DataFrame([[1, 2]]), pd.DataFrame([[1, 2]], columns=["0", "1"])], "other columns"),
        ([pd.DataFrame([[n, 2.5]], columns=[1, "1"]) for n in (1, 1.5)], "the type of column `1`:"),
    ],
    ids=[
        "order",
        "irregular index",
        "text index",
        "time index",
        "named index",
        "categories",
        "order of categories",
        "ordered categories",
        "decimals",
        "attributes",
        "numbers and their texts",
        "number and its text",
    ],
)
def test_partitions_that_would_change_when_joined_are_refused_when_saved(store, parts, message):
    with pytest.raises(ValueRefusedError, match=message) as caught:
        put_value(store, iter(parts))
    assert caught.value.mend


@pytest.mark.parametrize(
    "parts",
    [
        [RARE.iloc[:2], RARE.iloc[2:]],
        [RARE[RARE.g == g].reset_index(drop=True) for g in (0, 1)],
        [CATEGORIES[0]] * 2,
        [decimals("1.50"), decimals("2.25")],
        [with_attrs("EUR")] * 2,
    ],
    ids=["slices", "groups", "categories", "decimals", "attributes"],
)
def test_partitions_of_one_form_come_back_equal(store, tmp_path, parts):
    back = get_value(store, put_value(store, iter(parts)), tmp_path)
    pd.testing.assert_frame_equal(back, pd.concat(parts, ignore_index=True))
    assert back.attrs == parts[0].attrs


def test_partitions_that_do_not_fit_in_the_store_are_an_integrity_error(store, tmp_path):
    parts = [put_value(store, frame()), put_value(store, frame(amount=["x", "y"], customer=["a", "b"]))]
    joined = put_tree(
        store,
        "frames",
        "pandas.DataFrame",
        {f"part-{n}.parquet": (p.digest, p.bytes) for n, p in enumerate(parts)},
    )
    with pytest.raises(IntegrityError, match="do not fit together"):
        get_value(store, joined, tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"columns": ["nope"]}, {"columns": "amount"}, {"as_": "polars"}, {"columns": ["amount"], "as_": "path"}],
    ids=["unknown column", "text", "unknown form", "columns of a file"],
)
@pytest.mark.parametrize("value", [frame, lambda: iter([frame(), frame()])], ids=["frame", "frames"])
def test_request_that_a_table_cannot_meet_is_a_usage_error(store, tmp_path, value, options):
    saved = put_value(store, value())
    with pytest.raises(UsageError) as caught:
        get_value(store, saved, tmp_path, **options)
    assert caught.value.mend


@pytest.mark.parametrize("options", [{"columns": ["a"]}, {"as_": "arrow"}])
def test_request_for_columns_of_a_file_is_a_usage_error(store, tmp_path, options):
    (tmp_path / "note.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match="kept as file"):
        get_value(store, put_value(store, tmp_path / "note.csv"), tmp_path / "files", **options)


def test_partitions_one_empty_keeps_the_types(store, tmp_path):
    back = get_value(store, put_value(store, iter([frame().iloc[:0], frame()])), tmp_path)
    pd.testing.assert_frame_equal(back, frame())


def test_partitions_raising_half_way_pass_their_error_on(store):
    def parts():
        yield frame()
        raise RuntimeError("the query broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        put_value(store, parts())


# descriptions and files for people


@pytest.mark.parametrize(
    "value",
    [
        frame(),
        {"a": [1, 2.5, None]},
        "text",
        3,
        None,
        True,
        np.arange(6.0).reshape(2, 3),
        pd.Series([1, 2], name="n"),
        [1, "x"],
    ],
    ids=["frame", "dict", "text", "int", "none", "bool", "array", "series", "list"],
)
def test_description_is_plain_json_and_leads_back_to_an_equal_value(store, tmp_path, value):
    import json

    saved = put_value(store, value)
    described = json.loads(json.dumps(saved.as_dict(), allow_nan=False))
    assert Artifact.from_dict(described) == saved and saved.bytes == len(get(store, saved.digest))
    back = get_value(store, Artifact.from_dict(described), tmp_path)
    assert type(back) is type(value)
    if isinstance(value, pd.DataFrame | pd.Series):
        assert back.equals(value)
    elif isinstance(value, np.ndarray):
        np.testing.assert_array_equal(back, value)
    else:
        assert back == value


def test_export_one_file_or_a_folder_as_asked(store, tmp_path):
    days = put_value(store, iter([frame(), frame()]))
    assert len(pd.read_parquet(export_value(store, days, tmp_path / "all.parquet", False))) == 4
    assert sorted(p.name for p in export_value(store, days, tmp_path / "parts", True).iterdir()) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert export_value(store, put_value(store, {"a": 1}), tmp_path / "one", True).parent == tmp_path / "one"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    folder = put_value(store, tmp_path / "in")
    with pytest.raises(UsageError, match="folder of files") as caught:
        export_value(store, folder, tmp_path / "file", False)
    assert caught.value.mend.endswith("/`")


@pytest.mark.parametrize(
    "value", [frame, lambda: iter([frame()]), lambda: {"a": 1}], ids=["frame", "frames", "dict"]
)
def test_export_over_a_folder_names_the_form_that_works(store, tmp_path, value):
    (tmp_path / "there").mkdir()
    saved = put_value(store, value())
    with pytest.raises(UsageError, match="is a folder") as caught:
        export_value(store, saved, tmp_path / "there", False)
    assert "there/`" in caught.value.mend and list((tmp_path / "there").iterdir()) == []


def test_put_tree_is_the_same_in_any_order(store):
    files = {f"part-{n}": (put(store, bytes([n])), 1) for n in range(5)}
    assert put_tree(store, "folder", "pathlib.Path", files) == put_tree(
        store, "folder", "pathlib.Path", dict(reversed(files.items()))
    )


def large_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "n": np.arange(1 << 20),
            "x": np.random.default_rng(0).normal(size=1 << 20),
            "day": pd.date_range("2018-04-01", periods=1 << 20, freq="s").as_unit("ns"),
        }
    )


def test_large_frame_is_kept_in_pieces_with_the_bytes_of_its_encoding(store, tmp_path):
    frame = large_frame()
    assert codecs.in_pieces(frame) is not None
    artifact, data = put_value(store, frame), codecs.encode(frame).data
    assert (artifact.digest, artifact.bytes) == (sha256(data), len(data))
    assert get(store, artifact.digest) == data
    pd.testing.assert_frame_equal(get_value(store, artifact, tmp_path), frame)
    assert put_value(store, frame) == artifact
    assert [p.name for p in (store.root / "objects").rglob("*") if p.is_file()] == [artifact.digest]


def test_large_frame_that_cannot_be_kept_is_refused_and_leaves_nothing(store):
    with pytest.raises(ValueRefusedError, match="two columns are named"):
        put_value(store, large_frame().set_axis(["n", "n", "day"], axis=1))
    assert not [p for p in store.root.rglob("*") if p.is_file() and p.name != "format"]


def test_large_frame_on_a_disk_that_fills_up_half_way_is_a_store_error_and_leaves_nothing(store, monkeypatch):
    def full(place):
        if place == "object.half" and next(pieces) == 20:
            raise OSError(errno.ENOSPC, "No space left on device")

    pieces = itertools.count()
    monkeypatch.setattr(objects, "reach", full)
    with pytest.raises(StoreError, match="no room left"):
        put_value(store, large_frame())
    assert next(pieces) > 20
    assert not [p for p in store.root.rglob("*") if p.is_file() and p.name != "format"]


@pytest.mark.parametrize("where", ["file", "folder", "value"])
def test_file_that_is_written_to_while_it_is_saved_is_refused_until_nobody_writes(store, tmp_path, where):
    folder = tmp_path / "log"
    folder.mkdir()
    path = folder / "a.log"
    path.write_bytes(b"x" * 100_000)
    is_over = threading.Event()

    def write():
        with path.open("ab", buffering=0) as file:
            while not is_over.is_set():
                file.write(b"y")

    value = {"file": path, "folder": folder, "value": {"log": path}}[where]
    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(ValueRefusedError, match="was written to by something else") as caught:
            for _ in range(1000):  # it may have waited for its turn all the time
                put_value(store, value)
    finally:
        is_over.set()
        writer.join()
    assert "when nothing writes to it" in caught.value.mend
    kept = get_value(store, put_value(store, value), tmp_path / "files")
    kept = kept["log"] if where == "value" else kept
    assert (kept / "a.log" if where == "folder" else kept).read_bytes() == path.read_bytes()
