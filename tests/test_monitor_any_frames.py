"""Whatever two frames hold: every column has a status, documents are strict JSON, and there is a page."""

import datetime as dt
import re
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bad_inputs import faults_of_page, plain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.monitor.check_pages import drift_page, quality_page
from mlnb.monitor.drift import drift
from mlnb.monitor.quality import quality

WORDS = {"ok", "warn", "fail", "not_computable"}
MOMENT = pd.Timestamp("2026-11-28 05:00")


class Odd:
    "A value that cannot be shown, compared or counted."

    def __repr__(self):
        raise RuntimeError("no name")

    def __eq__(self, other):
        raise RuntimeError("no equal")

    __hash__ = None


SERIES = {
    "numbers": lambda n: pd.Series(np.arange(n) % 9),
    "floats": lambda n: pd.Series(np.linspace(-1, 1, n)),
    "infinite": lambda n: pd.Series(np.where(np.arange(n) % 5 == 0, np.inf, 1.0)),
    "huge": lambda n: pd.Series([10 ** (n % 400)] * n, dtype=object),
    "complex": lambda n: pd.Series(np.arange(n) * 1j),
    "unsigned": lambda n: pd.Series(np.arange(n), dtype="uint8"),
    "nullable": lambda n: pd.Series([None if k % 3 == 0 else k for k in range(n)], dtype="Int64"),
    "flags": lambda n: pd.Series([k % 2 == 0 for k in range(n)]),
    "nullable flags": lambda n: pd.Series([None if k % 3 == 0 else True for k in range(n)], dtype="boolean"),
    "texts": lambda n: pd.Series([("a", "<b>", "</script>", "\u2028")[k % 4] for k in range(n)]),
    "half a letter": lambda n: pd.Series(["\ud800" if k % 2 else "x" for k in range(n)], dtype=object),
    "bytes": lambda n: pd.Series([b"\xff", b""] * (n // 2) + [b"x"] * (n % 2), dtype=object),
    "levels": lambda n: pd.Series(pd.Categorical([("low", "high", None)[k % 3] for k in range(n)])),
    "levels of numbers": lambda n: pd.Series(pd.Categorical([k % 3 for k in range(n)], ordered=True)),
    "times": lambda n: pd.Series([MOMENT] * n),
    "times of zones": lambda n: pd.Series([MOMENT] * n, dtype="datetime64[ns, Europe/Berlin]"),
    "times of two zones": lambda n: pd.Series(
        [MOMENT.tz_localize(("UTC", "Asia/Tokyo")[k % 2]) for k in range(n)], dtype=object
    ),
    "dates": lambda n: pd.Series([dt.date(2026, 1, 1 + k % 9) for k in range(n)], dtype=object),
    "spans": lambda n: pd.Series([pd.Timedelta(hours=k) for k in range(n)], dtype="timedelta64[ns]"),
    "periods": lambda n: pd.Series(pd.period_range("2026-01", periods=n, freq="D")),
    "ranges": lambda n: pd.Series(pd.interval_range(0, max(n, 1))[:n]),
    "decimals": lambda n: pd.Series([Decimal(k) / 7 for k in range(n)], dtype=object),
    "signalling": lambda n: pd.Series([Decimal("sNaN")] * n, dtype=object),
    "lists": lambda n: pd.Series([[k % 2] for k in range(n)], dtype=object),
    "dicts": lambda n: pd.Series([{"a": k % 2} for k in range(n)], dtype=object),
    "arrays": lambda n: pd.Series([np.arange(3)] * n, dtype=object),
    "ids": lambda n: pd.Series([uuid.UUID(int=k) for k in range(n)], dtype=object),
    "mixed": lambda n: pd.Series([(1, "1", None, 2.5, b"1", (1,))[k % 6] for k in range(n)], dtype=object),
    "odd": lambda n: pd.Series([Odd() for _ in range(n)], dtype=object),
    "nothing": lambda n: pd.Series([None] * n, dtype=object),
    "no numbers": lambda n: pd.Series([np.nan] * n),
    "sparse": lambda n: pd.Series(pd.arrays.SparseArray([0, 0, 1] * n)[:n]),
    "arrow numbers": lambda n: pd.Series(np.arange(n), dtype=pd.ArrowDtype(pa.int64())),
    "arrow decimals": lambda n: pd.Series(
        [Decimal(k) for k in range(n)], dtype=pd.ArrowDtype(pa.decimal128(9, 2))
    ),
    "arrow texts": lambda n: pd.Series(["a", "b"] * n, dtype=pd.ArrowDtype(pa.string()))[:n],
    "arrow levels": lambda n: pd.Series(
        pd.arrays.ArrowExtensionArray(pa.array(["a", "b", None] * n).dictionary_encode()[:n])
    ),
    "arrow times": lambda n: pd.Series([MOMENT] * n, dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    "arrow lists": lambda n: pd.Series([[1, 2]] * n, dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "arrow structs": lambda n: pd.Series([{"a": 1}] * n, dtype=pd.ArrowDtype(pa.struct([("a", pa.int64())]))),
    "arrow nothing": lambda n: pd.Series([None] * n, dtype=pd.ArrowDtype(pa.null())),
}
NAMES = [
    "a",
    "a",
    "b",
    "",
    1,
    1.0,
    None,
    ("x", 2),
    "</script><b>",
    "target",
    "index",
    "\u202e",
    "\ud800",
    "é",
]
NAMES += [pd.Timestamp("2026-01-01"), b"a", float("nan"), True, "n" * 400]


@st.composite
def two_frames(draw):
    "Two frames with some columns in common, of any types."
    names = draw(st.lists(st.sampled_from(range(len(NAMES))), min_size=0, max_size=4))
    kinds = [draw(st.sampled_from(sorted(SERIES))) for _ in names]
    frames = []
    for _ in range(2):
        n = draw(st.sampled_from([0, 1, 29, 40, 61]))
        held = [SERIES[draw(st.sampled_from([kind, kind, kind, "mixed", "nothing"]))](n) for kind in kinds]
        frame = pd.DataFrame(dict(enumerate(held)), index=range(n))
        frame.columns = pd.Index([NAMES[at] for at in names], dtype=object)
        frames.append(frame.iloc[:, : draw(st.sampled_from([9, 9, 9, 1]))])
    return *frames, kinds


def check_any(before, now, is_explored, kinds=()):
    found, judged = drift(before, now), quality(before, now)
    for document in (found, judged, quality(None, now)):
        assert plain(document) and document["verdict"] in WORDS and document["reason"]
        assert all(one["verdict"] in WORDS and one["why"] for one in document["columns"].values())
        assert document["verdict"] != "ok" or {one["verdict"] for one in document["columns"].values()} <= {
            "ok"
        }
    named = {str(name) for name in [*before.columns, *now.columns]}
    assert {*found["columns"], *found["set_aside"]} == {*judged["columns"]} == named
    pages = [drift_page(found), quality_page(judged)]
    if is_explored:
        from mlnb.monitor.evidently import drift_report
        from mlnb.publish.frames import read_report

        page = drift_report(before, now, found)
        assert {*page.drawn, *page.left_out} == {*found["columns"]}
        failing = [why for why in [page.why_plain, *page.left_out.values()] if "Evidently" in why]
        assert "huge" in kinds or not failing
        pages.append(page.html if page.why_plain else quality_page(judged))
        assert page.why_plain or read_report(page.html)
        shown = re.findall(r'"data_drift": "([\w ]+)"', page.html)
        drawn = [found["columns"][name]["status"] for name in page.drawn]
        assert sorted(shown) == sorted("Detected" if one == "drift" else "Not Detected" for one in drawn)
    for page in pages:
        assert page.encode() and faults_of_page(page) == []


ANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=25, derandomize=True, **ANY)
@given(two_frames())
def test_any_two_frames_have_statuses_and_pages(frames):
    check_any(*frames[:2], is_explored=False)


@pytest.mark.slow
@settings(max_examples=400, **ANY)
@given(two_frames())
def test_four_hundred_pairs_of_frames_have_a_page_to_explore(frames):
    check_any(*frames[:2], True, frames[2])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERIES)
def test_column_of_every_kind_is_judged_beside_itself_and_beside_others(kind):
    own = pd.DataFrame({"c": SERIES[kind](61), "same": np.arange(61) % 7})
    check_any(own, own, True, [kind])
    for other in SERIES:
        check_any(own, pd.DataFrame({"c": SERIES[other](61), "same": 1}), is_explored=False)
