"""Prices at any time, computed from tables of daily bars."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping
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
_LEAST_LEFT = 0.001
"""A spin-off leaves this fraction of a company's price, however much is given away."""


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


class PriceCut(NamedTuple):
    """The value that a company gave away with a spin-off: from `day` on its price is multiplied by `factor`."""

    day: date
    factor: float


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol without a price table of its own, which is traded at the prices of another symbol's table.

    Attributes:
        table: the symbol that has the table.
        day: the first day of trade; None if the prices of earlier days count, too.
        factor: its price as a multiple of the table's.
    """

    table: str
    day: date | None = None
    factor: float = 1.0


class LastPrice(NamedTuple):
    """The last price in USD, and the time at which it was made."""

    price: float
    at: datetime


@dataclass(slots=True)
class Series:
    """The daily bars of one symbol: rising days with a bar each, its place by day, and the version of the table.

    `dividends`: USD per share by ex-date.
    """

    version: float
    days: list[date]
    bars: list[DailyBar]
    places: dict[date, int]
    dividends: Mapping[date, float]

    @classmethod
    def of(cls, table: pd.DataFrame, dividends: Mapping[date, float], version: float) -> Series:
        """Take the bars out of a price table."""
        days = list(pd.DatetimeIndex(table.index).date)
        bars = [DailyBar(*row) for row in table[list(DailyBar._fields)].to_numpy().tolist()]
        return cls(version, days, bars, {day: place for place, day in enumerate(days)}, dividends)

    def last_place(self, day: date) -> int | None:
        """Position of the last bar up to a day; None if the series begins later."""
        place = bisect_right(self.days, day)
        return place - 1 if place else None


@dataclass(slots=True)
class Market:
    """The prices of all symbols.

    Attributes:
        splits: announced splits by symbol; they divide the prices of its table from the split's day on.
        delisted: first day without trade, by symbol.
        listings: symbols that were renamed or spun off.
        cuts: by symbol, what its spin-offs took from its price.
    """

    tables: PriceTables
    hours: Hours
    splits: dict[str, list[Split]] = field(default_factory=dict)
    delisted: dict[str, date] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    cuts: dict[str, list[PriceCut]] = field(default_factory=dict)
    _series: dict[str, Series] = field(default_factory=dict)
    _checked: float = 0.0

    @property
    def symbols(self) -> frozenset[str]:
        """All symbols that have prices."""
        return self.tables.symbols.union(self.listings)

    def has(self, symbol: str) -> bool:
        """Whether there are prices of this symbol."""
        return symbol in self.tables.symbols or symbol in self.listings

    def listed(self, symbol: str, now: datetime) -> bool:
        """Whether a symbol can be traded: its prices have begun, and it was not delisted."""
        day = self._latest_session(now).day
        if day >= self.delisted.get(symbol, date.max) or day < self.first_day(symbol):
            return False
        return self.series(symbol).last_place(day) is not None

    def first_day(self, symbol: str) -> date:
        """The day from which on a symbol is traded, if its table has prices by then."""
        listing = self.listings.get(symbol)
        return date.min if listing is None or listing.day is None else listing.day

    def series(self, symbol: str) -> Series:
        """The bars of a symbol's table; a `DataError` if it is missing or damaged. Changed tables are read again."""
        listing = self.listings.get(symbol)
        if listing is not None:
            symbol = listing.table
        series = self._series.get(symbol)
        if series is None:
            version = self.tables.version(symbol)
            table = self.tables.table(symbol)
            series = self._series[symbol] = Series.of(table, self.tables.dividends(symbol, table), version)
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
        if session.day < self.first_day(symbol):
            return None
        series = self.series(symbol)
        place = series.places.get(session.day)
        if place is not None:
            return self._scaled(symbol, session.day, series.bars[place])
        place = series.last_place(session.day)
        if place is None:
            return None
        path = self._scaled(symbol, session.day, series.bars[place])
        ended = place == len(series.days) - 1
        return PricePath.flat(path.points[3], path.volume if ended else 0.0, traded=ended)

    def _scaled(self, symbol: str, day: date, bar: DailyBar) -> PricePath:
        """The path of a table's bar, in the shares and at the price level of a day."""
        by, shares = self._divisor(symbol, day), self.split_factor(symbol, day)
        return PricePath.of_bar(bar.open / by, bar.high / by, bar.low / by, bar.close / by, bar.volume * shares)

    def _divisor(self, symbol: str, day: date) -> float:
        """By which a price of a symbol's table is divided on a day."""
        divisor = self.split_factor(symbol, day)
        if symbol in self.listings:
            divisor /= self.listings[symbol].factor
        for cut in self.cuts.get(symbol, ()):
            divisor /= cut.factor if day >= cut.day else 1.0
        return divisor

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

    def dividend(self, symbol: str, day: date) -> float:
        """The dividend of a symbol's table whose ex-date is `day`, in USD for a share of that day; 0 without one.

        A company that was spun off and follows the prices of another does not pay the other's dividends.
        """
        listing = self.listings.get(symbol)
        if day >= self.delisted.get(symbol, date.max) or (listing is not None and listing.day is not None):
            return 0.0
        return self.series(symbol).dividends.get(day, 0.0) / self._divisor(symbol, day)

    def split(self, symbol: str, day: date, ratio: float) -> None:
        """From this day on there are `ratio` shares for one."""
        self.splits.setdefault(symbol, []).append(Split(day, ratio))

    def rename(self, symbol: str, new_symbol: str, day: date) -> None:
        """From this day on a symbol is traded under a new name, which has all of its prices."""
        old = self.listings.get(symbol, Listing(symbol))
        self.listings[new_symbol] = old
        self.splits[new_symbol] = [*self.splits.get(symbol, ())]
        self.cuts[new_symbol] = [*self.cuts.get(symbol, ())]
        self.delisted[symbol] = day

    def spin_off(self, symbol: str, new_symbol: str, session: Session, ratio: float, price: float) -> None:
        """From a session on, a part of a company without a price table is traded at prices that follow the company's.

        The company's own price falls by the value of the shares that are given away.

        Args:
            symbol: of the company.
            new_symbol: of the part.
            session: the first session of the part.
            ratio: shares of the part for one of the company.
            price: of the part at the opening, in USD.
        """
        path = self.path(symbol, session)
        opening = 0.0 if path is None else path.points[0]
        if opening <= 0:
            return
        table = self.listings[symbol].table if symbol in self.listings else symbol
        self.listings[new_symbol] = Listing(table, session.day, price / (opening * self._divisor(symbol, session.day)))
        left = max(_LEAST_LEFT, 1 - ratio * price / opening)
        self.cuts.setdefault(symbol, []).append(PriceCut(session.day, left))

    def split_factor(self, symbol: str, day: date) -> float:
        """How many shares on a day stand for one share of the table."""
        factor = 1.0
        for split in self.splits.get(symbol, ()):
            factor *= split.ratio if day >= split.day else 1.0
        return factor

    def _latest_session(self, now: datetime) -> Session:
        """The last session that has opened."""
        return self.hours.sessions[max(0, self.hours.count_opened(now) - 1)]
