"""Prices at any time, from tables of daily bars."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Set
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.exchange.market.price_path import PricePath
from mlops_cli.market.hours import Hours, Session

LOOK_AGAIN_SECONDS = 30.0
COLUMNS = ["open", "high", "low", "close", "volume"]
Bar = tuple[float, float, float, float, float]


class PriceTables(Protocol):
    """Where daily bars come from."""

    @property
    def symbols(self) -> Set[str]:
        """For which there is a table."""
        ...

    def version(self, symbol: str) -> float:
        """Another number as soon as the table is another."""
        ...

    def table(self, symbol: str) -> pd.DataFrame:
        """The price table."""
        ...


@dataclass(slots=True)
class Series:
    """One symbol's daily bars, as open, high, low, close (USD) and volume (shares)."""

    version: float
    days: list[date]
    bars: list[Bar]
    places: dict[date, int]

    @classmethod
    def of(cls, table: pd.DataFrame, version: float) -> Series:
        """From a price table."""
        days = list(pd.DatetimeIndex(table.index).date)
        bars = [tuple(row) for row in table[COLUMNS].to_numpy().tolist()]
        return cls(version, days, bars, {day: place for place, day in enumerate(days)})


@dataclass(slots=True)
class Market:
    """All symbols. Splits that were announced to the exchange apply to its prices from their day on.

    Attributes:
        splits: by symbol, day and new shares for an old one.
        delisted: by symbol, the first day without trade.
    """

    tables: PriceTables
    hours: Hours
    splits: dict[str, list[tuple[date, float]]] = field(default_factory=dict)
    delisted: dict[str, date] = field(default_factory=dict)
    _series: dict[str, Series] = field(default_factory=dict)
    _looked: float = 0.0

    def has(self, symbol: str) -> bool:
        """Whether there is such a symbol at all."""
        return symbol in self.tables.symbols

    def listed(self, symbol: str, now: datetime) -> bool:
        """Whether it is traded: its prices have begun, and it was not delisted."""
        end = self.delisted.get(symbol)
        gone = end is not None and self._newest(now).day >= end
        return not gone and self._row(self.series(symbol), self._newest(now)) is not None

    def series(self, symbol: str) -> Series:
        """A symbol's bars, as they were when `look_again` looked.

        Raises:
            DataError: its table is damaged.
        """
        known = self._series.get(symbol)
        if known is None:
            version = self.tables.version(symbol)
            known = self._series[symbol] = Series.of(self.tables.table(symbol), version)
        return known

    def look_again(self) -> None:
        """Now and then, forget the tables that have changed: `series` then reads them anew."""
        if time.monotonic() - self._looked < LOOK_AGAIN_SECONDS:
            return
        self._looked = time.monotonic()
        for symbol in [symbol for symbol, known in self._series.items() if self._changed(symbol, known)]:
            del self._series[symbol]

    def _changed(self, symbol: str, known: Series) -> bool:
        try:
            return self.tables.version(symbol) != known.version
        except DataError:  # gone: who needs it is told
            return True

    def path(self, symbol: str, session: Session) -> PricePath | None:
        """The price within a session; None before the first bar.

        Where the table ends before the session, its last close stands; where the session is missing in the midst of
        it, the symbol is not traded on that day.
        """
        series = self.series(symbol)
        row = series.places.get(session.day)
        factor = self.factor(symbol, session.day)
        if row is not None:
            open_, high, low, close, volume = series.bars[row]
            return PricePath.of_bar(open_ / factor, high / factor, low / factor, close / factor, volume * factor)
        row = self._row(series, session)
        if row is None:
            return None
        close, volume = series.bars[row][3:]
        ended = row == len(series.days) - 1
        return PricePath.flat(close / factor, volume * factor if ended else 0.0, traded=ended)

    def price(self, symbol: str, now: datetime) -> tuple[float, datetime] | None:
        """The last price, and when it was made; None before the first bar."""
        session = self._newest(now)
        path = self.path(symbol, session)
        if path is None:
            return None
        return path.price(session.share(now)), min(now, session.closes)

    def close_before(self, symbol: str, day: date) -> float | None:
        """The close of the last session before a day, in that day's shares."""
        before = self.hours.before(day)
        path = None if before is None else self.path(symbol, before)
        if before is None or path is None:
            return None
        return path.points[3] * self.factor(symbol, before.day) / self.factor(symbol, day)

    def split(self, symbol: str, day: date, ratio: float) -> None:
        """From this day on there are `ratio` shares for one."""
        self.splits.setdefault(symbol, []).append((day, ratio))

    def _newest(self, now: datetime) -> Session:
        return self.hours.sessions[max(0, self.hours.begun(now) - 1)]

    def factor(self, symbol: str, day: date) -> float:
        """Shares on a day for one in the tables."""
        factor = 1.0
        for first, ratio in self.splits.get(symbol, ()):
            factor *= ratio if day >= first else 1.0
        return factor

    def _row(self, series: Series, session: Session) -> int | None:
        """Place of the last bar up to a session."""
        place = bisect_right(series.days, session.day)
        return place - 1 if place else None
