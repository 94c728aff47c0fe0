"""Jumps without proof: which are refused, with which hint, and which are ordinary."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.rules import clean
from tests.fakes.fake_yahoo import generated_bars
from tests.unit.prices.cleaning.test_prices_declared import DAY, PRICES, ROW, ROWS, SESSIONS, adjusted, raw


def with_step(ratio: float, decimals: int, paid: float | None = None) -> pd.DataFrame:
    """Prices that fall by a ratio, in the close and by the factor of the adjusted close; `paid`: a dividend instead."""
    table = adjusted().round(2)
    if paid is not None:
        ratio = 1 / (1 - paid / (table["close"].iloc[ROW - 1] + paid))
        table.loc[table.index < SESSIONS[ROW], PRICES] += paid
    else:
        table = raw(table, ratio).round(2)
    factor = np.where(np.arange(ROWS) < ROW, 1 / ratio, 1.0)
    return table.assign(adj_close=(table["close"] * factor).round(decimals))


@pytest.mark.parametrize("decimals", [2, 6])
@pytest.mark.parametrize("ratio", [1.05, 1.1, 1.15, 1.231, 1.363, 0.9, 0.813])
def test_a_step_of_the_factor_that_the_close_makes_and_nothing_explains_is_refused(ratio, decimals):
    with pytest.raises(DataError) as caught:
        clean(with_step(ratio, decimals), "T", SESSIONS)
    assert caught.value.message.startswith(f"T:{DAY}: the close goes ")
    assert "Dividends" in caught.value.hint


@pytest.mark.parametrize("paid", [4.0, 8.7, 10.0, 14.5, 26.42, 300.0])
def test_a_special_dividend_of_a_round_amount_is_no_split(paid):
    bars = with_step(0.0, 6, paid)
    table, repairs = clean(bars, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], bars["close"])
    assert repairs == ()


@pytest.mark.parametrize("decimals", [2, 6])
def test_a_listed_dividend_explains_the_step(decimals):
    bars = with_step(0.0, decimals, 20.0)
    bars = bars.assign(dividends=np.where(np.arange(ROWS) == ROW, 20.0, 0.0))
    table, _ = clean(bars, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], bars["close"])


def test_a_step_that_the_close_does_not_make_is_left():
    bars = adjusted()
    bars.loc[bars.index < SESSIONS[ROW], "adj_close"] /= 1.231
    table, _ = clean(bars, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], bars["close"])


@pytest.mark.parametrize("ratio", [2.0, 5.0, 1.5, 1.231, 0.5, 0.1])
def test_an_adjusted_close_with_the_inverse_factor_is_refused(ratio):
    with pytest.raises(DataError, match=DAY):
        clean(raw(adjusted(), ratio, adj_close="inverted"), "T", SESSIONS)


@pytest.mark.parametrize("scale", [0.0001, 1.0, 0.35, 1000.0])
@pytest.mark.parametrize("ticks", [(3, 2), (2, 3), (2, 1), (4, 2)])
def test_a_move_of_a_tick_or_two_is_no_split(ticks, scale):
    before, after = ticks
    usual = np.tile([before, before, before + 1, before, before + 2, before], ROWS)[:ROWS].astype(float)
    usual[60:] = before
    usual[ROW:] = after
    close = usual * scale
    bars = pd.DataFrame(dict.fromkeys([*PRICES, "adj_close"], close) | {"volume": 1e6}, index=SESSIONS[:ROWS])
    table, _ = clean(bars, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], close)


@pytest.mark.parametrize("price", [0.05, 2.0, 50.0, 3000.0])
def test_a_real_split_is_many_ticks_at_any_price(price):
    bars = raw(adjusted(price=price), 2.0, adj_close="missing").round(4)
    with pytest.raises(DataError, match="2:1 split"):
        clean(bars, "T", SESSIONS)


@pytest.mark.parametrize("ratio", [15.0, 1 / 15, 2.6, 3.7, 2.0])
def test_two_companies_under_one_ticker_are_offered_a_later_start_first(ratio):
    later = SESSIONS[200:400]
    early = generated_bars(SESSIONS[:100], 1, price=20.0)
    bars = pd.concat([early, generated_bars(later, 2, price=20.0 * ratio)]).assign(adj_close=np.nan)
    with pytest.raises(DataError) as caught:
        clean(bars, "T", SESSIONS)
    assert caught.value.message.startswith(f"T:{later[0].date()}: the close goes ")
    assert caught.value.hint.startswith("start the period there")
    assert f"period.start: {later[0].date()}" in caught.value.hint.split(";")[0]
    table, _ = clean(bars.loc[later[0] :], "T", SESSIONS)
    assert len(table) == len(later)


def test_a_halt_with_an_ordinary_move_is_kept():
    bars = generated_bars(SESSIONS[:ROWS], 1).drop(SESSIONS[100:160])
    table, repairs = clean(bars, "T", SESSIONS)
    assert len(table) == ROWS - 60
    assert [(repair.rule, repair.count) for repair in repairs] == [("missing_sessions", 60)]


def test_rows_that_were_cleaned_earlier_are_not_refused_again():
    bars = with_step(1.231, 2)
    until = bars.index[ROW + 10]
    table, _ = clean(bars, "T", SESSIONS, checked_until=until)
    np.testing.assert_array_equal(table["close"], bars["close"])
    with pytest.raises(DataError, match=DAY):
        clean(bars, "T", SESSIONS, checked_until=bars.index[ROW - 1])
