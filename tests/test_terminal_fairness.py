"""`mlnb fairness` on files as people have them: documents, exit codes, pages, and mends that work."""

import json

import numpy as np
import pandas as pd
import pytest

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
