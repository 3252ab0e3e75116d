"""Outside data comes in as it is: pinned, verified, no type guessed, and nothing half-read."""

import json
import os
import stat
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.sources import text_tables
from mlnb.sources.content import content_in_memory
from mlnb.sources.partition import manifest_digest
from mlnb.sources.pinned_files import pin, source_files
from mlnb.sources.source import read_source
from mlnb.sources.table_files import read_table_file
from mlnb.sources.text_tables import in_larger_blocks
from mlnb.store.errors import InputChangedError, UsageError
from mlnb.store.objects import open_store


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


@pytest.mark.parametrize(
    "value",
    [
        "007",
        "NA",
        "null",
        "NaN",
        "None",
        "",
        "1e5",
        "true",
        "2026-11-23",
        " padded ",
        "0x1F",
        "1_000",
        "1,5",
        "ä€",
        "-0",
        "00.10",
    ],
)
def test_csv_every_value_stays_the_text_it_is(read, value):
    quoted = '"' + value + '"' if "," in value else value
    assert read({"a.csv": f"key,other\n{quoted},x\n"}).to_dict("list") == {"key": [value], "other": ["x"]}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('a,b\n"x\ny",2\n', {"a": ["x\ny"], "b": ["2"]}),
        ('a,b\n"say ""hi""",2\n', {"a": ['say "hi"'], "b": ["2"]}),
        ("a,b\r\n1,2\r\n", {"a": ["1"], "b": ["2"]}),
        ("a,b\n1,2", {"a": ["1"], "b": ["2"]}),
        ("\ufeffa,b\n1,2\n", {"a": ["1"], "b": ["2"]}),
        ("a b,Ö\n1,2\n", {"a b": ["1"], "Ö": ["2"]}),
        ('"a,b",c\n1,2\n', {"a,b": ["1"], "c": ["2"]}),
        ("a\n1\n", {"a": ["1"]}),
    ],
    ids=[
        "line break in a field",
        "quotes",
        "carriage returns",
        "no last line end",
        "byte order mark",
        "odd names",
        "comma in a name",
        "one column",
    ],
)
def test_csv_traps_are_read_as_the_standard_says(read, text, columns):
    assert read({"a.csv": text}).to_dict("list") == columns


def test_csv_a_value_that_stands_past_the_first_block_keeps_its_text(read):
    rows = 200_000
    table = read({"a.csv": "id,shop\n" + "1,x\n" * rows + "007,NA\n"})
    assert len(table) == rows + 1 and table.iloc[-1].to_dict() == {"id": "007", "shop": "NA"}


@pytest.mark.parametrize(
    "text",
    ["a,b\n1,2\n3\n", "a,b\n1,2\n3,4,5\n", "a,b\n1,2,3\n", "a,b\n1\n"],
    ids=["short row", "long row", "long first row", "short first row"],
)
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


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"\xef\xbb\xbf"], ids=["empty", "a line end", "byte order mark"]
)
def test_csv_without_any_header_is_refused(read, data):
    with pytest.raises(UsageError, match=r"a\.csv"):
        read({"a.csv": data})


def test_csv_with_a_header_only_is_an_empty_table_of_text(read):
    table = read({"a.csv": "id,shop\n"}, as_="arrow")
    assert table.num_rows == 0 and table.schema == pa.schema([("id", pa.string()), ("shop", pa.string())])


def test_csv_header_in_another_encoding_is_refused(read):
    with pytest.raises(UsageError, match=r"a\.csv"):
        read({"a.csv": "Größe,b\n1,2\n".encode("latin-1")})


def test_csv_columns_are_chosen(read):
    assert read({"a.csv": "a,b,c\n1,2,3\n"}, columns=["c", "a"]).to_dict("list") == {"c": ["3"], "a": ["1"]}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_columns_that_are_not_there_get_a_suggestion(read, tmp_path, name):
    if name == "a.parquet":
        pq.write_table(pa.table({"amount": [1], "shop": ["x"]}), tmp_path / name)
    else:
        (tmp_path / name).write_text("amount,shop\n1,x\n".replace(",", "\t" if name == "a.tsv" else ","))
    assert list(read({}, name, columns=["shop", "amount"])) == ["shop", "amount"]
    with pytest.raises(UsageError, match="did you mean `amount`") as caught:
        read({}, name, columns=["amuont"])
    assert "__" not in str(caught.value)
    with pytest.raises(UsageError, match="list of names"):
        read({}, name, columns="amount")
    with pytest.raises(UsageError, match="no form"):
        read({}, name, as_="polars")


