"""What goes the quick way is written and read as if it had gone the slow one, and whatever is odd goes the
slow way."""

import enum
import gc
import io
import json
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.store.codecs import decode, encode
from mlnb.store.errors import IntegrityError, ValueRefusedError
from mlnb.store.plain_values import ordered_json
from mlnb.store.table_axes import same_cells
from mlnb.store.typed_values import as_typed, from_typed
from mlnb.store.untagged_values import PIECE, are_untagged, resting_collector, untagged_or, untagged_texts

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


class Grade(enum.IntEnum):
    "A whole number that is none."

    A = 1


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.sampled_from([2**64, -(2**70), 1e16, 5e-324, -0.0, "🙂", "\x7f", "\u2028", "!set", '","']),
)
ODD = [(1, 2), {3}, float("nan"), float("inf"), "\ud800", {"!set": [1]}, {"!x": 1, "b": 2}, {1: "x"}, b"x"]
ODD += [np.float64(1.5), np.str_("x"), Grade.A, {True: 1}, {np.str_("k"): 1}, pd.Timestamp(0), 2**14_284]
ODD += [frozenset(), [[[(1,)]]], {"a": {"b": float("-inf")}}, 10**4_299, object()]
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="!"), max_size=3)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    )


def slowly(values):
    "What is written of values one by one; None when one is refused."
    try:
        return [ordered_json(as_typed(value)).decode() for value in values]
    except ValueRefusedError:
        return None


VALUES = st.lists(nested(PLAIN), min_size=1, max_size=5)


@FEW
@given(VALUES)
def test_plain_values_go_the_quick_way_and_come_back(values):
    texts = untagged_texts(values)
    assert texts == slowly(values)
    assert all(map(same_cells, untagged_or(pytest.fail, json.loads(f"[{','.join(texts)}]")), values))


@FEW
@given(VALUES, nested(st.sampled_from(ODD)))
def test_values_with_something_odd_are_written_as_if_one_by_one(values, odd):
    texts = untagged_texts([*values, odd])
    assert texts is None or texts == slowly([*values, odd])


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_whatever_is_odd_goes_the_slow_way(odd):
    assert untagged_texts([[1], odd]) is None and untagged_texts([[1], {"a": [odd]}]) is None


HOSTILE = ["NaN", "1e999", "-Infinity", '"\\ud800"', '{"!tuple":[1]}', '{"!set":[1,1]}', '{"!object":"os"}']
HOSTILE += ['{"\\u0021tuple":[1]}', '[{"a":{"!Decimal":"x"}}]', "[" * 99 + "]" * 99, "[" * 100 + "]" * 100]
HOSTILE += ["[" * 49 + '{"!tuple":[1]}' + "]" * 49, "[" * 50 + '{"!tuple":[1]}' + "]" * 50, "9" * 4_300]


def read(make, values):
    "What is made of values, or the sentence of the refusal."
    try:
        return make(values)
    except IntegrityError as error:
        return str(error)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_whatever_a_file_says_is_read_as_if_one_by_one(text):
    values = json.loads(f"[1,{text},[2]]")
    slow, quick = read(from_typed, values), read(lambda values: untagged_or(from_typed, values), values)
    assert same_cells(slow, quick)


@pytest.mark.parametrize("n", [1, PIECE - 1, PIECE + 1])
@pytest.mark.parametrize("odd", [None, 0, -1])
def test_column_of_several_pieces_comes_back_equal(n, odd):
    cells = [[i, f"x{i}", None] for i in range(n)]
    if odd is not None:
        cells[odd] = [(1, 2), {3}]
    frame = pd.DataFrame({"c": pd.Series([*cells, "x"], dtype=object)})
    data = encode(frame).data
    assert all(map(same_cells, decode("frame", data)["c"], frame["c"]))
    texts = pd.read_parquet(io.BytesIO(data))["c"].tolist()
    assert texts == [ordered_json(as_typed(cell)).decode() for cell in [*cells, "x"]]


@pytest.mark.parametrize("digits", [3_999, 4_000, 4_300, 4_301])
def test_long_number_is_kept_or_refused_as_before(digits):
    number = 10 ** (digits - 1)
    frame = pd.DataFrame({"c": pd.Series([number, "x"], dtype=object)})
    if slowly([number]) is None:
        with pytest.raises(ValueRefusedError, match=r"`c\[0\]` is a number that is too long"):
            encode(frame)
    else:
        assert decode("frame", encode(frame).data)["c"].tolist() == [number, "x"]


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (["\ud800"], r"`c\[1\]\[0\]` holds half"),
        ({"a": object()}, r"`c\[1\].a` is a `object`"),
        ([Grade.A], r"`c\[1\]\[0\]` is a `Grade`"),
    ],
)
def test_refusal_names_the_place(cell, what):
    with pytest.raises(ValueRefusedError, match=what):
        encode(pd.DataFrame({"c": pd.Series(["x", cell], dtype=object)}))


def test_cycle_and_what_stands_for_too_much_go_the_slow_way():
    cycle, twice, long = [], [0] * 64, [0] * 100_000
    cycle.append(cycle)
    for _ in range(5):
        twice = [twice] * 64
    assert [are_untagged(values) for values in ([cycle], [twice], [long] * 1_000)] == [False] * 3


def test_list_that_another_thread_changes_is_never_written_as_what_it_never_was():
    changing, stop = [1], threading.Event()

    def change():
        while not stop.is_set():
            changing[0] = (1,)
            changing[0] = 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            assert untagged_texts([changing] * 20) in (None, ["[1]"] * 20)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("is_on", [True, False])
def test_collector_is_as_it_was_also_after_an_error(is_on):
    was_on = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    try:
        with pytest.raises(ValueError, match="odd"), resting_collector():
            assert not gc.isenabled()
            raise ValueError("odd")
        assert gc.isenabled() == is_on
    finally:
        (gc.enable if was_on else gc.disable)()
