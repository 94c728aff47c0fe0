"""The mean naive error, and what the models of a session have in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlops_cli.live.health.signal import (
    LEAST_SIZE,
    MIN_FLEET,
    UNKNOWN,
    WARM_UP,
    Common,
    common,
    log_size,
    moved,
    naive_means,
    own_part,
)


def test_the_mean_before_a_session_does_not_know_the_session() -> None:
    naive = np.abs(np.random.default_rng(1).normal(size=(60, 3)))
    before, _ = naive_means(naive)
    changed = naive.copy()
    changed[40:] *= 9.0
    again, _ = naive_means(changed)
    np.testing.assert_array_equal(before[:41], again[:41])
    assert (before[41] != again[41]).all()


def test_the_mean_starts_with_the_warm_up_and_moves_by_its_weight() -> None:
    naive = np.concatenate([np.full(WARM_UP, 2.0), [4.0, 2.12]])[:, None]
    before, after = naive_means(naive)
    assert np.isnan(before[:WARM_UP]).all()
    assert before[WARM_UP, 0] == 2.0
    assert before[WARM_UP + 1, 0] == pytest.approx(2.12)
    assert after[0] == pytest.approx(2.12)


def test_sessions_without_a_forecast_do_not_count() -> None:
    naive = np.random.default_rng(2).uniform(1, 2, size=(70, 1))
    gaps = np.full((140, 1), np.nan)
    gaps[::2] = naive
    before, after = naive_means(naive)
    with_gaps, after_gaps = naive_means(gaps)
    np.testing.assert_array_equal(with_gaps[::2], before)
    assert np.isnan(with_gaps[1::2]).all()
    assert after_gaps[0] == after[0]


def test_too_few_sessions_have_no_mean() -> None:
    before, after = naive_means(np.ones((WARM_UP - 1, 1)))
    assert np.isnan(before).all()
    assert np.isnan(after).all()
    assert np.isnan(naive_means(np.empty((0, 2)))[1]).all()


def test_a_missing_value_leaves_the_mean() -> None:
    np.testing.assert_allclose(moved(np.array([1.0, 1.0]), np.array([np.nan, 2.0])), [1.0, 1.06])


def test_few_models_have_nothing_in_common() -> None:
    signals = np.full(40, np.nan)
    signals[: MIN_FLEET - 1] = 1.0
    assert common(signals) is UNKNOWN
    np.testing.assert_array_equal(own_part(signals, UNKNOWN, 7.0), signals)


def test_common_parts_by_hand() -> None:
    signals = np.concatenate([np.arange(19.0), [np.nan, 1000.0]])  # 0..18 and an outlier
    part = common(signals)
    assert part.median == 9.5
    assert part.mean == pytest.approx(np.arange(2.0, 18.0).mean())  # two of twenty cut on either side
    assert part.size == 5.0


def test_a_broken_tenth_hardly_moves_the_common_part() -> None:
    random = np.random.default_rng(3)
    signals = random.normal(size=1000)
    honest = common(signals)
    signals[:100] = 1e6
    part = common(signals)
    assert abs(part.median - honest.median) < 0.2
    assert abs(part.size - honest.size) < 0.2
    assert abs(part.mean - honest.mean) < 0.3


@given(arrays(np.float64, 25, elements=st.floats(-10, 10)), st.floats(-5, 5))
def test_a_shift_of_all_models_is_taken_out(signals: np.ndarray, shift: float) -> None:
    alone = own_part(signals, common(signals), 1.0)
    together = own_part(signals + shift, common(signals + shift), 1.0)
    np.testing.assert_allclose(together, alone, atol=1e-9)


@pytest.mark.parametrize(("growth", "expected"), [(4.0, 0.5), (1.0, 2.0), (0.25, 2.0)])
def test_only_growth_is_divided_out(growth: float, expected: float) -> None:
    assert own_part(np.array([3.0]), Common(0.0, 1.0, 1.0), growth)[0] == expected


def test_a_fleet_that_equals_the_naive_forecast_has_the_least_size() -> None:
    assert log_size(Common(0.0, 0.0, 0.0)) == np.log(LEAST_SIZE)
    assert log_size(Common(0.0, 0.0, 2.0)) == np.log(2.0)
