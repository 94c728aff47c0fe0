"""The tests of significance, against their formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlops_cli.evaluation.significance import (
    MIN_SESSIONS,
    clustered_error,
    day_clustered,
    diebold_mariano_p,
    false_discovery,
    pesaran_timmermann_p,
)


def series(seed: int, size: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    baseline = 100 + random.normal(size=size).cumsum()
    return baseline + random.normal(size=size), baseline + 0.3 * random.normal(size=size), baseline


@pytest.mark.parametrize("size", [20, 60, 125])
def test_diebold_mariano_is_newey_west_with_the_harvey_correction(size: int) -> None:
    actual, forecast, baseline = series(3, size)
    loss = [abs(f - y) - abs(b - y) for y, f, b in zip(actual, forecast, baseline, strict=True)]
    mean = sum(loss) / size
    lags = math.ceil(size ** (1 / 3))
    covariance = [
        sum((loss[t] - mean) * (loss[t - lag] - mean) for t in range(lag, size)) / size for lag in range(lags + 1)
    ]
    variance = covariance[0] + 2 * sum((1 - lag / (lags + 1)) * covariance[lag] for lag in range(1, lags + 1))
    t = mean / math.sqrt(variance / size) * math.sqrt((size + 1 - 2) / size)
    assert diebold_mariano_p(actual, forecast, baseline) == pytest.approx(2 * stats.t.sf(abs(t), size - 1), abs=1e-12)


def test_diebold_mariano_is_two_sided() -> None:
    actual, forecast, baseline = series(1)
    assert diebold_mariano_p(actual, forecast, baseline) == diebold_mariano_p(actual, baseline, forecast)


def test_diebold_mariano_is_undefined_for_the_naive_forecast_itself() -> None:
    actual, _, baseline = series(1)
    assert math.isnan(diebold_mariano_p(actual, baseline, baseline))


def test_diebold_mariano_does_not_take_rounding_for_evidence() -> None:
    actual, _, baseline = series(1)
    assert math.isnan(diebold_mariano_p(actual, baseline * (1 + 1e-16 * np.arange(60)), baseline))
    assert math.isnan(diebold_mariano_p(baseline, baseline + 1.0, baseline))


def test_too_few_sessions_are_not_tested() -> None:
    actual, forecast, baseline = series(2, MIN_SESSIONS - 1)
    assert math.isnan(diebold_mariano_p(actual, forecast, baseline))
    assert math.isnan(pesaran_timmermann_p(actual - baseline, forecast - baseline))
    actual, forecast, baseline = series(2, MIN_SESSIONS)
    assert 0 <= diebold_mariano_p(actual, forecast, baseline) <= 1
    assert 0 <= pesaran_timmermann_p(actual - baseline, forecast - baseline) <= 1


def test_pesaran_timmermann_by_hand() -> None:
    # 40 sessions: 24 up (18 called up), 16 down (6 called up).
    actual = np.repeat([1.0, 1.0, -1.0, -1.0], [18, 6, 6, 10])
    forecast = np.repeat([1.0, -1.0, 1.0, -1.0], [18, 6, 6, 10])
    y, z, hits = 24 / 40, 24 / 40, 28 / 40
    chance = y * z + (1 - y) * (1 - z)
    variance = chance * (1 - chance) / 40
    correction = ((2 * y - 1) ** 2 * z * (1 - z) + (2 * z - 1) ** 2 * y * (1 - y)) / 40
    statistic = (hits - chance) / math.sqrt(variance - correction)
    assert pesaran_timmermann_p(actual, forecast) == pytest.approx(2 * stats.norm.sf(statistic), abs=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(MIN_SESSIONS, 80), st.booleans())
def test_pesaran_timmermann_is_undefined_for_one_sided_series(seed: int, size: int, up: bool) -> None:
    random = np.random.default_rng(seed)
    mixed, one_sided = random.normal(size=size), np.abs(random.normal(size=size)) * (1 if up else -1)
    assert math.isnan(pesaran_timmermann_p(mixed, one_sided))
    assert math.isnan(pesaran_timmermann_p(one_sided, mixed))


def test_no_calls_at_all_are_not_tested() -> None:
    assert math.isnan(pesaran_timmermann_p(np.array([]), np.array([])))


def test_false_discovery_by_hand() -> None:
    p = pd.Series([0.04, 0.001, np.nan, 0.02], index=list("abcd"))
    harmonic = 1 + 1 / 2 + 1 / 3
    expected = {"b": 0.001 * 3 * harmonic, "d": 0.02 * 3 / 2 * harmonic, "a": 0.04 * harmonic}
    adjusted = false_discovery(p)
    assert list(adjusted.index) == list("abcd")
    assert math.isnan(adjusted["c"])
    for name, value in expected.items():
        assert adjusted[name] == pytest.approx(value, abs=1e-12)


def test_false_discovery_of_one_test_and_of_none() -> None:
    assert false_discovery(pd.Series([0.03, np.nan])).tolist() == pytest.approx([0.03, np.nan], nan_ok=True)
    assert false_discovery(pd.Series([np.nan, np.nan])).isna().all()


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_looking_more_often_never_makes_a_p_smaller(p: list[float]) -> None:
    adjusted = false_discovery(pd.Series(p))
    assert (adjusted >= pd.Series(p) - 1e-15).all()
    assert (adjusted <= 1).all()


def days_of(rows_per_day: list[int]) -> pd.Series:
    return pd.Series(np.repeat(pd.bdate_range("2024-01-01", periods=len(rows_per_day)), rows_per_day))


def test_day_clustered_is_the_t_test_of_the_daily_means() -> None:
    values = pd.Series(np.random.default_rng(0).normal(0.1, 1, size=90))
    days = days_of([3] * 30)
    expected = stats.ttest_1samp(values.to_numpy().reshape(30, 3).mean(axis=1), 0)
    test = day_clustered(values, days)
    assert (test.t, test.p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-12)
    assert test.mean == pytest.approx(values.mean(), abs=1e-12)
    assert test.error * test.t == pytest.approx(test.mean, abs=1e-12)


def test_a_hundred_copies_of_a_model_are_no_more_evidence_than_one() -> None:
    values = pd.Series(np.random.default_rng(1).normal(0.1, 1, size=40))
    once = day_clustered(values, days_of([1] * 40))
    often = day_clustered(values.repeat(100).reset_index(drop=True), days_of([100] * 40))
    assert (often.t, often.p) == pytest.approx((once.t, once.p), abs=1e-9)
    errors = (
        clustered_error(values, days_of([1] * 40)),
        clustered_error(values.repeat(100).reset_index(drop=True), days_of([100] * 40)),
    )
    assert errors[0] == pytest.approx(errors[1], abs=1e-12)


def test_day_clustered_with_nothing_to_test() -> None:
    for values in (pd.Series(np.zeros(40)), pd.Series(1e-14 * np.arange(40)), pd.Series(np.full(40, np.nan))):
        test = day_clustered(values, days_of([1] * 40))
        assert math.isnan(test.t)
        assert math.isnan(test.p)
    few = day_clustered(pd.Series(np.arange(MIN_SESSIONS - 1.0)), days_of([1] * (MIN_SESSIONS - 1)))
    assert math.isnan(few.p)
    assert few.mean == 9.0


def test_day_clustered_where_every_day_agrees() -> None:
    test = day_clustered(pd.Series(np.full(40, -0.5)), days_of([1] * 40))
    assert (test.mean, test.error, test.t, test.p) == (-0.5, 0.0, -math.inf, 0.0)


def test_clustered_error_with_one_row_a_day_is_the_ordinary_one() -> None:
    values = pd.Series([1.0, 0.0, 1.0, 1.0, np.nan, 0.0])
    kept = values.dropna()
    assert clustered_error(values, days_of([1] * 6)) == pytest.approx(kept.std(ddof=1) / math.sqrt(5), abs=1e-12)


def test_clustered_error_by_hand() -> None:
    # Mean 0.6; the days' sums of deviations are 0.8 (two rows), -0.2 (two rows), -0.6 (one row).
    error = clustered_error(pd.Series([1.0, 1.0, 0.0, 1.0, 0.0]), days_of([2, 2, 1]))
    assert error == pytest.approx(math.sqrt((0.64 + 0.04 + 0.36) * 3 / 2) / 5, abs=1e-12)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 0.0]])
def test_one_day_has_no_clustered_error(values: list[float]) -> None:
    assert math.isnan(clustered_error(pd.Series(values, dtype="float64"), days_of([len(values)])))
