"""Reasons add up, point the right way and stay the same in any order of rows and columns; planted frauds are
explained by what was planted."""

import importlib
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from mlnb.data.feature_texts import FeatureText, texts_for
from mlnb.models.attributions import Attributions, explainer
from mlnb.models.reason_codes import (
    ExplainedAlerts,
    ReasonLimits,
    alerts_explained,
    reason_codes,
    reason_table,
    reasons_of,
)
from mlnb.models.training import InputError, classifier, scores, train
from mlnb.store.errors import UsageError
from mlnb.store.shown_text import in_one_line

HOSTILE = [
    "<script>alert(1)</script>",
    "a\nb",
    "\x1b[2J",
    "{value}",
    "$x^2$",
    "|a|b|",
    "a,b:[]",
    "",
    "x" * 900,
]
NAMES = ["amount", "last", "place", *HOSTILE]
TEXTS = texts_for(
    NAMES,
    [
        FeatureText("amount", "money", "amount", "amount is {value}", unit="money"),
        FeatureText("last", "money", "amount before", unit="money"),
    ],
)
PARTS = st.one_of(
    st.floats(-10, 10), st.sampled_from([0.0, 0.1, -0.1, 0.2, 0.3, 1e-12, -1e-12, 1e15, -1e15, 5e-324])
)


def attributed(values, base=0.5, names=NAMES):
    "Attributions with these parts."
    values = np.array(values, dtype=float).reshape(-1, len(names))
    bases = np.full(len(values), base)
    explained = bases + values.sum(axis=1)
    return Attributions(tuple(names), values, bases, explained, "log-odds", np.zeros(len(values)))


def rows_of(n_rows, names=NAMES):
    return pd.DataFrame({name: np.arange(n_rows) + place for place, name in enumerate(names)})


@settings(max_examples=60)
@given(
    st.lists(PARTS, min_size=len(NAMES), max_size=len(NAMES)),
    st.integers(1, 12),
    st.integers(0, 12),
    st.sampled_from([0.0, 0.01, 0.5, 1.0]),
)
def test_reasons_add_up_and_point_the_way_they_say(parts, most, most_lowering, least):
    given_parts = attributed(parts)
    (one,) = reason_codes(given_parts, rows_of(1), TEXTS, ReasonLimits(most, most_lowering, least))
    told = [*one.raising, *one.lowering]
    size = 1 + np.abs(parts).sum()
    whole = one.base + sum(reason.part for reason in told) + one.rest
    assert abs(whole - one.explained) <= 1e-12 * size
    assert all(reason.part > 0 for reason in one.raising) and all(reason.part < 0 for reason in one.lowering)
    assert len(one.raising) <= most and len(one.lowering) <= most_lowering
    assert len({reason.code for reason in told}) == len(told)
    assert all(0 < reason.share <= 1 for reason in told) and sum(reason.share for reason in told) <= 1 + 1e-9
    for reasons in (one.raising, one.lowering):
        assert all(reason.share >= least * (1 - 1e-9) for reason in reasons[1:])
        assert [round(abs(reason.part), 9) for reason in reasons] == sorted(
            (round(abs(reason.part), 9) for reason in reasons), reverse=True
        )
    for reason in told:
        assert reason.part == pytest.approx(
            sum(part for part, name in zip(parts, NAMES, strict=True) if name in reason.inputs),
            abs=1e-12 * size,
        )


@settings(max_examples=30)
@given(
    st.lists(st.lists(PARTS, min_size=len(NAMES), max_size=len(NAMES)), min_size=2, max_size=4),
    st.randoms(use_true_random=False),
)
def test_reasons_are_the_same_in_any_order_of_rows_and_columns(parts, shuffle):
    whole, rows = attributed(parts), rows_of(len(parts))
    limits = ReasonLimits(12, 12, 0.0)
    known = reason_codes(whole, rows, TEXTS, limits)
    order, columns = list(range(len(parts))), list(range(len(NAMES)))
    shuffle.shuffle(order)
    shuffle.shuffle(columns)
    names = [NAMES[n] for n in columns]
    turned = Attributions(
        tuple(names),
        whole.values[order][:, columns],
        whole.base[order],
        whole.explained[order],
        "log-odds",
        whole.gap[order],
    )
    again = reason_codes(turned, rows.iloc[order], {name: TEXTS[name] for name in names}, limits)
    told = [
        [(one.code, one.words, one.part, one.share) for one in (*score.raising, *score.lowering)]
        for score in again
    ]
    assert told == [
        [(one.code, one.words, one.part, one.share) for one in (*known[n].raising, *known[n].lowering)]
        for n in order
    ]


def test_equal_parts_are_ordered_by_code_and_rounding_does_not_decide():
    parts = np.zeros(len(NAMES))
    parts[:3] = 0.1, 0.2, 0.1 + 0.2 + 1e-15
    (one,) = reason_codes(attributed(parts), rows_of(1), TEXTS)
    assert [reason.code for reason in one.raising] == ["money", "place"]
    (one,) = reason_codes(attributed([0.1] * 2 + [0.0] * 10), rows_of(1), TEXTS)
    assert (one.raising[0].input, one.raising[0].inputs) == ("amount", ["amount", "last"])


def test_opposite_parts_of_one_reason_cancel():
    (one,) = reason_codes(attributed([0.4, -0.4, 0.1] + [0.0] * 9), rows_of(1), TEXTS, ReasonLimits(9, 9))
    assert ([reason.code for reason in one.raising], one.lowering) == (["place"], [])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_of_one_line(name):
    parts = [float(one == name) for one in NAMES]
    (one,) = reason_codes(attributed(parts), rows_of(1), TEXTS)
    (reason,) = one.raising
    assert reason.input == name and in_one_line(reason.words) == reason.words
    with pd.option_context("display.max_colwidth", None):
        page = reason_table(one)._repr_html_()
    assert "<script>" not in page and "no words are written" in page
    read = json.loads(json.dumps(alerts_explained([1], [0.5], 0.1, _reasons(one)).as_dict()))
    assert ExplainedAlerts.from_dict(read).alerts[0].reasons == one


