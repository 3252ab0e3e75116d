"""A file that is not written as was thought: a setting is named, and it helps."""

import os
import re
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlnb
from mlnb.flow.session import current
from mlnb.store.errors import DefinitionError, UsageError
from mlnb.store.source_forms import separator_meant


@pytest.fixture
def shop(tmp_path, monkeypatch):
    "A project with one source `raw` and its files; what its section says can be added to."

    def of(files, *lines, path="data"):
        text = "\n".join(
            ["[mlnb]", "[pipeline.demo]", "notebooks = nbs", "[source.raw]", f"path = {path}", *lines]
        )
        (tmp_path / "nbs").mkdir(exist_ok=True)
        (tmp_path / "settings.ini").write_text(text)
        for name, data in files.items():
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        monkeypatch.chdir(tmp_path)
        current.cache_clear()

    yield of
    current.cache_clear()


def settings_in(text):
    "The lines of settings.ini that a mend or a line names."
    return re.findall(r"`((?:format|separator|encoding|decimal|path) = [^`]+)`", text)


TABLE = "id;town;price\n007;Köln;1,50\n12;Bonn;2,25\n"
TWO_LINES = '{"n": 1}\n{"n": 2}\n'


@pytest.mark.parametrize(
    ("files", "lines", "wanted"),
    [
        ({"a.csv": TABLE}, (), [["007", "12"], ["Köln", "Bonn"], ["1,50", "2,25"]]),
        (
            {"a.csv": TABLE.replace(";", "\t").replace("Köln", "Köln, Süd")},
            (),
            [["007", "12"], ["Köln, Süd", "Bonn"], ["1,50", "2,25"]],
        ),
        ({"a.csv": TABLE.replace(";", "|")}, (), [["007", "12"], ["Köln", "Bonn"], ["1,50", "2,25"]]),
        ({"a.csv": "n,m\n1;5,2\n"}, ("separator = semicolon",), [["1;5"], ["2"]]),
        ({"a.csv": "town\nKöln\n".encode("latin-1")}, (), [["Köln"]]),
        ({"a.csv": "town,n\nKöln,1\n".encode("utf-16")}, (), [["Köln"], ["1"]]),
        ({"a.csv": ("town\n" + "x\n" * 9000 + "Köln\n").encode("latin-1")}, (), [["x"] * 9000 + ["Köln"]]),
        ({"a.json": TWO_LINES}, (), [[1, 2]]),
    ],
)
def test_a_misread_file_is_read_once_the_setting_is_said(shop, files, lines, wanted):
    shop(files, *lines)
    with pytest.raises(UsageError, match=r"data/a.* cannot be read") as caught:
        mlnb.load("raw")
    said = settings_in(caught.value.mend)
    shop(files, *said)
    assert len(said) == 1 and [list(column) for _, column in mlnb.load("raw").items()] == wanted


@pytest.mark.parametrize("as_", [None, "arrow", "duckdb"])
def test_every_form_names_the_file_that_has_no_header(shop, as_):
    shop({"a.csv": "n,m\n1,2\n", "b.csv": ""})
    with pytest.raises(UsageError, match=r"data/b.csv cannot be read: it has no header: .*remove the file"):
        mlnb.load("raw", as_=as_)
    with pytest.raises(UsageError, match=r"data/b.csv cannot be read: the column 'n' stands twice"):
        shop({"b.csv": "n,n\n"})
        mlnb.load("raw", as_=as_)


@pytest.mark.parametrize(
    ("name", "line"),
    [("a.jsonl", "types = infer"), ("a.ndjson.gz", "separator = tab"), ("a.parquet", "encoding = cp1252")],
)
def test_settings_of_text_tables_are_refused_beside_other_files(shop, name, line):
    shop({name: TWO_LINES}, line)
    key = line.split()[0]
    with pytest.raises(
        UsageError, match=rf"data/{name} is .* by its suffix, and its source says `{key}`"
    ) as caught:
        mlnb.load("raw")
    assert caught.value.mend.startswith(f"remove `{key}`") and "`format = csv`" in caught.value.mend
    shop({name: "n\n1\n"}, line, "format = csv")
    assert mlnb.load("raw", as_="arrow").column_names == ["n"]


@pytest.mark.parametrize(
    ("files", "lines", "after"),
    [
        ({"a.csv": "n;m\n1;2\n"}, (), "['n', 'm']"),
        ({"a.csv": "n\tm\n1\t2\n"}, ("types = text",), "['n', 'm']"),
        ({"a.csv": "n,m\n1,2\n"}, ("separator = semicolon", "types = infer"), "['n', 'm']"),
        ({"a.csv": 'n,m\n1,"2,5"\n'}, ("types = infer",), "['n', 'm']"),
        ({"a.json": "1", "b.json": "2"}, (), "[1, 2]"),
    ],
)
def test_a_line_at_load_names_a_setting_after_which_nothing_is_said(shop, capsys, files, lines, after):
    shop(files, *lines)
    mlnb.load("raw")
    said = settings_in(capsys.readouterr().out)
    kept = [line for line in lines if line.split()[0] not in "".join(said)]
    shop(files, *kept, *said, *() if "types" in str(lines) or "a.json" in files else ["types = text"])
    value = mlnb.load("raw")
    assert str(value if isinstance(value, list) else list(value)) == after
    assert len(said) == 1 and capsys.readouterr().out == ""


