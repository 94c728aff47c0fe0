"""Settling: the closes that followed the forecasts of the journal, from price tables.

The actual close is kept in the units of the day on which the forecast was made, because the issued numbers are never
rewritten: after a split 4:1 the close of the price table is multiplied by 4. The units are kept beside it, so that the
track record can be shown in the units of today (`track_record`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.live.journal.records import Actual, Key
from mlops_cli.live.journal.units import Floats, tolerances, units_now

Closes = Callable[[str, str], "pd.Series[float] | None"]
"""The closes of a (branch, ticker): index tz-naive sessions, rising; None if there is no price table."""

_OLD = ("actual_close", "table_close", "units")
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
        closes: the price tables.
    """
    new: list[Actual] = []
    restated: list[Actual] = []
    unsettled: list[Unsettled] = []
    waiting = 0
    for (branch, ticker), rows in frame.groupby(["branch", "ticker"], observed=True, sort=True):
        table = closes(str(branch), str(ticker))
        is_open = rows["actual_close"].isna().to_numpy()
        if table is None or table.empty:
            if is_open.any():
                unsettled.append(Unsettled(str(branch), str(ticker), NO_TABLE, _days(rows[is_open])))
            continue
        is_due = (rows["target_session"] <= table.index[-1]).to_numpy()
        waiting += int((is_open & ~is_due).sum())
        looked_up = _LookedUp.of(rows[is_due], table)
        new += looked_up.actuals(is_new=True)
        restated += looked_up.actuals(is_new=False)
        unsettled += looked_up.unsettled(str(branch), str(ticker))
    return Settlement(tuple(new), tuple(restated), waiting, tuple(unsettled))


@dataclass(frozen=True)
class _LookedUp:
    """Forecasts of one ticker whose target session is over, and what the price table says about them; all (n,).

    Attributes:
        rows: the forecasts.
        table_closes: closes of the target sessions; NaN if there are none.
        units: of `units_now`.
        actual_closes: closes of the target sessions in the units of the forecasts.
        changed: whether the actual in the journal is another one, or there is none.
    """

    rows: pd.DataFrame
    table_closes: Floats
    units: Floats
    actual_closes: Floats
    changed: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: pd.DataFrame, table: pd.Series[float]) -> _LookedUp:
        """Look rows of `journal_frame` up in a price table."""
        then = np.column_stack([_floats(rows[name]) for name in ("last_close", "previous_close")])
        now = np.column_stack([_at(table, rows[name]) for name in ("session", "previous_session")])
        closes, units = _at(table, rows["target_session"]), units_now(then, now, table)
        old_close, old_table_close, old_units = (_floats(rows[name]) for name in _OLD)
        allowed = tolerances(then[:, 0], now[:, 0], table)
        same_units = np.abs(np.log(units / old_units)) <= allowed
        same_close = np.abs(closes / old_table_close - 1.0) <= EQUAL
        # after a split, a close that is the known one but for its rounding is still the known one
        rounded = np.abs(np.log(closes / units / old_close)) <= allowed + tolerances(old_close, closes, table)
        actual = np.where(~same_units & rounded, old_close, closes / units)
        return cls(rows, closes, units, actual, ~(same_units & same_close))

    def actuals(self, *, is_new: bool) -> Iterator[Actual]:
        """The actuals of forecasts without one (`is_new`), or those that replace one."""
        is_open = self.rows["actual_close"].isna().to_numpy()
        for place in np.flatnonzero(self.changed & np.isfinite(self.actual_closes) & (is_open == is_new)):
            session, branch, model = self.rows[["session", "branch", "model"]].iloc[place]
            yield Actual(
                Key(session.date(), branch, model),
                float(self.actual_closes[place]),
                float(self.table_closes[place]),
                float(self.units[place]),
            )

    def unsettled(self, branch: str, ticker: str) -> Iterator[Unsettled]:
        """Those without an actual that the price table cannot settle."""
        is_open = self.rows["actual_close"].isna().to_numpy()
        without_target = is_open & np.isnan(self.table_closes)
        without_units = is_open & ~without_target & np.isnan(self.units)
        for reason, which in ((NO_TARGET, without_target), (NO_SESSION, without_units)):
            if which.any():
                yield Unsettled(branch, ticker, reason, _days(self.rows[which]))


def _floats(values: pd.Series) -> Floats:
    return np.asarray(values, np.float64)


def _at(table: pd.Series[float], days: pd.Series) -> Floats:
    """The closes of some days; NaN where there are none."""
    return _floats(table.reindex(pd.DatetimeIndex(days)))


def _days(rows: pd.DataFrame) -> tuple[date, ...]:
    return tuple(sorted({day.date() for day in rows["target_session"]}))