def _reasons(*told):
    module = importlib.import_module("mlnb.models.reason_codes")
    return module.Reasons(why_not="", scores=list(told))


@pytest.mark.parametrize(
    "value", [None, np.nan, np.inf, "text\n", pd.NA, np.int64(3), True, np.datetime64("2026-01-01")]
)
def test_any_value_can_be_written_down(value):
    rows = pd.DataFrame({"place": pd.Series([value], dtype=object)})
    (one,) = reason_codes(attributed([1.0], names=["place"]), rows, TEXTS)
    json.dumps(one.as_dict(), allow_nan=False)
    assert in_one_line(one.raising[0].words) == one.raising[0].words


def test_what_does_not_belong_together_is_refused_and_the_mend_works():
    parts, rows = attributed([[1.0] * len(NAMES)] * 2), rows_of(2)
    twice = pd.concat([rows, rows[["amount"]]], axis=1)
    for wrong in (rows.head(1), rows.drop(columns="amount"), twice):
        with pytest.raises(InputError, match="give the very rows that were explained"):
            reason_codes(parts, wrong, TEXTS)
    with pytest.raises(InputError, match="texts_for"):
        reason_codes(parts, rows, {})
    assert len(reason_codes(parts, rows, texts_for(NAMES))) == 2
    for wrong in ({"most": 0}, {"most_lowering": -1}, {"least_share": np.nan}):
        with pytest.raises(UsageError, match=r"at least 1|between 0 and 1"):
            ReasonLimits(**wrong)


# with models


@pytest.fixture(scope="module")
def shop():
    draw = np.random.default_rng(5)
    frame = pd.DataFrame(draw.exponential(30, (300, 3)), columns=["amount", "last", HOSTILE[0]])
    return frame.assign(fraud=(frame["amount"] + frame[HOSTILE[0]] > 90).astype(int))


def test_reasons_of_a_model_add_up_to_its_score(shop):
    names = ["amount", "last", HOSTILE[0]]
    model = train(classifier("forest", 10, 5), shop, "fraud", names)
    rows = shop.tail(20)
    found = reasons_of(model, rows, scores(model, rows), TEXTS, ReasonLimits(9, 9))
    assert found.why_not == ""
    for one, score in zip(found.scores, scores(model, rows), strict=True):
        told = one.base + sum(reason.part for reason in (*one.raising, *one.lowering)) + one.rest
        assert told == pytest.approx(score, abs=1e-9)


def test_a_model_that_cannot_be_explained_says_why_and_what_to_do(shop):
    names = ["amount", "last"]
    model = KNeighborsClassifier().fit(shop[names], shop["fraud"])
    found = reasons_of(model, shop.head(3), scores(model, shop.head(3)), TEXTS)
    assert found.scores == [] and "; " in found.why_not
    forest = RandomForestClassifier(3, random_state=0).fit(shop[names], shop["fraud"])
    wrong = reasons_of(forest, shop.head(3), [0.123] * 3, TEXTS)
    assert wrong.scores == [] and "score" in wrong.why_not
    assert reasons_of(forest, shop.head(0), [], TEXTS).scores == []


RIGHT = {
    1: {"amount", "unusual_amount", "customer_amounts"},  # large amount
    2: {"terminal_frauds"},  # compromised terminal
    3: {"amount", "unusual_amount", "customer_amounts", "odd_amounts"},  # stolen card, five times the amount
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["forest", "champion"])
def test_first_reason_of_planted_frauds_is_what_was_planted(kind, record_property):
    from mlnb.fraud.champion import CHAMPION_TEXTS, add_champion_features, train_champion
    from mlnb.fraud.features import HANDBOOK_TEXTS, INPUTS, add_features
    from mlnb.fraud.model import train_on_payments
    from mlnb.fraud.simulator import simulate

    frame = add_features(simulate(64))
    frame = add_champion_features(frame) if kind == "champion" else frame
    past = frame[frame["TX_TIME_DAYS"].between(22, 49)]
    model = (
        train_champion(past)
        if kind == "champion"
        else train_on_payments(classifier("forest", 100, 12), past[past["TX_TIME_DAYS"] >= 43])
    )
    names = list(model.feature_names_in_)
    texts = texts_for(names, CHAMPION_TEXTS if kind == "champion" else HANDBOOK_TEXTS)
    assert set(INPUTS) <= set(names)
    window = frame[frame["TX_TIME_DAYS"] >= 57].reset_index(drop=True)
    given_scores = scores(model, window)
    is_found = (given_scores >= np.quantile(given_scores, 0.99)) & (window["TX_FRAUD"] == 1)
    found = window[is_found].reset_index(drop=True)
    told = reason_codes(explainer(model).explain(found, given_scores[is_found]), found, texts)
    for scenario, right in RIGHT.items():
        first = [
            one.raising[0].code
            for one, its in zip(told, found["TX_FRAUD_SCENARIO"], strict=True)
            if its == scenario
        ]
        counts = Counter(first)
        share = sum(n for code, n in counts.items() if code in right) / len(first)
        record_property(f"{kind} scenario {scenario}", f"{share:.3f} of {len(first)}: {dict(counts)}")
        assert len(first) >= 20 and share >= 0.8, (scenario, counts)
