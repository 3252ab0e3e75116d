"""Outside data comes in as it is: pinned, verified, no type guessed, and nothing half-read."""
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlnb.store.errors import InputChangedError, UsageError
from mlnb.store.objects import open_store
from mlnb.store.sources import manifest_digest, pin, read_source, source_files


@pytest.fixture
def read(tmp_path):
    "Write files, pin them as one source and read it."
    store = open_store(tmp_path / "store")

    def of(files, pattern="*.*", **options):
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_source(tmp_path, pin(store, tmp_path, pattern, "raw"), **options)
    return of


# text tables

@pytest.mark.parametrize("value", ["007", "NA", "null", "NaN", "None", "", "1e5", "true", "2026-11-23", " padded ", "0x1F", "1_000", "1,5", "ä€", "-0", "00.10"])
def test_csv_every_value_stays_the_text_it_is(read, value):
    quoted = '"' + value + '"' if "," in value else value
    assert read({"a.csv": f"key,other\n{quoted},x\n"}).to_dict("list") == {"key": [value], "other": ["x"]}


@pytest.mark.parametrize(("text", "columns"), [
    ('a,b\n"x\ny",2\n', {"a": ["x\ny"], "b": ["2"]}),
    ('a,b\n"say ""hi""",2\n', {"a": ['say "hi"'], "b": ["2"]}),
    ("a,b\r\n1,2\r\n", {"a": ["1"], "b": ["2"]}),
    ("a,b\n1,2", {"a": ["1"], "b": ["2"]}),
    ("\ufeffa,b\n1,2\n", {"a": ["1"], "b": ["2"]}),
    ("a b,Ö\n1,2\n", {"a b": ["1"], "Ö": ["2"]}),
    ('"a,b",c\n1,2\n', {"a,b": ["1"], "c": ["2"]}),
    ("a\n1\n", {"a": ["1"]}),
], ids=["line break in a field", "quotes", "carriage returns", "no last line end", "byte order mark", "odd names", "comma in a name", "one column"])
def test_csv_traps_are_read_as_the_standard_says(read, text, columns):
    assert read({"a.csv": text}).to_dict("list") == columns


def test_csv_a_value_that_stands_past_the_first_block_keeps_its_text(read):
    rows = 200_000
    table = read({"a.csv": "id,shop\n" + "1,x\n" * rows + "007,NA\n"})
    assert len(table) == rows + 1 and table.iloc[-1].to_dict() == {"id": "007", "shop": "NA"}


@pytest.mark.parametrize("text", ["a,b\n1,2\n3\n", "a,b\n1,2\n3,4,5\n", "a,b\n1,2,3\n", "a,b\n1\n"], ids=["short row", "long row", "long first row", "short first row"])
def test_csv_ragged_rows_are_refused_by_name_of_the_file(read, text):
    with pytest.raises(UsageError, match=r"a\.csv") as caught:
        read({"a.csv": text})
    assert caught.value.mend


def test_csv_column_named_twice_is_refused(read):
    with pytest.raises(UsageError, match="'a' stands twice"):
        read({"a.csv": "a,b,a\n1,2,3\n"})


def test_csv_in_another_encoding_is_refused_and_not_garbled(read):
    with pytest.raises(UsageError, match=r"a\.csv"):
        read({"a.csv": "name,b\nMüller,1\n".encode("latin-1")})


def test_csv_header_in_another_encoding_is_refused(read):
    with pytest.raises(UsageError, match=r"a\.csv"):
        read({"a.csv": "Größe,b\n1,2\n".encode("latin-1")})


@pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb\xbf"], ids=["empty", "a line end", "byte order mark"])
def test_csv_without_any_header_is_refused(read, data):
    with pytest.raises(UsageError, match=r"a\.csv"):
        read({"a.csv": data})


def test_csv_with_a_header_only_is_an_empty_table_of_text(read):
    table = read({"a.csv": "id,shop\n"}, as_="arrow")
    assert table.num_rows == 0 and table.schema == pa.schema([("id", pa.string()), ("shop", pa.string())])


def test_csv_columns_are_chosen_and_an_unknown_one_is_refused(read):
    assert read({"a.csv": "a,b,c\n1,2,3\n"}, columns=["c", "a"]).to_dict("list") == {"c": ["3"], "a": ["1"]}
    with pytest.raises(UsageError, match="zz"):
        read({}, columns=["zz"])


def test_tsv_is_split_at_tabs(read):
    assert read({"a.tsv": "a\tb,c\n1\t2,3\n"}).to_dict("list") == {"a": ["1"], "b,c": ["2,3"]}


def test_csv_files_with_other_columns_are_refused(read):
    with pytest.raises(UsageError):
        read({"a.csv": "a,b\n1,2\n", "b.csv": "a,c\n1,2\n"})


