"""Rates by sex of real people, whose answers are known (data/README.md names the source)."""

from pathlib import Path

import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mlnb.models.fairness import fairness
from mlnb.models.group_comparison import FairnessColumns

PEOPLE = Path(__file__).parents[1] / "data" / "acs_employment_ma.parquet"
RATES = {"selection_rate": 0, "true_positive_rate": 1, "false_positive_rate": 2}
KNOWN = {
    2015: {"1": (0.5391, 0.8743, 0.1833), "2": (0.5374, 0.8627, 0.2394)},
    2018: {"1": (0.5386, 0.8660, 0.1784), "2": (0.5340, 0.8555, 0.2281)},
}  # year -> sex -> the three rates


def of_year(year):
    return pd.read_parquet(PEOPLE, columns=["SEX", "employed", "prediction"], filters=[("year", "==", year)])


@pytest.mark.parametrize("year", KNOWN)
def test_rates_by_sex_are_as_published(year):
    rows = of_year(year)
    report = fairness(rows, FairnessColumns("employed", ["SEX"], "prediction"), n_resamples=20)
    for group in report.groups:
        expected = KNOWN[year][group.group["SEX"]]
        assert_allclose([group.metrics[name].value for name in RATES], expected, atol=0.0005)
    assert (report.verdict, report.rows, report.known["label"]) == ("ok", len(rows), len(rows))
    assert_allclose(
        report.differences["false_positive_rate"].value, 0.0561 if year == 2015 else 0.0497, atol=1e-3
    )
