from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.repair import Repair
from mlops_cli.prices.cleaning.rules import clean
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2019-01-01"), pd.Timestamp("2021-12-31"))
OHLC = ["open", "high", "low", "close"]
SPLIT_ROW = 150
SPLIT_DAY = str(SESSIONS[SPLIT_ROW].date())
ROWS = 250


def adjusted(seed: int = 3) -> pd.DataFrame:
    """A table as it should be: adjusted, with a dividend in the adjusted close."""
    table = generated_bars(SESSIONS[:ROWS], seed, price=80.0).rename_axis("session")
    return table.assign(adj_close=table["close"] * np.where(np.arange(ROWS) < 90, 0.99, 1.0))


def unadjusted(table: pd.DataFrame, ratio: float, row: int = SPLIT_ROW, adj_close_too: bool = False) -> pd.DataFrame:
    """The same table before anybody divided the old prices."""
    scale = np.where(np.arange(len(table)) < row, ratio, 1.0)
    raw = table.copy()
    raw[OHLC] = raw[OHLC].mul(scale, axis=0)
    raw["volume"] /= scale
    if adj_close_too:
        raw["adj_close"] *= scale
    return raw


def with_splits(raw: pd.DataFrame, value: float, row: int = SPLIT_ROW) -> pd.DataFrame:
    return raw.assign(stock_splits=np.where(np.arange(len(raw)) == row, value, 0.0))


@pytest.mark.parametrize("ratio", [2.0, 3.0, 1.5, 4.0, 1.25, 7.0, 20.0, 0.5, 0.1, 0.04])
def test_a_split_that_only_the_adjusted_close_holds_is_repaired(ratio):
    table, repairs = clean(unadjusted(adjusted(), ratio), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, adjusted(), rtol=1e-9)
    fraction = Fraction(ratio).limit_denominator(100)
    assert repairs == (Repair("unadjusted_split", 1, (f"{SPLIT_DAY} {fraction.numerator}:{fraction.denominator}",)),)


def test_proof_works_with_adjusted_closes_rounded_to_cents():
    raw = unadjusted(adjusted(), 2.0)
    table, repairs = clean(raw.assign(adj_close=raw["adj_close"].round(2)), "T", SESSIONS)
    np.testing.assert_allclose(table["close"], adjusted()["close"])
    assert [repair.rule for repair in repairs] == ["unadjusted_split"]


def test_several_splits_multiply():
    raw = unadjusted(unadjusted(adjusted(), 2.0, row=100), 3.0, row=200)
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, adjusted(), rtol=1e-9)
    assert repairs[0].count == 2


@pytest.mark.parametrize("adj_close_too", [True, False])
@pytest.mark.parametrize("ratio", [2.0, 5.0, 0.1])
def test_a_split_that_the_column_declares_is_repaired(ratio, adj_close_too):
    raw = with_splits(unadjusted(adjusted(), ratio, adj_close_too=adj_close_too), ratio)
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, adjusted(), rtol=1e-9)
    assert [repair.count for repair in repairs if repair.rule == "unadjusted_split"] == [1]


@pytest.mark.parametrize("late", [-3, -1, 1, 3])
def test_the_declared_day_may_be_off_by_three_rows(late):
    raw = with_splits(unadjusted(adjusted(), 5.0, adj_close_too=True), 5.0, SPLIT_ROW + late)
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, adjusted(), rtol=1e-9)
    assert repairs[0].examples == (f"{SPLIT_DAY} 5:1",)


@pytest.mark.parametrize("ratio", [2.0, 0.1, 1.05])
def test_a_declared_split_that_is_adjusted_already_changes_nothing(ratio):
    table, repairs = clean(with_splits(adjusted(), ratio), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, adjusted())
    assert repairs == ()


@pytest.mark.parametrize("ratio", [2.0, 3.0, 1.5, 4.0, 0.5])
@pytest.mark.parametrize("known", ["no adjusted close", "adjusted close moves along"])
def test_a_quiet_jump_by_a_simple_ratio_without_proof_is_refused(ratio, known):
    raw = unadjusted(adjusted(), ratio, adj_close_too=True)
    if known == "no adjusted close":
        raw["adj_close"] = np.nan
    with pytest.raises(DataError) as caught:
        clean(raw, "T", SESSIONS)
    assert caught.value.message.startswith(f"T:{SPLIT_DAY}: the close goes ")
    assert "Stock Splits" in caught.value.hint


