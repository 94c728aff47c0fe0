"""Bars of any length, computed from the price paths of the sessions. No bar uses a later price than the present."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_path import PricePath
from mlops_cli.market.hours import Session, in_new_york, midnight

_TIMEFRAME = re.compile(r"([0-9]{0,3})(Min|T|Hour|H|Day|D|Week|W|Month|M)")
_MINUTES = {"Min": 1, "T": 1, "Hour": 60, "H": 60}
_UNITS = {"Day": "day", "D": "day", "Week": "week", "W": "week", "Month": "month", "M": "month"}
_ALLOWED = {"minute": range(1, 60), "hour": range(1, 24), "day": (1,), "week": (1,), "month": (1, 2, 3, 4, 6, 12)}
_MAX_DAYS = {"minute": 1, "day": 1, "week": 7, "month": 31}


@dataclass(frozen=True, slots=True)
class Timeframe:
    """The length of a bar: a part of a session, or whole sessions. The unit is minute, day, week or month."""

    number: int
    unit: str

    def first_day(self, day: date) -> date:
        """The first day of the bar that contains a day: of weeks a Monday, of months the first, else the day."""
        if self.unit == "week":
            return day - timedelta(days=day.weekday())
        if self.unit == "month":
            return day.replace(month=(day.month - 1) // self.number * self.number + 1, day=1)
        return day

    def last_day(self, day: date) -> date:
        """The last day of the bar that contains a day."""
        number = self.number if self.unit == "month" else 1
        beyond = self.first_day(day) + timedelta(days=_MAX_DAYS[self.unit] * number)
        return self.first_day(beyond) - timedelta(days=1)


def read_timeframe(text: str) -> Timeframe:
    """Read a timeframe such as 5Min, 1Hour, 1Day, 1Week or 3Month; `RefusedError` if Alpaca does not have it."""
    parts = _TIMEFRAME.fullmatch(text)
    number, word = (int(parts[1] or 1), parts[2]) if parts else (0, "Day")
    minutes = _MINUTES.get(word, 1)
    unit = _UNITS.get(word, "minute")
    if number not in _ALLOWED["hour" if minutes == 60 else unit]:
        raise RefusedError(400, 40010000, f"invalid timeframe: {text[:40]!r}")
    return Timeframe(number * minutes, unit)


class TimeSpan(NamedTuple):
    """A period; both ends are included."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of a session from fraction `begin` to `end`; `label` is the time of its bar."""

    session: Session
    path: PricePath
    label: datetime
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Chart:
    """The prices of a symbol that are known at `now`.

    If `split_adjusted`, prices are adjusted for the splits up to `now`, else they are those of their own day.
    """

    market: Market
    symbol: str
    now: datetime
    split_adjusted: bool

    def bars(self, timeframe: Timeframe, span: TimeSpan, *, newest_first: bool = False) -> Iterator[dict[str, Any]]:
        """The bars (schema `stock_bar`) that begin within a span, computed one by one on demand."""
        first = timeframe.first_day(in_new_york(span.start).date())
        days = self._days(first, timeframe.last_day(in_new_york(span.end).date()), newest_first)
        if timeframe.unit == "minute":
            yield from self._minute_bars(days, timeframe.number, span, newest_first)
        else:
            yield from self._day_bars(days, timeframe, span, newest_first)

    def _minute_bars(
        self, days: Iterable[_Piece], minutes: int, span: TimeSpan, newest_first: bool
    ) -> Iterator[dict[str, Any]]:
        for day in days:
            for piece in self._pieces(day, minutes, newest_first):
                if span.start <= piece.label <= span.end:
                    yield {"t": _time(piece.label), **self._bar(piece)}

    def _day_bars(
        self, days: Iterable[_Piece], timeframe: Timeframe, span: TimeSpan, newest_first: bool
    ) -> Iterator[dict[str, Any]]:
        for first, group in groupby(days, lambda day: timeframe.first_day(day.session.day)):
            label = midnight(first)
            if span.start <= label <= span.end:
                parts = [self._bar(day) for day in group]
                yield {"t": _time(label), **_merged(parts[::-1] if newest_first else parts)}

    def _days(self, first: date, last: date, newest_first: bool) -> Iterator[_Piece]:
        table_days, delisted = self.market.series(self.symbol).days, self.market.delisted.get(self.symbol, date.max)
        days = table_days[bisect_left(table_days, first) : bisect_right(table_days, last)]
        for day in reversed(days) if newest_first else days:
            for session in self.market.hours.between(day, day):
                path = self.market.path(self.symbol, session)
                if path is not None and session.opens <= self.now and day < delisted:
                    yield _Piece(session, path, session.opens, 0.0, session.fraction(self.now))

    def _pieces(self, day: _Piece, minutes: int, newest_first: bool) -> Iterator[_Piece]:
        """Cut a session at multiples of `minutes` since midnight UTC."""
        session, step = day.session, timedelta(minutes=minutes)
        start = session.opens.replace(hour=0, minute=0)
        numbers = range((session.opens - start) // step, -((start - session.closes) // step))
        for number in reversed(numbers) if newest_first else numbers:
            label = start + number * step
            since = max(label, session.opens)
            if since <= self.now:
                until = min(label + step, self.now)
                yield _Piece(session, day.path, label, session.fraction(since), session.fraction(until))

    def _bar(self, piece: _Piece) -> dict[str, Any]:
        factor = 1.0
        if self.split_adjusted:
            today = self.market.split_factor(self.symbol, in_new_york(self.now).date())
            factor = today / self.market.split_factor(self.symbol, piece.session.day)
        low, high = piece.path.extremes(piece.end, piece.begin)
        first, last = piece.path.price(piece.begin), piece.path.price(piece.end)
        return {
            "o": round(first / factor, 4),
            "h": round(high / factor, 4),
            "l": round(low / factor, 4),
            "c": round(last / factor, 4),
            "v": int(piece.path.volume * (piece.end - piece.begin) * factor),
            "n": 0,  # the price tables have no number of trades
            "vw": round((high + low + last) / 3 / factor, 6),
        }


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One bar from the bars of several sessions, oldest first."""
    volume = sum(bar["v"] for bar in parts)
    vwap = sum(bar["vw"] * bar["v"] for bar in parts) / volume if volume else parts[-1]["vw"]
    high, low = max(bar["h"] for bar in parts), min(bar["l"] for bar in parts)
    prices = {"o": parts[0]["o"], "h": high, "l": low, "c": parts[-1]["c"]}
    return {**prices, "v": volume, "n": 0, "vw": round(vwap, 6)}


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
