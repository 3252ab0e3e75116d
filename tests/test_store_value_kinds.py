"""Every kind of value comes back equal in type and value, or is refused with a mend that works."""

import numpy as np
import pytest
from value_kinds import KINDS, followed, same

from mlnb.store.artifacts import get_value, put_value
from mlnb.store.errors import ValueRefusedError
from mlnb.store.objects import open_store

HERE = [kind for kind in KINDS if kind.is_here]


def back(store, value, files):
    return get_value(store, put_value(store, value), files)


def by_name(kind):
    return f"{kind.group}: {kind.name}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("kinds") / "store")


@pytest.mark.parametrize("kind", [kind for kind in HERE if kind.codec], ids=by_name)
def test_value_of_a_kind_comes_back_equal_and_gives_the_same_bytes_again(kind, store, tmp_path):
    value = kind.make(tmp_path)
    kept = put_value(store, value)
    assert kept.codec == kind.codec
    again = get_value(store, kept, tmp_path / "files")
    assert same(again, value)
    assert put_value(store, again) == kept


@pytest.mark.parametrize("kind", [kind for kind in HERE if not kind.codec], ids=by_name)
def test_value_of_a_kind_that_is_refused_can_be_kept_as_the_mend_says(kind, store, tmp_path):
    value = kind.make(tmp_path)
    with pytest.raises(ValueRefusedError) as refused:
        put_value(store, value)
    assert f"`{kind.mend}`" in refused.value.mend
    instead = followed(kind, value)
    loaded = back(store, instead, tmp_path / "files")
    assert same(loaded, instead)
    assert kind.again is None or same(kind.again(loaded), value)


# arrays

LONG = [np.dtype(code) for code in ("g", "G", ">g", ">G")]
WITH_LONG = [
    *LONG,
    np.dtype([("n", "u1"), ("x", "g")]),
    np.dtype([("n", "?"), ("x", "G", (2, 2))]),
    np.dtype([("in", [("n", "i2"), ("x", ">g")]), ("y", "g")], align=True),
]


def long_memory(dtype, filling):
    "Memory that held something else before, with equal values put into it."
    array = np.frombuffer(bytes([filling]) * dtype.itemsize * 6, dtype).copy().reshape(2, 3)[:, ::-1]
    for field in [array] if dtype.names is None else leaves(array):
        number = np.array(1, field.dtype) / 3 if field.dtype.kind in "fc" else np.array(1, field.dtype)
        narrow = field[..., None].view("u1")
        count = np.array(number, field.dtype)[..., None].view("u1")
        for at in counting_bytes(field.dtype):
            narrow[..., at] = count[at]
    return array


def leaves(array):
    "The fields of an array of records that are no records."
    if array.dtype.names is None:
        return [array]
    return [leaf for name in array.dtype.names for leaf in leaves(array[name])]


def counting_bytes(dtype):
    "Which bytes of an element make its value."
    if dtype.kind not in "fc" or np.finfo(dtype).nmant != 63:
        return range(dtype.itemsize)
    width = dtype.itemsize if dtype.kind == "f" else dtype.itemsize // 2
    first = 0 if dtype.isnative else width - 10
    return [part + first + n for part in range(0, dtype.itemsize, width) for n in range(10)]


@pytest.mark.parametrize("dtype", WITH_LONG, ids=str)
def test_long_doubles_do_not_depend_on_what_the_memory_held_before(dtype, store, tmp_path):
    one, other = (long_memory(dtype, filling) for filling in (0x00, 0xA5))
    kept = put_value(store, one)
    assert put_value(store, other) == kept
    loaded = get_value(store, kept, tmp_path)
    assert loaded.dtype == dtype and repr(loaded.tolist()) == repr(other.tolist())


def test_true_is_one_whatever_byte_said_so(store):
    for dtype in ("?", [("flag", "?"), ("n", "u1")]):
        one, other = (np.frombuffer(bytes([true, 7, 0, 7]), dtype) for true in (1, 2))
        assert put_value(store, other[::2]) == put_value(store, one[::2])


UNITS = [
    f"{kind}8[{unit}]"
    for kind in "Mm"
    for unit in ("Y", "M", "W", "D", "h", "m", "25s", "ms", "us", "ns", "as")
]


@pytest.mark.parametrize("unit", [*UNITS, ">M8[s]", "M8", "m8"])
def test_times_of_a_unit_come_back_with_it(unit, store, tmp_path):
    array = np.array([1, "NaT", -5] if unit != "M8" else ["NaT"], unit)
    again = back(store, array, tmp_path)
    assert again.dtype == array.dtype and again.tobytes() == array.tobytes()
