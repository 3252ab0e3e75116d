"""Profiles with clusters: days in any order are the same month, which is as sure as all of its rows are."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mlnb.fraud.simulator import simulate
from mlnb.monitor.cluster_samples import _digest_of, sample_clusters, size_of_bins
from mlnb.monitor.clusters import clusters_in
from mlnb.monitor.counted_clusters import counts_by_cluster, size_of_counts, ventiles
from mlnb.monitor.drift import Sampling, drift
from mlnb.monitor.profiles import merged, profile_drift, profile_of
from mlnb.store.errors import UsageError


def day(seed, n=120, n_cards=600):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "card": [None if one % 97 == 0 else f"c{one}" for one in draw.integers(0, n_cards, n)],
            "amount": np.where(draw.random(n) < 0.1, np.nan, draw.normal(size=n)),
            "shop": draw.choice(["a", "b", "c"], n),
        }
    )
    return frame if draw.random() < 0.7 else frame.drop(columns="shop")


def of_clusters(profile):
    return profile["clusters"], {name: one.get("by_cluster") for name, one in profile["columns"].items()}


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 2**32), min_size=3, max_size=6, unique=True), st.randoms())
def test_days_in_any_order_and_grouping_are_one_month(seeds, random):
    days = [profile_of(day(seed), "card") for seed in seeds]
    at_once = merged(days)
    random.shuffle(days)
    cut = random.randint(1, len(days) - 1)
    grouped = merged([merged(days[:cut]), merged(days[cut:])])
    assert of_clusters(grouped) == of_clusters(at_once)
    for name, one in at_once["columns"].items():
        assert (grouped["columns"][name]["n"], grouped["columns"][name]["missing"]) == (
            one["n"],
            one["missing"],
        )
    read = json.loads(json.dumps(at_once, allow_nan=False))
    assert profile_drift(read, grouped) == profile_drift(at_once, grouped)
    assert (
        profile_drift(read, grouped)["clusters"][0]
        == sample_clusters(pd.concat([day(seed) for seed in seeds], ignore_index=True), "card")[0].n
    )


def test_names_of_clusters_have_the_same_digest_in_any_process_and_type():
    assert [_digest_of(one) for one in (7, 7.0, np.int8(7), "7")] == ["dbd23343f825e25f"] * 4
    assert len({_digest_of(one) for one in (None, "", "None", 0, 7.5, "\ud800")}) == 6
    assert _digest_of(None) == _digest_of(np.nan) == _digest_of(pd.NaT) == _digest_of(pd.NA)


@pytest.mark.parametrize("n_cards", [1, 29])
def test_few_clusters_are_not_judged_however_many_rows_they_have(n_cards):
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"card": np.arange(900) % n_cards, "x": draw.normal(size=900), "c": ["a", "b"] * 450}
    )
    frame["gaps"] = frame.x.where(frame.card > n_cards / 2)
    found = profile_drift(profile_of(frame, "card"), profile_of(frame.assign(gaps=frame.x), "card"))
    assert {one["status"] for one in found["columns"].values()} == {"not_computable"}
    assert (found["verdict"], found["clusters"]) == ("not_computable", [n_cards, n_cards])


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda one: profile_of(one, "crad"), "did you mean `card`?"),
        (lambda one: profile_of(one, 0), "is no name of a column"),
        (lambda one: profile_of([1]), "no frame"),
        (
            lambda one: profile_of(one.assign(card=[[n] for n in range(len(one))]), "card"),
            "cannot be counted",
        ),
        (lambda one: merged([profile_of(one), profile_of(one, "card")]), "with one `cluster`"),
        (lambda one: profile_drift(profile_of(one), profile_of(one, "card")), "with one `cluster`"),
        (lambda one: merged([profile_of(one, "amount"), profile_of(one, "card")]), "with one `cluster`"),
    ],
)
def test_question_about_other_clusters_is_an_error_of_usage(ask, said):
    with pytest.raises(UsageError) as caught:
        ask(day(1))
    assert said in str(caught.value)


def test_profile_of_any_clusters_is_an_answer():
    frame = day(1)
    for odd in (
        frame[:0],
        frame[:1],
        frame.assign(card=None),
        frame.assign(amount=None, shop=[[1]] * len(frame)),
    ):
        kept = profile_of(odd, "card")
        assert profile_drift(merged([kept, kept]), kept)["verdict"] in ("not_computable", "fail")
        assert json.dumps(profile_drift(profile_of(frame, "card"), kept), allow_nan=False)


PAYMENTS = ("TX_AMOUNT", "TERMINAL_ID", "HOUR", "WEEKDAY")


@pytest.fixture(scope="module")
def fortnight():
    rows = simulate(n_days=14, n_customers=3000, n_terminals=2000)
    hours = {"HOUR": rows.TX_DATETIME.dt.hour, "WEEKDAY": rows.TX_DATETIME.dt.day_name()}
    return rows.assign(**hours)[["CUSTOMER_ID", "TX_TIME_DAYS", *PAYMENTS]]


@pytest.mark.slow
def test_design_effects_of_days_are_those_of_all_rows(fortnight):
    days = [rows for _, rows in fortnight.groupby("TX_TIME_DAYS")]
    kept = merged([profile_of(rows, "CUSTOMER_ID") for rows in days])
    for name in PAYMENTS[:3]:
        values, cards = fortnight[name].to_numpy(float), clusters_in(fortnight, "CUSTOMER_ID")
        edges = np.unique(ventiles(values))
        counts = counts_by_cluster(np.searchsorted(edges, values), len(edges) + 1, cards)
        exact = size_of_counts(counts, len(values))
        assert_allclose(size_of_bins(kept["columns"][name]["by_cluster"], len(fortnight)), exact, rtol=0.35)


@pytest.mark.slow
def test_halves_of_cards_raise_no_alarm_by_cards_and_many_by_rows(fortnight):
    alarms = {None: 0, "CUSTOMER_ID": 0}
    for seed in range(20):
        cards = np.random.default_rng(seed).permutation(3000)[:1500]
        is_one = fortnight.CUSTOMER_ID.isin(cards)
        for cluster in alarms:
            halves = []
            for half in (fortnight[is_one], fortnight[~is_one]):
                days = [rows.drop(columns="TX_TIME_DAYS") for _, rows in half.groupby("TX_TIME_DAYS")]
                halves.append(merged([profile_of(rows, cluster) for rows in days]))
            found = profile_drift(*halves, warn=1e-6, alpha=0.05)["columns"]
            alarms[cluster] += any(found[name]["status"] == "drift" for name in PAYMENTS)
    assert alarms["CUSTOMER_ID"] <= 3 < 10 < alarms[None]


@pytest.mark.slow
def test_what_moved_is_seen_by_profiles_with_clusters_as_by_rows(fortnight):
    is_one = fortnight.CUSTOMER_ID % 2 == 0
    before, now = fortnight[is_one], fortnight[~is_one].assign(TX_AMOUNT=lambda rows: rows.TX_AMOUNT * 2)
    found = profile_drift(profile_of(before, "CUSTOMER_ID"), profile_of(now, "CUSTOMER_ID"))
    exact = drift(before, now, sampling=Sampling("CUSTOMER_ID"))
    for name in PAYMENTS:
        assert found["columns"][name]["status"] == exact["columns"][name]["status"]
        assert_allclose(found["columns"][name]["noise"], exact["columns"][name]["noise"], rtol=0.3)


HOSTILE = [
    None,
    -1,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    True,
    "",
    "inf",
    "x" * 9,
    [],
    {},
    [1],
    {"a": 1},
    [[0] * 20],
]


def places_in(plain, path=()):
    "Every place in plain values, from the outside to the inside."
    yield path
    inner = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in inner:
        yield from places_in(value, (*path, key))


def spoilt(plain, path, value):
    "Plain values with another one at a place."
    if not path:
        return value
    changed = dict(plain) if isinstance(plain, dict) else list(plain)
    changed[path[0]] = spoilt(plain[path[0]], path[1:], value)
    return changed


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_profile_that_was_changed_is_refused_or_adds_up(data):
    kept = json.loads(json.dumps(profile_of(day(1, n=60, n_cards=40), "card")))
    whole = profile_of(day(1), "card")
    path = data.draw(st.sampled_from([path for path in places_in(kept) if len(path) < 5]))
    odd = spoilt(kept, path, data.draw(st.sampled_from(HOSTILE)))
    for ask in (
        lambda: profile_drift(whole, odd),
        lambda: profile_drift(odd, whole),
        lambda: merged([odd, kept]),
    ):
        try:
            assert json.dumps(ask(), allow_nan=False)
        except UsageError as error:
            assert error.mend


@pytest.mark.parametrize("odd", [None, 0, "profile", [], {}, {"rows": 1}, [1], {"a": {}}, float("nan")])
def test_what_is_no_profile_is_an_error_of_usage(odd):
    kept = profile_of(day(1))
    for ask in (lambda: merged(odd), lambda: merged([odd]), lambda: profile_drift(kept, odd)):
        with pytest.raises(UsageError):
            ask()


SET_ASIDE = {
    "names": pd.Series([f"r{i}" for i in range(400)]),
    "times": pd.Series(pd.date_range("2026-01-01", periods=400, freq="h")),
}


def _compared(before, now, way):
    if way == "rows":
        return drift(before, now)
    cluster = "card" if way == "cards" else None
    return profile_drift(*(profile_of(one, cluster) for one in (before, now)))


@pytest.mark.parametrize("way", ["rows", "profiles", "cards"])
@pytest.mark.parametrize("kind", SET_ASIDE)
@pytest.mark.parametrize("n_kept", [0, 40, 390, 400])
def test_columns_set_aside_are_told_when_they_lose_their_values(kind, way, n_kept):
    n = np.arange(400)
    before = pd.DataFrame({"amount": n, "card": [f"c{i % 100}" for i in n], "aside": SET_ASIDE[kind]})
    now = before.assign(aside=before["aside"].where(n < n_kept))
    found = _compared(before, now, way)
    if n_kept < 100:
        assert found["columns"]["aside"]["verdict"] == found["verdict"] == "fail"
    else:
        assert (found["verdict"], found["set_aside"]) == ("ok", ["aside"])


@pytest.mark.parametrize("way", ["rows", "profiles", "cards"])
def test_names_that_become_numbers_are_never_ok(way):
    n = np.arange(400)
    before = pd.DataFrame({"amount": n, "card": [f"c{i % 100}" for i in n], "aside": SET_ASIDE["names"]})
    assert _compared(before, before.assign(aside=n), way)["verdict"] == "not_computable"


@pytest.mark.parametrize("share", [0.002, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("heavy", [0.0, 1.0, -np.inf])
@pytest.mark.parametrize("n_parts", [1, 5])
def test_a_value_of_many_rows_stays_where_it_is(share, heavy, n_parts):
    draw = np.random.default_rng(5)

    def amounts(n):
        return pd.DataFrame({"amount": np.where(draw.random(n) < share, heavy, draw.lognormal(size=n))})

    before, now = amounts(30_000), amounts(800)
    profile = merged([profile_of(before.iloc[part::n_parts]) for part in range(n_parts)])
    found = profile_drift(profile, profile_of(now))
    column = found["columns"]["amount"]
    assert (found["verdict"], column["error"] < 0.0015) == ("ok", True)
    exact = drift(before, now)["columns"]["amount"]["value"]
    assert abs(column["value"] - exact) <= column["error"] + 1e-12


@pytest.mark.slow
def test_a_year_that_grows_day_by_day_is_known_to_within_a_hundredth():
    draw, year = np.random.default_rng(6), None
    for _ in range(365):
        one = profile_of(pd.DataFrame({"amount": draw.lognormal(size=60)}))
        year = one if year is None else merged([year, one])
    amounts = year["columns"]["amount"]
    assert amounts["slack"] / amounts["n"] < 0.01


def test_zeros_with_a_sign_have_the_bytes_of_others():
    zeros = [profile_of(pd.DataFrame({"x": [zero, 1.0] * 20})) for zero in (0.0, -0.0)]
    assert json.dumps(zeros[0]) == json.dumps(zeros[1])


DAMAGES = {
    ("rows",): ["9", -1, None, 1.5, True],
    ("columns",): [[], None, "x"],
    ("columns", "amount"): [None, [], {}, {"kind": "number", "n": 40, "missing": 0}],
    ("columns", "amount", "n"): [7, -40, "40", 10**30],
    ("columns", "amount", "kind"): ["zzz", "category", None, []],
    ("columns", "amount", "values"): [
        [],
        [1.0],
        [2.0, 1.0],
        [1.0, "nan"],
        [1.0, None],
        [1.0, [2.0]],
        "12",
        None,
    ],
    ("columns", "amount", "counts"): [[60, -20], [40], [10**30, 0], ["20", "20"], [20.0, 20.0], None],
    ("columns", "amount", "slack"): [-1, None, "0", 1e9],
    ("columns", "shop", "levels"): [{}, {"a": -1, "b": 41}, {"a": "40"}, [], None],
}


@pytest.mark.parametrize("place", DAMAGES)
def test_damaged_profiles_are_refused_by_name_and_never_ok(place):
    whole = profile_of(pd.DataFrame({"amount": [1.0, 2.0] * 20, "shop": ["a", "b"] * 20}))
    for value in DAMAGES[place]:
        broken = json.loads(json.dumps(whole))
        inside = broken
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = value
        for use in (lambda one: merged([whole, one]), lambda one: profile_drift(whole, one)):
            with pytest.raises(UsageError, match=r"no profile|damaged in its column"):
                use(broken)