@pytest.mark.parametrize("options", [{"columns": ["a"]}, {"as_": "arrow"}])
@pytest.mark.parametrize("name", ["a.json", "a.bin"])
def test_columns_and_arrow_are_for_tables(read, name, options):
    with pytest.raises(UsageError, match="are for tables"):
        read({name: "{}"}, name, **options)


def test_tsv_is_split_at_tabs(read):
    assert read({"a.tsv": "a\tb,c\n1\t2,3\n"}).to_dict("list") == {"a": ["1"], "b,c": ["2,3"]}


def csv_of(rows, separator=","):
    "A text table in which every cell is quoted."
    quoted = (['"' + cell.replace('"', '""') + '"' for cell in row] for row in rows)
    return "".join(separator.join(row) + "\n" for row in quoted)


CELLS = st.text(st.sampled_from('a ,;"\n\r\té'), max_size=6)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(
    st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), max_size=5)),
    st.integers(16, 64),
)
def test_text_table_does_not_depend_on_the_size_of_a_block(rows, block):
    n_columns = len(rows[0]) if rows else 1
    names = [f"c{n}" for n in range(n_columns)]
    content = content_in_memory("a.csv", csv_of([names, *rows]).encode())
    with mock.patch.object(
        text_tables, "in_larger_blocks", lambda read, first=block: in_larger_blocks(read, first)
    ):
        found = read_table_file(content).table
    assert found.to_pydict() == {name: [row[n] for row in rows] for n, name in enumerate(names)}


def test_csv_with_line_breaks_in_quotes_is_read_at_every_size(read):
    for n in (1_000, 200_000):
        text = "id,text\n" + "".join(f'{i},"line\nof {i}"\n' for i in range(n))
        table = read({"a.csv": text}, as_="arrow")
        assert table.num_rows == n and table["text"][-1].as_py() == f"line\nof {n - 1}"


def test_csv_with_a_cell_of_many_mib_is_read_wherever_it_stands(read):
    long = "x" * (9 << 20)
    table = read({"a.csv": f"id,text\n1,{long}\n2,y\n3,{long}\n"}, as_="arrow")
    assert table["text"].to_pylist() == [long, "y", long]


@pytest.mark.slow
def test_csv_with_very_many_columns_is_read(read):
    names = [f"column_{n}" for n in range(200_000)]
    table = read({"a.csv": ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n"}, as_="arrow")
    assert table.column_names == names
    assert list(read({}, columns=names[-2:])) == names[-2:]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("n\n1\n\n2\n", ["1", "", "2"]),
        ("n\n\n\n", ["", ""]),
        ("\n\nn\n1\n", ["1"]),
        ("n\r\n1\r\n\r\n", ["1", ""]),
        ("\ufeffn\n\n1\n", ["", "1"]),
        ('n\n""\n1', ["", "1"]),
    ],
)
def test_csv_of_one_column_keeps_its_blank_lines(read, text, values):
    assert read({"a.csv": text}).to_dict("list") == {"n": values}


def test_csv_of_several_columns_has_no_rows_in_blank_lines(read):
    assert read({"a.csv": "\na,b\n\n1,2\n\n"}).to_dict("list") == {"a": ["1"], "b": ["2"]}


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


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"no parquet at all, but long enough"], ids=["empty", "magic only", "text"]
)
def test_parquet_that_is_none_is_refused_by_name(read, data):
    with pytest.raises(UsageError, match=r"a\.parquet"):
        read({"a.parquet": data}, "a.parquet")


def test_json_that_is_none_is_refused_by_name(read):
    with pytest.raises(UsageError, match=r"a\.json"):
        read({"a.json": "{not json"})


def test_second_file_that_cannot_be_read_is_the_one_that_is_named(read):
    with pytest.raises(UsageError, match=r"b\.csv"):
        read({"a.csv": "a,b\n1,2\n", "b.csv": "a,b\n1\n"})


def test_json_one_file_is_its_value_and_several_are_a_list(read):
    assert read({"a.json": json.dumps({"a": [1, None]})}) == {"a": [1, None]}
    assert read({"b.json": "2"}) == [{"a": [1, None]}, 2]


def test_other_files_come_as_verified_paths(read, tmp_path):
    assert read({"a.bin": b"\0\1"}, "a.bin") == [tmp_path / "a.bin"]
    assert read({"a.csv": "a\n1\n"}, "a.csv", as_="path") == [tmp_path / "a.csv"]


# pinned


