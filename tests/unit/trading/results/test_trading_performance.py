"""Figures of curves and trades at their edges."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.trading.results.performance import curve_figures, daily_returns, fill_frame, gains_of, trade_figures

DAYS = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04"])
CLOSES = pd.DataFrame({"AAA": [100.0, 110.0, 99.0], "BBB": [50.0, 40.0, 50.0]}, DAYS)
OPENS = CLOSES.iloc[1:] - 1.0
NONE = CLOSES * 0.0
EQUITY = pd.Series([1000.0, 1000.0, 1000.0], DAYS)


def fill(day: int, ticker: str, side: str, qty: str, price: str) -> dict:
    return {
        "time": f"2024-01-{day:02}T15:30:00+00:00",
        "ticker": ticker,
        "side": side,
        "qty": qty,
        "price": price,
    }


def test_a_curve_without_values_has_no_figures():
    assert set(curve_figures(pd.Series([], dtype=float)).values()) == {None}


@pytest.mark.parametrize(
    ("values", "loss"), [([100, 90, 95, 80], 0.2), ([100, 101, 102], 0.0), ([100, 120, 60, 130], 0.5), ([100], 0.0)]
)
def test_the_largest_loss_since_a_peak(values, loss):
    assert curve_figures(pd.Series(values, dtype=float))["max_drawdown"] == pytest.approx(loss)


def test_the_standard_error_shrinks_with_the_days():
    once = [100.0, 101.0, 100.0]
    short = curve_figures(pd.Series(once))["sharpe_se"]
    long = curve_figures(pd.Series(once * 20))["sharpe_se"]
    assert short is not None
    assert long is not None
    assert long < short
    assert long == pytest.approx(math.sqrt(252 / 59), rel=0.01)


def test_returns_are_one_fewer_than_values():
    assert daily_returns(pd.Series([100.0, 110.0, 99.0])).tolist() == pytest.approx([0.1, -0.1])
    assert daily_returns(pd.Series([100.0])).tolist() == []


def test_the_order_of_the_fills_does_not_matter():
    fills = [fill(3, "AAA", "buy", "1", "105"), fill(3, "AAA", "sell", "2", "106"), fill(4, "BBB", "buy", "3", "45")]
    pd.testing.assert_frame_equal(fill_frame(fills), fill_frame(fills[::-1]))


def test_a_fill_without_an_opening_price_costs_nothing():
    fills = fill_frame([fill(3, "CCC", "buy", "10", "5")])
    figures = trade_figures(fills, OPENS, gains_of(fills, CLOSES, NONE), EQUITY)
    assert (figures["cost"], figures["traded"]) == (0.0, 50.0)


def test_buying_below_the_open_costs_less_than_nothing():
    fills = fill_frame([fill(3, "AAA", "buy", "10", "108")])
    figures = trade_figures(fills, OPENS, gains_of(fills, CLOSES, NONE), EQUITY)
    assert figures["cost"] == pytest.approx(-10)
    assert figures["cost_bps"] == pytest.approx(-1e4 * 10 / 1080)
    assert figures["turnover"] == pytest.approx(1.08)


def test_a_position_of_a_day_without_gain_is_neither_hit_nor_miss():
    flat = pd.DataFrame({"AAA": [100.0, 100.0, 100.0]}, DAYS)
    fills = fill_frame([fill(3, "AAA", "buy", "1", "100")])
    figures = trade_figures(fills, flat.iloc[1:], gains_of(fills, flat, flat * 0.0), EQUITY)
    assert (figures["hit_rate"], figures["hit_days"]) == (None, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([3, 4]),
            st.sampled_from(["AAA", "BBB"]),
            st.sampled_from(["buy", "sell"]),
            st.integers(1, 50),
            st.integers(10, 200),
        ),
        max_size=10,
    )
)
def test_gains_add_up_to_what_is_held_less_what_was_paid(trades):
    rows = [fill(day, ticker, side, str(qty), str(price)) for day, ticker, side, qty, price in trades]
    gains = gains_of(fill_frame(rows), CLOSES, NONE).to_numpy().sum() if rows else 0.0
    sign = {"buy": 1, "sell": -1}
    last = CLOSES.iloc[-1]
    worth = sum(sign[side] * qty * (last[ticker] - price) for _, ticker, side, qty, price in trades)
    assert gains == pytest.approx(worth)
