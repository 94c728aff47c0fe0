"""Each formula against values computed by hand, published, or by a second road."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

from mlops_cli.config.schemas.project import Macd
from mlops_cli.features import indicators as ind
from tests.fakes.price_tables import random_prices, xnys_sessions

nan = math.nan


def bars(close: Any, **columns: Any) -> ind.Bars:
    """Bars from 2024-01-02 on; what is not given equals the close, volume 1,000."""
    close = np.asarray(close, dtype=np.float64)
    calendar = xnys_sessions()
    first = calendar.searchsorted(pd.Timestamp("2024-01-02"))
    values = {"open": close, "high": close, "low": close, "volume": np.full(len(close), 1000.0)} | {
        name: np.asarray(value, dtype=np.float64) for name, value in columns.items()
    }
    return ind.Bars(
        sessions=calendar[first : first + len(close)],
        next_sessions=calendar[first + 1 : first + 1 + len(close)],
        close=close,
        returns=ind.log_return(close, 1),
        **values,
    )


def test_lagged() -> None:
    values = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(ind.lagged(values, 0), values)
    np.testing.assert_array_equal(ind.lagged(values, 1), [nan, 1, 2])
    np.testing.assert_array_equal(ind.lagged(values, 5), [nan, nan, nan])


def test_period_return() -> None:
    got = ind.period_return(bars([100, 110, 99, 198]), 2)
    np.testing.assert_allclose(got, [nan, nan, math.log(0.99), math.log(1.8)], rtol=1e-14)


def test_past_return_is_the_return_of_that_day() -> None:
    table = bars([100, 110, 99, 198])
    np.testing.assert_allclose(ind.past_return(table, 0), [nan, math.log(1.1), math.log(0.9), math.log(2)], rtol=1e-14)
    np.testing.assert_allclose(ind.past_return(table, 2), [nan, nan, nan, math.log(1.1)], rtol=1e-14)


def test_ranges() -> None:
    table = bars([12, 10], open=[10, 10], high=[12.5, 10], low=[10, 10])
    np.testing.assert_allclose(ind.range_high_low(table), [math.log(1.25), 0])
    np.testing.assert_allclose(ind.range_open_close(table), [math.log(1.2), 0])
    np.testing.assert_allclose(ind.close_position(table), [0.8, 0.5])


def test_sma_ratio() -> None:
    got = ind.sma_ratio(bars([1, 2, 3, 7]), 3)
    np.testing.assert_allclose(got, [nan, nan, 3 / 2 - 1, 7 / 4 - 1])


def test_rsi_published_values() -> None:
    """Closes of QQQQ and their 14-day RSI as published by StockCharts' ChartSchool, "Relative Strength Index"."""
    close = """44.3389 44.0902 44.1497 43.6124 44.3278 44.8264 45.0955 45.4245 45.8433 46.0826 45.8931 46.0328 45.6140
        46.2820 46.2820 46.0028 46.0328 46.4116 46.2222 45.6439 46.2122 46.2521 45.7137 46.4515 45.7835 45.3548
        44.0288 44.1783 44.2181 44.5672 43.4205 42.6628 43.1314"""
    published = """70.53 66.32 66.55 69.41 66.36 57.97 62.93 63.26 56.06 62.38 54.71 50.42 39.99 41.46 41.87 45.46 37.30
        33.08 37.77"""
    got = ind.rsi(bars(close.split()), 14)
    assert np.isnan(got[:14]).all()
    np.testing.assert_allclose(got[14:], np.array(published.split(), dtype=float), atol=0.006)


@pytest.mark.parametrize("sessions", [2, 14, 50])
def test_rsi_is_talibs_wherever_the_price_moves(sessions: int) -> None:
    close = random_prices(500, seed=5)["close"].to_numpy()
    np.testing.assert_allclose(ind.rsi(bars(close), sessions), talib.RSI(close, sessions), rtol=1e-12)


def test_rsi_at_the_edges() -> None:
    assert ind.rsi(bars(np.full(30, 7.0)), 14)[-1] == 50, "TA-Lib's own RSI says 0 here"
    assert ind.rsi(bars(np.arange(1, 31)), 14)[-1] == 100
    assert ind.rsi(bars(np.arange(31, 1, -1)), 14)[-1] == 0


