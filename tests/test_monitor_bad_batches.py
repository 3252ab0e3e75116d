"""Batches on which monitoring dies or keeps quiet elsewhere: each must give a result with the right word."""

import os
import re

import numpy as np
import pandas as pd
import pytest
from bad_inputs import ATTACK, BATCHES, NOWHERE, QUICK, SOUND, faults_of_page, findings, partly, plain, window

from mlnb.models.fairness import fairness
from mlnb.models.group_comparison import FairnessColumns
from mlnb.monitor.check_pages import drift_page, performance_page, plain_html, quality_page
from mlnb.monitor.drift import drift
from mlnb.monitor.evidently import canonical_page, drift_report, performance_report, sample
from mlnb.monitor.fairness_page import fairness_page
from mlnb.monitor.performance import performance
from mlnb.monitor.quality import quality
from mlnb.publish.frames import read_report

CHECKS = ("quality", "drift", "performance", "fairness")
SCORED = ["label", "score", "risk"]


def statuses(document):
    return {name: found["status"] for name, found in document["columns"].items() if found["status"] != "ok"}


def check_page_to_explore(page, document):
    "With plots it is a page that the site takes apart, without them one of a check; both tell all columns."
    if page.why_plain:
        assert faults_of_page(page.html) == [] and plain_html(page.why_plain) in page.html
        assert not page.drawn
    else:
        assert read_report(page.html) and "<title>Drift</title>" in page.html
        data = page.html[page.html.index("var metric_") : page.html.index("</head>")]
        assert data.count("</script>") == 1 and "\u2028" not in data and "<img" not in page.html
        assert all(f'"{name}"' in data for name in document["columns"])
    assert {*page.drawn, *page.left_out} == {*document["columns"]}
    words = dict(re.findall(r'"column_name": "([^"]+)".*?"data_drift": "([\w ]+)"', page.html))
    drawn = {name: document["columns"][name]["status"] for name in page.drawn}
    assert words == {name: "Detected" if word == "drift" else "Not Detected" for name, word in drawn.items()}


def check_batch(batch):
    now = batch.change(SOUND)
    found = findings(now)
    assert {name: found[name]["verdict"] for name in CHECKS} == {
        name: getattr(batch, name) for name in CHECKS
    }
    assert plain(found) and all(one["reason"] for one in found.values())
    assert "onerror" not in plain({**found, "fairness": None})  # a group is called by its level
    assert statuses(found["drift"]) == batch.statuses
    for make, name in ((drift_page, "drift"), (quality_page, "quality"), (performance_page, "performance")):
        assert faults_of_page(make(found[name])) == []
    page = drift_report(window(), now, found["drift"])
    check_page_to_explore(page, found["drift"])
    not_looked_at = [name for name, word in batch.statuses.items() if word == NOWHERE]
    assert {*batch.left_out, *not_looked_at} <= {*page.left_out}
    assert all(page.left_out[name] == found["drift"]["columns"][name]["why"] for name in not_looked_at)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow) for one in BATCHES]
)
def test_bad_batch_has_a_status_of_every_column_and_pages(name):
    check_batch(BATCHES[name])


@pytest.mark.parametrize("name", ["empty", "duplicate columns", "one-class labels", "HTML in a value"])
def test_bad_batch_has_a_page_of_its_scores_and_of_its_groups(name):
    now = BATCHES[name].change(SOUND)
    found = performance(window(), now, "label", "score", n_resamples=20)
    page = performance_report(window(), now, found, "label", "score")
    assert bool(read_report(page.html)) == (page.why_plain == "") == (found["verdict"] == "ok")
    assert plain_html(page.why_plain) in page.html
    assert page.why_plain == "" or faults_of_page(page.html) == []
    report = fairness(now, FairnessColumns("label", ["risk"], score="score"), n_resamples=20)
    assert faults_of_page(fairness_page(report)) == []


