"""How files are written is said in settings.ini, and is part of what a source is."""

import bz2
import gzip
import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlnb
from mlnb.flow.session import current
from mlnb.sources.guessed_types import as_guess, guess_of, kinds_in
from mlnb.sources.last_pin import ask_source, look_at
from mlnb.sources.partition import Partition, manifest_digest
from mlnb.sources.pinned_files import pin
from mlnb.sources.reading import FileReading, reading_in, reading_marks, without_marks
from mlnb.sources.watermark import batch_of
from mlnb.store.errors import DefinitionError, IntegrityError, UsageError
from mlnb.store.names import parse_name
from mlnb.store.objects import open_store
from mlnb.store.record import Record
from mlnb.store.settings import read_project


@pytest.fixture
def shop(tmp_path, monkeypatch):
    "A project with one source `raw`, as lines of its section say, and the files that are given."

    def of(lines, files, more=""):
        text = f"[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[source.raw]\n{lines}\n{more}"
        (tmp_path / "nbs").mkdir(exist_ok=True)
        (tmp_path / "settings.ini").write_text(text)
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        monkeypatch.chdir(tmp_path)
        current.cache_clear()
        return tmp_path

    yield of
    current.cache_clear()


ROWS = {"id": ["007", "12"], "town": ["Köln", "NA"], "price": ["1,50", "2"]}


def packed(data, kind):
    "Bytes packed in one of the ways that are known."
    if kind == "zstd":
        return pa.Codec("zstd").compress(data, asbytes=True)
    return {"": bytes, "gzip": gzip.compress, "bz2": bz2.compress}[kind](data)


