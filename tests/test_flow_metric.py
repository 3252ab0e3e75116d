"A metric is one finite real number; everything else is refused with a way to a number that works."

import datetime
import decimal
import enum
import fractions
import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from mlnb.flow.metric_values import plain_number
from mlnb.flow.session import _metric_numbers
from mlnb.store.errors import ValueRefusedError

NUMBERS = {
    "int": 3,
    "float": 0.5,
    "numpy float": np.float64(0.25),
    "single": np.float32(0.5),
    "half": np.float16(0.5),
    "numpy int": np.int8(-3),
    "unsigned": np.uint64(2**64 - 1),
    "array of no dimension": np.array(0.5),
    "member of an enum": enum.IntEnum("Level", "low").low,
    "subclass": type("Own", (float,), {})(0.5),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_real_number_is_a_plain_python_number(name):
    number = plain_number(NUMBERS[name])
    assert number == NUMBERS[name] and type(number) in (int, float)
    assert json.loads(json.dumps(number)) == number


NONE = {
    "nan": math.nan,
    "infinity": -math.inf,
    "numpy nan": np.float32("nan"),
    "beyond floats": 10**400,
    "nothing": None,
    "NaT": pd.NaT,
    "NA": pd.NA,
    "masked": np.ma.array([0.5, 0.7], mask=True).mean(),
    "masked number": np.ma.array(0.5, mask=True),
    "masked array of one": np.ma.array([0.5], mask=[True]),
    "numpy NaT": np.timedelta64("NaT"),
    "frame": pd.DataFrame({"a": [1, 2]}),
    "object": object(),
}


def test_several_numbers_are_refused_with_a_call_for_each():
    with pytest.raises(ValueRefusedError, match="call `metric` once for each of its values"):
        _metric_numbers("m", {"auc": 0.5}, None, None)
    assert {name: plain_number(one) for name, one in {"auc": 0.5}.items()} == {"auc": 0.5}
    frame = pd.DataFrame({"a": [0.5, 1]})
    with pytest.raises(ValueRefusedError, match=r"e\.g\. `\.iloc\[0, 0\]`"):
        _metric_numbers("m", frame, None, None)
    assert plain_number(frame.iloc[0, 0]) == 0.5


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_number_is_refused(name):
    with pytest.raises(ValueRefusedError) as refused:
        _metric_numbers("m", NONE[name], None, None)
    assert refused.value.mend and len(refused.value.message) < 200


OTHERS = {
    "flag": True,
    "numpy flag": np.bool_(True),
    "text": "0.5",
    "decimal": decimal.Decimal("0.5"),
    "fraction": fractions.Fraction(1, 2),
    "long double": np.longdouble(1) / 3,
    "complex": 3 + 4j,
    "numpy complex": np.complex64(1j),
    "numpy time": np.datetime64("2026-11-02", "ns"),
    "nanoseconds": np.timedelta64(5, "ns"),
    "months": np.timedelta64(3, "M"),
    "timedelta": datetime.timedelta(minutes=1),
    "Timedelta": pd.Timedelta("1min"),
    "Timestamp": pd.Timestamp("2026-11-02"),
    "datetime": datetime.datetime(2026, 11, 2),
    "date": datetime.date(2026, 11, 2),
    "one element": np.array([0.5]),
    "series of one": pd.Series([0.5]),
}


@pytest.mark.parametrize("place", ["value", "low"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_value_is_refused_with_a_mend_that_works(name, place):
    value = OTHERS[name]
    assert plain_number(value) is None
    given = (value, None, None) if place == "value" else (1.0, value, 2.0)
    with pytest.raises(ValueRefusedError) as refused:
        _metric_numbers("m", *given)
    (code,) = re.findall(r"`([^`]+)`", refused.value.mend)
    made = eval(f"value{code}" if code.startswith(".") else code.replace("...", "value"), {"value": value})
    assert plain_number(made) is not None
