"""Drift and performance on public data whose answers are known (README.md beside them names the sources)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mlnb.monitor.chance import jensen_shannon_noise, jensen_shannon_p_value, rare_levels
from mlnb.monitor.distances import jensen_shannon, ks
from mlnb.monitor.drift import Sampling, column_drift, drift
from mlnb.monitor.performance import performance
from mlnb.monitor.profiles import profile_drift, profile_of

DATA = Path(__file__).parent / "data"
PEOPLE = DATA.parents[1] / "data" / "acs_employment_ma.parquet"
YEARS = (2016, 2017, 2018)
NUMBERS = ("AGEP", "predicted_probability", "employed")


@pytest.fixture(scope="module")
def people():
    people = pd.read_parquet(PEOPLE)
    codes = [name for name in people if name not in (*NUMBERS, "year")]
    return people.astype(dict.fromkeys(codes, "category"))


@pytest.fixture(scope="module")
def loans():
    loans = pd.read_parquet(DATA / "car_loan.parquet")
    return {chunk: rows.drop(columns="chunk") for chunk, rows in loans.groupby("chunk")}


def test_ks_of_age_by_year_is_as_published(people):
    before = people.AGEP[people.year == 2015].to_numpy()
    found = [ks(before, people.AGEP[people.year == year].to_numpy()) for year in YEARS]
    assert_allclose(np.round(found, 4), [0.0064, 0.0085, 0.0166])


@pytest.mark.parametrize(
    ("name", "expected"), [("SCHL", [0.0125, 0.0192, 0.0266]), ("ANC", [0.0297, 0.0402, 0.0504])]
)
def test_jensen_shannon_of_categories_by_year_is_as_published(people, name, expected):
    before = people[name][people.year == 2015]
    found = [column_drift(before, people[name][people.year == year]) for year in YEARS]
    assert [column["method"] for column in found] == ["jensen_shannon"] * 3
    assert_allclose(np.round([column["statistic"] for column in found], 4), expected)


def test_real_drift_without_loss_raises_no_alarm(people):
    before = people[people.year == 2015].drop(columns="year")
    for year in YEARS:
        now = people[people.year == year].drop(columns="year")
        found = drift(before, now)
        assert (found["verdict"], found["drifted_share"], len(found["columns"])) == ("ok", 0.0, 19)
        judged = performance(before, now, target="employed", score="predicted_probability", n_resamples=20)
        assert judged["verdict"] == "ok"
        assert_allclose(
            judged["rows"]["current"]["base_rate"],
            {2016: 0.5010, 2017: 0.5032, 2018: 0.5051}[year],
            atol=0.00005,
        )


def test_auc_by_year_is_as_published(people):
    before = people[people.year == 2015]
    found = [
        performance(before, people[people.year == year], "employed", "predicted_probability", n_resamples=20)
        for year in YEARS
    ]
    values = [before_now["columns"]["roc_auc"]["current"]["value"] for before_now in found]
    assert_allclose(values, [0.9020, 0.9051, 0.9057], atol=0.0001)


def test_ks_of_loans_by_chunk_is_as_published(loans):
    found = [
        ks(loans[-1].debt_to_income_ratio.to_numpy(), loans[chunk].debt_to_income_ratio.to_numpy())
        for chunk in range(5)
    ]
    assert_allclose(np.round(found, 5), [0.01576, 0.01272, 0.01746, 0.01282, 0.01922])
    assert_allclose(round(ks(loans[-1].car_value.to_numpy(), loans[5].car_value.to_numpy()), 3), 0.435)


def test_drift_of_loans_starts_in_chunk_five(loans):
    shown = ["debt_to_income_ratio", "car_value"]
    verdicts = [drift(loans[-1], loans[chunk], columns=shown)["verdict"] for chunk in range(10)]
    assert verdicts == ["ok"] * 5 + ["fail"] * 5


def test_realised_auc_of_loans_by_chunk_is_as_published_and_the_loss_is_noticed(loans):
    found = [
        performance(loans[-1], loans[chunk], target="repaid", score="y_pred_proba", n_resamples=50)
        for chunk in range(10)
    ]
    values = [judged["columns"]["roc_auc"]["current"]["value"] for judged in found]
    expected = [0.9710, 0.9702, 0.9763, 0.9677, 0.9699, 0.9600, 0.9585, 0.9590, 0.9631, 0.9576]
    assert_allclose(np.round(values, 4), expected)
    assert [judged["verdict"] for judged in found] == ["ok"] * 5 + ["warn"] * 5


@pytest.mark.parametrize("seed", range(5))
def test_ks_agrees_with_scipy_also_with_ties(seed):
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(seed)
    one, two = draw.integers(0, 20, 300), draw.integers(0, 22, 500)
    assert_allclose(ks(one, two), stats.ks_2samp(one, two).statistic, rtol=1e-12)


def test_jensen_shannon_agrees_with_scipy():
    distance = pytest.importorskip("scipy.spatial.distance")
    counts = np.random.default_rng(0).integers(0, 50, (20, 2, 7))
    for one, two in counts:
        assert_allclose(jensen_shannon(one, two), distance.jensenshannon(one, two, base=2), rtol=1e-9)


@pytest.mark.parametrize("n_categories", [3, 5, 20, 200])
def test_jensen_shannon_noise_agrees_with_the_exact_chi_square_quantile(n_categories):
    stats = pytest.importorskip("scipy.stats")
    exact = np.sqrt(stats.chi2.isf(0.001, n_categories - 1) * (1 / 400 + 1 / 600) / (8 * np.log(2)))
    assert_allclose(jensen_shannon_noise(400, 600, n_categories - 1, 0.001), exact, rtol=1e-9)


@pytest.mark.parametrize(
    ("n_levels", "steepness", "n", "m"),
    [(2, 0, 400, 600), (500, 1, 5000, 5000), (500, 1, 5000, 1000), (500, 1, 100, 5000), (300, 0, 1000, 1000)],
)
def test_rare_levels_raise_no_more_alarms_than_accepted_and_no_fewer(n_levels, steepness, n, m):
    draw, alarms, p_values = np.random.default_rng(0), 0, []
    shares = 1 / np.arange(1, n_levels + 1) ** steepness
    for _ in range(120):
        before, now = (draw.multinomial(size, shares / shares.sum()) for size in (n, m))
        worth, freedom = rare_levels(before, now)
        p_values.append(jensen_shannon_p_value(jensen_shannon(before, now), n * worth, m * worth, freedom))
        alarms += p_values[-1] < 0.05
    assert alarms <= 15
    assert 0.3 < np.median(p_values) < 0.7


@pytest.mark.parametrize("is_profile", [False, True])
@pytest.mark.parametrize("per_card", [None, 2])
def test_two_windows_of_many_merchants_are_alike(is_profile, per_card):
    draw, cluster = np.random.default_rng(1), None if per_card is None else "card"
    shares = 1 / np.arange(1, 501) / sum(1 / np.arange(1, 501))
    for _ in range(2):
        held = [pd.DataFrame({"merchant": draw.choice(500, 5000, p=shares)}).astype(str) for _ in range(2)]
        if per_card is not None:
            held = [one.assign(card=np.arange(5000) // 2 + 9999 * i) for i, one in enumerate(held)]
        if is_profile:
            found = profile_drift(*(profile_of(one, cluster) for one in held), warn=0.01, alpha=0.01)
        else:
            found = drift(*held, warn=0.01, alpha=0.01, sampling=Sampling(cluster))
        assert found["verdict"] == "ok", found


def test_forty_same_columns_of_small_windows_raise_no_alarm():
    alarms = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        one, two = (pd.DataFrame(draw.normal(size=(60, 30))) for _ in range(2))
        alarms += drift(one, two)["verdict"] != "ok"
    assert alarms == 0