def test_writing_the_split_into_the_column_is_proof():
    raw = unadjusted(adjusted(), 2.0).assign(adj_close=np.nan)
    table, _ = clean(with_splits(raw, 2.0), "T", SESSIONS)
    np.testing.assert_allclose(table[OHLC], adjusted()[OHLC])


def test_writing_one_into_the_column_keeps_the_move():
    raw = unadjusted(adjusted(), 2.0).assign(adj_close=np.nan)
    table, repairs = clean(with_splits(raw, 1.0), "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], raw["close"])
    assert [repair.rule for repair in repairs] == ["missing_adj_close"]


def crash(fall: float, volume: float, width: float) -> pd.DataFrame:
    """A real fall overnight: prices stay down; on the day volume and range are as told."""
    raw = unadjusted(adjusted(), 1 / fall)
    raw["volume"] = adjusted()["volume"]
    raw.loc[SESSIONS[SPLIT_ROW], "volume"] *= volume
    raw.loc[SESSIONS[SPLIT_ROW], "low"] /= width
    return raw


@pytest.mark.parametrize("adjusted_closes", [True, False])
@pytest.mark.parametrize(
    ("fall", "volume", "width"),
    [(0.4813, 20.0, 1.0), (0.5, 20.0, 1.0), (0.5, 1.0, 1.2), (0.45, 1.0, 1.0), (2 / 3, 15.0, 1.1)],
    ids=["52 % in a storm", "exactly half in a storm", "exactly half, wide range", "no ratio", "a third"],
)
def test_real_crashes_survive(fall, volume, width, adjusted_closes):
    raw = crash(fall, volume, width)
    raw["adj_close"] = raw["close"] if adjusted_closes else np.nan
    table, repairs = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], raw["close"])
    assert "unadjusted_split" not in {repair.rule for repair in repairs}


def test_a_special_dividend_is_no_split():
    raw = unadjusted(adjusted(), 1 / (1 - 0.4317))  # the adjusted close holds it, and it is no simple fraction
    table, repairs = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], raw["close"])
    assert repairs == ()


def test_a_listed_dividend_of_exactly_half_the_price_is_no_split():
    raw = unadjusted(adjusted(), 2.0)
    half = raw["close"].iloc[SPLIT_ROW - 1] / 2
    raw = raw.assign(dividends=np.where(np.arange(ROWS) == SPLIT_ROW, half, 0.0))
    raw["adj_close"] = raw["close"] * np.where(np.arange(ROWS) < SPLIT_ROW, 0.5, 1.0)
    table, repairs = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], raw["close"])
    assert repairs == ()


def test_split_and_dividend_on_one_day_cannot_be_told_from_a_huge_dividend():
    raw = unadjusted(adjusted(), 2.0)
    raw.loc[raw.index < SESSIONS[SPLIT_ROW], "adj_close"] *= 0.995
    with pytest.raises(DataError, match="2:1 split"):
        clean(raw, "T", SESSIONS)
    table, _ = clean(with_splits(raw, 2.0), "T", SESSIONS)
    np.testing.assert_allclose(table["close"], adjusted()["close"])


def test_an_adjusted_close_that_steps_while_the_price_does_not_moves_no_price():
    raw = adjusted()
    raw.loc[raw.index < SESSIONS[SPLIT_ROW], "adj_close"] /= 2
    table, _ = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], raw["close"])


def test_a_block_that_is_unadjusted_at_one_end_only_is_refused():
    table = adjusted()
    middle = (np.arange(ROWS) >= 60) & (np.arange(ROWS) < SPLIT_ROW)
    raw = table.copy()
    raw[[*OHLC, "adj_close"]] = raw[[*OHLC, "adj_close"]].mul(np.where(middle, 5.0, 1.0), axis=0)
    with pytest.raises(DataError, match=str(SESSIONS[60].date())):
        clean(with_splits(raw, 5.0), "T", SESSIONS)


def test_very_short_tables_pass():
    for rows in (0, 1, 2):
        table, _ = clean(adjusted().iloc[:rows], "T", SESSIONS)
        assert len(table) == rows


@pytest.mark.parametrize("seed", range(20))
def test_ordinary_prices_are_never_suspected(seed):
    table, repairs = clean(adjusted(seed).assign(adj_close=np.nan), "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], adjusted(seed)["close"])
    assert [repair.rule for repair in repairs] == ["missing_adj_close"]
