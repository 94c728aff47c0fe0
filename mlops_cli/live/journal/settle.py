"""Settling: the closes that followed the forecasts of the journal, from price tables.

The actual close is kept in the units of the day on which the forecast was made, because the issued numbers are never
rewritten: after a split 4:1 the close of the price table is multiplied by 4. The units are kept beside it, so that the
track record can be shown in the units of today (`track_record`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.live.journal.records import Actual, Key
from mlops_cli.live.journal.units import Floats, tolerances, units_now
from mlops_cli.prices.cleaning.moves import rounding

Closes = Callable[[str, str], "pd.Series[float] | None"]
"""The closes of a (branch, ticker): index tz-naive sessions, rising; None if there is no price table."""

_UNSETTLED = ("branch", "ticker", "reason", "target_session")
NO_TABLE = "there is no price table"
NO_TARGET = "the price table has no close of the target session"
NO_SESSION = "the price table no longer has the session on which it was made"

EQUAL = 1e-9
"""Relative difference of two closes of one table that are the same."""


class Unsettled(NamedTuple):
    """Forecasts whose target session is over, but whose close is not known; `targets`: their target sessions."""

    branch: str
    ticker: str
    reason: str
    targets: tuple[date, ...]


@dataclass(frozen=True)
class Settlement:
    """What settling came to.

    Attributes:
        new: actuals of forecasts that had none.
        restated: actuals that differ from those in the journal: the price table was corrected, or split.
        waiting: forecasts whose target session is later than the price table.
        unsettled: forecasts that later prices will not settle by themselves.
    """

    new: tuple[Actual, ...]
    restated: tuple[Actual, ...]
    waiting: int
    unsettled: tuple[Unsettled, ...]

    @property
    def actuals(self) -> tuple[Actual, ...]:
        """All that are to be added to the journal."""
        return self.new + self.restated


def settle(frame: pd.DataFrame, closes: Closes) -> Settlement:
    """Find the actual closes of forecasts, and those that were restated since they were settled.

    Args:
        frame: of `frames.journal_frame`: forecasts with and without actuals. An actual is only compared again if its
            forecast is among them.
        closes: the price tables; each is asked for once.
    """
    tables = _LookedUp.of(frame, closes)
    old = _Old.of(frame)
    units = units_now(tables.then, tables.now, tables.half)
    actual = tables.target / units
    split = tolerances(tables.then[:, 0], tables.now[:, 0], tables.half)
    same_units = np.abs(np.log(units / old.units)) <= split
    # after a split, a close that is the known one but for its rounding is still the known one
    rounded = np.abs(np.log(actual / old.close)) <= split + tolerances(old.close, tables.target, tables.half)
    actual = np.where(~same_units & rounded, old.close, actual)
    same_close = np.abs(tables.target / old.table_close - 1.0) <= EQUAL
    is_open = np.isnan(old.close)
    known = np.isfinite(actual)
    values = (actual, tables.target, units)
    reasons = np.select(
        [~is_open | known | tables.is_waiting, ~tables.exists, np.isnan(tables.target)],
        ["", NO_TABLE, NO_TARGET],
        NO_SESSION,
    )
    return Settlement(
        new=_actuals(frame, is_open & known, values),
        restated=_actuals(frame, ~is_open & known & ~(same_units & same_close), values),
        waiting=int((is_open & tables.is_waiting).sum()),
        unsettled=_unsettled(frame, reasons),
    )


class _Old(NamedTuple):
    """The newest actuals of the forecasts, as the journal has them; (n,), NaN where there is none."""

    close: Floats
    table_close: Floats
    units: Floats

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Old:
        return cls(*(np.asarray(frame[name], np.float64) for name in ("actual_close", "table_close", "units")))


@dataclass(frozen=True)
class _LookedUp:
    """What the price tables say about forecasts; NaN where they say nothing.

    Attributes:
        then: last close and the close before it, when the forecasts were made: (n, 2).
        now: closes of the same sessions today: (n, 2).
        target: closes of the target sessions today: (n,).
        half: half a unit of the last decimal place of the prices: (n,).
        exists: whether there is a price table: (n,).
        is_waiting: whether the target session is later than the price table: (n,).
    """

    then: Floats
    now: Floats
    target: Floats
    half: Floats
    exists: NDArray[np.bool_]
    is_waiting: NDArray[np.bool_]

    @classmethod
    def of(cls, frame: pd.DataFrame, closes: Closes) -> _LookedUp:
        then = np.column_stack([np.asarray(frame[name], np.float64) for name in ("last_close", "previous_close")])
        days = np.column_stack([_seconds(frame[name]) for name in ("session", "previous_session", "target_session")])
        now, half = np.full(days.shape, np.nan), np.full(len(frame), np.nan)
        exists, is_waiting = np.zeros(len(frame), np.bool_), np.zeros(len(frame), np.bool_)
        for places in frame.groupby(["branch", "ticker"], observed=True).indices.values():
            first = frame.iloc[places[0]]
            table = closes(first["branch"], first["ticker"])
            if table is None or table.empty:
                continue
            sessions, values = _seconds(table.index), np.asarray(table, np.float64)
            at = np.searchsorted(sessions, days[places]).clip(max=len(sessions) - 1)
            now[places] = np.where(sessions[at] == days[places], values[at], np.nan)
            half[places] = rounding(values)
            exists[places] = True
            is_waiting[places] = days[places, 2] > sessions[-1]
        return cls(then, now[:, :2], now[:, 2], half, exists, is_waiting)


def _seconds(days: pd.Series | pd.Index) -> NDArray[np.int64]:
    """Days as numbers, in any unit of the dates; NaT is a number that no day has."""
    return np.asarray(pd.DatetimeIndex(days).as_unit("s").asi8, np.int64)


def _actuals(frame: pd.DataFrame, which: NDArray[np.bool_], values: tuple[Floats, ...]) -> tuple[Actual, ...]:
    """Actuals of those rows, from their closes, table closes and units."""
    keys = (frame.loc[which, name] for name in ("session", "branch", "model"))
    columns = (array[which].tolist() for array in values)
    return tuple(
        Actual(Key(session.date(), branch, model), *closes)
        for session, branch, model, *closes in zip(*keys, *columns, strict=True)
    )


def _unsettled(frame: pd.DataFrame, reasons: NDArray[np.str_]) -> tuple[Unsettled, ...]:
    """The rows that have a reason, together by ticker and reason."""
    rows = frame.assign(reason=reasons)[reasons != ""]
    targets: dict[tuple[str, str, str], set[date]] = {}
    for branch, ticker, reason, day in zip(*(rows[name] for name in _UNSETTLED), strict=True):
        targets.setdefault((branch, ticker, reason), set()).add(day.date())
    return tuple(Unsettled(*names, tuple(sorted(days))) for names, days in sorted(targets.items()))
