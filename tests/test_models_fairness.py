"""Figures by group are those of NumPy and of fairlearn; what cannot be looked at is never well."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mlnb.models.fairness import fairness
from mlnb.models.group_comparison import FairnessColumns
from mlnb.models.group_gaps import OF_SCORES
from mlnb.models.group_metrics import RATES
from mlnb.models.groups import NOT_KNOWN, classes_of
from mlnb.store.errors import UsageError

ASKED = FairnessColumns("label", ["group"], "prediction", "score")
CROSSED = FairnessColumns("label", ["group", "side"], "prediction", "score")


def by_numpy(rows):
    label, chosen, score = (rows[name].to_numpy() for name in ("label", "prediction", "score"))

    def mean(values, where):
        return values[where].mean() if where.any() else None

    found = {"selection_rate": mean(chosen, chosen >= 0), "base_rate": mean(label, label >= 0)}
    found["true_positive_rate"] = mean(chosen, label == 1)
    found["false_positive_rate"] = mean(chosen, label == 0)
    found["precision"] = mean(label, chosen == 1)
    found["calibration"] = mean(label - score, label >= 0)
    pairs = score[label == 1][:, None] - score[label == 0][None, :]
    found["roc_auc"] = ((pairs > 0) + (pairs == 0) / 2).mean() if pairs.size else None
    return found


def by_fairlearn(rows, name, groups):
    from fairlearn import metrics
    from sklearn.metrics import precision_score

    base = name == "base_rate"
    function = (
        precision_score if name == "precision" else getattr(metrics, "selection_rate" if base else name)
    )
    chosen = rows.label if base else rows.prediction
    features = rows[groups].fillna("(missing)")
    return metrics.MetricFrame(
        metrics=function, y_true=rows.label, y_pred=chosen, sensitive_features=features
    )


def is_of(rows, group):
    "Whether rows are of a group, a level for each of its columns."
    levels = rows[[*group]].fillna("(missing)")
    return (levels == pd.Series(group)).all(axis=1)


def figures_equal_numpy(rows, groups):
    for group in groups:
        own = rows[is_of(rows, group.group)]
        assert group.n == len(own)
        expected = by_numpy(own)
        found = {metric: span and span.value for metric, span in group.metrics.items()}
        assert {metric for metric in found if found[metric] is None} == {
            metric for metric in expected if expected[metric] is None
        }
        for metric in found:
            if found[metric] is not None:
                assert_allclose(found[metric], expected[metric], atol=1e-12)


def gaps_equal_fairlearn(rows, report, by):
    groups = [group for group in report.groups if [*group.group] == by]
    gaps = {(gap.metric, gap.kind): gap.span for gap in report.gaps if [*gap.by] == by}
    n_seen = 0
    for metric in RATES:
        if len(groups) < 2 or not all(group.metrics[metric] for group in groups):
            continue
        theirs, n_seen = by_fairlearn(rows, metric, by), n_seen + 1
        assert_allclose(gaps[metric, "difference"].value, theirs.difference(), atol=1e-12)
        if gaps[metric, "ratio"]:
            assert_allclose(gaps[metric, "ratio"].value, theirs.ratio(), atol=1e-12)
    return n_seen


def equals_both(rows):
    report = fairness(rows, CROSSED, n_resamples=3, smallest=1)
    figures_equal_numpy(rows, report.groups)
    return sum(gaps_equal_fairlearn(rows, report, by) for by in (["group"], ["side"], ["group", "side"]))


LEVELS = st.sampled_from(["a", "b", "c", None])
ROW = st.tuples(
    LEVELS, LEVELS, st.integers(0, 1), st.integers(0, 1), st.integers(0, 8).map(lambda eighth: eighth / 8)
)
COLUMNS = ["group", "side", "label", "prediction", "score"]
TABLES = st.lists(ROW, min_size=1, max_size=60).map(lambda rows: pd.DataFrame(rows, columns=COLUMNS))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_figures_of_any_table_equal_numpy_and_fairlearn(rows):
    equals_both(rows)


def table(n=400, seed=0, **columns):
    draws = np.random.default_rng(seed)
    rows = pd.DataFrame({"group": draws.choice(["a", "b"], n), "label": draws.integers(0, 2, n)})
    rows["score"] = np.round(np.clip(draws.normal(0.3 + 0.4 * rows.label, 0.3), 0, 1), 2)
    rows["prediction"] = (rows.score >= 0.5).astype(int)
    return rows.assign(**columns)


def test_figures_of_a_table_with_gaps_equal_numpy_and_fairlearn():
    rows = table(120)
    rows["group"] = rows.group.mask(rows.index % 7 == 0)
    rows["side"] = np.where(rows.index % 3 == 0, "left", "right")
    assert equals_both(rows[:100]) == 3 * len(RATES)


def judged(rows, columns=ASKED, **options):
    report = fairness(rows, columns, **{"n_resamples": 20} | options)
    json.dumps(report.as_dict(), allow_nan=False)
    return report


@pytest.mark.slow
def test_same_seed_gives_the_same_report_and_order_of_rows_changes_no_value():
    rows = table()
    once, again, mixed = judged(rows), judged(rows), judged(rows.sample(frac=1, random_state=1))
    assert once == again
    values = [[group.metrics["precision"].value for group in one.groups] for one in (once, mixed)]
    assert values[0] == values[1]


# hostile tables


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"group": "a"}, "not_computable"),
        ({"label": 1}, "not_computable"),
        ({"label": 0}, "not_computable"),
        ({"label": None}, "not_computable"),
        ({"prediction": None}, "not_computable"),
        ({"prediction": 0}, "not_computable"),
        ({"group": range(400)}, "not_computable"),
        ({"group": None}, "not_computable"),
    ],
    ids=str,
)
def test_table_in_which_something_cannot_be_looked_at_is_never_ok(change, verdict):
    report = judged(table(**change))
    assert (report.verdict, len(report.reason) > 10) == (verdict, True)


def test_table_without_a_row_is_not_computable():
    assert judged(table()[:0]).verdict == "not_computable"


def test_group_of_three_rows_is_told_and_takes_no_part():
    rows = table()
    rows.loc[:2, ["group", "prediction"]] = ["c", 1]
    report = judged(rows)
    small = report.groups[2]
    assert (small.n, small.why, set(small.metrics.values())) == (3, "n = 3", {None})
    assert all({"group": "c"} not in (gap.most, gap.least) for gap in report.gaps)


def test_thirty_rows_of_one_cluster_are_one_observation():
    rows = table(person=lambda rows: np.where(rows.group == "b", -1, rows.index))
    report = judged(rows, FairnessColumns("label", ["group"], "prediction", cluster="person"))
    assert (report.groups[1].why, report.verdict) == ("n = 1", "not_computable")


def test_gap_that_fails_is_told_of_the_pair_that_differs_most_surely():
    sizes, chosen = [500, 500, 32], [300, 150, 8]
    rows = pd.DataFrame({"group": np.repeat(["a", "b", "c"], sizes), "label": 1})
    rows["prediction"] = np.concatenate([np.arange(n) < k for n, k in zip(sizes, chosen, strict=True)])
    report = judged(rows, FairnessColumns("label", ["group"], "prediction"), limits={"selection_rate": 0.1})
    gap = report.gaps[0]
    assert (gap.verdict, gap.most, gap.least) == ("fail", {"group": "a"}, {"group": "b"})
    assert_allclose([gap.pair.value, gap.span.value], [0.3, 0.6 - 8 / 32])


def test_rates_that_may_be_zero_give_a_document_of_finite_numbers():
    rows = table(prediction=0)
    rows.loc[:1, "prediction"] = 1
    ratios = judged(rows).ratios
    assert (ratios["selection_rate"].low, ratios["selection_rate"].high) == (0.0, 1.0)


def test_ten_thousand_levels_make_a_small_document_and_no_verdict():
    rows = table(20_000, group=np.arange(20_000) % 10_000)
    report = judged(rows)
    assert (report.verdict, len(report.groups), report.unlisted) == ("not_computable", 100, 9_900)
    many = judged(table(7_000, group=np.arange(7_000) % 201), n_resamples=3)
    assert "201 groups are more than 200" in many.reason


def test_scores_outside_of_probabilities_have_an_area_and_no_calibration():
    report = judged(table(score=lambda rows: rows.score * 10 - 3))
    assert report.differences["roc_auc"].value < 0.2
    assert report.differences["calibration"] is None
    assert [gap.reason for gap in report.gaps if gap.metric == "calibration"] == [
        "mean label less mean score by group: scores outside 0 to 1 are no probabilities"
    ]


@pytest.mark.slow
def test_column_that_nobody_asked_for_may_stand_there_twice():
    rows = table()
    twice = pd.concat([rows, rows.score.rename("other"), rows.score.rename("other")], axis=1)
    assert judged(twice) == judged(rows)


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["0", "1"], None),
        ([False, True], None),
        ([Decimal("0"), Decimal("1.0")], None),
        ([0.0, 1.0], None),
        (["no", "yes"], "yes"),
        (["false", "True"], None),
        ([1, 2], "2"),
    ],
    ids=str,
)
def test_classes_of_any_type_are_read_alike(labels, positive):
    values = pd.Series([*labels, None, labels[1]], dtype=object)
    assert classes_of(values, "label", positive).tolist() == [0, 1, NOT_KNOWN, 1]


@pytest.mark.slow
def test_score_and_threshold_stand_for_a_prediction():
    rows = table()
    columns = FairnessColumns("label", ["group"], score="score")
    assert judged(rows.drop(columns="prediction"), columns) == judged(rows)


# the error's mend, followed


def test_positive_level_named_as_the_mend_says_is_taken():
    rows = table(label=lambda rows: np.where(rows.label == 1, "yes", "no"))
    with pytest.raises(UsageError, match="which of them is positive") as refused:
        judged(rows)
    level = refused.value.mend.partition("--positive ")[2].partition("`")[0]
    columns = FairnessColumns("label", ["group"], "prediction", "score", positive=level)
    assert judged(rows, columns).known["label"] == 400


def test_threshold_written_as_the_mend_says_is_taken():
    rows = table(score=lambda rows: rows.score * 10 - 3).drop(columns="prediction")
    with pytest.raises(UsageError, match="no threshold for it") as refused:
        judged(rows, FairnessColumns("label", ["group"], score="score"))
    threshold = float(refused.value.mend.partition("--threshold ")[2].partition("`")[0])
    report = judged(rows, FairnessColumns("label", ["group"], score="score", threshold=threshold))
    assert report.known["prediction"] == 400


@pytest.mark.parametrize(
    ("columns", "said", "mend"),
    [
        (FairnessColumns("labl", ["group"], "prediction"), "there is no column", "`label`"),
        (FairnessColumns("label", ["grop"], "prediction"), "there is no column", "`group`"),
        (FairnessColumns("label", ["group"], "prediktion"), "there is no column", "`prediction`"),
        (FairnessColumns("label", ["group"], score="scor"), "there is no column", "`score`"),
        (FairnessColumns("label", ["group"], "prediction", cluster="grup"), "no column", "`group`"),
        (FairnessColumns("label", [], "prediction"), "no group column", "name one"),
        (FairnessColumns("label", ["group", "group"], "prediction"), "named twice", "once"),
        (FairnessColumns("label", ["group"]), "neither a prediction nor a score", "--prediction"),
        (FairnessColumns("label", ["group"], score="group"), "holds no number", "numbers"),
        (FairnessColumns("label", ["group"], score="score", threshold=float("nan")), "no number", "0.5"),
        (FairnessColumns("label", ["group"], "prediction", threshold=0.7), "so does the threshold", "leave"),
        (FairnessColumns("label", ["group"], "prediction", positive="yes"), "", ""),
    ],
    ids=lambda one: "",
)
def test_columns_that_nobody_can_read_are_refused_with_a_mend(columns, said, mend):
    if not said:  # a level that no column has is not needed where classes are 0 and 1
        assert judged(table(), columns).verdict in ("ok", "warn", "fail")
        return
    with pytest.raises(UsageError, match=said) as refused:
        judged(table(), columns)
    assert mend in refused.value.mend


def test_limits_that_are_given_are_those_that_are_judged():
    report = judged(table(), limits={"roc_auc": 0.5, "precision_ratio": 0.01})
    assert {(gap.metric, gap.kind) for gap in report.gaps if gap.verdict} == {
        ("roc_auc", "difference"),
        ("precision", "ratio"),
    }
    assert report.verdict == "ok"
    assert {gap.metric for gap in report.gaps} == {*RATES, *OF_SCORES}


# do the intervals hold?


def drawn_world(seed, rates, sizes, n_repeats=1):
    draws = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(rates)), sizes)
    chosen = (draws.random(len(group)) < np.asarray(rates)[group]).astype(int)
    rows = pd.DataFrame({"group": group, "prediction": chosen, "person": np.arange(len(group))})
    rows["label"] = draws.integers(0, 2, len(group))
    return pd.concat([rows] * n_repeats, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [None, "person"])
def test_intervals_of_all_groups_and_of_the_gap_hold_together_in_95_percent(cluster):
    rates, sizes, held, gaps = [0.3, 0.35, 0.3, 0.4], [80, 200, 400, 120], [], []
    columns = FairnessColumns("label", ["group"], "prediction", cluster=cluster)
    for seed in range(300):
        rows = drawn_world(seed, rates, sizes, 5 if cluster else 1)
        report = judged(rows, columns, limits={"selection_rate": 0.1}, n_resamples=300)
        spans = [group.metrics["selection_rate"] for group in report.groups]
        held.append(all(s.low <= rate <= s.high for s, rate in zip(spans, rates, strict=True)))
        span = report.differences["selection_rate"]
        gaps.append(span.low <= 0.1 <= span.high)
    assert 0.92 <= np.mean(held) <= 0.99
    assert np.mean(gaps) >= 0.93


@pytest.mark.slow
def test_gap_at_its_limit_fails_in_a_few_tables_only():
    columns = FairnessColumns("label", ["group"], "prediction")
    failed = [
        judged(drawn_world(seed, [0.3, 0.4], [300, 300]), columns, limits={"selection_rate": 0.1}).verdict
        for seed in range(200)
    ]
    assert failed.count("fail") <= 200 * 0.06


# whatever stands in the columns


VALUES = {
    "texts": ["yes", "no", "", "(missing)", "\x00", "\ud800", "ß" * 50, "0", "1", "nan", "<b>"],
    "numbers": [0, 1, -1, 2**63, 0.5, float("inf"), float("nan"), -0.0, 1e308],
    "decimals": [Decimal("0"), Decimal("1.0"), Decimal("NaN"), Decimal("1E+400"), Decimal("sNaN")],
    "times": [pd.Timestamp("2026-01-01"), pd.NaT, pd.Timedelta("1D"), np.datetime64("2026-01-01")],
    "odd": [None, pd.NA, (1, 2), [1], {"a": 1}, {1}, b"\xff", 1j, object, True, False],
}
COLUMN = st.sampled_from(list(VALUES)).flatmap(
    lambda kind: st.lists(st.sampled_from(VALUES[kind]), min_size=0, max_size=4)
)
KINDS = st.sampled_from([None, "object", "category", "str", "boolean", "Float64", "int8"])


def column_of(values, kind, n):
    cells = pd.Series([values[at % len(values)] for at in range(n)] if values else [None] * n, dtype=object)
    try:
        return cells if kind is None else cells.astype(kind)
    except (TypeError, ValueError, ArithmeticError, OverflowError):
        return cells


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(COLUMN, KINDS), min_size=5, max_size=5), st.sampled_from([0, 1, 3, 90]), st.data())
def test_any_columns_give_a_document_or_an_error_of_usage_with_a_mend(columns, n, data):
    names = ["label", "prediction", "score", "group", "cluster"]
    rows = pd.DataFrame({name: column_of(*one, n) for name, one in zip(names, columns, strict=True)})
    given_names = {
        name: data.draw(st.sampled_from([None, name])) for name in ("prediction", "score", "cluster")
    }
    positive = data.draw(st.sampled_from([None, "yes", "1"]))
    asked = FairnessColumns("label", ["group", "cluster"], **given_names, positive=positive)
    try:
        report = judged(rows, asked, n_resamples=5, smallest=2)
    except UsageError as refused:
        assert refused.mend
    else:
        assert report.verdict in ("ok", "warn", "fail", "not_computable")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["difference", "ratio"])
def test_smallest_gap_that_is_said_to_be_seen_fails_in_four_tables_of_five(kind):
    limit = {
        "selection_rate" if kind == "difference" else "selection_rate_ratio": 0.1
        if kind == "difference"
        else 0.8
    }

    def gap_of(lower, seed):
        draw = np.random.default_rng(seed)
        given = np.concatenate([draw.random(800) < 0.5, draw.random(800) < lower])
        table = pd.DataFrame({"g": np.repeat(["a", "b"], 800), "y": draw.random(1600) < 0.5, "given": given})
        found = fairness(table, FairnessColumns(label="y", groups=["g"], prediction="given"), limit)
        return next(gap for gap in found.gaps if gap.kind == kind and gap.limit)

    seen = np.mean([gap_of(0.5, seed).smallest_seen for seed in range(10)])
    lower = 0.5 - seen if kind == "difference" else 0.5 * seen
    assert 0.65 < np.mean([gap_of(lower, seed).verdict == "fail" for seed in range(80)]) < 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "rate"), [((400, 400, 400), 0.02), ((60,) * 12, 0.4), ((50, 50), 0.9)])
def test_intervals_hold_for_all_groups_together(sizes, rate):
    draw, held = np.random.default_rng(8), []
    names = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    for seed in range(200):
        chosen = (draw.random((2, len(names))) < rate).astype(int)
        table = pd.DataFrame({"group": names, "label": chosen[0], "prediction": chosen[1]})
        table.loc[[0, len(table) - 1], ["label", "prediction"]] = [[0, 0], [1, 1]]  # two classes always
        meant = FairnessColumns(label="label", groups=["group"], prediction="prediction")
        spans = [
            one.metrics["selection_rate"] for one in fairness(table, meant, n_resamples=500, seed=seed).groups
        ]
        held.append(all(span.low <= rate <= span.high for span in spans))
    assert np.mean(held) >= 0.93
