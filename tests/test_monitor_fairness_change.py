"""Two reports of fairness, compared group by group: what moved is seen, and what did not is not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mlnb.models.fairness import FairnessReport, fairness
from mlnb.models.group_comparison import FairnessColumns, GroupFigures
from mlnb.models.group_gaps import Span
from mlnb.monitor.fairness_change import MOVED_METRICS, fairness_change
from mlnb.store.verdict import WORDS

ASKED = FairnessColumns("fit", ["group"], "hired")
SIZES = {"a": 900, "b": 500, "c": 300, "x": 17}


def report_of(figures):
    "A report that holds groups only: `{group: {metric: (value, half a width)}}`."
    spans = {
        name: {
            metric: Span(value, max(0.0, value - half), min(1.0, value + half))
            for metric, (value, half) in of.items()
        }
        for name, of in figures.items()
    }
    groups = [
        GroupFigures(group={"group": name}, n=100, clusters=None, metrics=of, why=None)
        for name, of in spans.items()
    ]
    return FairnessReport(
        verdict="ok",
        reason="",
        rows=100 * len(groups),
        clusters=None,
        known={},
        groups=tuple(groups),
        unlisted=0,
        differences={},
        ratios={},
        gaps=(),
    )


def decisions(seed, rates=None):
    "People of four groups, of whom half are fit; nine of ten of these and two of ten others are hired."
    draws, hired = (
        np.random.default_rng(seed),
        {"a": (0.9, 0.2), "b": (0.9, 0.2), "c": (0.9, 0.2), "x": (0.9, 0.2)},
    )
    group = np.repeat([*SIZES], [*SIZES.values()])
    fit = draws.random(len(group)) < 0.5
    chance = np.array(
        [(hired | (rates or {}))[name][0 if is_fit else 1] for name, is_fit in zip(group, fit, strict=True)]
    )
    return pd.DataFrame({"group": group, "fit": fit, "hired": draws.random(len(group)) < chance})


FIGURE = st.tuples(st.floats(0, 1), st.floats(0.001, 0.3))
FIGURES = st.dictionaries(
    st.sampled_from("abcd"), st.fixed_dictionaries(dict.fromkeys(MOVED_METRICS, FIGURE)), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(FIGURES, FIGURES)
def test_going_back_is_the_same_change_the_other_way(before, now):
    there, back = (
        fairness_change(*pair)
        for pair in ([report_of(before), report_of(now)], [report_of(now), report_of(before)])
    )
    turned = {(one.group["group"], one.metric): one for one in back.changes}
    assert len(there.changes) == len(back.changes) == 3 * len(before.keys() & now.keys())
    for one in there.changes:
        other = turned[one.group["group"], one.metric]
        assert one.change.low <= one.change.value <= one.change.high
        assert [one.change.low, one.change.value] == pytest.approx([-other.change.high, -other.change.value])
        assert (one.verdict, one.is_sure) == (other.verdict, other.is_sure)
    assert there.verdict == back.verdict
    assert {one.group["group"] for one in there.uncompared} == before.keys() ^ now.keys()
    assert (there.verdict == "not_computable") == (not before.keys() & now.keys())


@settings(max_examples=30, deadline=None)
@given(FIGURES)
def test_the_same_report_twice_did_not_move(figures):
    found = fairness_change(report_of(figures), report_of(figures))
    assert (found.verdict, [one.change.value for one in found.changes if one.is_sure]) == ("ok", [])


def test_a_group_that_is_hired_less_is_seen_and_no_other():
    reports = [
        fairness(decisions(0), ASKED, n_resamples=200),
        fairness(decisions(1, {"b": (0.5, 0.2)}), ASKED, n_resamples=200),
    ]
    found = fairness_change(*reports)
    assert found.verdict == "fail"
    assert {(one.group["group"], one.metric) for one in found.changes if one.verdict == "fail"} >= {
        ("b", "true_positive_rate")
    }
    assert {one.group["group"] for one in found.changes if one.is_sure} == {"b"}
    assert [(one.group["group"], one.rows, one.why) for one in found.uncompared] == [
        ("x", (17, 17), "n = 17 before; n = 17 now")
    ]


def test_a_figure_that_no_group_has_is_never_well():
    report = fairness(decisions(0), ASKED, n_resamples=50)
    without = replace(
        report,
        groups=tuple(
            replace(one, metrics=one.metrics | {"false_positive_rate": None}, why="few")
            for one in report.groups
        ),
    )
    found = fairness_change(report, without)
    assert (found.verdict, found.reason) == (
        "not_computable",
        "no group has a false positive rate in both reports",
    )
    assert fairness_change(report, without, metrics=["selection_rate"]).verdict == "ok"


@settings(max_examples=40, deadline=None)
@given(FIGURES, FIGURES, st.integers(2, 100))
def test_who_compares_more_is_surer_of_nothing(before, now, among):
    reports = report_of(before), report_of(now)
    alone, of_many = (fairness_change(*reports, among=n) for n in (1, among))
    sure = {(one.group["group"], one.metric) for one in alone.changes if one.is_sure}
    assert {(one.group["group"], one.metric) for one in of_many.changes if one.is_sure} <= sure
    assert WORDS.index(of_many.verdict) <= WORDS.index(alone.verdict)


@settings(max_examples=60, deadline=None)
@given(FIGURES, FIGURES, st.floats(0.01, 0.99))
def test_reason_says_what_the_changes_are(before, now, limit):
    found = fairness_change(report_of(before), report_of(now), limit)
    sure = [abs(one.change.value) for one in found.changes if one.is_sure]
    if found.verdict == "ok":
        said = f"{len(sure)} of {len(found.changes)} figures moved for certain, not by more than {limit:g}: "
        assert found.reason.startswith(said) if sure else found.reason.endswith(" moved for certain")
        assert max(sure, default=0) <= limit
    if found.verdict in ("warn", "fail"):
        assert max(sure) > limit and f"more than {limit:g}" in found.reason


def test_a_change_that_chance_explains_never_warns():
    before, now = ({"a": dict.fromkeys(MOVED_METRICS, (value, 0.3))} for value in (0.3, 0.6))
    found = fairness_change(report_of(before), report_of(now))
    assert (found.verdict, {one.is_sure for one in found.changes}) == ("ok", {False})
    assert all(one.smallest_seen > 0.3 for one in found.changes)


@pytest.mark.slow
def test_sure_changes_are_as_rare_as_stated_where_nothing_moved():
    n_pairs = 80
    reports = [fairness(decisions(seed), ASKED, n_resamples=400, seed=seed) for seed in range(2 * n_pairs)]
    pairs = zip(reports[::2], reports[1::2], strict=True)
    n_alarms = sum(any(one.is_sure for one in fairness_change(*pair).changes) for pair in pairs)
    assert n_alarms / n_pairs < 0.05 + 3 * (0.05 * 0.95 / n_pairs) ** 0.5
