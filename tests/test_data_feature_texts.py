"""What is said of an input: any value, any name, any text; what could not be said is refused with a mend."""

import importlib
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.data.definition import AGGREGATIONS, WITHOUT_COLUMN, Feature
from mlnb.data.feature_texts import (
    HOLES,
    FeatureText,
    derived_text,
    fitting_texts,
    imported_texts,
    input_sentence,
    require_texts,
    texts_for,
    unwritten_text,
)
from mlnb.data.spoken_values import SPOKEN_UNITS, spoken_value
from mlnb.store.errors import UsageError
from mlnb.store.shown_text import in_one_line

HOSTILE = [
    "<script>alert(1)</script>",
    "a\nb",
    "\x1b[2J",
    "exe\u202etxt",
    "{value.__class__.__mro__}",
    "{0}",
    "}{",
    "$\\frac{1}{0}$",
    "=cmd()",
    "",
    " ",
    "x" * 5000,
    "\ud800",
    "zero\u200bwidth",
    "CON",
    "A" * 70,
]
VALUES = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.text(),
    st.sampled_from([*HOSTILE, pd.NA, pd.NaT, np.float32(0.1), np.int64(-1), np.datetime64("NaT"), 10**400]),
    st.sampled_from(
        [-(10**400), 1j, b"x", pd.Timestamp("2026-01-01"), pd.Timedelta("1D"), ["a"], {"a": 1}, dict]
    ),
)
WORDS = st.lists(st.sampled_from(["{value}", "{usual}", "{times}", "so", "{{", "}}", "<b>"])).map(" ".join)


@settings(max_examples=50)
@given(st.sampled_from(sorted(SPOKEN_UNITS)), VALUES)
def test_any_value_is_said_in_one_short_line(unit, value):
    said = spoken_value(value, unit)
    assert said and in_one_line(said) == said and len(said) < 90
    assert not re.search(r"\bnan\b|\binf\b", said) or isinstance(value, str)


@settings(max_examples=50)
@given(st.sampled_from(sorted(SPOKEN_UNITS)), WORDS, WORDS, VALUES, VALUES, st.booleans())
def test_any_row_has_a_sentence_and_no_hole_is_left(unit, raises, lowers, value, usual, goes_up):
    text = FeatureText("a", "code", "amount", raises, lowers, unit, usual="b")
    said = input_sentence(text, {"a": value, "b": usual}, goes_up)
    assert said.strip() and in_one_line(said) == said
    plain = said.replace(spoken_value(value, unit), "").replace(spoken_value(usual, unit), "")
    assert not any(f"{{{hole}}}" in plain.replace("{{", "").replace("}}", "") for hole in HOLES)


def test_what_a_value_holds_is_never_filled_in_again():
    text = FeatureText("a", "code", "shop", "shop is {value}")
    assert input_sentence(text, {"a": "{usual} {value.__class__}"}) == "shop is “{usual} {value.__class__}”"


@settings(max_examples=30)
@given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE)), unique=True, max_size=8))
def test_any_names_have_texts_with_codes_of_their_own(names):
    texts = texts_for(names)
    assert list(texts) == names and texts == texts_for(names[::-1])
    assert len({text.code for text in texts.values()}) == len(names)
    for name in names:
        said = input_sentence(texts[name], {name: 1.0})
        assert in_one_line(said) == said and len(said) < 400 and said.endswith("is 1")


def test_codes_of_unwritten_inputs_keep_away_from_those_that_are_written():
    written = FeatureText("x", "amount", "amount")
    texts = texts_for(["AMOUNT", "x", "amount", "Amount"], [written])
    assert texts["x"].code == "amount"
    assert len({text.code for text in texts.values()}) == 4


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_any_feature_has_a_text_of_one_line(aggregation, hostile):
    column = None if aggregation in WITHOUT_COLUMN else hostile
    feature = Feature("f", hostile, aggregation, column, window_s=86_400, delay_s=1)
    said = input_sentence(derived_text(feature), {"f": 0.5})
    assert in_one_line(said) == said and len(said) < 400


def test_features_that_differ_in_the_window_only_are_one_reason():
    def code(key="k", aggregation="mean", column="c", window_s=60, delay_s=0):
        return derived_text(Feature("f", key, aggregation, column, window_s, delay_s)).code

    assert code(window_s=60) == code(window_s=600)
    assert len({code(), code("l"), code(aggregation="sum"), code(column="d"), code(delay_s=5)}) == 5


# what is refused; the mend, followed, works


MEND = {
    "{valu}": "{value}",
    "{value!r}": "{value}",
    "{value:>9}": "{value}",
    "{value.__class__}": "{value}",
    "{}": "{value}",
    "{0}": "{value}",
    "a { b": "a {{ b",
    "a } b": "a }} b",
    "a\nb": "a b",
    "a\x1b[2Jb": "a b",
    "a\u202eb": "a b",
    "x" * 201: "x" * 200,
}