def test_csv_files_make_one_table_in_the_order_of_their_paths(read):
    table = read({"day/10.csv": "n\n3\n", "day/09.csv": "n\n2\n", "day/01.csv": "n\n1\n"}, "day")
    assert table["n"].tolist() == ["1", "2", "3"] and table.index.tolist() == [0, 1, 2]


def test_mixed_formats_are_refused(read):
    with pytest.raises(UsageError, match="mixes"):
        read({"a.csv": "a\n1\n", "a.json": "[]"})


# other formats

def test_parquet_types_are_kept_and_columns_chosen(read, tmp_path):
    table = pa.table({"id": pa.array([1, 2], pa.int16()), "name": ["x", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read({}, "a.parquet", as_="arrow").equals(table)
    assert read({}, "a.parquet", columns=["name"], as_="arrow").equals(table.select(["name"]))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all, but long enough"], ids=["empty", "magic only", "text"])
def test_parquet_that_is_none_is_refused_by_name(read, data):
    with pytest.raises(UsageError, match=r"a\.parquet"):
        read({"a.parquet": data}, "a.parquet")


def test_json_one_file_is_its_value_and_several_are_a_list(read):
    assert read({"a.json": json.dumps({"a": [1, None]})}) == {"a": [1, None]}
    assert read({"b.json": "2"}) == [{"a": [1, None]}, 2]


def test_json_that_is_none_is_refused_by_name(read):
    with pytest.raises(UsageError, match=r"a\.json"):
        read({"a.json": "{not json"})


def test_other_files_come_as_verified_paths(read, tmp_path):
    assert read({"a.bin": b"\0\1"}, "a.bin") == [tmp_path / "a.bin"]
    assert read({"a.csv": "a\n1\n"}, "a.csv", as_="path") == [tmp_path / "a.csv"]


# pinned

@pytest.fixture
def day(tmp_path):
    "One CSV file."
    (tmp_path / "day.csv").write_text("a,b\n1,2\n")
    return tmp_path / "day.csv"


@pytest.mark.parametrize("change", [lambda p: p.write_text("a,b\n1,3\n"), lambda p: p.unlink(), lambda p: p.write_text("a,b\n1,2\n\n"), lambda p: p.write_text("")],
                         ids=["same size", "gone", "grown", "emptied"])
def test_source_changed_in_between_is_never_used(tmp_path, day, change):
    store = open_store(tmp_path / "store")
    pinned = pin(store, tmp_path, "day.csv", "raw")
    before = day.stat()
    change(day)
    if day.exists():
        os.utime(day, ns=(before.st_atime_ns, before.st_mtime_ns))
    for as_ in (None, "arrow", "path"):
        with pytest.raises(InputChangedError, match=r"day\.csv"):
            read_source(tmp_path, pinned, as_=as_)


def test_pin_depends_on_content_and_path_and_not_on_time(tmp_path, day):
    store = open_store(tmp_path / "store")
    first = pin(store, tmp_path, "day.csv", "raw")
    os.utime(day, (1, 1))
    assert pin(store, tmp_path, "day.csv", "raw") == first
    assert pin(open_store(tmp_path / "other"), tmp_path, "day.csv", "raw") == first
    day.write_text("a,b\n1,9\n")
    assert manifest_digest(pin(store, tmp_path, "day.csv", "raw")) != manifest_digest(first)


@pytest.mark.parametrize("cache", [b"", b"{", b"[]", b"null", b"\xff"], ids=["empty", "cut", "a list", "null", "no text"])
def test_pin_with_a_broken_cache_hashes_again(tmp_path, day, cache):
    store = open_store(tmp_path / "store")
    first = pin(store, tmp_path, "day.csv", "raw")
    (store.root / "cache" / "file-digests.json").write_bytes(cache)
    assert pin(store, tmp_path, "day.csv", "raw") == first


def test_pin_a_new_file_in_a_pattern_changes_the_source(tmp_path, day):
    store = open_store(tmp_path / "store")
    first = manifest_digest(pin(store, tmp_path, "*.csv", "raw"))
    (tmp_path / "day2.csv").write_text("a,b\n1,2\n")
    assert manifest_digest(pin(store, tmp_path, "*.csv", "raw")) != first


@pytest.mark.parametrize("pattern", ["none.csv", "none/*.csv", "empty"])
def test_source_without_a_file_says_where_to_correct_it(tmp_path, pattern):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").write_text("x")
    with pytest.raises(UsageError, match="no file at") as caught:
        source_files(tmp_path, pattern, "raw")
    assert "[source.raw]" in caught.value.mend


def test_source_in_a_folder_whose_name_holds_a_pattern_sign(tmp_path):
    root = tmp_path / "data [v1]*"
    root.mkdir()
    (root / "day.csv").write_text("a\n1\n")
    assert source_files(root, "*.csv", "raw") == [root / "day.csv"]
