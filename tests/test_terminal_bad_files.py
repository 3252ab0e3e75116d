"""Files on which readers die or keep quiet elsewhere: each command has a status or an error with a mend."""

import json
import re

import pandas as pd
import pytest
from bad_inputs import ATTACK, COMMANDS, FILES, MENDED, TEXT, faults_of_page, words_of

ALL_COMMANDS = [pytest.param(one, marks=[] if one == "quality" else pytest.mark.slow) for one in COMMANDS]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "good.csv").write_text(TEXT)
    return tmp_path


def strict(text):
    return json.loads(text, parse_constant=lambda token: pytest.fail(f"{token} in JSON"))


def good(place):
    return pd.read_csv(place / "good.csv", dtype={"id": str}, keep_default_na=False)


def contents(place, file):
    if file.name.endswith(".csv"):
        return file.content, file.mended
    pd.read_csv(place / "good.csv", dtype={"id": str}, keep_default_na=False).to_parquet(
        place / "whole.parquet"
    )
    whole = (place / "whole.parquet").read_bytes()
    return whole[:-40], whole


def judged(asked, place, command, name, *more):
    result = asked(*words_of(command, name), "--json", *more, cwd=place)
    return result.code, strict(result.stdout), result.stderr


@pytest.mark.parametrize("command", ALL_COMMANDS)
@pytest.mark.parametrize("name", FILES)
def test_bad_file_ends_with_its_code_a_document_and_a_page_or_a_mend_that_works(asked, place, command, name):
    file = FILES[name]
    content, mended = contents(place, file)
    (place / file.name).write_bytes(content)
    code, document, said = judged(asked, place, command, file.name, "--out", "page.html")
    assert code == file.codes[list(COMMANDS).index(command)], document
    assert file.said in said
    if code == 2:
        assert "mend: " in said and file.name in said and not (place / "page.html").exists()
        (place / file.name).write_bytes(mended)
        assert judged(asked, place, command, file.name)[0] == 0
        return
    assert (document["verdict"] == "ok") == (code == 0)
    parts = document["columns"].values() if "columns" in document else document["gaps"]
    assert all(part["verdict"] in (None, "ok", "warn", "fail", "not_computable") for part in parts)
    assert code == 0 or any(part["verdict"] not in (None, "ok") for part in parts) or not parts
    assert faults_of_page((place / "page.html").read_text()) == []


def test_identifiers_of_any_form_are_keys_as_they_are_written(asked, place):
    for name in ("00123", '"NA" as a key', "20-digit id"):
        (place / "now.csv").write_bytes(FILES[name].content)
        code, document, _ = judged(asked, place, "quality", "now.csv")
        found = document["columns"]["id"]
        assert (code, found["kind_current"], found["missing_current"]) == (0, "category", 0.0)


def test_key_of_twenty_digits_that_repeats_in_its_last_digit_only_is_told(asked, place):
    first, *rest = MENDED.decode().replace("\n0", "\n1234567890123456").splitlines()
    (place / "now.csv").write_text("\n".join([first, *rest, ""]))
    assert judged(asked, place, "quality", "now.csv")[0] == 0
    (place / "now.csv").write_text("\n".join([first, *rest[:-1], rest[0], ""]))
    code, document, _ = judged(asked, place, "quality", "now.csv")
    found = next(rule for rule in document["rules"] if rule["rule"] == "key")
    assert (code, found["count"]) == (4, 1)


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_page_of_hostile_names_and_values_is_text(asked, place, command):
    frame = pd.read_csv(place / "good.csv", dtype={"id": str}, keep_default_na=False).rename(
        columns={"amount": ATTACK}
    )
    frame["risk"] = frame.risk.where(frame.index % 2 == 0, ATTACK + "\u202e\x1b[2J")
    frame.to_parquet(place / "now.parquet")
    code, document, said = judged(asked, place, command, "now.parquet", "--out", "page.html")
    assert code in (0, 4) and document["verdict"]
    page = (place / "page.html").read_text()
    assert faults_of_page(page) == [] and not re.search("[\x1b\u202e]", page + said)
    assert "&lt;/script&gt;&lt;img" in page