@pytest.fixture
def day(tmp_path):
    "One CSV file."
    (tmp_path / "day.csv").write_text("a,b\n1,2\n")
    return tmp_path / "day.csv"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.write_text("a,b\n1,3\n"),
        lambda p: p.unlink(),
        lambda p: p.write_text("a,b\n1,2\n\n"),
        lambda p: p.write_text(""),
    ],
    ids=["same size", "gone", "grown", "emptied"],
)
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


def test_pin_notices_a_change_that_keeps_size_and_time(tmp_path, day):
    store = open_store(tmp_path / "store")
    first, before = pin(store, tmp_path, "day.csv", "raw"), day.stat()
    while day.stat().st_ctime_ns == before.st_ctime_ns:  # clocks of file systems tick in milliseconds
        day.write_text("a,b\n1,9\n")
        os.utime(day, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = day.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    again = pin(store, tmp_path, "day.csv", "raw")
    assert again != first and read_source(tmp_path, again)["b"].tolist() == ["9"]


def test_pin_keeps_its_hints_readable_for_the_group_of_a_shared_store(tmp_path, day):
    import grp

    store = open_store(tmp_path / "store", grp.getgrgid(os.getgid()).gr_name)
    pin(store, tmp_path, "day.csv", "raw")
    assert stat.S_IMODE((store.root / "cache" / "file-digests.json").stat().st_mode) == 0o660
    private = open_store(tmp_path / "private")
    pin(private, tmp_path, "day.csv", "raw")
    assert stat.S_IMODE((private.root / "cache" / "file-digests.json").stat().st_mode) == 0o600


def test_pin_goes_without_hints_that_it_may_not_read(tmp_path, day, monkeypatch):
    store = open_store(tmp_path / "store")
    first, real = pin(store, tmp_path, "day.csv", "raw"), Path.read_bytes

    def refuse(path):
        if path.name == "file-digests.json":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert pin(store, tmp_path, "day.csv", "raw") == first


@pytest.mark.parametrize(
    "cache", [b"", b"{", b"[]", b"null", b"\xff"], ids=["empty", "cut", "a list", "null", "no text"]
)
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


@pytest.mark.parametrize("pattern", ["data", "data/", "data/**", "data/**/*", "data/**/*.csv", "dat*"])
def test_source_each_file_counts_once_and_hidden_folders_not_at_all(tmp_path, pattern):
    for name in (
        "data/a.csv",
        "data/deep/b.csv",
        "data/.ipynb_checkpoints/a.csv",
        "data/deep/.git/c.csv",
        "data/.hidden.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("n\n1\n")
    assert source_files(tmp_path, pattern, "raw") == [
        tmp_path / "data" / "a.csv",
        tmp_path / "data" / "deep" / "b.csv",
    ]
    assert len(read_source(tmp_path, pin(open_store(tmp_path / "store"), tmp_path, pattern, "raw"))) == 2


def test_source_links_are_followed_and_a_ring_ends(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.csv").write_text("n\n1\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("n\n1\n")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data")
    assert [p.relative_to(tmp_path).as_posix() for p in source_files(tmp_path, "data", "raw")] == [
        "data/a.csv",
        "data/linked/b.csv",
    ]


def test_source_in_a_project_whose_folder_has_brackets_is_found(tmp_path):
    root = tmp_path / "pro[1]*"
    (root / "data").mkdir(parents=True)
    (root / "data" / "a.csv").write_text("n\n1\n")
    assert source_files(root, "data/*.csv", "raw") == [root / "data" / "a.csv"]
    assert [p.path for p in pin(open_store(tmp_path / "store"), root, "data", "raw")] == ["data/a.csv"]


FOREIGN = (
    "_SUCCESS",
    "_committed_77",
    "_started_77",
    "_metadata",
    ".part.crc",
    "_temporary/a.csv",
    "_tmp/b.parquet",
)


@pytest.mark.parametrize("pattern", ["lake", "lake/", "lake/*", "lake/**", "lake/**/*", "la*"])
def test_what_writers_leave_beside_a_table_is_no_part_of_it(read, pattern):
    alone = read({"lake/a.csv": "n\n1\n"}, "lake/a.csv")
    found = read(dict.fromkeys((f"lake/{name}" for name in FOREIGN), "{}"), pattern)
    assert type(found) is type(alone) and found.equals(alone)


@pytest.mark.parametrize("name", ["_a.csv", "_deep/b.csv"])
def test_a_name_that_is_written_out_is_data_whatever_it_is(read, name):
    assert read({name: "n\n1\n"}, name)["n"].tolist() == ["1"]
    assert read({}, "_*.csv" if name == "_a.csv" else "_deep/*.csv")["n"].tolist() == ["1"]
    with pytest.raises(UsageError, match="no file"):
        read({}, "*.csv")


@pytest.mark.parametrize("other", ["README", "notes.md", "b.json", "b.parquet", "b.txt"])
@pytest.mark.parametrize("first", ["a.csv", "a.json", "a.parquet"])
def test_a_foreign_file_beside_data_is_refused_and_named(read, first, other):
    if Path(first).suffix == Path(other).suffix:
        return
    with pytest.raises(UsageError, match=f"mixes .*{other}"):
        read({f"lake/{first}": "n\n1\n", f"lake/{other}": "x"}, "lake")
    assert len(read({}, "lake", as_="path")) == 2


@pytest.mark.parametrize("pattern", ["none.csv", "none/*.csv", "empty"])
def test_source_without_a_file_says_where_to_correct_it(tmp_path, pattern):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").write_text("x")
    with pytest.raises(UsageError, match="no file at") as caught:
        source_files(tmp_path, pattern, "raw")
    assert "[source.raw]" in caught.value.mend


FAR = [None, "9999-12-31", "0001-01-01", "2262-04-12", "2026-11-23T10:00:00.000001"]


@pytest.mark.parametrize("rows", [FAR, FAR[-1:], FAR[:2]])
def test_times_of_96_bits_are_what_was_written_however_far_away(read, tmp_path, rows):
    times = pa.array(rows).cast(pa.timestamp("us"))
    table = pa.table({"at": times, "a.b": times, "nested": pa.array([[one] for one in times.to_pylist()])})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    found = read({}, "a.parquet", as_="arrow")
    for name in table.column_names:
        assert found[name].cast(table[name].type).to_pylist() == table[name].to_pylist()
    assert found.column_names == table.column_names


def index_said(**said):
    return json.dumps({"index_columns": [], "columns": [], "column_indexes": [], **said})


ODD_NOTES = {
    "no json": "garbage",
    "empty": "{}",
    "list": "[]",
    "number": "5",
    "index": index_said(index_columns=["gone"]),
    "type": index_said(
        columns=[{"name": "n", "field_name": "n", "pandas_type": "x", "numpy_type": "os.system"}]
    ),
    "labels": index_said(
        column_indexes=[{"name": None, "pandas_type": "datetime", "numpy_type": "datetime64[ns]"}]
    ),
    "levels": index_said(column_indexes=[{}, {}]),
    "columns": index_said(columns=5),
}


@pytest.mark.parametrize("name", ODD_NOTES)
def test_odd_notes_of_pandas_in_a_file_are_a_sentence_and_the_data_is_there(read, tmp_path, name):
    table = pa.table({"n": [2**53 + 1, 7]}).replace_schema_metadata({"pandas": ODD_NOTES[name]})
    pq.write_table(table, tmp_path / "a.parquet")
    try:
        assert read({}, "a.parquet")["n"].tolist() == [2**53 + 1, 7]
    except UsageError as error:
        (call,) = [part for part in error.mend.split("`") if "=" in part]
        assert eval(f"read({{}}, 'a.parquet', {call})", {"read": read})["n"].to_pylist() == [2**53 + 1, 7]


ODD_TIMES = {"years": pa.array([4_000_000], pa.date32()), "nanoseconds": pa.array([1], pa.time64("ns"))}


@pytest.mark.parametrize("name", ODD_TIMES)
def test_what_pandas_cannot_hold_is_refused_until_the_mend_is_followed(read, tmp_path, name):
    pq.write_table(pa.table({"x": ODD_TIMES[name]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="pandas cannot hold") as caught:
        read({}, "a.parquet")
    (call,) = [part for part in caught.value.mend.split("`") if "=" in part]
    assert eval(f"read({{}}, 'a.parquet', {call})", {"read": read})["x"].type == ODD_TIMES[name].type


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_that_is_nested_without_end_is_a_sentence(read, name):
    with pytest.raises(UsageError, match=f"{name} cannot be read"):
        read({name: '{"a":' + "[" * 100_000}, name)


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_text_whose_last_line_has_no_end_is_the_same_table(read, form):
    mark = "," if form == "csv" else "\t"
    for lines in ([f"n{mark}m"], [f"n{mark}m", f"1{mark}2"], ["n"], ["n", "", "2"]):
        found = [read({f"a.{form}": "\n".join(lines) + end}, f"a.{form}") for end in ("", "\n", "\r\n")]
        assert all(one.equals(found[0]) for one in found) and len(found[0]) == len(lines) - 1


def test_lines_of_json_may_begin_with_a_mark(read):
    assert read({"a.jsonl": b'\xef\xbb\xbf{"n": 1}\n{"n": 2}\n'}, "a.jsonl")["n"].tolist() == [1, 2]
