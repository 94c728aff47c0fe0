"""Listed splits of every size: applied where the prices show them, left where they do not, refused where unclear."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import clean
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2019-01-01"), pd.Timestamp("2021-12-31"))
PRICES = ["open", "high", "low", "close"]
ROWS, ROW = 250, 150
DAY = str(SESSIONS[ROW].date())
RATIOS = [1.03, 1.05, 1.1, 1.15, 1.231, 1.5, 2.0, 20.0, 0.95, 0.8, 0.1]


def adjusted(seed: int = 3, price: float = 80.0) -> pd.DataFrame:
    return generated_bars(SESSIONS[:ROWS], seed, price=price).rename_axis("session")


def raw(table: pd.DataFrame, ratio: float, row: int = ROW, adj_close: str = "adjusted") -> pd.DataFrame:
    """The bars before anybody adjusted them; the adjusted close is `adjusted`, `missing` or `inverted`."""
    scale = np.where(np.arange(len(table)) < row, ratio, 1.0)
    bars = table.assign(volume=table["volume"] / scale)
    bars[PRICES] = bars[PRICES].mul(scale, axis=0)
    factor = {"adjusted": 1 / scale, "missing": scale * np.nan, "inverted": scale, "copied": scale**0}[adj_close]
    return bars.assign(adj_close=(bars["close"] * factor).round(2))


def listed(bars: pd.DataFrame, ratio: float, row: int = ROW, other_days: float = 0.0) -> pd.DataFrame:
    return bars.assign(stock_splits=np.where(np.arange(len(bars)) == row, ratio, other_days))


def applied(repairs: tuple) -> list[str]:
    return [example for repair in repairs if repair.rule == "unadjusted_split" for example in repair.examples]


@pytest.mark.parametrize("other_days", [0.0, 1.0, np.nan])
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_listed_split_that_the_adjusted_close_shows_is_applied(ratio, other_days):
    table, repairs = clean(listed(raw(adjusted(), ratio), ratio, other_days=other_days), "T", SESSIONS)
    np.testing.assert_allclose(table[PRICES], adjusted()[PRICES])
    fraction = Fraction(ratio).limit_denominator(10_000)
    assert applied(repairs) == [f"{DAY} {fraction.numerator}:{fraction.denominator}"]


@pytest.mark.parametrize("adj_close", ["missing", "copied"])
@pytest.mark.parametrize("ratio", [1.1, 1.15, 1.231, 2.0, 0.8, 0.1])
def test_a_listed_split_that_the_close_alone_shows_is_applied(ratio, adj_close):
    table, repairs = clean(listed(raw(adjusted(), ratio, adj_close=adj_close), ratio), "T", SESSIONS)
    np.testing.assert_allclose(table[PRICES], adjusted()[PRICES])
    assert len(applied(repairs)) == 1


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ratio", [1.03, 1.05, 1.1, 1.231, 2.0, 0.8])
def test_a_listed_split_is_never_applied_to_adjusted_prices(ratio, seed):
    bars = adjusted(seed)
    bars["adj_close"] *= np.where(np.arange(ROWS) < 90, 0.98, 1.0)  # a dividend makes it a column of its own
    table, repairs = clean(listed(bars, ratio), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars)
    assert applied(repairs) == []


def outcome(bars: pd.DataFrame) -> pd.DataFrame | str:
    try:
        return clean(bars, "T", SESSIONS).bars
    except DataError as error:
        return error.message


@pytest.mark.parametrize("seed", range(12))
def test_a_small_listed_split_without_adjusted_closes_is_right_or_refused(seed):
    for bars in (adjusted(seed), raw(adjusted(seed), 1.04, adj_close="missing")):
        result = outcome(listed(bars.assign(adj_close=np.nan), 1.04))
        if isinstance(result, str):
            assert result.startswith(f"T:{DAY}: the data lists a split of 1.04")
        else:
            np.testing.assert_allclose(result[PRICES], adjusted(seed)[PRICES])


def test_a_file_that_lists_many_small_splits_is_judged_as_a_whole():
    rows = range(20, 240, 20)
    bars = adjusted(1)
    for row in rows:
        bars = raw(bars, 1.04, row, "missing")
    marks = np.where(np.isin(np.arange(ROWS), list(rows)), 1.04, 0.0)
    table, repairs = clean(bars.assign(stock_splits=marks), "T", SESSIONS)
    np.testing.assert_allclose(table[PRICES], adjusted(1)[PRICES])
    assert [repair.count for repair in repairs if repair.rule == "unadjusted_split"] == [len(rows)]


def test_a_split_in_the_wrong_direction_is_refused():
    bars = raw(adjusted(), 1.3, adj_close="missing")
    with pytest.raises(DataError, match=f"T:{DAY}: the data lists a split"):
        clean(listed(bars, 1 / 1.3), "T", SESSIONS)


def test_a_fall_beside_a_listed_split_is_refused():
    bars = raw(adjusted(), 2.9, adj_close="missing")  # 2:1 and a fall of 31 %
    with pytest.raises(DataError, match="unclear whether the prices before are adjusted"):
        clean(listed(bars, 2.0), "T", SESSIONS)


@pytest.mark.parametrize("other_days", [0.0, 1.0])
@pytest.mark.parametrize("per_old_share", [False, True])
@pytest.mark.parametrize("columns", ["both", "dividends"])
def test_a_split_and_a_dividend_on_one_day(columns, per_old_share, other_days):
    table, paid = adjusted(price=50.0), 0.11
    before = table["close"].iloc[ROW - 1]
    dividend_factor = np.where(np.arange(ROWS) < ROW, 1 - paid / before, 1.0)
    bars = raw(table, 20.0)
    bars["adj_close"] = (table["close"] * dividend_factor).round(4)
    listed_dividend = paid * (20 if per_old_share else 1)
    bars["dividends"] = np.where(np.arange(ROWS) == ROW, listed_dividend, 0.0)
    if columns == "both":
        bars = listed(bars, 20.0, other_days=other_days)
    result, repairs = clean(bars, "T", SESSIONS)
    np.testing.assert_allclose(result[PRICES], table[PRICES])
    np.testing.assert_allclose(result["adj_close"], bars["adj_close"])
    assert applied(repairs) == [f"{DAY} 20:1"]
    assert [repair.rule for repair in repairs] == ["unadjusted_split"]


@pytest.mark.parametrize("rows", [2, 5, 60, ROWS])
def test_ones_on_most_days_confirm_nothing(rows):
    bars = raw(adjusted(), 20.0, row=rows // 2, adj_close="missing").iloc[:rows].assign(stock_splits=1.0)
    with pytest.raises(DataError):
        clean(bars, "T", SESSIONS)


@pytest.mark.parametrize("rows", [2, 5, 60, ROWS])
def test_a_one_on_a_single_day_confirms_the_move(rows):
    bars = raw(adjusted(), 2.0, row=rows // 2, adj_close="missing").iloc[:rows]
    for other_days in (0.0, np.nan):
        table, repairs = clean(listed(bars, 1.0, rows // 2, other_days), "T", SESSIONS)
        np.testing.assert_allclose(table["close"], bars["close"])
        assert applied(repairs) == []
