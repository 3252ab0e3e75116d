"""Batches on which monitoring dies or keeps quiet elsewhere: each must give a result with the right word."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest

from mlnb.monitor.drift import drift
from mlnb.monitor.evidently import canonical_page, drift_report, performance_report, sample
from mlnb.monitor.performance import performance
from mlnb.monitor.quality import quality

ATTACK = "</script><img src=x onerror=alert(1)>\u2028"


def window(seed=0, n=1500):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": draw.normal(50, 10, n),
            "count": draw.integers(0, 40, n),
            "risk": draw.choice(["low", "middle", "high"], n),
            "abroad": draw.random(n) < 0.3,
        }
    )


def with_values(frame, **columns):
    return frame.assign(**columns)


def partly(values, share, other):
    "The first `share` of the values replaced."
    values = values.astype("object").copy()
    values.iloc[: int(share * len(values))] = other
    return values


now = window(1)
# name -> batch, verdicts of quality, of drift and of the Evidently report, the column that is at fault
BATCHES = {
    "sound": (now, "ok", "ok", "ok", None),
    "empty": (now[:0], "fail", "not_computable", "not_computable", "amount"),
    "no columns": (now[[]], "fail", "fail", "not_computable", "amount"),
    "one row": (now[:1], "fail", "not_computable", "not_computable", "amount"),
    "all-null number": (with_values(now, amount=np.nan), "fail", "fail", "ok", "amount"),
    "all-null category": (with_values(now, risk=None), "fail", "fail", "ok", "risk"),
    "half null": (with_values(now, amount=now.amount.where(now.index % 2 == 0)), "fail", "fail", "ok", None),
    "infinite": (with_values(now, amount=[np.inf, *now.amount[1:]]), "fail", "ok", "ok", "amount"),
    "constant": (with_values(now, amount=50.0), "fail", "fail", "warn", None),
    "new category": (with_values(now, risk=partly(now.risk, 0.5, "odd")), "fail", "fail", "warn", None),
    "missing column": (now.drop(columns="amount"), "fail", "fail", "ok", "amount"),
    "extra column": (with_values(now, extra=1.0), "warn", "ok", "ok", "extra"),
    "duplicate column": (
        now[["amount", "amount", "count", "risk", "abroad"]],
        "fail",
        "not_computable",
        "ok",
        "amount",
    ),
    "number as text": (
        with_values(now, amount=now.amount.astype(str)),
        "fail",
        "not_computable",
        "ok",
        "amount",
    ),
    "text as number": (with_values(now, risk=1.5), "fail", "not_computable", "ok", "risk"),
    "lists": (with_values(now, risk=[["low"]] * len(now)), "not_computable", "not_computable", "ok", "risk"),
    "mixed types": (with_values(now, risk=partly(now.risk, 0.5, 7)), "fail", "fail", "warn", None),
    "html": (with_values(now, risk=partly(now.risk, 0.5, ATTACK)), "fail", "fail", "warn", None),
    "every row twice": (pd.concat([now, now]), "fail", "ok", "ok", None),
    "columns named by numbers": (
        now.set_axis([0, 1, 2, 3], axis=1),
        "fail",
        "fail",
        "not_computable",
        "amount",
    ),
    "index repeats": (now.set_axis([0] * len(now)), "ok", "ok", "ok", None),
    "nullable types": (now.convert_dtypes(), "ok", "ok", "ok", None),
}


@pytest.mark.parametrize("name", BATCHES)
def test_quality_of_a_bad_batch_is_a_verdict(name):
    batch, expected, *_ = BATCHES[name]
    found = quality(window(), batch)
    assert found["verdict"] == expected, found["reason"]
    assert found["reason"] and json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("name", BATCHES)
def test_drift_of_a_bad_batch_is_a_verdict(name):
    batch, _, expected, *_ = BATCHES[name]
    found = drift(window(), batch)
    assert found["verdict"] == expected, found["reason"]
    assert found["reason"] and json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("name", BATCHES)
def test_evidently_report_of_a_bad_batch_is_a_page_or_a_reason(name):
    batch, _, _, expected, at_fault = BATCHES[name]
    page, found = drift_report(window(), batch)
    assert found["verdict"] == expected, found["reason"]
    assert bool(page) == (expected != "not_computable")
    assert json.dumps(found, allow_nan=False)
    assert at_fault is None or at_fault in found["left_out"]


@pytest.mark.parametrize("name", ["empty", "one row", "no columns"])
def test_a_reference_without_rows_is_not_computable(name):
    reference = BATCHES[name][0]
    assert quality(reference, window())["verdict"] in ("not_computable", "warn")
    assert drift(reference, window())["verdict"] == "not_computable"
    assert drift_report(reference, window())[1]["verdict"] == "not_computable"


def test_reasons_do_not_repeat_values_from_the_data():
    batch = BATCHES["html"][0]
    for found in (quality(window(), batch), drift(window(), batch), drift_report(window(), batch)[1]):
        assert "onerror" not in json.dumps(found)


def test_evidently_page_with_html_in_a_value_keeps_it_inside_the_script():
    page, _ = drift_report(window(), BATCHES["html"][0])
    data = page[page.index("var metric_") : page.index("</head>")]
    assert "onerror=alert(1)" in data
    assert "\\u003c/script\\u003e\\u003cimg src=x" in data
    assert data.count("</script>") == 1
    assert "<img src=x" not in page
    assert "\u2028" not in data


def test_evidently_page_of_the_same_windows_has_the_same_bytes():
    pages = [drift_report(window(), now)[0] for _ in range(2)]
    assert pages[0] == pages[1]
    data = pages[0][pages[0].index("var metric_") : pages[0].index("</head>")]
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", data) is None
    assert drift_report(window(), window(2))[0] != pages[0]


def test_canonical_page_refuses_what_is_no_evidently_page():
    with pytest.raises(ValueError, match="form of Evidently"):
        canonical_page("<html></html>")


def test_evidently_is_told_not_to_track():
    drift_report(window(), now)
    assert os.environ["DO_NOT_TRACK"] == "1"


@pytest.mark.slow
def test_five_hundred_columns_are_all_judged_and_five_shown():
    draw = np.random.default_rng(0)
    wide = [pd.DataFrame(draw.normal(size=(300, 500))).add_prefix("x") for _ in range(2)]
    found = drift(*wide)
    assert (found["verdict"], len(found["columns"])) == ("ok", 500)
    assert quality(*wide)["verdict"] == "ok"
    page, shown = drift_report(*wide, max_columns=5)
    assert page and list(shown["columns"]) == ["x0", "x1", "x2", "x3", "x4"]
    assert len(shown["left_out"]) == 495


def test_a_million_rows_are_judged_whole_and_shown_as_a_sample():
    draw = np.random.default_rng(0)
    long = [pd.DataFrame({"amount": draw.normal(size=1_000_000)}) for _ in range(2)]
    assert drift(*long)["columns"]["amount"]["n_current"] == 1_000_000
    page, found = drift_report(*long)
    assert page and found["rows"] == {"reference": 20_000, "current": 20_000}


def test_sample_keeps_the_order_and_never_repeats_a_row():
    drawn = sample(pd.DataFrame({"place": range(1000)}), 100, seed=3)["place"]
    assert drawn.is_monotonic_increasing and drawn.is_unique and len(drawn) == 100


def scored(seed=0, n=400):
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, n)
    return pd.DataFrame(
        {"label": label, "score": np.clip(0.35 + 0.3 * label + draw.normal(0, 0.15, n), 0, 1)}
    )


late = scored(1)
LABELS = {
    "one class": (with_values(late, label=0), "not_computable", "not_computable"),
    "no label yet": (with_values(late, label=None), "not_computable", "not_computable"),
    "no rows": (late[:0], "not_computable", "not_computable"),
    "one row": (late[:1], "not_computable", "not_computable"),
    "no score column": (late[["label"]], "not_computable", "not_computable"),
    "scores as text": (with_values(late, score="high"), "not_computable", "not_computable"),
    "a third class": (
        with_values(late, label=partly(late.label, 0.1, 2).astype(int)),
        "not_computable",
        "not_computable",
    ),
    "half labelled": (with_values(late, label=late.label.where(late.index % 2 == 0)), "ok", "ok"),
    "scores are constant": (with_values(late, score=0.5), "fail", "ok"),
    "no alarm at all": (with_values(late, score=late.score / 10), "ok", "ok"),
    "infinite score": (
        with_values(late, score=[np.inf, *late.score[1:]]),
        "not_computable",
        "not_computable",
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_performance_of_bad_labels_or_scores_is_a_verdict(name):
    batch, expected, expected_report = LABELS[name]
    found = performance(scored(), batch, target="label", score="score", n_resamples=30)
    assert found["verdict"] == expected, found["reason"]
    assert json.dumps(found, allow_nan=False)
    page, report = performance_report(scored(), batch, target="label", score="score")
    assert report["verdict"] == expected_report, report["reason"]
    assert bool(page) == (expected_report != "not_computable")
    assert json.dumps(report, allow_nan=False)


def test_half_the_labels_are_counted():
    found = performance(scored(), LABELS["half labelled"][0], target="label", score="score", n_resamples=30)
    assert found["rows"]["current"]["labelled"] == found["rows"]["current"]["unlabelled"] == 200


def test_performance_page_of_the_same_windows_has_the_same_bytes():
    pages = [performance_report(scored(), late, target="label", score="score")[0] for _ in range(2)]
    assert pages[0] == pages[1]
