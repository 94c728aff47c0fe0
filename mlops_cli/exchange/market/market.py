"""Prices at any time, computed from tables of daily bars."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.exchange.market.price_path import PricePath
from mlops_cli.exchange.market.price_tables import PriceTables
from mlops_cli.market.hours import Hours, Session

CHECK_SECONDS = 30.0
"""How often the files are checked for changes."""


class DailyBar(NamedTuple):
    """One session of a price table; prices in USD, volume in shares."""

    open: float
    high: float
    low: float
    close: float
    volume: float


class Split(NamedTuple):
    """A split that was announced to the exchange: `ratio` new shares for an old one, from `day` on."""

    day: date
    ratio: float


class LastPrice(NamedTuple):
    """The last price in USD, and the time at which it was made."""

    price: float
    at: datetime


@dataclass(slots=True)
class Series:
    """The daily bars of one symbol: rising days with a bar each, its place by day, and the version of the table."""

    version: float
    days: list[date]
    bars: list[DailyBar]
    places: dict[date, int]

    @classmethod
    def of(cls, table: pd.DataFrame, version: float) -> Series:
        """Take the bars out of a price table."""
        days = list(pd.DatetimeIndex(table.index).date)
        bars = [DailyBar(*row) for row in table[list(DailyBar._fields)].to_numpy().tolist()]
        return cls(version, days, bars, {day: place for place, day in enumerate(days)})

    def last_place(self, day: date) -> int | None:
        """Position of the last bar up to a day; None if the series begins later."""
        place = bisect_right(self.days, day)
        return place - 1 if place else None


@dataclass(slots=True)
class Market:
    """The prices of all symbols. Announced splits divide the prices of their table from the split's day on.

    `delisted` has the first day without trade by symbol.
    """

    tables: PriceTables
    hours: Hours
    splits: dict[str, list[Split]] = field(default_factory=dict)
    delisted: dict[str, date] = field(default_factory=dict)
    _series: dict[str, Series] = field(default_factory=dict)
    _checked: float = 0.0

    def has(self, symbol: str) -> bool:
        """Whether there is a price table of this symbol."""
        return symbol in self.tables.symbols

    def listed(self, symbol: str, now: datetime) -> bool:
        """Whether a symbol can be traded: its prices have begun, and it was not delisted."""
        day = self._latest_session(now).day
        last_day = self.delisted.get(symbol)
        if last_day is not None and day >= last_day:
            return False
        return self.series(symbol).last_place(day) is not None

    def series(self, symbol: str) -> Series:
        """The bars of a symbol; a `DataError` if the table is missing or damaged. Changed tables are read again."""
        series = self._series.get(symbol)
        if series is None:
            version = self.tables.version(symbol)
            series = self._series[symbol] = Series.of(self.tables.table(symbol), version)
        return series

    def forget_changed_tables(self) -> None:
        """Every `CHECK_SECONDS`, forget the tables that have changed, so that `series` reads them again."""
        if time.monotonic() - self._checked < CHECK_SECONDS:
            return
        self._checked = time.monotonic()
        for symbol in [symbol for symbol, series in self._series.items() if self._changed(symbol, series)]:
            del self._series[symbol]

    def _changed(self, symbol: str, series: Series) -> bool:
        try:
            return self.tables.version(symbol) != series.version
        except DataError:  # the file is gone: `series` raises this when the symbol is needed
            return True

    def path(self, symbol: str, session: Session) -> PricePath | None:
        """The price during a session; None before the first bar.

        After the last bar of the table, its close is the price. If the table lacks a session in its middle, the symbol
        is not traded in that session.
        """
        series = self.series(symbol)
        factor = self.split_factor(symbol, session.day)
        place = series.places.get(session.day)
        if place is not None:
            bar = series.bars[place]
            return PricePath.of_bar(
                bar.open / factor, bar.high / factor, bar.low / factor, bar.close / factor, bar.volume * factor
            )
        place = series.last_place(session.day)
        if place is None:
            return None
        bar = series.bars[place]
        ended = place == len(series.days) - 1
        return PricePath.flat(bar.close / factor, bar.volume * factor if ended else 0.0, traded=ended)

    def price(self, symbol: str, now: datetime) -> LastPrice | None:
        """The last price at a time; None before the first bar."""
        session = self._latest_session(now)
        path = self.path(symbol, session)
        if path is None:
            return None
        return LastPrice(path.price(session.fraction(now)), min(now, session.closes))

    def close_before(self, symbol: str, day: date) -> float | None:
        """The close of the last session before a day, in the shares of that day."""
        session = self.hours.before(day)
        path = None if session is None else self.path(symbol, session)
        if session is None or path is None:
            return None
        return path.points[3] * self.split_factor(symbol, session.day) / self.split_factor(symbol, day)

    def split(self, symbol: str, day: date, ratio: float) -> None:
        """From this day on there are `ratio` shares for one."""
        self.splits.setdefault(symbol, []).append(Split(day, ratio))

    def split_factor(self, symbol: str, day: date) -> float:
        """How many shares on a day stand for one share of the table."""
        factor = 1.0
        for split in self.splits.get(symbol, ()):
            factor *= split.ratio if day >= split.day else 1.0
        return factor

    def _latest_session(self, now: datetime) -> Session:
        """The last session that has opened."""
        return self.hours.sessions[max(0, self.hours.count_opened(now) - 1)]
