"""Checks of any two tables: a status for every column, and never `ok` for a check that was not made."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from mlnb.fraud.simulator import simulate
from mlnb.monitor.chance import ks_p_value
from mlnb.monitor.distances import binned, chi_square_p, ks, stability_index, wasserstein_normed, weighted_ks
from mlnb.monitor.domain import domain_drift
from mlnb.monitor.drift import Sampling, drift, figures
from mlnb.monitor.performance import performance
from mlnb.monitor.profiles import merged, profile_drift, profile_of
from mlnb.monitor.quality import quality
from mlnb.store.errors import UsageError

OF_DRIFT = {"status", "verdict", "method", "value", "statistic", "threshold", "p_value", "null_share"} | {
    "smallest_seen",
    "why",
    "missing_reference",
    "missing_current",
    "reason",
}
OF_QUALITY = {"status", "rule", "value", "limit", "why", "verdict", "reason"}


def table(n=200, seed=0):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {"id": np.arange(n), "amount": draw.normal(50, 9, n), "shop": draw.choice(list("abc"), n)}
    )


week = table()
scored = pd.DataFrame({"y": [0, 1] * 100, "p": np.linspace(0, 1, 200), "card": np.arange(200)})
QUESTIONS = {
    "key of another case": (lambda: quality(week, week, key="ID"), "did you mean `id`?"),
    "key by number": (lambda: quality(week, week, key=0), "is no name of a column"),
    "keys in a list": (lambda: quality(week, week, key=["id"]), "is no name of a column"),
    "misspelt column": (lambda: drift(week, week, columns=["amuont"]), "did you mean `amount`?"),
    "columns as text": (lambda: drift(week, week, columns="amount"), "is a list of names"),
    "warn above fail": (lambda: drift(week, week, warn=0.9, fail=0.1), "are no limits"),
    "warn nothing": (lambda: drift(week, week, warn=0), "are no limits"),
    "not a number": (lambda: drift(week, week, warn=float("nan")), "are no limits"),
    "alpha of one": (lambda: drift(week, week, alpha=1), "is no probability"),
    "misspelt cluster": (lambda: drift(week, week, sampling=Sampling("ID")), "did you mean `id`?"),
    "season without time": (lambda: drift(week, week, sampling=Sampling(season="week")), "needs a time"),
    "unknown figure": (lambda: figures(week, week, ["amount"], ["psy"]), "did you mean `psi`?"),
    "misspelt cards": (lambda: performance(scored, scored, "y", "p", "crad"), "did you mean `card`?"),
    "misspelt label": (lambda: performance(scored, scored, "Y", "p"), "did you mean `y`?"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_question_without_sense_is_an_error_of_usage_that_says_what_to_write(name):
    ask, said = QUESTIONS[name]
    with pytest.raises(UsageError) as caught:
        ask()
    assert said in str(caught.value) and caught.value.mend


UNSEEN = {
    "three rows": lambda: performance(scored, scored[:3], "y", "p"),
    "one card": lambda: performance(scored, scored.assign(card=1), "y", "p", "card"),
    "labels as text": lambda: performance(scored, scored.assign(y=["yes", "no"] * 100), "y", "p"),
    "cards only there": lambda: performance(scored, scored.drop(columns="card"), "y", "p", "card"),
    "rows of one cluster": lambda: drift(week.assign(c=1), week.assign(c=1), sampling=Sampling("c")),
    "29 rows": lambda: drift(week, week[:29]),
    "key that is gone": lambda: {
        "verdict": quality(week, week.drop(columns="id"), key="id")["rules"][2]["verdict"]
    },
}


@pytest.mark.parametrize("name", UNSEEN)
def test_check_that_could_not_look_is_not_computable(name):
    assert UNSEEN[name]()["verdict"] == "not_computable"


def test_text_ids_among_which_some_are_missing_are_clusters():
    cards = scored.assign(card=[None if n % 9 == 0 else f"c{n}" for n in range(200)])
    assert performance(cards, cards, "y", "p", "card", n_resamples=20)["verdict"] == "ok"


def test_decimals_drift_like_the_numbers_that_they_are():
    exact = week.assign(amount=[Decimal(f"{value:.2f}") for value in week.amount])
    moved = exact.assign(amount=[value + 30 for value in exact.amount])
    found = [drift(exact, now, ["amount"])["columns"]["amount"] for now in (exact, moved)]
    assert [(one["method"], one["status"]) for one in found] == [("ks", "ok"), ("ks", "drift")]


def test_whole_numbers_that_no_float_holds_are_compared():
    huge = pd.DataFrame({"n": pd.Series([10**400, -(10**400), 1] * 20, dtype=object)})
    found = drift(huge, huge.assign(n=pd.Series([10**400] * 60, dtype=object)))
    assert_allclose(found["columns"]["n"]["value"], 2 / 3)
    assert json.dumps(found, allow_nan=False) and quality(huge, huge)["verdict"] == "ok"


def test_column_that_is_gone_has_drifted_and_fails():
    found = drift(week, week.drop(columns="amount"))
    assert (found["verdict"], found["columns"]["amount"]["status"]) == ("fail", "drift")
    assert found["columns"]["amount"]["why"] == "missing in the current window"
    assert (found["rows"], found["clusters"]) == ([200, 200], None)


def test_small_windows_say_what_they_would_have_seen():
    found = drift(week, table(seed=1))["columns"]["amount"]
    assert found["status"] == "ok" and found["threshold"] < found["smallest_seen"] < 0.5


CELLS = st.one_of(
    st.none(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.booleans(),
    st.text(max_size=5),
    st.decimals(),
    st.datetimes(),
    st.binary(max_size=3),
    st.lists(st.integers(0, 2), max_size=2),
)
KINDS = st.sampled_from(
    [
        CELLS,
        st.floats(),
        st.integers(-9, 9),
        st.sampled_from(["a", "b", "<script>", None]),
        st.booleans(),
        st.none(),
        st.decimals(allow_nan=True),
        st.sampled_from([np.inf, -np.inf, np.nan, 0.0]),
        st.datetimes(),
    ]
)


@st.composite
def frames(draw):
    n = draw(st.sampled_from([0, 1, 30, 60]))
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "</script>", 1, None]), max_size=4))
    columns = [pd.Series(draw(st.lists(draw(KINDS), min_size=n, max_size=n))) for _ in names]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(n))
    return frame.set_axis(names, axis=1)


def strict(document):
    return json.dumps(document, allow_nan=False)


def check_any_two(before, now):
    found = drift(before, now)
    assert strict(found)
    for column in found["columns"].values():
        assert column.keys() >= OF_DRIFT
        assert column["status"] == {"warn": "drift", "fail": "drift"}.get(
            column["verdict"], column["verdict"]
        )
        assert (
            column["status"] == "not_computable" or column["value"] is not None or "missing" in column["why"]
        )
    assert found["verdict"] != "ok" or all(one["status"] == "ok" for one in found["columns"].values())
    judged = quality(before, now)
    assert strict(judged) and strict(quality(None, now))
    assert all(column.keys() >= OF_QUALITY for column in judged["columns"].values())
    assert judged["rows"] == len(now) and {rule["rule"] for rule in judged["rules"]} >= {
        "rows",
        "repeated",
        "kind",
    }


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(frames(), frames())
def test_any_two_tables_have_a_result(before, now):
    check_any_two(before, now)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames(), frames())
def test_four_hundred_tables_have_a_result(before, now):
    check_any_two(before, now)


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_scipy(seed):
    draw = np.random.default_rng(seed)
    one, two = draw.integers(0, 20, 300).astype(float), draw.normal(9, 5, 500)
    assert_allclose(ks(one, two), stats.ks_2samp(one, two).statistic, rtol=1e-9)
    normed = stats.wasserstein_distance(one, two) / one.std()
    assert_allclose(wasserstein_normed(one, two), normed, rtol=1e-9)
    weights = draw.integers(1, 4, 300)
    assert_allclose(weighted_ks(one, weights.astype(float), two), ks(np.repeat(one, weights), two), rtol=1e-9)
    counts = draw.integers(1, 50, (2, 7))
    expected = stats.chisquare(counts[1], counts[0] * (counts[1].sum() / counts[0].sum())).pvalue
    assert_allclose(chi_square_p(*counts), expected, rtol=1e-9)
    assert_allclose(ks_p_value(0.2, 300, 500), stats.kstwobign.sf(0.2 * np.sqrt(300 * 500 / 800)), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_evidently(seed):
    pytest.importorskip("mlnb.monitor.evidently")  # imports Evidently without its warnings
    from evidently.legacy.calculations.stattests.chisquare_stattest import _chi_stat_test
    from evidently.legacy.calculations.stattests.psi import _psi
    from evidently.legacy.calculations.stattests.wasserstein_distance_norm import _wasserstein_distance_norm
    from evidently.legacy.core import ColumnType

    draw = np.random.default_rng(seed)
    one, two = pd.Series(draw.normal(0, 1, 400)), pd.Series(draw.normal(0.5, 2, 300))
    assert_allclose(
        wasserstein_normed(one.to_numpy(), two.to_numpy()),
        _wasserstein_distance_norm(one, two, None, 0.1)[0],
        rtol=1e-9,
    )
    expected = _psi(one, two, ColumnType.Numerical, 0.1)[0]
    assert_allclose(stability_index(*binned(one.to_numpy(), two.to_numpy())), expected, rtol=1e-9)
    few = pd.Series(draw.integers(0, 9, 400)), pd.Series(draw.integers(0, 10, 300))
    expected = _psi(*few, ColumnType.Numerical, 0.1)[0]
    assert_allclose(stability_index(*binned(*(one.to_numpy() for one in few))), expected, rtol=1e-9)
    words = [one.astype(str) for one in few]
    frames = [pd.DataFrame({"c": one}) for one in words]
    found = figures(*frames, ["c"])["c"]
    assert_allclose(found["psi"], _psi(*words, ColumnType.Categorical, 0.1)[0], rtol=1e-9)
    same = [pd.DataFrame({"c": one.where(one != "9", "8")}) for one in words]
    expected = _chi_stat_test(same[0].c, same[1].c, ColumnType.Categorical, 0.05)[0]
    assert_allclose(figures(*same, ["c"])["c"]["chi_square"], expected, rtol=1e-9)


def halves(frame, by_card, seed):
    draw = np.random.default_rng(seed)
    if not by_card:
        first = draw.random(len(frame)) < 0.5
    else:
        cards = frame.CUSTOMER_ID.unique()
        first = frame.CUSTOMER_ID.isin(draw.permutation(cards)[: len(cards) // 2]).to_numpy()
    return frame[first], frame[~first]


def alarms(frame, columns, by_card, sampling, n_splits):
    "Share of splits in which any column is surer than 5 % that it moved, however little."
    found = [drift(*halves(frame, by_card, seed), columns, sampling=sampling) for seed in range(n_splits)]
    return np.mean(
        [min(one["p_value"] for one in each["columns"].values()) < 0.05 / len(columns) for each in found]
    )


@pytest.mark.slow
def test_halves_of_one_week_alarm_no_more_often_than_was_said():
    stream = simulate(14, n_customers=1500, n_terminals=3000)
    frame = stream[stream.TX_TIME_DAYS >= 7].reset_index(drop=True)
    per_card = frame.groupby("CUSTOMER_ID").TX_AMOUNT
    frame = frame.assign(
        usual=per_card.transform("mean"),
        often=per_card.transform("size"),
        rich=per_card.transform("max") > 150,
    )
    columns = ["TX_AMOUNT", "usual", "often", "rich"]
    by_rows = alarms(frame, columns, True, Sampling(), 60)
    by_cards = [alarms(frame, columns, by_card, Sampling("CUSTOMER_ID"), 60) for by_card in (True, False)]
    assert by_rows > 0.5 and max(by_cards) <= 0.1, (by_rows, by_cards)


def test_weekend_is_no_drift_of_a_week_that_has_weekends():
    draw = np.random.default_rng(0)
    times = pd.Series(pd.date_range("2026-11-02", periods=21 * 96, freq="15min"))
    amount = draw.normal(50, 5, len(times)) + 20 * (times.dt.weekday >= 5)
    stream = pd.DataFrame({"time": times, "amount": amount})
    weeks, weekend = stream[:1344], stream[1344:][stream.time[1344:].dt.weekday >= 5]
    plain = drift(weeks, weekend, ["amount"])
    alike = drift(weeks, weekend, ["amount"], sampling=Sampling(season="week", time="time"))
    assert (plain["verdict"], alike["verdict"]) == ("fail", "ok")
    moved = drift(
        weeks, weekend.assign(amount=weekend.amount + 5), ["amount"], sampling=Sampling(None, "week", "time")
    )
    assert moved["verdict"] == "fail"


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 9), st.sampled_from([1, 3, 1000]))
def test_profiles_say_what_all_rows_say_to_within_their_error(seed, n_days, n_values):
    draw = np.random.default_rng(seed)
    days = [
        pd.DataFrame(
            {
                "n": np.round(draw.normal(day / 9, 1, 700) * n_values) / n_values,
                "c": draw.choice(["a", "b", "c"], 700, p=[0.5, 0.5 - day / 30, day / 30]),
                "gaps": np.where(draw.random(700) < day / 20, np.nan, 1.0),
            }
        )
        for day in range(n_days)
    ]
    today = pd.DataFrame({"n": draw.normal(0, 1, 3000), "c": draw.choice(["a", "d"], 3000), "gaps": 1.0})
    exact = drift(pd.concat(days, ignore_index=True), today)
    found = profile_drift(merged(map(profile_of, days)), profile_of(today))
    assert strict(found) and found["rows"] == exact["rows"]
    for name, column in exact["columns"].items():
        kept = found["columns"][name]
        assert_allclose(kept["value"], column["value"], atol=kept["error"] + 1e-12)
        assert_allclose(kept["null_share"], column["null_share"])
        assert kept["error"] < 0.003 and kept["method"] == column["method"]


@pytest.mark.slow
def test_model_tells_windows_apart_only_by_cards_that_it_does_not_know():
    draw = np.random.default_rng(0)
    habit = draw.normal(size=(200, 3)).repeat(10, axis=0)
    frame = pd.DataFrame(habit, columns=list("xyz")).assign(card=np.arange(200).repeat(10))
    halves_of_cards = frame[frame.card < 100], frame[frame.card >= 100]
    assert domain_drift(*halves_of_cards)["verdict"] == "fail"
    assert domain_drift(*halves_of_cards, cluster="card")["verdict"] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_model_sees_a_relation_that_flipped_and_raises_no_alarm_among_halves_of_cards(seed):
    draw = np.random.default_rng(seed)
    habit = draw.normal(size=(3000, 2)).repeat(10, axis=0)
    frame = pd.DataFrame(habit, columns=list("xy")).assign(card=np.arange(3000).repeat(10))
    frame["z"] = frame.x + draw.normal(size=len(frame)) / 2
    half = frame.card.isin(draw.permutation(3000)[:1500])
    before, now = frame[half], frame[~half]
    assert domain_drift(before, now, "card")["verdict"] == "ok"
    flipped = now.assign(z=-now.z)
    found = domain_drift(before, flipped, "card")
    assert found["verdict"] == "fail" and {*list(found["columns"])[:2]} == {"x", "z"}
    assert drift(before, flipped, ["x", "y", "z"], sampling=Sampling("card"))["verdict"] == "ok"


@pytest.mark.slow
def test_model_of_many_rows_uses_some_of_them_and_says_how_many():
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(60_000, 120))).rename(columns=str)
    found = domain_drift(wide[:30_000], wide[30_000:])
    assert (found["rows"], found["verdict"]) == ([8_333, 8_333], "ok") and found["smallest_seen"] < 0.6


def test_a_longer_reference_hides_no_rows_that_came_twice():
    draw = np.random.default_rng(0)

    def week():
        return pd.DataFrame({"shop": draw.integers(0, 200, 2000), "amount": draw.integers(1, 60, 2000)})

    month, now = pd.concat([week() for _ in range(4)]), week()
    doubled = pd.concat([now[:1800], now[:200]])
    found = [rule_of(quality(month, one, n_expected=2000), "repeated") for one in (now, doubled)]
    assert found == ["ok", "warn"]


def test_new_cards_come_by_themselves_and_too_many_of_them_do_not():
    draw = np.random.default_rng(0)
    cards = np.array([f"card{n}" for n in range(3000)], dtype=object)
    alarms = 0
    for _ in range(30):
        seen, now = (pd.DataFrame({"card": cards[draw.zipf(1.3, 4000) % 3000]}) for _ in range(2))
        alarms += quality(seen, now)["columns"]["card"]["verdict"] != "ok"
    strange = pd.DataFrame({"card": np.where(np.arange(4000) % 5, now.card, "odd")})
    assert alarms <= 1 and quality(seen, strange)["columns"]["card"]["rule"] == "new"


def rule_of(found, name):
    return next(one["verdict"] for one in found["rules"] if one["rule"] == name)


@pytest.mark.parametrize("seed", range(5))
def test_new_names_of_a_long_tail_are_no_fault_and_more_of_them_are(seed):
    drawn = pd.Series(np.random.default_rng(seed).zipf(1.5, 8_000) % 10**6).astype(str)
    before, now = (pd.DataFrame({"merchant": part.to_numpy()}) for part in (drawn[:4_000], drawn[4_000:]))
    assert quality(before, now)["verdict"] == "ok"
    other = now.assign(merchant=now.merchant.where(now.index % 4 > 0, "x" + now.merchant))
    found = quality(before, other)["columns"]["merchant"]
    assert (found["verdict"], found["rule"]) == ("fail", "new")
    ids = [
        pd.DataFrame({"receipt": pd.Series(map(str, range(n, n + 400))).reindex(range(1000))})
        for n in (0, 400)
    ]
    assert quality(*ids)["verdict"] == "ok"


@pytest.mark.parametrize("n_rows", [0, 40])
def test_table_without_columns_is_never_in_order(n_rows):
    nothing = pd.DataFrame(index=range(n_rows))
    assert quality(None, nothing)["verdict"] == "not_computable"
    assert quality(nothing, nothing)["verdict"] == "not_computable"
    assert quality(pd.DataFrame({"a": range(40)}), nothing)["verdict"] == "fail"
