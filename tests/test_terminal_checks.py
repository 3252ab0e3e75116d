"""Checks of files from the command line: bad files have a status or are named, and 0 is for `ok` alone."""

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest

from mlnb.cli import run_command
from mlnb.store.errors import UsageError
from mlnb.terminal.checks import Compared, Judged, drift_of_files, quality_of_file

GOOD = pd.DataFrame(
    {"id": [f"{n:05}" for n in range(90)], "amount": np.arange(90) / 2, "shop": ["NA", "x", "y"] * 30}
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GOOD.to_csv("good.csv", index=False)
    GOOD.to_parquet("good.parquet")
    return tmp_path


TEXT = GOOD.to_csv(index=False)
FILES = {
    "latin-1": (TEXT.replace("x", "ü").encode("latin-1"), "ok"),
    "BOM": (b"\xef\xbb\xbf" + TEXT.encode(), "ok"),
    "NUL byte": (TEXT.replace("y", "\0").encode(), "fail"),
    "ragged": (TEXT.encode() + b"1,2\n", "cannot be read"),
    "header only": (b"id,amount,shop\n", "fail"),
    "empty": (b"", "cannot be read"),
    "duplicate names": (b"id,id,shop\n1,2,3\n", "stands twice"),
    "extra field in every row": (
        TEXT.replace("\n", ",1\n").replace("shop,1", "shop").encode(),
        "cannot be read",
    ),
    "leading zeros": (TEXT.encode(), "ok"),
    "a key that is NA": (TEXT.encode(), "ok"),
    "20-digit id": (TEXT.replace("\n0", "\n12345678901234567890").encode(), "ok"),
    "one column gone": (GOOD.drop(columns="shop").to_csv(index=False).encode(), "fail"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_file_has_a_verdict_or_is_named(place, name):
    content, expected = FILES[name]
    (place / "now.csv").write_bytes(content)
    if expected in ("ok", "fail"):
        found = quality_of_file("now.csv", Judged(like="good.csv", key="id"))
        assert (
            found.document["verdict"] == ("fail" if name == "header only" else expected) or name == "latin-1"
        )
        assert found.exit_code == (0 if found.document["verdict"] == "ok" else 4)
        assert json.dumps(drift_of_files("good.csv", "now.csv").document, allow_nan=False)
    else:
        with pytest.raises(UsageError, match=expected) as caught:
            quality_of_file("now.csv")
        assert caught.value.mend


def test_identifiers_are_read_as_they_are_written(place):
    found = quality_of_file("good.csv", Judged(like="good.parquet", key="id")).document
    assert found["verdict"] == "ok" and found["columns"]["id"]["kind_current"] == "category"
    assert found["columns"]["shop"]["missing_current"] == 0


def test_truncated_parquet_and_what_is_no_table_end_with_2(place, capsys):
    (place / "cut.parquet").write_bytes((place / "good.parquet").read_bytes()[:-40])
    (place / "page.html").write_text("<p>")
    (place / "cut.csv.gz").write_bytes(gzip.compress(TEXT.encode())[:-9])
    for bad in ("cut.parquet", "page.html", "cut.csv.gz", "gone.csv", "", "https://example.org/a.csv", "sub"):
        for arguments in (["quality", bad], ["drift", "good.csv", bad], ["drift", bad, "good.csv"]):
            os.makedirs("sub", exist_ok=True)
            assert run_command(arguments) == 2, arguments
            said = capsys.readouterr().err
            assert "error: " in said and "mend: " in said and "settings.ini" not in said, (arguments, said)


def test_exit_code_is_0_for_ok_alone(place):
    GOOD.assign(amount=GOOD.amount + 40).to_csv("moved.csv", index=False)
    GOOD[:9].to_csv("few.csv", index=False)
    codes = [
        run_command(["drift", "good.csv", name, "--json"])
        for name in ("good.parquet", "moved.csv", "few.csv")
    ]
    assert codes == [0, 4, 4]
    assert run_command(["quality", "good.csv", "--key", "ID"]) == 2
    assert run_command(["drift", "good.csv", "good.csv", "--warn", ".9", "--fail", ".1"]) == 2
    assert run_command(["drift", "good.csv", "good.csv", "--out", "page.txt"]) == 2


def test_folder_of_files_is_one_table_and_nothing_is_written(place):
    (place / "days").mkdir()
    for n in range(3):
        GOOD[n * 30 : n * 30 + 30].to_csv(place / "days" / f"{n}.csv", index=False)
    found = drift_of_files("days", "good.parquet", Compared(columns="amount,shop"))
    assert (found.exit_code, found.document["rows"]) == (0, [90, 90])
    assert sorted(os.listdir(place)) == ["days", "good.csv", "good.parquet"]


def test_page_shows_hostile_names_and_values_as_text(place):
    attack = "</td><script>alert(1)</script>"
    GOOD.assign(**{attack: attack}).to_parquet("hostile.parquet")
    drift_of_files("hostile.parquet", "good.csv", out="drift.html")
    quality_of_file("hostile.parquet", Judged(like="good.csv"), out="quality.html")
    for name in ("drift.html", "quality.html"):
        page = (place / name).read_text()
        assert "<script" not in page and "&lt;script&gt;" in page


SCHEMAS = """
from mlnb.data.schema import Column
print("imported")
SALES = {
    "id": Column("int32", "number", low=0, unique=True),
    "at": Column("datetime64[us]", "time", nullable=True),
    "amount": Column("float64", "paid", low=0, high=100),
    "shop": Column("category", "branch"),
}
LIST = []
WRONG = {"id": 7}
MIXED = {"id": Column("int32", "number", low="a")}
"""
SECTIONS = {
    "sales": "shop.schemas:SALES",
    "misspelt": "shop.schemas:SALE",
    "gone": "shop.gone:SALES",
    "list": "shop.schemas:LIST",
    "wrong": "shop.schemas:WRONG",
    "broken": "shop.broken:SALES",
    "needy": "shop.needy:SALES",
    "leaves": "shop.leaves:SALES",
}


@pytest.fixture
def shop(place):
    lines = (f"[schema.{name}]\ndefinition = {said}\n" for name, said in SECTIONS.items())
    (place / "settings.ini").write_text("[mlnb]\n" + "".join(lines))
    (place / "shop").mkdir()
    modules = {"schemas": SCHEMAS, "broken": "1/0", "needy": "import no_such_package", "leaves": "exit(0)"}
    for name, text in modules.items():
        (place / "shop" / f"{name}.py").write_text(text)
    rows = [f"{n:03},2026-01-0{n % 9 + 1} 10:00,{n}.5,x" for n in range(90)]
    (place / "sales.csv").write_text("\n".join(["id,at,amount,shop", *rows]))
    return place


REFUSED = {
    "misspelt": "did you mean `SALES`?",
    "gone": "there is no module `shop.gone`",
    "list": "is of type list, and no schema",
    "wrong": "`id` is no column",
    "broken": "ZeroDivisionError",
    "needy": "no_such_package",
    "leaves": "SystemExit",
    "sale": "did you mean `sales`?",
    "x:y": "there is no module `x`",
    "shop.schemas:": "names no schema",
    "shop..schemas:SALES": "names no schema",
    ":": "names no schema",
}


@pytest.mark.parametrize("name", REFUSED)
def test_schema_that_is_none_ends_with_2_and_a_mend(shop, capfd, name):
    assert run_command(["quality", "sales.csv", "--schema", name]) == 2
    said = capfd.readouterr()
    assert REFUSED[name] in said.err and "mend: " in said.err and not said.out


def test_schema_by_any_of_its_names_is_one_and_its_module_prints_nothing_into_the_answer(shop, capfd):
    answers = []
    for name in ("sales", "schema:sales", "shop.schemas:SALES"):
        assert run_command(["quality", "sales.csv", "--schema", name, "--key", "id", "--json"]) == 0
        answers.append(json.loads(capfd.readouterr().out))
    assert answers[0] == answers[1] == answers[2] and answers[0]["verdict"] == "ok"
    assert {one["rule"] for one in answers[0]["rules"]} >= {"wrong_dtype", "above_high", "duplicate"}
    assert not [*shop.rglob("__pycache__")]


def test_check_lists_schemas_that_lead_nowhere_and_imports_none(shop, capfd):
    assert run_command(["check", "--json"]) == 2
    found = json.loads(capfd.readouterr().out)["problems"]
    assert {one["message"].split("]")[0] for one in found if one["rule"] == "unknown-schema"} == {
        f"[schema.{name}" for name in ("misspelt", "gone", "broken", "needy", "leaves")
    }
    assert all(one["mend"] for one in found)


@pytest.mark.parametrize("text", [True, False])
def test_schema_finds_in_a_file_what_a_stage_sets_apart(shop, text):
    from mlnb.data.named_schemas import schema_said
    from mlnb.data.schema import set_apart

    rows = pd.DataFrame({"id": range(90), "amount": np.arange(90) - 9.0, "shop": "x"})
    rows["id"], rows["at"] = rows.id.where(rows.id % 7 > 0, 14).astype("int32"), pd.Timestamp("2026-01-01")
    rows = rows.astype({"at": "datetime64[us]", "shop": "category"})
    (rows.to_csv if text else rows.to_parquet)("now", index=False)
    os.rename("now", name := "now.csv" if text else "now.parquet")
    found = quality_of_file(name, Judged(schema="sales")).document
    counted = {rule.split(":")[1]: n for rule, n in set_apart(rows, schema_said("sales")).counts.items() if n}
    assert {one["rule"]: one["count"] for one in found["rules"] if one["verdict"] == "fail"} == counted
    assert (counted, found["columns"]["id"]["rule"]) == ({"duplicate": 12, "below_low": 9}, "duplicate")


@pytest.mark.parametrize(
    ("change", "column", "rule"),
    [
        (("id,", "Id,"), "id", "missing_column"),
        (("\n007,", "\nx,"), "id", "wrong_dtype"),
        (("\n007,", "\n,"), "id", "wrong_dtype"),
        ((",7.5,", ",,"), "amount", "null"),
        ((",7.5,", ",inf,"), "amount", "not_finite"),
        (("shop\n", "<script>\n"), "<script>", "extra_column"),
    ],
)
def test_what_breaks_a_schema_is_a_finding_about_its_column(shop, change, column, rule):
    text = (shop / "sales.csv").read_text()
    (shop / "now.csv").write_text(text.replace(*change))
    found = quality_of_file("now.csv", Judged(schema="sales"), out="page.html")
    assert found.exit_code == 4 and found.document["columns"][column]["rule"] == rule
    assert json.dumps(found.document, allow_nan=False)
    assert "<script" not in (shop / "page.html").read_text()


def test_bound_that_values_cannot_be_held_against_is_said(shop):
    (shop / "now.csv").write_text("id\n" + "\n".join(map(str, range(50))))
    found = quality_of_file("now.csv", Judged(schema="shop.schemas:MIXED")).document
    assert (found["verdict"], found["columns"]["id"]["rule"]) == ("fail", "not_comparable")


@pytest.fixture
def damaged(place):
    "A Parquet file whose column `shop` cannot be read; its names and other columns can."
    import pyarrow.parquet as pq

    GOOD.to_parquet("now.parquet", use_dictionary=False, compression="none", write_page_checksum=True)
    chunk = pq.ParquetFile("now.parquet").metadata.row_group(0).column(2)
    data = bytearray((place / "now.parquet").read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 255
    (place / "now.parquet").write_bytes(data)
    return place


def test_only_the_columns_that_are_asked_for_are_read(damaged):
    for arguments in (["drift", "good.csv", "now.parquet"], ["quality", "now.parquet"]):
        assert run_command(arguments) == 2
        assert run_command([*arguments, "--columns", "amount"]) == 0
        assert run_command([*arguments, "--columns", "amount,shop"]) == 2
    assert run_command(["drift", "good.csv", "now.parquet", "--columns", "amount", "--cluster", "shop"]) == 2
    assert run_command(["quality", "now.parquet", "--columns", "amount", "--key", "shop"]) == 2


@pytest.mark.parametrize("option", ["--columns", "--cluster", "--time", "--key"])
def test_misspelt_column_is_known_before_a_row_is_read(damaged, capsys, option):
    whole = ["quality", "now.parquet"] if option == "--key" else ["drift", "good.csv", "now.parquet"]
    season = ["--season", "week"] if option == "--time" else []
    assert run_command([*whole, *season, option, "amuont"]) == 2
    said = capsys.readouterr().err
    assert "did you mean `amount`?" in said and "cannot be read" not in said


def test_column_that_one_file_lacks_is_a_finding_and_names_may_have_commas(place):
    GOOD.drop(columns="shop").assign(**{"a, b": 1}).to_csv("now.csv", index=False)
    found = drift_of_files("good.csv", "now.csv", Compared(columns="shop")).document
    assert (found["verdict"], list(found["columns"])) == ("fail", ["shop"]) and found["rows"] == [90, 90]
    GOOD.assign(**{"a, b": 1}).to_parquet("wide.parquet")
    assert list(
        drift_of_files("now.csv", "wide.parquet", Compared(columns='"a, b"')).document["columns"]
    ) == ["a, b"]


def test_models_that_could_not_look_are_no_all_clear(place, capsys):
    GOOD[:29].to_csv("few.csv", index=False)
    names = pd.DataFrame({"id": [f"n{n}" for n in range(90)]})
    names.to_csv("names.csv", index=False)
    for files, why in ((["good.csv", "few.csv"], "29 units"), (["names.csv", "names.csv"], "no column")):
        assert run_command(["drift", *files, "--multivariate", "--json"]) == 4
        found = json.loads(capsys.readouterr().out)
        assert (found["verdict"], found["multivariate"]["status"]) == ("not_computable", "not_computable")
        assert why in found["multivariate"]["why"] and why in found["reason"]
        assert found["multivariate"]["auc"] is None
    assert run_command(["drift", *files, "--multivariate", "--season", "week", "--time", "id"]) == 2
    assert "leave one of the two out" in capsys.readouterr().err


def test_models_count_in_the_verdict_and_their_columns_show_as_text(place):
    attack = "<script>alert(1)</script>"
    rows = pd.DataFrame({attack: np.arange(400) % 20, "y": np.arange(400) % 20 / 2, "shop": ["a", "b"] * 200})
    rows.to_parquet("before.parquet")
    rows.assign(y=rows.y[::-1].to_numpy()).to_parquet("torn.parquet")
    asked = Compared(multivariate=True, cluster=None)
    alone = drift_of_files("before.parquet", "torn.parquet")
    found = drift_of_files("before.parquet", "torn.parquet", asked, out="page.html")
    assert (alone.exit_code, found.exit_code) == (0, 4)
    together = found.document["multivariate"]
    assert together["status"] == "drift" and together["low"] > 0.5 and together["rows"] == [400, 400]
    assert {*list(together["columns"])[:2]} == {attack, "y"} and json.dumps(found.document, allow_nan=False)
    page = (place / "page.html").read_text()
    assert "All columns together" in page and "<script" not in page


ODD_OPTIONS = {
    "drift": [
        *(["--warn", odd] for odd in ("0", "nan", "inf", "-1", "1.1", "x", "")),
        *(["--fail", odd] for odd in ("0", "nan", "inf", "2", "x")),
        *(["--alpha", odd] for odd in ("0", "1", "nan", "-.1", "x")),
        *(["--columns", odd] for odd in (",", "Id", "amount,x", '"', "0")),
        *(["--cluster", odd] for odd in ("CARD", "0", "none", "one", "few")),
        *(["--season", "week", "--time", odd] for odd in ("id", "amount", "none", "at_", "truth", "one")),
        *([["--season", "week"], ["--season", "year", "--time", "at"], ["--time", "at_"]]),
        *(["--figures", odd] for odd in ("psy", ",", "ks")),
    ],
    "quality": [
        *(["--key", odd] for odd in ("ID", "0", "one", "none", "id,amount")),
        *(["--columns", odd] for odd in (",", "Id", "amount,x", '"', "0")),
        *(["--like", odd] for odd in ("gone.csv", "empty.csv", "few.csv", ".")),
    ],
}


def test_odd_option_ends_with_2_or_4_and_never_with_0_or_a_traceback(place, capfd):
    odd = GOOD.assign(none=None, one=7, few=GOOD.index % 29, truth=GOOD.index % 2 == 0)
    odd["at"] = pd.date_range("2026-01-01", periods=len(odd), freq="h")
    odd.to_parquet("odd.parquet")
    odd[:9].to_csv("few.csv", index=False)
    odd[:0].to_csv("empty.csv", index=False)
    for verb, every in ODD_OPTIONS.items():
        files = ["odd.parquet"] if verb == "quality" else ["odd.parquet", "odd.parquet"]
        for options in every:
            code, said = run_command([verb, *files, *options]), capfd.readouterr()
            assert code in (2, 4) and "Traceback" not in said.err, (verb, options, code, said)
            assert code == 4 or "mend: " in said.err, (verb, options, said)


def test_table_of_no_few_or_odd_rows_is_never_ok(place, capfd):
    for n in (0, 1, 29):
        GOOD[:n].to_parquet(f"{n}.parquet")
        GOOD[:n].to_csv(f"{n}.csv", index=False)
        for name in (f"{n}.parquet", f"{n}.csv"):
            for files in (["good.csv", name], [name, "good.csv"], [name, name]):
                assert run_command(["drift", *files, "--json"]) == 4, files
                assert run_command(["quality", files[0], "--like", files[1], "--json"]) == 4, files
    assert "Traceback" not in capfd.readouterr().err


def test_expected_number_of_rows_can_be_said(place):
    GOOD[:40].to_csv("now.csv", index=False)
    assert quality_of_file("now.csv", Judged(like="good.csv")).document["verdict"] == "warn"
    assert quality_of_file("now.csv", Judged(like="good.csv", rows=40)).document["verdict"] == "ok"


@pytest.mark.parametrize("pair", [("a.csv", "a.parquet"), ("a.parquet", "a.csv"), ("a.csv", "a.csv")])
def test_gap_is_a_gap_in_text_and_in_parquet(place, pair):
    gaps = GOOD.assign(shop=GOOD.shop.where(GOOD.index % 3 > 0), amount=GOOD.amount.where(GOOD.index % 2 > 0))
    gaps.to_csv("a.csv", index=False)
    gaps.to_parquet("a.parquet")
    found = drift_of_files(*pair).document
    assert {name: one["null_share"] for name, one in found["columns"].items()} == {
        "amount": [0.5, 0.5],
        "shop": [1 / 3, 1 / 3],
    }
    assert found["verdict"] == quality_of_file(pair[1], Judged(like=pair[0])).document["verdict"] == "ok"
    worse = quality_of_file(pair[1], Judged(like="good.csv")).document["columns"]["shop"]
    assert (worse["verdict"], worse["rule"]) == ("fail", "missing")


def test_terminal_names_what_was_not_compared(place, capsys):
    GOOD.assign(new=1, at="2026-01-01").to_csv("now.csv", index=False)
    drift_of_files("good.csv", "now.csv").show()
    assert "not compared, for they hold times, name rows or are new: new, at, id" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sign", "name"), [(";", "now.csv"), ("|", "now.csv"), (",", "now.tsv"), ("\t", "now.csv")]
)
def test_file_cut_otherwise_is_refused_and_what_the_mend_says_is_read(place, capsys, sign, name):
    GOOD.to_csv(name, sep=sign, index=False)
    for words in (["quality", name], ["drift", name, name], ["quality", "good.csv", "--like", name]):
        assert run_command(words) == 2
        said = capsys.readouterr().err
        assert "cut by" in said and "settings.ini" not in said
    pd.read_csv(name, sep=sign).to_parquet("again.parquet")
    assert run_command(["quality", "again.parquet"]) == 0


def test_folder_of_several_forms_is_refused_and_the_pattern_of_the_mend_is_read(place, capsys):
    (place / "days").mkdir()
    GOOD.to_csv("days/a.csv", index=False)
    GOOD.to_parquet("days/b.parquet")
    assert run_command(["quality", "days"]) == 2
    pattern = capsys.readouterr().err.partition("`'")[2].partition("'`")[0]
    assert run_command(["quality", pattern]) == 0


@pytest.mark.parametrize("name", ["ragged.csv", "list.jsonl", "cut.parquet", "utf16.csv"])
def test_mend_of_a_file_that_cannot_be_read_needs_no_project(place, capsys, name):
    (place / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (place / "list.jsonl").write_text("[1]\n")
    (place / "cut.parquet").write_bytes((place / "good.parquet").read_bytes()[:500])
    (place / "utf16.csv").write_text("a,b\n1,2\n" * 9, encoding="utf-16")
    assert run_command(["quality", name]) == 2
    said = capsys.readouterr().err
    assert "write it again as Parquet" in said and "as_=" not in said and "settings.ini" not in said


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_page_at_a_folder_or_a_pipe_is_refused_before_anything_is_read(place, make):
    make("page.html")
    with pytest.raises(UsageError, match="is there, and no file"):
        drift_of_files("nowhere.csv", "nowhere.csv", out="page.html")