def test_a_column_that_is_not_there_of_a_table_that_was_cut_wrongly(shop):
    shop({"a.csv": "n;m\n1;2\n"})
    with pytest.raises(UsageError, match=r"`separator = semicolon`"):
        mlnb.load("raw", columns=["n"])


def test_a_schema_is_not_blamed_for_a_wrong_separator(shop):
    files = {"a.csv": "n;m\n1;2\n", "../types_of_shop.py": 'SHOP = {"n": "int64", "m": "int64"}'}
    schema = ("[schema.shop]", "definition = types_of_shop:SHOP")
    shop(files, "types = schema:shop", *schema)
    with pytest.raises(UsageError, match="its one column is called `n;m`") as caught:
        mlnb.load("raw")
    shop(files, "types = schema:shop", *settings_in(caught.value.mend), *schema)
    assert mlnb.load("raw").to_dict("list") == {"n": [1], "m": [2]}


@pytest.mark.parametrize("said", ["a.B c.D", "Model", "a.B, 7.C"])
def test_trusted_types_that_are_no_names_are_refused(shop, said):
    shop({"a.csv": "n\n1\n"}, "[schema.s]", "definition = a:B")
    text = Path("settings.ini").read_text()
    Path("settings.ini").write_text(text.replace("[mlnb]", f"[mlnb]\ntrusted_types = {said}"))
    with pytest.raises(DefinitionError, match=r"write `package\.module\.Name`, and a comma between"):
        mlnb.load("raw")
    Path("settings.ini").write_text(text.replace("[mlnb]", "[mlnb]\ntrusted_types = a.B, c.D"))
    assert list(mlnb.load("raw")["n"]) == ["1"]


def test_files_of_a_delta_table_say_that_they_are(shop, capsys):
    shop({"lake/_delta_log/0.json": "{}"}, path="data/lake/*.parquet")
    pq.write_table(pa.table({"n": [1]}), "data/lake/a.parquet")
    assert list(mlnb.load("raw")["n"]) == [1]
    assert settings_in(capsys.readouterr().out) == ["path = data/lake"]
    mlnb.load("raw", as_="path")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("as_", [None, "arrow", "duckdb"])
def test_what_lies_beside_a_delta_table_is_not_left_out(shop, as_):
    shop({"a/_delta_log/0.json": "{}", "b/_delta_log/0.json": "{}", "a/1.parquet": b"PAR1"})
    with pytest.raises(UsageError, match=r"data/a is a Delta table, and data/b/_delta_log/0.json is no part"):
        mlnb.load("raw", as_=as_)


@pytest.mark.parametrize(
    ("columns", "mended"), [("n", ["n"]), ({"n"}, ["n"]), ({"n": 1}, ["n"]), (["n", "n"], None), (7, None)]
)
def test_columns_are_a_list_of_names(shop, columns, mended):
    shop({"a.csv": "n,m\n1,2\n"}, "types = text")
    with pytest.raises(UsageError, match=r"`columns`") as caught:
        mlnb.load("raw", columns=columns)
    if mended:
        assert f"`columns={mended!r}`" in caught.value.mend
        assert list(mlnb.load("raw", columns=mended)) == mended
    assert list(mlnb.load("raw", columns=pd.Index(["m"]))) == ["m"]


def test_forms_that_others_make_are_named(shop):
    shop({"a.csv": "n,m\n1,2\n"}, "types = text")
    with pytest.raises(UsageError, match=r"`polars`") as caught:
        mlnb.load("raw", as_="polars")
    found = eval(caught.value.mend.split("`")[1], {"polars": pl, "load": mlnb.load, "NAME": "raw"})
    assert found.to_dict(as_series=False) == {"n": ["1"], "m": ["2"]}


@pytest.mark.parametrize("names", [["n"], ["a", "b;c"], []])
def test_names_without_a_separator_mean_none(names):
    assert separator_meant(names) == ""


def test_several_mistakes_in_settings_say_where_their_mends_are(shop):
    shop({"a.csv": "n\n1\n"}, "separator = ;", "format = cvs")
    with pytest.raises(DefinitionError) as caught:
        mlnb.load("raw")
    assert caught.value.mend == "`mlnb check` lists them, each with its mend"
    mends = [problem.mend for problem in caught.value.problems]
    shop({"a.csv": "n\n1\n"}, mends[0].split("`")[1], f"format = {mends[1].split('`')[1]}")
    assert list(mlnb.load("raw")["n"]) == ["1"]


def test_notebook_outside_of_all_pipelines_says_where_to_keep_it(shop):
    shop({"a.csv": "n\n1\n"}, "types = text")
    with pytest.raises(UsageError, match=r"`total` belongs to no pipeline.*keep the notebook in `nbs`"):
        mlnb.save("total", 1)
    os.chdir("nbs")
    current.cache_clear()
    mlnb.save("total", 1)
    assert mlnb.load("total") == 1