@pytest.mark.parametrize("kind", ["", "gzip", "zstd"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-16"])
@pytest.mark.parametrize("separator", ["semicolon", "tab", "pipe", '";"'])
def test_a_text_table_is_read_as_the_settings_say(shop, kind, encoding, separator):
    mark = {"semicolon": ";", "tab": "\t", "pipe": "|"}.get(separator, ";")
    text = "".join(mark.join(row) + "\n" for row in [ROWS, *zip(*ROWS.values(), strict=True)])
    lines = f"path = a.txt\nseparator = {separator}\nencoding = {encoding}\ntypes = text"
    shop(lines, {"a.txt": packed(text.encode(encoding), kind)})
    assert mlnb.load("raw").to_dict("list") == ROWS


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zst", "A.CSV.GZ", "a.tsv.bz2"])
def test_packed_tables_are_known_by_their_names(shop, name):
    text = "id\tn\n007\t1\n" if "tsv" in name else "id,n\n007,1\n"
    kind = {"gz": "gzip", "zst": "zstd", "bz2": "bz2"}[name.lower().rpartition(".")[2]]
    shop(f"path = {name}\ntypes = infer", {name: packed(text.encode(), kind)})
    found = mlnb.load("raw")
    assert found.to_dict("list") == {"id": ["007"], "n": [1]} and str(found["n"].dtype) == "int64"


def test_a_packed_file_that_is_cut_off_is_refused_by_name(shop):
    data = gzip.compress(b"n\n" + bytes(str(list(range(9999))), "ascii"))
    shop("path = a.csv.gz\ntypes = text", {"a.csv.gz": data[: len(data) // 2]})
    with pytest.raises(UsageError, match=r"a\.csv\.gz"):
        mlnb.load("raw")


def test_a_packed_file_without_end_is_stopped(shop):
    bomb = gzip.compress(b"n\n" + b"x\n" * (2 << 20), compresslevel=1)
    root = shop("path = a.csv.gz\ntypes = text", {"a.csv.gz": bomb})
    path = root / "settings.ini"
    path.write_text(path.read_text().replace("[mlnb]\n", "[mlnb]\nlimits = memory 1MiB\n"))
    current.cache_clear()
    with pytest.raises(IntegrityError, match="would grow") as caught:
        mlnb.load("raw")
    assert "limits = memory" in caught.value.mend


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_json_lines_bring_their_types(shop, name):
    rows = [
        {"n": 1, "at": "2026-11-23", "tags": ["a"]},
        {"n": 2.5, "is_late": True},
        {"n": None, "who": {"id": 7}},
    ]
    text = "\n".join(map(json.dumps, rows)).encode()
    shop(f"path = {name}", {name: gzip.compress(text) if name.endswith("gz") else text})
    found = mlnb.load("raw", as_="arrow").to_pylist()
    assert found == [{key: row.get(key) for key in ("n", "at", "tags", "is_late", "who")} for row in rows]
    assert list(mlnb.load("raw", columns=["is_late", "n"])) == ["is_late", "n"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "line 1 is a list"),
        ('{"n": 1}\n{', "line 2"),
        ('{"n": 1}\n{"n": "x"}', "`n` holds values of the types"),
    ],
)
def test_lines_that_are_no_table_are_refused_by_name(shop, text, said):
    shop("path = a.jsonl", {"a.jsonl": text})
    with pytest.raises(UsageError, match=said) as caught:
        mlnb.load("raw")
    assert "a.jsonl" in str(caught.value)


def test_format_settles_what_names_do_not_say(shop):
    shop("path = in\nformat = csv\ntypes = text", {"in/a.txt": "n\n1\n", "in/b.data": "n\n2\n"})
    assert mlnb.load("raw")["n"].tolist() == ["1", "2"]
    shop("path = in\nformat = files", {})
    assert [path.name for path in mlnb.load("raw")] == ["a.txt", "b.data"]
    shop("path = one\nformat = json", {"one/a.json": "1"})
    assert mlnb.load("raw") == [1]
    shop("path = one\nformat = json", {"one/b.json": "2"})
    assert mlnb.load("raw") == [1, 2]


SCHEMA = """
from mlnb.data.schema import Column
BRANCH = {
    "id": Column("str", "number"),
    "town": Column("category", "where"),
    "price": Column("float64", "of one"),
    "n": Column("Int64", "how many"),
    "at": Column("datetime64[us]", "since"),
    "is_open": Column("bool", "whether"),
}
"""
NAMED = "[schema.branch]\ndefinition = shop.schemas:BRANCH\n"
TYPED = "id;town;price;n;at;is_open\n007;Köln;1,5;1;2026-11-23;true\n12;;;;;false\n"


def test_a_schema_says_the_types(shop):
    lines = "path = a.csv\nseparator = semicolon\ndecimal = comma\ntypes = schema:branch"
    shop(lines, {"a.csv": TYPED, "shop/schemas.py": SCHEMA}, NAMED)
    found = mlnb.load("raw")
    kinds = ["str", "category", "float64", "Int64", "datetime64[us]", "bool"]
    assert [str(dtype) for dtype in found.dtypes] == kinds
    assert found["id"].tolist() == ["007", "12"] and found["price"].tolist()[0] == 1.5
    assert found["n"].isna().tolist() == [False, True] and found["is_open"].tolist() == [True, False]
    assert list(mlnb.load("raw", columns=["n"])) == ["n"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("007;Köln", "007;Köln;2"), "a.csv cannot be read"),
        (("1,5;1", "x;1"), "in column `price`.*invalid value 'x'"),
        (("is_open", "is_shut"), "column `is_shut` is not in the schema"),
        (("id;town;price;n;at;is_open\n007;Köln;1,5;1;2026-11-23;true", "id;town\n1;x"), "no column `price`"),
        (("false", ""), "column `is_open` has an empty cell"),
    ],
)
def test_what_a_schema_does_not_allow_is_refused(shop, change, said):
    lines = "path = a.csv\nseparator = semicolon\ndecimal = comma\ntypes = schema:branch"
    text = TYPED.replace(*change) if "no column" not in said else "id;town\n1;x\n"
    shop(lines, {"a.csv": text, "shop/schemas.py": SCHEMA}, NAMED)
    with pytest.raises(UsageError, match=said):
        mlnb.load("raw")


def digest_now(root, name="raw"):
    "What a plan sees of a source."
    project = read_project(root)
    return manifest_digest(look_at(open_store(project.store), project, "default", parse_name(name)))


def test_a_pin_stays_what_it_was_unless_something_is_said(shop):
    root = shop("path = a.csv", {"a.csv": "n\n1\n"})
    plain = pin(open_store(root / ".mlnb"), root, "a.csv", "raw")
    assert digest_now(root) == manifest_digest(plain)
    found = {
        digest_now(shop(f"path = a.csv\n{line}", {}))
        for line in ("types = text", "types = infer", "format = csv")
    }
    assert len(found) == 3 and manifest_digest(plain) not in found
    project = read_project(root)
    asked = ask_source(open_store(project.store), project, "default", "raw")
    assert manifest_digest(asked.partitions) == digest_now(root)


def test_only_types_of_a_schema_count(shop):
    files = {"a.csv": TYPED, "shop/schemas.py": SCHEMA}
    lines = "path = a.csv\nseparator = semicolon\ntypes = schema:branch"
    first = digest_now(shop(lines, files, NAMED))
    assert (
        digest_now(shop(lines, {"shop/schemas.py": SCHEMA.replace("how many", "number of sales")}, NAMED))
        == first
    )
    assert digest_now(shop(lines, {"shop/schemas.py": SCHEMA.replace("Int64", "int64")}, NAMED)) != first


@pytest.mark.parametrize(
    "text", ["BRANCH = columns()", "BRANCH = {name: 'str' for name in 'ab'}", "BRANCH = {"]
)
def test_a_schema_that_is_computed_is_refused_and_the_mend_helps(shop, text):
    files = {"a.csv": "column\n7\n", "shop/schemas.py": text}
    root = shop("path = a.csv\ntypes = schema:branch", files, NAMED)
    with pytest.raises(UsageError, match="cannot be read") as caught:
        digest_now(root)
    meant = caught.value.mend.split("`")[1].replace("NAME", "BRANCH").replace(", …}", "}")
    (root / "shop" / "schemas.py").write_text(meant)
    assert mlnb.load("raw")["column"].tolist() == [7]


@pytest.mark.parametrize(
    ("lines", "said", "mended"),
    [
        ("formt = csv", "did you mean `format`", "format = csv"),
        ("format = cvs", "did you mean `csv`", "format = csv"),
        ("separator = ;", "write `separator = semicolon`", "separator = semicolon"),
        ("separator = semicolom", "did you mean `semicolon`", "separator = semicolon"),
        ("encoding = latin1000", "did you mean `latin-1`", "encoding = latin-1"),
        ("types = infr", "did you mean `infer`", "types = infer"),
        (
            "types = schema:shop",
            "add [schema.shop]",
            "types = text\n[schema.shop]\ndefinition = shop.schemas:BRANCH",
        ),
        ("decimal = comma", "add `types = infer`", "decimal = comma\ntypes = infer"),
        ("format = parquet\ntypes = text", "remove the line", "format = parquet"),
    ],
)
def test_settings_that_mean_nothing_are_refused_and_the_mend_helps(shop, lines, said, mended):
    with pytest.raises(DefinitionError) as caught:
        read_project(shop(f"path = a.csv\n{lines}", {}))
    assert said in caught.value.mend
    assert read_project(shop(f"path = a.csv\n{mended}", {})).sources


def test_a_query_has_no_form(shop):
    with pytest.raises(DefinitionError, match="is a query and has `types`"):
        read_project(shop("sql = SELECT 1 AS n\ntypes = infer", {}))
    more = "[profile.ci.source.raw]\nsql = SELECT 1 AS n\n"
    assert read_project(shop("path = a.csv\ntypes = infer", {}, more)).sources


def test_text_because_nobody_said_otherwise_is_said_once_and_the_setting_helps(shop, capsys):
    shop("path = a.csv", {"a.csv": "n\n1\n"})
    assert mlnb.load("raw")["n"].tolist() == ["1"]
    (line,) = capsys.readouterr().out.splitlines()
    (setting,) = re.findall(r"add `([^`]+)`", line)
    assert "raw: every column is text" in line and "[source.raw]" in line
    shop(f"path = a.csv\n{setting}", {})
    assert mlnb.load("raw")["n"].tolist() == [1] and capsys.readouterr().out == ""
    shop("path = a.csv", {})
    mlnb.load("raw", as_="path")
    assert capsys.readouterr().out == ""


def test_types_are_guessed_from_all_files(shop):
    days = {"d/1.csv": "n,id,late\n1,1,True\n", "d/2.csv": "n,id,late\n2.5,007,\n"}
    shop("path = d\ntypes = infer", days)
    found = mlnb.load("raw", as_="arrow")
    assert found.to_pydict() == {"n": [1.0, 2.5], "id": ["1", "007"], "late": [True, None]}


VALUES = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["", "007", "NA", "true", "True", "2026-11-23", "2026-02-30", "-0", "1e5", "1e999", "+1", "-", "."]
    ),
    st.datetimes().map(str),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_what_is_guessed_loses_nothing(values):
    kind = guess_of(kinds_in(pa.array([value], pa.string())) for value in values)
    assert kind == guess_of([kinds_in(pa.array(values, pa.string()))])
    parts = [kinds_in(pa.array(values[:1], pa.string()))]
    for value in values[1:]:  # of each part only that is asked which is left
        parts.append(kinds_in(pa.array([value], pa.string()), among=parts[-1]))
    assert guess_of(parts) == kind
    found = as_guess(pa.array(values, pa.string()), kind)
    if pa.types.is_string(found.type):
        assert found.to_pylist() == values
        return
    for value, one in zip(values, found.to_pylist(), strict=True):
        if value == "":
            assert one is None
        elif pa.types.is_integer(found.type):
            assert str(one) == value
        elif pa.types.is_floating(found.type):
            assert one == float(value) and np.isfinite(one) and not re.match(r"-?0\d", value)
        elif pa.types.is_timestamp(found.type):
            assert pd.Timestamp(one) == pd.Timestamp(value)


