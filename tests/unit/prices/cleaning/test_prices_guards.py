"""Bars that a caller sends: every fault of the kinds that ingest repairs or refuses is an error that names the day."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.guards import refuse_faults
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2022-01-01"), pd.Timestamp("2023-12-31"))
ROWS = 260
LAST = SESSIONS[ROWS - 1]
PRICES = ["open", "high", "low", "close"]


def posted(seed: int = 5) -> pd.DataFrame:
    bars = generated_bars(SESSIONS[:ROWS], seed).rename_axis("session")
    return bars[[*PRICES, "volume"]]


def day(row: int) -> str:
    return str(SESSIONS[:ROWS][row].date())


def refusal(bars: pd.DataFrame, last_session: pd.Timestamp | None = LAST) -> DataError:
    before = bars.copy()
    with pytest.raises(DataError) as caught:
        refuse_faults(bars, "T", SESSIONS, last_session)
    pd.testing.assert_frame_equal(bars, before)
    assert caught.value.message.startswith("T:")
    return caught.value


def unadjusted(bars: pd.DataFrame, ratio: float, rows: int) -> pd.DataFrame:
    bars.iloc[:-rows, :4] *= ratio
    return bars


def slipped(bars: pd.DataFrame, row: int, factor: float) -> pd.DataFrame:
    bars.iloc[row, :4] *= factor
    return bars


def set_cell(bars: pd.DataFrame, row: int, name: str, value: float) -> pd.DataFrame:
    bars.iloc[row, bars.columns.get_loc(name)] = value
    return bars


def high_below_low(bars: pd.DataFrame, row: int) -> pd.DataFrame:
    return set_cell(bars, row, "high", bars["low"].iloc[row] * 0.5)


def other_days(bars: pd.DataFrame, shift: int) -> pd.DataFrame:
    return bars.set_axis(bars.index + pd.Timedelta(days=shift), axis=0)


@pytest.mark.parametrize("seed", range(10))
def test_sound_bars_pass(seed):
    refuse_faults(posted(seed), "T", SESSIONS, LAST)
    refuse_faults(posted(seed).assign(adj_close=lambda bars: bars["close"] * 0.9), "T", SESSIONS, LAST)


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_few_bars_pass(rows):
    refuse_faults(posted().iloc[:rows], "T", SESSIONS, LAST)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (lambda bars: unadjusted(bars, 7.0, 10), day(-10)),
        (lambda bars: unadjusted(bars, 2.0, 1), day(-1)),
        (lambda bars: unadjusted(bars, 0.1, 30), day(-30)),
        (lambda bars: unadjusted(bars, 10.0, 250), day(10)),
        (lambda bars: slipped(bars, -3, 0.1), day(-3)),
        (lambda bars: slipped(bars, -1, 10.0), day(-1)),
        (lambda bars: slipped(bars, 0, 0.1), day(1)),
        (lambda bars: slipped(bars, -1, 100.0), day(-1)),
        (lambda bars: slipped(bars, -4, 0.01), day(-4)),
        (lambda bars: set_cell(bars, -2, "close", bars["close"].iloc[-2] / 100), day(-2)),
        (lambda bars: high_below_low(bars, -1), day(-1)),
        (lambda bars: high_below_low(bars, 7), day(7)),
        (lambda bars: set_cell(bars, -1, "open", bars["high"].iloc[-1] * 1.01), day(-1)),
        (lambda bars: bars.drop(bars.index[-6:-1]), day(-6)),
        (lambda bars: bars.drop(bars.index[100]), day(100)),
        (lambda bars: set_cell(bars, 4, "close", np.nan), day(4)),
        (lambda bars: set_cell(bars, 4, "open", 0.0), day(4)),
        (lambda bars: set_cell(bars, 4, "volume", -1.0), day(4)),
        (lambda bars: pd.concat([bars, bars.iloc[[-1]]]), day(-1)),
        (lambda bars: pd.concat([bars.iloc[:-2], bars.iloc[[-1]], bars.iloc[[-2]]]), day(-2)),
    ],
)
def test_a_fault_is_refused_with_its_day(fault: Callable[[pd.DataFrame], pd.DataFrame], named: str):
    assert named in refusal(fault(posted())).message


def test_bars_that_end_in_the_future_are_refused():
    assert (
        f"{day(-2)}, {day(-1)} (the last session that closed is {day(-3)})" in refusal(posted(), SESSIONS[257]).message
    )
    refuse_faults(posted(), "T", SESSIONS)


def test_days_of_another_calendar_are_refused():
    assert "closed" in refusal(other_days(posted(), 1), None).message


def test_the_hints_are_for_a_caller_and_not_for_a_file():
    hints = {refusal(unadjusted(posted(), 7.0, 10)).hint, refusal(slipped(posted(), -1, 10.0)).hint}
    assert all("send" in hint and "period" not in hint for hint in hints)


def test_a_move_that_the_caller_confirms_passes():
    bars = unadjusted(posted(), 7.0, 10)
    refuse_faults(bars.assign(stock_splits=np.where(bars.index == SESSIONS[250], 1.0, 0.0)), "T", SESSIONS, LAST)


def test_a_split_that_the_upload_declares_is_not_adjusted_in_silence():
    bars = unadjusted(posted(), 7.0, 10)
    declared = bars.assign(stock_splits=np.where(bars.index == SESSIONS[250], 7.0, 0.0))
    assert f"T: prices that are not adjusted for a split: {day(-10)} 7:1" in refusal(declared).message


def test_rounding_of_the_range_passes():
    bars = posted()
    refuse_faults(bars.assign(high=bars[PRICES].max(axis=1) * 0.9995), "T", SESSIONS, LAST)


@settings(max_examples=30, deadline=None)
@given(row=st.integers(0, ROWS - 1), power=st.sampled_from([-2, -1, 1, 2]), seed=st.integers(0, 9))
def test_a_slipped_decimal_point_never_passes(row, power, seed):
    refusal(slipped(posted(seed), row, 10.0**power))
