"""Single values and containers come back equal in type and value, equal values are equal bytes, and nothing
that stands in a file is believed."""

import collections
import datetime as dt
import decimal
import fractions
import ipaddress
import json
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.store import typed_values
from mlnb.store.codecs import decode, encode
from mlnb.store.errors import IntegrityError, ValueRefusedError
from mlnb.store.typed_scalars import _READERS, SCALAR_TYPES
from mlnb.store.typed_values import as_typed, from_typed, typed_bytes
from mlnb.store.value_limits import ValueLimits

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
ODD_ZONE = dt.timezone(dt.timedelta(microseconds=-5), "q")


def same(a, b):
    "Equal in type and value, also of what is inside, and in the order of keys; NaN equals NaN."
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and typed_bytes(a) == typed_bytes(b)
    return repr(a) == repr(b)


def back(value):
    stored = encode(value)
    assert stored.codec in ("json", "typed", "text")
    json.loads(stored.data, parse_constant=pytest.fail) if stored.codec != "text" else None
    return decode(stored.codec, stored.data)


SINGLES = [
    *(
        1,
        -(10**30),
        1.5,
        -0.0,
        5e-324,
        float("nan"),
        float("inf"),
        float("-inf"),
        True,
        None,
        "",
        "!a",
        "\0ü",
    ),
    *(b"", b"\0\xff", bytearray(b"a"), 1j, complex(-0.0, float("nan")), complex(float("-inf"), 0.1)),
    *(range(0), range(3), range(5, 1, -2), range(10**30, 10**30 + 21, 7)),
    *(
        dt.datetime.min,
        dt.datetime(2026, 10, 25, 2, 30, fold=1),
        dt.datetime(2026, 10, 25, 2, 30, 0, 7, BERLIN),
    ),
    *(dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), dt.datetime(1, 1, 1, tzinfo=ODD_ZONE)),
    *(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))),
    *(dt.date.max, dt.time(23, 59, fold=1), dt.time(1, tzinfo=BERLIN), dt.timedelta.max, dt.timedelta.min),
    *(dt.UTC, ODD_ZONE, BERLIN, uuid.UUID(int=7), fractions.Fraction(-1, 3)),
    *map(decimal.Decimal, ("1.50", "-0E+3", "Infinity", "sNaN12", "NaN", "1E+999999")),
    *map(ipaddress.ip_address, ("10.0.0.1", "::1", "fe80::1%eth0")),
    *map(ipaddress.ip_network, ("10.0.0.0/8", "2001:db8::/32")),
    *map(ipaddress.ip_interface, ("10.0.0.1/8", "::1/64")),
    *(np.datetime64("2026", unit) for unit in ("Y", "M", "D", "h", "s", "ms", "us", "ns")),
    *(
        np.datetime64("NaT"),
        np.datetime64("NaT", "ns"),
        np.datetime64(2**62, "as"),
        np.datetime64(7, ("s", 25)),
    ),
    *(np.timedelta64(3, "M"), np.timedelta64(5, "ns"), np.timedelta64(5), np.timedelta64("NaT", "D")),
    *(np.complex64(1 + 2j), np.complex128(complex("nan")), np.bytes_(b"ab\0")),
    *(pd.Timestamp.min, pd.Timestamp.max, pd.Timestamp("2026"), pd.Timestamp(0, unit="s").as_unit("s")),
    pd.Timestamp("2026-10-25 00:30:00.000000001", tz="UTC").tz_convert("Europe/Berlin"),
    pd.Timestamp("2026-10-25 01:30:00", tz="UTC").tz_convert("Europe/Berlin").as_unit("ms"),
    *(pd.Timestamp("2026", tz="+02:00"), pd.Timestamp("2026", tz=dt.UTC), pd.Timestamp("2026", tz=ODD_ZONE)),
    *(pd.Timedelta(5), pd.Timedelta(5, "s").as_unit("s"), pd.Timedelta.min, pd.NaT, pd.NA),
    *(pd.Period("2026-01-05", freq) for freq in ("M", "W", "W-TUE", "2D", "Q-NOV", "Y-MAR", "15min", "ns")),
    *(pd.Interval(0, 1), pd.Interval(0.5, float("inf"), "both"), pd.Interval(0, 0.1, "neither")),
    *(pd.Interval(pd.Timestamp("2026"), pd.Timestamp("2027")), pd.Interval(pd.Timedelta(1), pd.Timedelta(2))),
]


def is_hashable(value):
    try:
        return hash(value) is not None
    except (TypeError, ValueError, decimal.InvalidOperation):
        return False


