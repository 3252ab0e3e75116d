"""Checks of files from the command line: bad files have a status or are named, and 0 is for `ok` alone."""

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest

from mlnb.cli import run_command
from mlnb.store.errors import UsageError
from mlnb.terminal.checks import Compared, drift_of_files, quality_of_file

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
        found = quality_of_file("now.csv", like="good.csv", key="id")
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
    found = quality_of_file("good.csv", like="good.parquet", key="id").document
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
    quality_of_file("hostile.parquet", like="good.csv", out="quality.html")
    for name in ("drift.html", "quality.html"):
        page = (place / name).read_text()
        assert "<script" not in page and "&lt;script&gt;" in page