def test_a_growing_source_that_is_read_in_another_way_is_read_from_its_beginning(tmp_path):
    store = open_store(tmp_path / "store")
    one, two = (Partition(f"day={day}/a.csv", 2, str(day) * 64) for day in (1, 2))
    history = []

    def batch(reading, *files):
        now = [*reading_marks(reading), *files]
        found, lines = batch_of(store, "raw", "day=*/*.csv", now, {}, history)
        given = {"raw": tuple(map(tuple, found))}
        history.append(Record(pipeline="p", stage="s", run="r1", sources=given, parts={"parameters": {}}))
        assert reading_in(found) == reading and lines == []
        return without_marks(found)

    guessing = FileReading(types="infer")
    assert batch(FileReading(), one) == [one] and batch(FileReading(), one, two) == [two]
    assert batch(guessing, one, two) == [one, two]
    assert batch(guessing, one, two) == [one, two]  # nothing is new: the newest record once more


def test_text_of_another_encoding_is_read_once_the_mend_was_followed(shop):
    data = "town,n\nKöln,1\n".encode("cp1252")
    shop("path = a.csv\ntypes = text", {"a.csv": data})
    with pytest.raises(UsageError, match="can't decode") as caught:
        mlnb.load("raw")
    (line,) = [part for part in caught.value.mend.split("`") if "=" in part]
    shop(f"path = a.csv\ntypes = text\n{line}", {"a.csv": data})
    assert mlnb.load("raw")["town"].tolist() == ["Köln"]


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@settings(deadline=None, max_examples=50)
def test_a_guessed_number_is_never_zero_for_one_that_is_not(text):
    kind = guess_of([kinds_in(pa.array([text]))])
    zero = not re.search("[1-9]", re.split("[eE]", text)[0])
    if kind == "float64":
        assert (as_guess(pa.array([text]), kind)[0].as_py() == 0) == zero