@pytest.mark.parametrize("value", SINGLES, ids=lambda value: f"{type(value).__name__}-{value!r:.40}")
def test_single_value_comes_back_equal_alone_inside_and_as_a_key(value):
    inside = [value, {"k": [value]}, (value, (value,)), {"!k": value}]
    keys = [{value}, {value: 1}, {(value, 1): 2}, frozenset({value, "x"})] if is_hashable(value) else []
    for one in [value, *inside, *keys]:
        again = back(one)
        assert same(again, one)
        assert encode(again).data == encode(one).data


def test_every_scalar_type_is_tried():
    from mlnb.store.typed_scalars import type_key

    assert {type_key(value) for value in SINGLES} >= SCALAR_TYPES


NUMPY = {
    "numbers": (np.bool_, *(np.dtype(code).type for code in "bBhHiIlLqQefd")),
    "own": (np.complex64, np.complex128, np.bytes_, np.datetime64, np.timedelta64),
    "refused": (np.longdouble, np.clongdouble, np.void),
    "no scalar": (np.object_,),
    "text": (np.str_,),
}


def test_every_type_of_numpy_is_python_s_its_own_or_refused():
    assert {kind for kinds in NUMPY.values() for kind in kinds} >= set(np.sctypeDict.values())
    for kind in NUMPY["numbers"]:
        again = back({"a": kind(1)})["a"]
        assert again == kind(1) and type(again) in (bool, int, float)
    assert same(back([np.str_("x")]), ["x"]) and same(
        back({np.int64(1): np.float32(0.1)}), {1: float(np.float32(0.1))}
    )
    for value in (np.longdouble(1) / 3, np.clongdouble(1j), np.void(b"ab"), np.zeros(1, "i4,M8[ns]")[0]):
        for one in (value, {"a": value}, (value,)):
            with pytest.raises(ValueRefusedError) as refused:
                encode(one)
            assert "(...)" in refused.value.mend


@pytest.mark.parametrize("text", ["a\0", "\0", "a\0b", "", "ä\0\0"])
def test_text_of_numpy_keeps_its_last_characters_and_two_keys_stay_two(text):
    cell = pd.DataFrame({text: pd.Series([np.str_(text)], dtype=object)})
    found = [decode(e.codec, e.data) for e in map(encode, ({"a": 1, np.str_(text): 2}, np.str_(text), cell))]
    assert found[:2] == [{"a": 1, text: 2}, text] and found[2].iloc[0, 0] == text


def test_time_of_numpy_is_never_a_whole_number():
    t = pd.Series(pd.to_datetime(["2026-11-02"]).as_unit("ns"))
    value = {"last": t.values.max(), "lag": np.timedelta64(5, "ns"), "first": np.datetime64("NaT")}
    assert same(back(value), value) and same(back(value["last"]), value["last"])


TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.binary(max_size=5)
    | st.complex_numbers()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.sampled_from([dt.UTC, BERLIN, ODD_ZONE]), allow_imaginary=False)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.ip_addresses()
    | st.integers(-(2**63) + 1, 2**63 - 1).map(lambda n: np.int64(n).view("M8[ns]"))
    | st.integers(-(2**62), 2**62).map(lambda n: pd.Timestamp(np.int64(n).view("M8[ns]"))),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
VALUE = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4),
    max_leaves=10,
)


@FEW
@given(VALUE)
def test_value_comes_back_equal_and_its_bytes_do_not_depend_on_how_it_was_made(value):
    again = back(value)
    assert same(again, value)
    assert encode(again).data == encode(value).data
    if isinstance(value, set):
        assert encode(set(reversed(list(value)))).data == encode(value).data


RANGES = st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([-3, -2, -1, 1, 2, 3]))


@FEW
@given(RANGES, RANGES)
def test_ranges_are_equal_bytes_exactly_when_they_are_equal(one, other):
    assert back(one) == one
    assert (encode(one).data == encode(other).data) == (one == other)


def test_plain_value_is_kept_as_plain_json_whatever_its_keys():
    for value in ({"!tuple": [1]}, {"!a": {"!dict": [1, 2]}}, {"a": [1, None]}, [np.float64(0.5)]):
        assert encode(value).codec == "json" and same(
            back(value), json.loads(json.dumps(value, default=float))
        )


def test_json_that_older_versions_wrote_is_read():
    assert decode("json", b'{"auc":0.75,"n":3}') == {"auc": 0.75, "n": 3}


