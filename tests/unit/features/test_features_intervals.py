"""Widths of intervals: the definitions in plain loops, the edges, and the coverage on made and on real prices."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.features.column_names import WIDEST, width_columns
from mlops_cli.features.intervals import (
    DECAYS,
    LEAST,
    SETTLED,
    STEP,
    WINDOW,
    conformal_rank,
    fleet_quantiles,
    half_widths,
    scaled_errors,
    stock_quantiles,
)

LEVELS = (80.0, 95.0)


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Log returns of a calm and a wild half year in turn; NaN for the first bar."""
    random = np.random.default_rng(seed)
    volatility = np.where(np.arange(count) // 120 % 2, 0.03, 0.008)
    returns = volatility * random.standard_t(5, count)
    returns[0] = np.nan
    return returns


def every_session(count: int) -> np.ndarray:
    return np.arange(count) > 0


def test_names_of_columns() -> None:
    assert width_columns((80, 95.0, 97.5)) == ("width_80", "width_95", "width_97.5")


class TestScales:
    def test_the_scale_is_a_mean_of_three_averages_that_know_where_they_started(self) -> None:
        returns = noise(60)
        scales = scaled_errors(returns, every_session(60)).scales
        for bar in (1, 2, 30, 59):
            expected = 0.0
            for decay, weight in DECAYS.items():
                shares = [decay ** (bar - day) for day in range(1, bar + 1)]
                squares = [returns[day] ** 2 for day in range(1, bar + 1)]
                expected += weight * math.sqrt(np.dot(shares, squares) / sum(shares))
            assert scales[bar] == pytest.approx(expected, rel=1e-12)

    def test_the_weights_are_those_of_a_mean(self) -> None:
        assert sum(DECAYS.values()) == pytest.approx(1.0)

    def test_an_error_is_in_units_of_the_scale_of_the_day_before(self) -> None:
        returns = noise(60)
        scaled = scaled_errors(returns, every_session(60))
        assert scaled.errors[40] == pytest.approx(abs(returns[40]) / scaled.scales[39], rel=1e-15)

    def test_errors_count_when_the_scale_is_settled(self) -> None:
        errors = scaled_errors(noise(60), every_session(60)).errors
        assert np.flatnonzero(~np.isnan(errors))[0] == SETTLED + 1

    def test_the_return_over_a_halt_moves_the_scale_and_is_no_error(self) -> None:
        returns, follows = noise(60), every_session(60)
        returns[40], follows[40] = 0.2, False
        scaled = scaled_errors(returns, follows)
        assert math.isnan(scaled.errors[40])
        assert scaled.scales[40] > 2 * scaled.scales[39]

    def test_a_stock_that_never_moves_has_the_least_scale_and_no_error(self) -> None:
        returns = np.append(np.nan, np.zeros(99))
        scaled = scaled_errors(returns, every_session(100))
        assert set(scaled.scales[1:]) == {LEAST}
        assert set(scaled.errors[SETTLED + 1 :]) == {0.0}

    def test_one_bar_has_neither(self) -> None:
        scaled = scaled_errors(np.array([np.nan]), every_session(1))
        assert np.isnan(scaled.scales).all()
        assert np.isnan(scaled.errors).all()


class TestRank:
    @pytest.mark.parametrize(
        ("errors", "share", "rank"),
        [(504, 0.8, 404), (504, 0.95, 480), (19, 0.95, 19), (18, 0.95, 19), (4, 0.8, 4), (3, 0.8, 4), (0, 0.5, 1)],
    )
    def test_by_hand(self, errors: int, share: float, rank: int) -> None:
        assert conformal_rank(errors, share) == rank

    @given(errors=st.integers(0, 2000), level=st.integers(500, 999))
    def test_the_rank_is_the_exact_one(self, errors: int, level: int) -> None:
        assert conformal_rank(errors, level / 1000) == max(1, -(-(errors + 1) * level // 1000))


class TestStock:
    @given(seed=st.integers(0, 1000), count=st.integers(1, 700), ties=st.booleans())
    def test_every_quantile_is_that_of_the_last_errors_sorted(self, seed: int, count: int, ties: bool) -> None:
        random = np.random.default_rng(seed)
        errors = random.standard_exponential(count)
        if ties:
            errors = np.round(errors, 1)
        errors[random.random(count) < 0.1] = np.nan
        got = stock_quantiles(errors, LEVELS)
        for bar in {0, count // 2, count - 1}:
            recent = errors[: bar + 1][~np.isnan(errors[: bar + 1])][-WINDOW:]
            for place, level in enumerate(LEVELS):
                rank = conformal_rank(len(recent), level / 100)
                assert got[bar, place] == (np.sort(recent)[rank - 1] if rank <= len(recent) else np.inf)

    def test_the_window_forgets(self) -> None:
        errors = np.concatenate([np.full(WINDOW, 9.0), np.full(WINDOW, 1.0)])
        quantiles = stock_quantiles(errors, LEVELS)
        assert quantiles[WINDOW - 1].tolist() == [9.0, 9.0]
        assert quantiles[-1].tolist() == [1.0, 1.0]
        assert quantiles[WINDOW + 403].tolist() == [1.0, 9.0], "404 of 504 are 1"

    def test_no_errors_no_quantiles(self) -> None:
        assert np.isinf(stock_quantiles(np.full(30, np.nan), LEVELS)).all()
        assert stock_quantiles(np.empty(0), LEVELS).shape == (0, 2)


class TestFleet:
    def test_the_quantile_is_that_of_all_stocks_of_the_window(self) -> None:
        random = np.random.default_rng(0)
        days = pd.bdate_range("2015-01-02", periods=WINDOW + 60)
        errors = {name: pd.Series(random.standard_exponential(len(days)).round(2), days) for name in "ABCDE"}
        errors["B"].iloc[::7] = np.nan
        got = fleet_quantiles(errors, (80.0,))
        table = pd.DataFrame(errors).to_numpy()
        share = 0.8
        for day in range(len(days)):
            if day and np.isfinite(got.iloc[day - 1, 0]):
                new = table[day][~np.isnan(table[day])]
                share += STEP * (0.8 - float((new <= got.iloc[day - 1, 0]).mean()))
            pool = table[max(0, day - WINDOW + 1) : day + 1]
            pool = np.sort(pool[~np.isnan(pool)])
            if conformal_rank(len(pool), 0.8) <= len(pool):
                assert got.iloc[day, 0] == pool[min(conformal_rank(len(pool), share), len(pool)) - 1], days[day]

    def test_a_crash_of_all_stocks_widens_the_interval_of_the_next_day(self) -> None:
        days = pd.bdate_range("2015-01-02", periods=400)
        random = np.random.default_rng(1)
        errors = {str(stock): pd.Series(random.standard_exponential(400), days) for stock in range(50)}
        calm = fleet_quantiles(errors, LEVELS)
        crash = {name: series.where(days != days[300], 20.0) for name, series in errors.items()}
        wide = fleet_quantiles(crash, LEVELS)
        pd.testing.assert_frame_equal(calm.iloc[:300], wide.iloc[:300])
        assert (wide.iloc[300] > 1.1 * calm.iloc[300]).all()

    def test_a_level_is_never_corrected_beyond_the_largest_error(self) -> None:
        days = pd.bdate_range("2015-01-02", periods=200)
        rising = {name: pd.Series(np.arange(200.0), days) for name in "AB"}  # no interval ever holds
        quantiles = fleet_quantiles(rising, LEVELS)
        assert np.isfinite(quantiles.iloc[40:]).all().all()
        assert quantiles.iloc[-1].tolist() == [199.0, 199.0]

    def test_a_stock_that_lists_later_and_no_stock_at_all(self) -> None:
        days = pd.bdate_range("2015-01-02", periods=100)
        late = fleet_quantiles({"A": pd.Series(1.0, days), "B": pd.Series(2.0, days[60:])}, LEVELS)
        assert late.index.equals(days)
        assert late.columns.tolist() == ["width_80", "width_95"]
        assert fleet_quantiles({}, LEVELS).shape == (0, 2)


class TestWidths:
    def test_what_is_unknown_is_the_widest_and_nothing_is_zero(self) -> None:
        scales = np.array([np.nan, 0.01, 0.01, 0.01, LEAST])
        quantiles = np.array([[1.0], [np.inf], [2.0], [1e6], [0.0]])
        assert half_widths(scales, quantiles)[:, 0].tolist() == [WIDEST, WIDEST, 0.02, WIDEST, LEAST]

    def test_a_fleet_without_a_quantile_of_the_day(self) -> None:
        assert half_widths(np.array([0.01]), np.array([[np.nan]]))[0, 0] == WIDEST


def coverage(returns: np.ndarray, first: int) -> np.ndarray:
    """Shares of sessions from `first` on that the interval of the day before held, by level."""
    scaled = scaled_errors(returns, every_session(len(returns)))
    widths = half_widths(scaled.scales, stock_quantiles(scaled.errors, LEVELS))
    return np.asarray((np.abs(returns[first:, None]) <= widths[first - 1 : -1]).mean(axis=0))


def test_intervals_hold_as_many_closes_as_they_say_when_volatility_changes() -> None:
    shares = np.mean([coverage(noise(2500, seed), 700) for seed in range(4)], axis=0)
    assert shares == pytest.approx([0.80, 0.95], abs=0.015)


def test_the_intervals_of_real_stocks_are_calibrated() -> None:
    folder = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "universe"
    files = sorted(folder.glob("*.parquet"))[::12]
    if not files:
        pytest.skip("no shared/data/universe here")
    shares = []
    for file in files:
        closes = pd.read_parquet(file, columns=["Adj Close"])["Adj Close"].to_numpy(np.float64)
        shares.append(coverage(np.append(np.nan, np.diff(np.log(closes))), len(closes) - 1639))
    eighty, ninety_five = 100 * np.mean(shares, axis=0)
    assert 78.5 <= eighty <= 81.5
    assert 94.0 <= ninety_five <= 96.0
