"""`mlnb fairness` on files as people have them: documents, exit codes, pages, and mends that work."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from bad_inputs import faults_of_page

from mlnb.models.group_metrics import RATES

HOSTILE = "</script><img src=x onerror=alert(1)>"
OPTIONS = ["--label", "repaid", "--prediction", "approved", "--group", "sex"]
OF_SCORE = ["--label", "repaid", "--score", "score", "--group", "sex"]


@pytest.fixture
def loans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    rows = pd.DataFrame({"sex": ["f", "m"] * 300, "repaid": draws.integers(0, 2, 600)})
    rows["approved"] = draws.integers(0, 2, 600)
    rows["score"] = np.round(draws.random(600), 3)
    return rows


@pytest.fixture
def ask(asked, tmp_path):
    def of(*words):
        result = asked("fairness", *words, cwd=tmp_path)
        return result.code, result.stdout, result.stderr

    return of


def test_even_groups_end_with_0_and_the_document_of_the_contract(loans, ask):
    loans.to_csv("loans.csv", index=False)
    code, out, _ = ask("loans.csv", *OPTIONS, "--score", "score", "--json")
    document = json.loads(out)
    assert (code, document["verdict"]) == (0, "ok")
    first = document["groups"][0]
    assert {"group", "n", "metrics", "why"} <= set(first)
    assert set(first["metrics"]) == {*RATES, "roc_auc", "calibration"} == set(document["differences"])
    assert all(set(one) == {"value", "low", "high"} for one in first["metrics"].values())
    assert set(document["differences"]["selection_rate"]) == {"value", "low", "high"}


def test_uneven_groups_end_with_4_and_are_told_first_in_plain_words(loans, ask):
    loans.assign(approved=(loans.sex == "m") | (loans.index % 3 == 0)).to_parquet("loans.parquet")
    code, out, _ = ask("loans.parquet", *OPTIONS)
    assert code == 4
    assert out.startswith("Fairness raises an alarm: the selection rate of sex = m is 0.66")
    assert len(out.splitlines()) < 10


def test_folder_of_texts_in_another_encoding_is_one_table_and_its_gaps_are_a_group(loans, ask, tmp_path):
    (tmp_path / "days").mkdir()
    rows = loans.replace({"sex": {"m": "männlich"}})
    rows["sex"] = rows.sex.mask(rows.index % 4 == 0)
    for n in (0, 1):
        rows[n::2].to_csv(f"days/{n}.csv", index=False, encoding="latin-1")
    _, out, err = ask("days/", *OPTIONS, "--json")
    groups = [one["group"]["sex"] for one in json.loads(out)["groups"]]
    assert (json.loads(out)["rows"], groups) == (600, ["f", "männlich", "(missing)"])
    assert "was read as Windows-1252" in err


def test_page_shows_hostile_names_as_text_and_has_no_script(loans, ask, tmp_path):
    name = "<b>sex\u202e"
    loans.replace({"sex": {"f": HOSTILE}}).rename(columns={"sex": name}).to_parquet("loans.parquet")
    options = [*OPTIONS[:4], "--group", name]
    code, _, err = ask("loans.parquet", *options, "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert (code, "wrote page.html" in err) == (0, True)
    assert all(sign not in page for sign in ("<img", "<script", "<b>", "\u202e"))
    assert ("&lt;img src=x" in page, "width=device-width" in page) == (True, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.csv", *OPTIONS], "none.csv"),
        (["loans.csv", "--label", "repaid", "--group", "sex"], "neither a prediction nor a score"),
        (["loans.csv", *OPTIONS[:4]], "--group"),
        (["loans.csv", *OPTIONS, "--limit", "much"], "has no number"),
        (["loans.csv", *OPTIONS, "--limit", "2"], "not between 0 and 1"),
        (["loans.csv", *OPTIONS, "--limit", "recall=0.1"], "there is no figure `recall`"),
        (["loans.csv", *OF_SCORE, "--threshold", "nan"], "is no number"),
        (["cut.parquet", *OPTIONS], "cut.parquet"),
    ],
    ids=lambda one: one[-1] if isinstance(one, list) else "",
)
def test_what_cannot_be_read_or_understood_ends_with_2_and_a_mend(loans, ask, tmp_path, words, said):
    loans.to_csv("loans.csv", index=False)
    loans.to_parquet("whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-200])
    code, _, err = ask(*words)
    assert (code, said in err, "mend: " in err) == (2, True, True)


def test_commands_as_the_mends_write_them_are_understood(loans, ask):
    worded = loans.replace({"repaid": {0: "no", 1: "yes"}, "approved": {0: "no", 1: "yes"}})
    worded.assign(score=worded.score * 10).to_csv("loans.csv", index=False)
    _, _, err = ask("loans.csv", *OPTIONS)
    positive = err.partition("--positive ")[2].partition("`")[0]
    assert ask("loans.csv", *OPTIONS, "--positive", positive)[0] == 0
    _, _, err = ask("loans.csv", *OF_SCORE, "--positive", positive)
    threshold = err.partition("--threshold ")[2].partition("`")[0]
    assert ask("loans.csv", *OF_SCORE, "--positive", positive, "--threshold", threshold)[0] in (0, 4)
    _, _, err = ask("loans.csv", *OPTIONS, "--positive", "yes", "--limit", "precison=0.2")
    assert ask("loans.csv", *OPTIONS, "--positive", "yes", "--limit", "precision=0.2")[0] == 0
    assert "`precision`" in err


# tables like that of COMPAS: small groups, scores in deciles, labels and groups of any form


def compas(n=600, **columns):
    draws = np.random.default_rng(3)
    rows = pd.DataFrame({"race": draws.choice(["African-American", "Caucasian", "Hispanic"], n)})
    rows["sex"] = draws.choice(["Male", "Female"], n)
    rows["recid"] = draws.integers(0, 2, n)
    rows["decile"] = draws.integers(1, 11, n)
    rows["high"] = (rows.decile >= 6).astype(int)
    rows["person"] = np.arange(n)
    return rows.assign(**columns)


def with_few(rows):
    rows.loc[:2, "race"] = "Asian"
    return rows


BY_RACE = ["--label", "recid", "--prediction", "high", "--group", "race"]
OF_DECILES = ["--label", "recid", "--score", "decile", "--group", "race"]
NO_LIMIT = ["--limit", "0.5", "--limit", "selection_rate_ratio=0.1"]
TABLES = {  # rows, words, exit code, what is said in the document or of the error
    "three rows": (lambda: with_few(compas()), [*BY_RACE, *NO_LIMIT], 0, '"why": "n = 3"'),
    "one class": (lambda: compas(recid=0), BY_RACE, 4, "0 of 3 groups have 30 behind it"),
    "nobody chosen": (lambda: compas(high=0), BY_RACE, 4, "n = 0 (precision)"),
    "one group": (lambda: compas(race="Caucasian"), BY_RACE, 4, "1 of 1 groups have 30 behind it"),
    "deciles without threshold": (compas, OF_DECILES, 2, "`--threshold 10`"),
    "deciles": (
        compas,
        [*OF_DECILES, *NO_LIMIT, "--threshold", "6"],
        0,
        "outside 0 to 1 are no probabilities (",
    ),
    "infinite scores": (
        lambda: compas(decile=lambda rows: np.where(rows.index % 50 == 0, np.inf, -rows.decile)),
        [*BY_RACE, *NO_LIMIT, "--score", "decile"],
        0,
        "no probabilities (calibration)",
    ),
    "nulls in a group": (
        lambda: compas(race=lambda rows: rows.race.mask(rows.index % 3 == 0)),
        [*BY_RACE, *NO_LIMIT],
        0,
        '"race": "(missing)"',
    ),
    "only nulls": (lambda: compas(race=None), BY_RACE, 4, "1 of 1 groups have 30 behind it"),
    "10,000 levels": (
        lambda: compas(40_000, race=lambda rows: rows.index % 10_000),
        [*BY_RACE, "--group", "sex"],
        4,
        "0 of 10000 groups have 30 behind it",
    ),
    "201 levels": (
        lambda: compas(8_040, race=lambda rows: rows.index % 201),
        BY_RACE,
        4,
        "201 groups are more than 200: join levels, or name another column",
    ),
    "texts": (
        lambda: compas(recid=lambda rows: np.where(rows.recid == 1, "Yes", "No"), high="1"),
        BY_RACE,
        2,
        "`--positive No`",
    ),
    "flags": (lambda: compas(recid=lambda rows: rows.recid == 1), [*BY_RACE, *NO_LIMIT], 0, ""),
    "floats": (lambda: compas(recid=lambda rows: rows.recid * 1.0), [*BY_RACE, *NO_LIMIT], 0, ""),
    "halves": (lambda: compas(recid=lambda rows: rows.recid / 2), BY_RACE, 2, "`--positive 0.5`"),
    "one cluster in a level": (
        lambda: compas(person=lambda rows: rows.person.where(rows.race != "Hispanic", -1)),
        [*BY_RACE, *NO_LIMIT, "--cluster", "person"],
        0,
        '"why": "n = 1"',
    ),
    "empty cells": (
        lambda: compas(sex=lambda rows: rows.sex.where(rows.race != "Hispanic", "Male")),
        [*BY_RACE, *NO_LIMIT, "--group", "sex"],
        0,
        "no gap is beyond its limit in 10 groups",
    ),
    "cells of few": (
        lambda: compas(
            sex=lambda rows: rows.sex.where((rows.race != "Hispanic") | (rows.index % 9 == 0), "Male")
        ),
        [*BY_RACE, *NO_LIMIT, "--group", "sex"],
        0,
        '"why": "n = 7"',
    ),
    "no row": (lambda: compas()[:0], BY_RACE, 4, "there are no rows"),
    "one row": (lambda: compas()[:1], BY_RACE, 4, "0 of 1 groups have 30 behind it"),
}
QUICK_TABLES = ("three rows", "deciles", "no row")


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in QUICK_TABLES else pytest.mark.slow) for one in TABLES]
)
def test_table_like_that_of_compas_has_statuses_and_an_exit_code(ask, tmp_path, monkeypatch, name, kind):
    make, words, expected, said = TABLES[name]
    monkeypatch.chdir(tmp_path)
    rows = make()
    rows.to_csv("rows.csv", index=False) if kind == "csv" else rows.to_parquet("rows.parquet")
    code, out, err = ask(f"rows.{kind}", *words, "--json", "--out", "page.html")
    document = json.loads(out, parse_constant=lambda token: pytest.fail(f"{token} in JSON"))
    assert (code, said in err if code == 2 else said in out) == (expected, True), (out[:300], err)
    assert code == 2 or (document["verdict"] == "ok") == (code == 0)
    assert code == 2 or faults_of_page((tmp_path / "page.html").read_text()) == []
    judged = [group["why"] for group in document.get("groups", ()) if None in group["metrics"].values()]
    assert all(judged)


@pytest.mark.slow
def test_labels_that_are_decimals_and_names_of_other_encodings_are_read(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = compas(race=lambda rows: rows.race.replace("Hispanic", "Lateinamerikanerin ü"))
    exact = rows.assign(recid=[Decimal(int(one)) for one in rows.recid])
    exact.to_parquet("exact.parquet")
    rows.to_csv("latin.csv", index=False, encoding="latin-1")
    rows.to_csv("bom.csv", index=False, encoding="utf-8-sig")
    found = {
        name: ask(name, *BY_RACE, *NO_LIMIT, "--json") for name in ("exact.parquet", "latin.csv", "bom.csv")
    }
    assert {code for code, _, _ in found.values()} == {0}
    assert len({out for _, out, _ in found.values()}) == 1
    assert "Windows-1252" in found["latin.csv"][2]


def test_group_that_is_too_small_is_named_beneath_the_verdict(loans, ask):
    few = loans.assign(sex=loans.sex.where(loans.index > 5, "other"))
    few.to_csv("loans.csv", index=False)
    said = ask("loans.csv", *OPTIONS)[1].splitlines()[-1]
    assert said == "not judged: sex = other (n = 6)"