HOSTILE = {
    "unknown tag": {"!object": "os.system"},
    "empty tag": {"!": 1},
    "member without members": {"!member": ["frame", "a"]},
    "tuple of an object": {"!tuple": {"a": 1}},
    "tuple of text": {"!tuple": "ab"},
    "dict of text": {"!dict": "ab"},
    "dict of triples": {"!dict": [[1, 2, 3]]},
    "dict with a key twice": {"!dict": [[1, 2], [1, 3]]},
    "dict with a list as key": {"!dict": [[[1], 2]]},
    "set of lists": {"!set": [[1]]},
    "set with an item twice": {"!set": [1, 1]},
    "not a number": [float("nan")],
    "float of a number": {"!float": 1.5},
    "fraction by exponent": {"!Fraction": ["1e999999999", 1]},
    "fraction by nothing": {"!Fraction": [1, 0]},
    "decimal of words": {"!Decimal": "abc"},
    "decimal in another form": {"!Decimal": "1_000"},
    "bytes that are no base64": {"!bytes": "a b"},
    "datetime with a blank": {"!datetime": ["2026-01-01 00:00", None, 0]},
    "datetime with a zone in it": {"!datetime": ["2026-01-01T00:00:00+01:00", None, 0]},
    "datetime of a fold of 2": {"!datetime": ["2026-01-01T00:00:00", None, 2]},
    "zone of another folder": {"!zone": "../../etc/passwd"},
    "zone from the root": {"!zone": "/etc/passwd"},
    "zone that is a folder": {"!zone": "Europe"},
    "zone beyond a day": {"!zone": [10**12, None]},
    "date by week": {"!date": "2026-W01-1"},
    "timedelta too long": {"!timedelta": 10**30},
    "timestamp that is NaT": {"!Timestamp": [-(2**63), "ns", None]},
    "timestamp too late": {"!Timestamp": [2**63, "ns", None]},
    "timestamp in years": {"!Timestamp": [1, "Y", None]},
    "timestamp in text": {"!Timestamp": ["2026", "ns", None]},
    "time of another kind": {"!datetime64": [1, "ns]>f8["]},
    "time of a unit of 0": {"!datetime64": [1, "0s"]},
    "period of nonsense": {"!Period": [1, "xyz"]},
    "period by a long name": {"!Period": [1, "D" * 1000]},
    "interval of text": {"!Interval": ["a", "b", "right"]},
    "interval turned round": {"!Interval": [2, 1, "right"]},
    "interval closed nowhere": {"!Interval": [1, 2, "nowhere"]},
    "interval of one end": {"!Interval": [1]},
    "address of words": {"!IPv4Address": "localhost"},
    "address by number": {"!IPv4Address": 7},
    "range without step": {"!range": [0, 1, 0]},
    "uuid in braces": {"!UUID": "{00000000-0000-0000-0000-000000000007}"},
    "NaT with something": {"!NaT": 1},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_form_that_nobody_wrote_is_damage(name):
    for plain in (HOSTILE[name], [HOSTILE[name]], {"!tuple": [HOSTILE[name]]}):
        with pytest.raises(IntegrityError) as damaged:
            from_typed(plain)
        assert damaged.value.mend and len(str(damaged.value)) < 500
    with pytest.raises(IntegrityError):
        decode("typed", json.dumps(HOSTILE[name]).encode())


ANY_FORM = (
    st.none()
    | st.integers()
    | st.text(max_size=8)
    | st.lists(st.none() | st.integers() | st.text(max_size=4))
)


@FEW
@given(st.sampled_from([*_READERS, "tuple", "set", "dict", "frozenset", "Interval", "member"]), ANY_FORM)
def test_any_form_of_a_tag_is_a_value_or_damage(tag, form):
    try:
        value = from_typed({f"!{tag}": form})
    except IntegrityError:
        return
    assert same(from_typed(as_typed(value)), value)


@pytest.mark.parametrize(
    "open_", ["[", '{"a":', '{"!tuple":[', '{"!dict":[[1,'], ids=["list", "dict", "tuple", "pairs"]
)
@pytest.mark.parametrize("levels", [150, 20_000])
def test_file_that_is_nested_too_deep_is_damage(open_, levels):
    close = {"[": "]", "{": "}"}
    ends = "".join(close[c] for c in reversed([c for c in open_ if c in close]))
    with pytest.raises(IntegrityError):
        decode("typed", (open_ * levels + "1" + ends * levels).encode())


def test_file_that_would_grow_too_much_is_refused_before_it_is_read():
    data = b'{"!set":[' + b"[]," * 100_000 + b"1]}"
    with pytest.raises(IntegrityError, match="memory 1MiB"):
        decode("typed", data, limits=ValueLimits(memory=1 << 20))


@pytest.mark.parametrize("form", ["set", "frozenset", "dict"])
def test_keys_that_were_made_to_be_slow_are_refused(form):
    keys = [n * (2**61 - 1) for n in range(30_000)]
    plain = {f"!{form}": [[key, 1] for key in keys] if form == "dict" else keys}
    with pytest.raises(IntegrityError, match="of one hash"):
        from_typed(plain)
    few = [n * (2**61 - 1) for n in range(500)]
    assert same(back(dict.fromkeys(few, 1)), dict.fromkeys(few, 1))


def test_keys_of_one_hash_are_refused_when_they_are_saved_and_kept_as_text(monkeypatch):
    monkeypatch.setattr(typed_values, "_MOST_OF_ONE_HASH", 100)
    keys = [n * (2**61 - 1) for n in range(200)]
    for value in (dict.fromkeys(keys), {"a": set(keys)}):
        with pytest.raises(ValueRefusedError, match="of one hash") as refused:
            encode(value)
        assert "`str(...)`" in refused.value.mend
    for mended in ({str(key): None for key in keys}, {"a": {str(key) for key in keys}}):
        assert same(back(mended), mended)


WRAPS = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"k": inner},
    "keys": lambda inner: {1: inner},
    "frozenset": lambda inner: frozenset({inner}),
}


