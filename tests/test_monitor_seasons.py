"""Holidays are compared with Sundays, in whatever form times come; what is no date is refused."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mlnb.monitor.drift import Sampling, drift
from mlnb.monitor.seasons import as_sundays, season_weights
from mlnb.store.errors import UsageError

HOURS = pd.Series(pd.date_range("2026-12-01", periods=28 * 24, freq="h"))
FORMS = {
    "plain": HOURS,
    "text": HOURS.astype(str),
    "with a zone": HOURS.dt.tz_localize("Europe/Berlin"),
    "in nanoseconds": HOURS.astype("datetime64[ns]"),
}


@pytest.mark.parametrize("form", FORMS)
def test_only_holidays_move_and_keep_their_hour(form):
    found = as_sundays(FORMS[form], ["2026-12-25", "2026-12-20", "2027-01-01"])
    is_moved = (found != HOURS).to_numpy()
    assert set(HOURS[is_moved].dt.strftime("%Y-%m-%d")) == {"2026-12-25"}  # the 20th is a Sunday itself
    assert set(found[is_moved].dt.day_name()) == {"Sunday"} and (found.dt.hour == HOURS.dt.hour).all()
    assert_allclose(season_weights(found, found), 1)


@pytest.mark.parametrize("dates", ["2026-12-25", ["25.12.2026"], ["Christmas"], [None], 20261225])
def test_what_is_no_date_is_refused_and_the_mend_works(dates):
    with pytest.raises(UsageError) as caught:
        as_sundays(HOURS, dates)
    assert "['2026-12-25']" in caught.value.mend
    assert (as_sundays(HOURS, ["2026-12-25"]) != HOURS).sum() == 24


def test_holiday_is_no_drift_once_it_is_told_and_a_fault_on_it_is():
    draw = np.random.default_rng(0)
    times = pd.Series(pd.date_range("2026-11-02", periods=28 * 96, freq="15min"))
    amount = draw.normal(50, 5, len(times)) + 20 * (times.dt.weekday >= 5)
    weeks = pd.DataFrame({"time": times, "amount": amount})
    festive = pd.DataFrame({"time": pd.date_range("2026-12-08", periods=96, freq="15min")})
    festive["amount"] = draw.normal(70, 5, 96)
    told = [frame.assign(time=as_sundays(frame.time, ["2026-12-08"])) for frame in (weeks, festive)]
    by_week = Sampling(season="week", time="time")
    verdicts = [drift(*both, ["amount"], sampling=by_week)["verdict"] for both in ([weeks, festive], told)]
    assert verdicts == ["fail", "ok"]
    dear = told[1].assign(amount=told[1].amount * 1.2)
    assert drift(told[0], dear, ["amount"], sampling=by_week)["verdict"] == "fail"
