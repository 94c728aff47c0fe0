"""Cleaning rules about the days of the rows: their order, and the sessions of the exchange."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError, bounded
from mlops_cli.prices.cleaning.repair import Cleaned, Repair, noted

SPARSE = 3  # rows that are this many sessions apart (median) are not daily bars
FOREIGN_ROWS, FOREIGN_SHARE = 3, 0.02
"""From this number and share of traded rows on days without a session on, the calendar or the dates are wrong."""


def in_order(bars: pd.DataFrame) -> Cleaned:
    """Sort the rows by date."""
    late = np.flatnonzero(np.diff(pd.DatetimeIndex(bars.index).asi8) < 0) + 1
    if late.size == 0:
        return Cleaned(bars)
    return Cleaned(bars.sort_index(kind="stable"), noted("out_of_order", bars.index[late]))


def refuse_sparse(bars: pd.DataFrame, ticker: str, sessions: pd.DatetimeIndex) -> None:
    """Raise a `DataError` for weekly or monthly bars."""
    days = bars.index.unique()
    steps = np.diff(sessions.searchsorted(days))
    if steps.size >= 4 and np.median(steps) >= SPARSE:
        first = ", ".join(str(day.date()) for day in days[:3])
        raise DataError(
            f"{ticker}: rows are {int(np.median(steps))} sessions apart ({first} ...): weekly or monthly bars",
            "give daily bars (in yfinance: interval='1d')",
        )


def outside_calendar(bars: pd.DataFrame, _ticker: str, sessions: pd.DatetimeIndex) -> Cleaned:
    """Drop rows before the first or after the last session that the calendar knows."""
    if sessions.empty:
        return Cleaned(bars.iloc[:0], noted("outside_calendar", bars.index))
    outside = (bars.index < sessions[0]) | (bars.index > sessions[-1])
    return Cleaned(bars[~outside], noted("outside_calendar", bars.index[outside]))


def non_sessions(bars: pd.DataFrame, ticker: str, sessions: pd.DatetimeIndex) -> Cleaned:
    """Drop rows on days without a session; a `DataError` if many of them traded."""
    stray = ~bars.index.isin(sessions)
    if not stray.any():
        return Cleaned(bars)
    days = bars.index[stray & _traded(bars)].unique()
    if len(days) >= FOREIGN_ROWS and len(days) > FOREIGN_SHARE * len(bars):
        raise DataError(
            f"{ticker}: {len(days)} of {len(bars)} rows traded on days when the exchange was closed: "
            f"{bounded([str(day.date()) for day in days])}",
            f"{_shift_hint(bars, sessions)}set exchange: to the calendar of the exchange these prices come from "
            "(XLON, XHKG, ...)",
        )
    return Cleaned(bars[~stray], noted("non_sessions", bars.index[stray]))


def _traded(bars: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether a row has a volume, or, where rows have none (an index, a currency), a close that moved."""
    closes = bars["close"]
    silent = ~(bars["volume"] > 0)
    moved = silent & silent.shift(1, fill_value=True) & (closes != closes.shift(1).fillna(closes))
    traded: NDArray[np.bool_] = (closes.notna() & (~silent | moved)).to_numpy(dtype=bool)
    return traded


def _shift_hint(bars: pd.DataFrame, sessions: pd.DatetimeIndex) -> str:
    """What to do if the dates are one day early or late."""
    index = pd.DatetimeIndex(bars.index)
    shares = {days: index.shift(days, freq="D").isin(sessions).mean() for days in (0, 1, -1)}
    best = max(shares, key=lambda days: shares[days])
    if not best or shares[best] < 1 - FOREIGN_SHARE:
        return ""
    early = "early" if best == 1 else "late"
    return (
        f"the dates are one day {early}, as midnight at the exchange is when it is written in another time zone: write "
        f"the exchange's dates, or set source.timezone to the zone of the stamps; otherwise "
    )


def missing_sessions(bars: pd.DataFrame, sessions: pd.DatetimeIndex) -> tuple[Repair, ...]:
    """Note the sessions between the first and the last row that have no bar."""
    if bars.empty:
        return ()
    between = sessions[sessions.searchsorted(bars.index[0]) : sessions.searchsorted(bars.index[-1])]
    return noted("missing_sessions", between[~between.isin(bars.index)])
