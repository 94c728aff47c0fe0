"""Rows on days without a session: holiday fillers are dropped, another calendar or shifted dates are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import clean
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2019-01-01"), pd.Timestamp("2021-12-31"))


def bars(volume: float | None = None, rows: int = 300) -> pd.DataFrame:
    table = generated_bars(SESSIONS[10 : 10 + rows], 1)
    return table if volume is None else table.assign(volume=volume)


def shifted(table: pd.DataFrame, days: int) -> pd.DataFrame:
    return table.set_axis(table.index + pd.Timedelta(days=days), axis=0)


@pytest.mark.parametrize("volume", [None, 0.0, np.nan])
@pytest.mark.parametrize(("days", "word"), [(-1, "early"), (1, "late")])
def test_dates_that_are_a_day_off_are_refused_with_or_without_volumes(days, word, volume):
    with pytest.raises(DataError, match="traded on days when the exchange was closed") as caught:
        clean(shifted(bars(volume), days), "T", SESSIONS)
    assert f"one day {word}" in caught.value.hint
    assert "exchange:" in caught.value.hint


@pytest.mark.parametrize("volume", [None, 0.0])
def test_another_calendar_is_named_without_a_shift(volume):
    tokyo = sessions("XTKS", pd.Timestamp("2019-02-01"), pd.Timestamp("2020-06-30"))
    table = generated_bars(tokyo, 1)
    with pytest.raises(DataError) as caught:
        clean(table if volume is None else table.assign(volume=volume), "T", SESSIONS)
    assert caught.value.hint.startswith("set exchange:")


@pytest.mark.parametrize("volume", [None, 0.0])
def test_fillers_on_holidays_are_dropped(volume):
    table = bars(volume)
    every = pd.date_range(table.index[0], table.index[-1], freq="B")
    filled = table.reindex(every).ffill()
    filled.loc[~every.isin(table.index), "volume"] = 0.0
    cleaned, repairs = clean(filled, "T", SESSIONS)
    assert len(cleaned) == len(table)
    assert [repair.rule for repair in repairs] == ["non_sessions"]


def test_a_quote_on_a_holiday_of_a_traded_stock_is_dropped():
    table = bars()
    every = pd.date_range(table.index[0], table.index[-1], freq="B")
    filled = table.reindex(every).ffill()
    filled.loc[~every.isin(table.index), "volume"] = 0.0
    filled.loc[~every.isin(table.index), "close"] *= 1.001
    assert len(clean(filled, "T", SESSIONS).bars) == len(table)
