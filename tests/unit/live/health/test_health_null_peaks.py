"""The null distribution of peaks, against peaks of fresh series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.live.health.cusum import YEAR, peaks
from mlops_cli.live.health.null_peaks import LEAST_SCALE, NullPeaks, null_peaks, standard
from tests.fakes.health_oracle import exponential_tail


def fresh(length: int, number: int, seed: int) -> np.ndarray:
    """Peaks of independent normal series whose mean and spread are estimated on a reference."""
    random = np.random.default_rng(seed)
    reference, year = random.normal(size=(length, number)), random.normal(size=(YEAR, number))
    return peaks((year - reference.mean(axis=0)) / reference.std(axis=0, ddof=1))


def normal_references(number: int, length: int = 500) -> list[np.ndarray]:
    return list(np.random.default_rng(5).normal(size=(number, length)))


NULL = null_peaks(normal_references(200), 120, np.random.default_rng(6), replicates=4000)


def test_probabilities_are_those_of_fresh_series() -> None:
    """Of low peaks they are some 20 % too low (references are finite); low peaks raise no alarm."""
    drawn = np.sort(fresh(120, 8000, 7))
    for share in (0.1, 0.05):
        height = drawn[int((1 - share) * len(drawn))]
        assert float(NULL.probability(np.array(height))) == pytest.approx(share, rel=0.25)


def test_the_mean_is_estimated_anew_in_each_replicate() -> None:
    """Else the null is too low: with a reference of 60 sessions, true means double the false alarms."""
    drawn = fresh(60, 4000, 8)
    honest = null_peaks(normal_references(200), 60, np.random.default_rng(9), replicates=4000)
    random = np.random.default_rng(10)
    known = np.sort(peaks(random.normal(size=(YEAR, 4000))))
    limits = float(np.interp(np.log(0.05), *_inverse(honest))), known[int(0.95 * len(known))]
    rates = [float((drawn > limit).mean()) for limit in limits]
    assert rates[0] == pytest.approx(0.05, abs=0.015)
    assert rates[1] > 2 * rates[0]


def _inverse(null: NullPeaks) -> tuple[np.ndarray, np.ndarray]:
    heights = np.array(null.quantiles)
    chances = np.log(null.probability(heights))
    return chances[::-1], heights[::-1]


def test_short_references_need_higher_peaks() -> None:
    short = null_peaks(normal_references(50), 60, np.random.default_rng(6), replicates=2000)
    long = null_peaks(normal_references(50), 500, np.random.default_rng(6), replicates=2000)
    assert short.quantiles[-1] > long.quantiles[-1]


def test_blocks_keep_calm_and_wild_times_together() -> None:
    """Series with clustered volatility reach higher peaks than the same values in random order."""
    random = np.random.default_rng(11)
    volatility = np.where((np.arange(500) // 25) % 4 == 0, 1.8, 0.5)
    clustered = [volatility * random.normal(size=500) for _ in range(50)]
    mixed = [random.permutation(series) for series in clustered]
    nulls = [null_peaks(series, 250, np.random.default_rng(12), replicates=2000) for series in (clustered, mixed)]
    assert nulls[0].quantiles[-1] > 1.3 * nulls[1].quantiles[-1]


def test_equal_draws_give_an_equal_null() -> None:
    again = null_peaks(normal_references(200), 120, np.random.default_rng(6), replicates=4000)
    assert again == NULL
    assert NullPeaks.model_validate_json(NULL.model_dump_json()) == NULL


@given(st.floats(0, 200), st.floats(0, 200))
def test_higher_is_less_probable(one: float, other: float) -> None:
    low, high = sorted([one, other])
    chances = NULL.probability(np.array([low, high]))
    assert 0.0 <= chances[1] <= chances[0] <= 1.0


def test_the_tail_is_exponential() -> None:
    top = NULL.quantiles[-1]
    for height in (top + 1.0, top + 20.0):
        expected = exponential_tail(top, NULL.excess, height)
        assert float(NULL.probability(np.array(height))) == pytest.approx(expected)


def test_a_peak_of_zero_says_nothing() -> None:
    assert float(NULL.probability(np.array(0.0))) == 1.0


def test_models_that_equal_the_naive_forecast_have_a_null_too() -> None:
    null = null_peaks([np.zeros(300)], 250, np.random.default_rng(0), replicates=1000)
    assert null.probability(np.array([0.0, 5.0])).tolist() == pytest.approx([1.0, 0.0])


def test_of_equal_quantiles_the_most_probable_counts() -> None:
    null = NullPeaks(quantiles=(0.0,) * 30 + tuple(np.linspace(1, 10, 35)), excess=1.0)
    assert float(null.probability(np.array(0.0))) == 1.0


def test_the_higher_of_two_distributions() -> None:
    calm = NullPeaks(quantiles=tuple(np.linspace(0.0, 5.0, 65)), excess=3.0)
    wild = NullPeaks(quantiles=tuple(np.linspace(0.0, 9.0, 65)), excess=1.0)
    both = calm.at_least(wild)
    assert both == wild.at_least(calm) == NullPeaks(quantiles=wild.quantiles, excess=3.0)
    heights = np.linspace(0.0, 30.0, 20)
    assert (both.probability(heights) >= np.maximum(calm.probability(heights), wild.probability(heights)) - 1e-12).all()


def test_a_spread_has_a_floor() -> None:
    mean, spread = standard(np.array([[1.0, 0.0], [1.0, 4.0], [np.nan, np.nan]]))
    assert mean.tolist() == [1.0, 2.0]
    assert spread.tolist() == pytest.approx([LEAST_SCALE, np.sqrt(8.0)])