now = window(1)[["amount", "count", "risk", "abroad"]]
# name -> batch, verdicts of quality and of drift, the column that is not drawn
ODD = {
    "no columns": (now[[]], "fail", "fail", "amount"),
    "half null": (now.assign(amount=now.amount.where(now.index % 2 == 0)), "fail", "fail", None),
    "text as number": (now.assign(risk=1.5), "fail", NOWHERE, "risk"),
    "lists": (now.assign(risk=[["low"]] * len(now)), NOWHERE, NOWHERE, "risk"),
    "mixed types": (now.assign(risk=partly(now.risk, 0.5, 7)), "fail", "fail", None),
    "every row twice": (pd.concat([now, now]), "fail", "ok", None),
    "columns named by numbers": (now.set_axis([0, 1, 2, 3], axis=1), "fail", "fail", "amount"),
    "index repeats": (now.set_axis([0] * len(now)), "ok", "ok", None),
    "nullable types": (now.convert_dtypes(), "ok", "ok", None),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_batch_has_verdicts_and_a_page(name):
    batch, of_quality, of_drift, not_drawn = ODD[name]
    before = window()[["amount", "count", "risk", "abroad"]]
    judged, found = quality(before, batch), drift(before, batch)
    assert (judged["verdict"], found["verdict"]) == (of_quality, of_drift)
    assert plain([judged, found]) and judged["reason"] and found["reason"]
    page = drift_report(before, batch, found)
    check_page_to_explore(page, found)
    assert not_drawn is None or not_drawn in page.left_out


@pytest.mark.parametrize("batch", [now[:0], now[:1], now[[]]], ids=["empty", "one row", "no columns"])
def test_a_reference_without_rows_is_not_computable(batch):
    assert quality(batch, now)["verdict"] in (NOWHERE, "warn")
    found = drift(batch, now)
    assert found["verdict"] == NOWHERE
    check_page_to_explore(drift_report(batch, now, found), found)


def test_page_of_which_evidently_can_make_nothing_has_the_findings_and_the_reason(monkeypatch):
    found = drift(window(), now)
    monkeypatch.setattr("evidently.Report", lambda *_, **__: 1 / 0)
    page = drift_report(window(), now, found)
    assert page.reason == "nothing is drawn: Evidently raised ZeroDivisionError"
    check_page_to_explore(page, found)
    monkeypatch.undo()
    monkeypatch.setattr("mlnb.monitor.evidently._DATA", re.compile("another form"))
    assert drift_report(window(), now, found).why_plain == "Evidently raised ValueError"


def test_page_says_all_rows_and_what_was_sampled():
    draw = np.random.default_rng(0)
    long = [pd.DataFrame({"amount": draw.normal(size=30_000)}) for _ in range(2)]
    found = drift(long[0], long[1][:9_000])
    page = drift_report(long[0], long[1][:9_000], found, max_rows=10_000, seed=3)
    assert found["columns"]["amount"]["n_current"] == 9_000
    said = "the plots below are of a sample, 10,000 of 30,000 and 9,000 of 9,000 rows (seed 3)"
    assert said in page.html.replace("The plots", "the plots")
    assert "All rows were compared, 30,000 of the reference with 9,000 of the current window" in page.html


def test_columns_that_drifted_are_drawn_before_others_and_names_that_look_alike_once():
    draw = np.random.default_rng(0)
    before = pd.DataFrame(draw.normal(size=(300, 4)), columns=["a", "b", "c\u202e", "c\\u202e"])
    after = pd.DataFrame(draw.normal(size=(300, 4)), columns=before.columns).assign(b=9.0)
    page = drift_report(before, after, drift(before, after), max_columns=2)
    assert page.drawn[0] == "b" and len(page.left_out) == 2
    page = drift_report(before, after, drift(before, after))
    assert len(page.drawn) == 3 and "\u202e" not in page.html
    assert [*page.left_out.values()] == ["another column is shown by the same name"]


def test_evidently_page_with_html_in_a_value_keeps_it_inside_the_script():
    batch = BATCHES["HTML in a value"].change(SOUND).rename(columns={"amount": ATTACK})
    before = window().rename(columns={"amount": ATTACK})
    page = drift_report(before, batch, drift(before, batch)).html
    data = page[page.index("var metric_") : page.index("</head>")]
    assert "onerror=alert(1)" in data
    assert "\\u003c/script\\u003e\\u003cimg src=x" in data
    assert data.count("</script>") == 1
    assert "<img src=x" not in page
    assert "\u2028" not in data
    assert page.index("Content-Security-Policy") < page.index("<script>")


def test_evidently_page_of_the_same_windows_has_the_same_bytes():
    found = drift(window(), now)
    pages = [drift_report(window(), now, found).html for _ in range(2)]
    assert pages[0] == pages[1]
    data = pages[0][pages[0].index("var metric_") : pages[0].index("</head>")]
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", data) is None
    assert drift_report(window(), window(2), found).html != pages[0]
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_canonical_page_refuses_what_is_no_evidently_page():
    with pytest.raises(ValueError, match="form of Evidently"):
        canonical_page("<html></html>")


def test_a_million_rows_are_judged_whole_and_shown_as_a_sample():
    draw = np.random.default_rng(0)
    long = [pd.DataFrame({"amount": draw.normal(size=1_000_000)}) for _ in range(2)]
    found = drift(*long)
    assert found["columns"]["amount"]["n_current"] == 1_000_000
    assert "20,000 of 1,000,000 and 20,000 of 1,000,000 rows (seed 0)" in drift_report(*long, found).html


def test_sample_keeps_the_order_and_never_repeats_a_row():
    drawn = sample(pd.DataFrame({"place": range(1000)}), 100, seed=3)["place"]
    assert drawn.is_monotonic_increasing and drawn.is_unique and len(drawn) == 100


late = window(1)[["label", "score"]]
LABELS = {
    "one class": (late.assign(label=0), NOWHERE, False),
    "no label yet": (late.assign(label=None), NOWHERE, False),
    "no rows": (late[:0], NOWHERE, False),
    "one row": (late[:1], NOWHERE, False),
    "no score column": (late[["label"]], NOWHERE, False),
    "scores as text": (late.assign(score="high"), NOWHERE, False),
    "a third class": (late.assign(label=partly(late.label, 0.1, 2).astype(int)), NOWHERE, False),
    "half labelled": (late.assign(label=late.label.where(late.index % 2 == 0)), "ok", True),
    "scores are constant": (late.assign(score=0.5), "fail", True),
    "no alarm at all": (late.assign(score=late.score / 10), "ok", True),
    "infinite score": (late.assign(score=[np.inf, *late.score[1:]]), NOWHERE, False),
}


@pytest.mark.parametrize("name", LABELS)
def test_performance_of_bad_labels_or_scores_is_a_verdict_and_a_page(name):
    batch, expected, has_curves = LABELS[name]
    found = performance(window(), batch, target="label", score="score", n_resamples=30)
    assert found["verdict"] == expected, found["reason"]
    assert plain(found)
    page = performance_report(window(), batch, found, target="label", score="score")
    assert bool(page.why_plain) != has_curves
    assert bool(read_report(page.html)) == has_curves
    assert has_curves or faults_of_page(page.html) == []


def test_half_the_labels_are_counted():
    found = performance(window(), LABELS["half labelled"][0], target="label", score="score", n_resamples=30)
    assert found["rows"]["current"]["labelled"] == found["rows"]["current"]["unlabelled"] == 450


def test_performance_page_of_the_same_windows_has_the_same_bytes():
    found = performance(window(), late, target="label", score="score", n_resamples=20)
    pages = [performance_report(window(), late, found, target="label", score="score").html for _ in range(2)]
    assert pages[0] == pages[1]