def test_rsi_stays_where_it_was_when_trading_stops() -> None:
    moving = random_prices(100, seed=6)["close"].to_numpy()
    got = ind.rsi(bars(np.append(moving, np.full(300, moving[-1]))), 14)
    np.testing.assert_allclose(got[100:], got[99], rtol=1e-9)


def test_macd_of_steady_growth() -> None:
    """The exponential average of g^t settles at g^t alpha / (1 - (1 - alpha) / g)."""
    growth, spans = 1.01, Macd(fast=12, slow=26, signal=9)

    def share(span: int) -> float:
        alpha = 2 / (span + 1)
        return alpha / (1 - (1 - alpha) / growth)

    line = share(spans.fast) - share(spans.slow)
    table = bars(50 * growth ** np.arange(600))
    assert ind.macd(table, spans, 0)[-1] == pytest.approx(line, rel=1e-9)
    assert ind.macd(table, spans, 1)[-1] == pytest.approx(line * share(spans.signal), rel=1e-9)
    assert ind.macd(table, spans, 2)[-1] == pytest.approx(line * (1 - share(spans.signal)), rel=1e-9)


def test_macd_by_pandas() -> None:
    close = random_prices(900, seed=7)["close"]
    spans = Macd(fast=5, slow=35, signal=5)
    line = close.ewm(span=5, adjust=False).mean() - close.ewm(span=35, adjust=False).mean()
    signal = line.ewm(span=5, adjust=False).mean()
    for number, expected in enumerate((line, signal, line - signal)):
        got = ind.macd(bars(close), spans, number)
        assert np.isnan(got[:38]).all()
        np.testing.assert_allclose(got[500:], (expected / close).to_numpy()[500:], atol=1e-11)


def test_volatility() -> None:
    close = [100, 101, 99, 105, 104]
    returns = [math.log(b / a) for a, b in itertools.pairwise(close)]
    got = ind.volatility(bars(close), 3)
    assert np.isnan(got[:3]).all()
    np.testing.assert_allclose(got[3:], [statistics.stdev(returns[:3]), statistics.stdev(returns[1:])], rtol=1e-12)


def test_volatility_comes_back_to_zero_after_a_shock() -> None:
    moving = random_prices(100, seed=9)["close"].to_numpy()
    got = ind.volatility(bars(np.concatenate((moving, np.full(40, 20 * moving[-1])))), 10)
    assert got[100] > 0.9
    np.testing.assert_allclose(got[111:], 0, atol=1e-7)


def test_volume_ratio_is_against_the_days_before() -> None:
    got = ind.volume_ratio(bars(np.ones(4), volume=[99, 199, 299, 0]), 2)
    np.testing.assert_allclose(got, [nan, nan, math.log(300 / 150), math.log(1 / 250)])


def test_volume_ratio_without_any_volume() -> None:
    volume = np.append(np.full(10, 1e10), np.zeros(10))
    got = ind.volume_ratio(bars(np.ones(20), volume=volume), 5)
    assert np.isfinite(got[5:]).all()
    assert (got[15:] == 0).all(), "nothing traded, nothing usual: neither more nor less than usual"


def test_a_window_forgets_what_lies_before_it() -> None:
    """A billionfold crash must leave no rounding behind in the windows after it."""
    calm = random_prices(200, seed=8)["close"].to_numpy()
    crashed = np.append(np.full(100, calm[0] * 1e9), calm)
    for formula in (ind.sma_ratio, ind.volatility):
        np.testing.assert_allclose(formula(bars(crashed), 20)[121:], formula(bars(calm), 20)[21:], rtol=1e-9)


def test_calendar() -> None:
    table = bars(np.ones(11))
    assert [str(day.date()) for day in table.sessions[[0, 3, 8]]] == ["2024-01-02", "2024-01-05", "2024-01-12"]
    np.testing.assert_array_equal(ind.day_of_week(table), [1, 2, 3, 4, 0, 1, 2, 3, 4, 1, 2])
    np.testing.assert_array_equal(ind.month(table), np.ones(11))
    # The weekend of 12 January 2024 ends with Martin Luther King Day.
    np.testing.assert_array_equal(ind.days_to_next_session(table), [1, 1, 1, 3, 1, 1, 1, 1, 4, 1, 1])


def test_close_price() -> None:
    np.testing.assert_array_equal(ind.close_price(bars([3, 4])), [3, 4])