@pytest.mark.parametrize("name", WRAPS)
def test_hundred_levels_are_kept_and_more_are_refused(name):
    value = 1
    for _ in range(100):
        value = WRAPS[name](value)
    assert same(back(value), value)
    for levels in (1, 1000):
        for _ in range(levels):
            value = WRAPS[name](value)
        with pytest.raises(ValueRefusedError, match="more than 100 levels") as refused:
            encode(value)
        assert len(str(refused.value)) < 400


def test_endless_levels_are_a_refusal():
    value = []
    for _ in range(20_000):
        value = [value]
    with pytest.raises(ValueRefusedError, match="more than 100 levels"):
        encode(value)
    while value:
        value = value.pop()


def test_cycle_is_refused_with_its_place():
    loop = {"a": [1]}
    loop["a"].append(({"b": loop},))
    with pytest.raises(ValueRefusedError, match=r"`a\[1\]\[0\]\.b` is the dict that it stands in"):
        encode(loop)
    twice = [1]
    assert back([twice, twice, (twice,)]) == [[1], [1], ([1],)]


def test_value_that_another_thread_changes_is_one_of_its_states():
    value = {n: n for n in range(100)}

    class Growing(collections.UserString):
        pass

    def refer(item, path):
        value[len(value)] = 1
        return {"!member": 0}

    value["x"] = Growing("x")
    plain = as_typed(value, "", refer)
    assert len(plain["!dict"]) == 101 and len(value) == 102


def test_text_of_half_a_pair_is_refused_wherever_it_stands():
    for value in (("\ud800",), {"\ud800": (1,)}, {1: "\ud800"}, {("\ud800",)}):
        with pytest.raises(ValueRefusedError, match="surrogate"):
            encode(value)


def test_number_of_too_many_digits_is_refused_with_its_place():
    assert back([10**4290]) == [10**4290]
    for value in ({"a": [10**5000]}, {"a": [(1, 10**5000)]}, {"a": [fractions.Fraction(1, 10**5000)]}):
        with pytest.raises(ValueRefusedError, match=r"a\[0\].*too long") as refused:
            encode(value)
        assert "hex" in refused.value.mend


def test_zone_that_its_key_does_not_give_back_is_refused_with_a_mend_that_works():
    import io
    from importlib.resources import files

    data = files("tzdata.zoneinfo.Europe").joinpath("Berlin").read_bytes()
    for key in (None, "Berlin", "Europe/Berlin"):
        zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(data), key=key)
        time = dt.datetime(2026, 1, 1, tzinfo=zone)
        for value in (time, [time], {time: 1}, pd.Timestamp(time)):
            with pytest.raises(ValueRefusedError, match="time zone of type"):
                encode(value)
        with pytest.raises(ValueRefusedError, match="astimezone"):
            encode(time)
        assert back(time.astimezone(dt.UTC)) == time
        with pytest.raises(ValueRefusedError):
            encode(zone)


def test_reading_a_tag_runs_nothing_of_the_file(tmp_path):
    for tag in ("Bomb", "__import__", "datetime.datetime", "os.mkdir"):
        with pytest.raises(IntegrityError, match="nothing here reads"):
            from_typed({f"!{tag}": [str(tmp_path / "ran")]})
    assert list(tmp_path.iterdir()) == []