@pytest.mark.parametrize(("wrong", "right"), MEND.items(), ids=range(len(MEND)))
def test_words_that_cannot_be_said_are_refused_and_the_mend_works(wrong, right):
    for field in ("raises", "lowers"):
        with pytest.raises(UsageError) as caught:
            FeatureText("a", "code", "amount", **{field: wrong})
        assert caught.value.mend and in_one_line(str(caught.value)) == str(caught.value)
        input_sentence(FeatureText("a", "code", "amount", **{field: right}), {"a": 1.0})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"code": "A"}, {"code": "a"}),
        ({"code": "a\n"}, {"code": "a"}),
        ({"unit": "monye"}, {"unit": "money"}),
        ({"what": " "}, {"what": "amount"}),
        ({"raises": "{times}"}, {"raises": "{times}", "usual": "b"}),
        ({"empty": 0.0}, {"empty": 0.0, "nothing": "none"}),
        ({"nothing": "none"}, {"empty": 0.0, "nothing": "none"}),
        ({"empty": 0.0, "nothing": "a\x1b"}, {"empty": 0.0, "nothing": "a"}),
        *(
            ({part: odd}, {part: "a"})
            for part in ("name", "code", "what", "raises", "lowers")
            for odd in (None, 7)
        ),
        ({"unit": ["money"]}, {"unit": "money"}),
        ({"nothing": None}, {"nothing": ""}),
        ({"usual": 7}, {"usual": None}),
        *(({"empty": odd, "nothing": "none"}, {"empty": -1, "nothing": "none"}) for odd in ("-1", True)),
    ],
)
def test_a_text_that_does_not_hold_together_is_refused_and_the_mend_works(wrong, right):
    plain = {"name": "a", "code": "code", "what": "amount"}
    with pytest.raises(UsageError) as caught:
        FeatureText(**plain | wrong)
    assert caught.value.mend
    FeatureText(**plain | right)


def test_a_table_that_names_what_is_no_input_is_refused():
    text = FeatureText("a", "code", "amount", usual="b")
    require_texts([text], ["b", "a"])
    for names in (["a"], ["b"]):
        with pytest.raises(UsageError, match="is no input"):
            require_texts([text], names)
    for refusing in (lambda: require_texts([text, text], ["a", "b"]), lambda: texts_for(["a"], [text, text])):
        with pytest.raises(UsageError, match="two texts are for `a`"):
            refusing()


@pytest.mark.parametrize("asks", [texts_for, fitting_texts, lambda names, texts: require_texts(texts, names)])
@pytest.mark.parametrize(
    "odd", [{"a": FeatureText("a", "code", "amount")}, [("a", "code", "amount")], "a", [None]]
)
def test_what_is_no_table_of_texts_or_no_list_of_names_is_refused_and_the_mend_works(asks, odd):
    right = FeatureText("a", "code", "amount")
    with pytest.raises(UsageError, match=r"a table of texts holds .* pass a list of `FeatureText`"):
        asks(["a"], odd)
    with pytest.raises(UsageError, match=r"write `\['a'\]`"):
        asks("a", [right])
    asks(["a"], [right])


# the texts of the examples


TABLES = {
    "mlnb.fraud.features": ("HANDBOOK_TEXTS", "INPUTS", "HANDBOOK"),
    "mlnb.fraud.champion": ("CHAMPION_TEXTS", "CHAMPION_INPUTS", None),
}


@pytest.mark.parametrize("module", TABLES)
def test_every_input_of_the_examples_has_a_text_that_claims_no_cause(module):
    table, names, _ = (
        getattr(importlib.import_module(module), one, None) for one in map(str, TABLES[module])
    )
    require_texts(table, names)
    assert {text.name for text in table} == set(names)
    for text in table:
        for value in (0.0, 3.5, -1.0, math.nan, text.empty):
            for usual in (2.0, math.nan) if text.usual else (2.0,):
                said = input_sentence(text, {text.usual: usual, text.name: value})
                assert not re.search(r"because|caus|due to|reason|therefore", said), said
                assert len(said) < 130 and "no words" not in said


def test_texts_stand_beside_the_definition_that_settings_name(tmp_path):
    from mlnb.fraud.features import HANDBOOK_TEXTS

    assert imported_texts(tmp_path, "mlnb.fraud.features:HANDBOOK") == HANDBOOK_TEXTS
    assert imported_texts(tmp_path, "mlnb.fraud.champion:HABITS") == ()
    with pytest.raises(UsageError, match="no module"):
        imported_texts(tmp_path, "mlnb.fraud.nothing:HABITS")


def test_an_unwritten_text_says_so():
    assert "no words are written" in input_sentence(unwritten_text("PC_7"), {"PC_7": 3})


def test_of_several_tables_the_first_that_fits_is_taken_and_the_table_holds():
    from mlnb.fraud.champion import CHAMPION_INPUTS, CHAMPION_TEXTS
    from mlnb.fraud.features import HANDBOOK_TEXTS, INPUTS

    assert set(fitting_texts(CHAMPION_INPUTS, CHAMPION_TEXTS, HANDBOOK_TEXTS)) == set(CHAMPION_TEXTS)
    assert set(fitting_texts(INPUTS, CHAMPION_TEXTS, HANDBOOK_TEXTS)) == set(HANDBOOK_TEXTS)
    for names in (INPUTS, CHAMPION_INPUTS, [], ["TX_AMOUNT"]):
        require_texts(fitting_texts(names, CHAMPION_TEXTS, HANDBOOK_TEXTS), names)
