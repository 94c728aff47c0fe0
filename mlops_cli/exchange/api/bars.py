"""Bars of any length, from the price's path through the sessions; never beyond the present."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_path import PricePath
from mlops_cli.market.hours import Session, local, midnight

_TIMEFRAME = re.compile(r"([0-9]{0,3})(Min|T|Hour|H|Day|D|Week|W|Month|M)")
_MINUTES = {"Min": 1, "T": 1, "Hour": 60, "H": 60}
_UNITS = {"Day": "day", "D": "day", "Week": "week", "W": "week", "Month": "month", "M": "month"}
_NUMBERS = {"minute": range(1, 60), "hour": range(1, 24), "day": (1,), "week": (1,), "month": (1, 2, 3, 4, 6, 12)}
_MOST_DAYS = {"minute": 1, "day": 1, "week": 7, "month": 31}


@dataclass(frozen=True, slots=True)
class Timeframe:
    """Length of a bar: a part of a session, or whole sessions.

    Attributes:
        number: of units.
        unit: "minute", "day", "week" or "month".
    """

    number: int
    unit: str

    def first_day(self, day: date) -> date:
        """The first day of the bar that a day belongs to: a Monday, the first of a month or quarter."""
        if self.unit == "week":
            return day - timedelta(days=day.weekday())
        if self.unit == "month":
            return day.replace(month=(day.month - 1) // self.number * self.number + 1, day=1)
        return day

    def last_day(self, day: date) -> date:
        """The last day of the bar that a day belongs to."""
        number = self.number if self.unit == "month" else 1
        beyond = self.first_day(day) + timedelta(days=_MOST_DAYS[self.unit] * number)
        return self.first_day(beyond) - timedelta(days=1)


def read_timeframe(text: str) -> Timeframe:
    """A timeframe as Alpaca writes it: 5Min, 1Hour, 1Day, 1Week, 3Month.

    Raises:
        RefusedError: there is none such.
    """
    found = _TIMEFRAME.fullmatch(text)
    number, word = (int(found[1] or 1), found[2]) if found else (0, "Day")
    minutes = _MINUTES.get(word, 1)
    unit = _UNITS.get(word, "minute")
    if number not in _NUMBERS["hour" if minutes == 60 else unit]:
        raise RefusedError(400, 40010000, f"invalid timeframe: {text[:40]!r}")
    return Timeframe(number * minutes, unit)


def bars(market: Market, symbol: str, timeframe: Timeframe, span: tuple[datetime, datetime], split: bool) -> list[Any]:
    """A symbol's bars that begin within a span of time up to now, oldest first; schema `stock_bar`.

    Args:
        market: where the prices are.
        symbol: of the market.
        timeframe: length of a bar.
        span: first and last time, both included; the last one is now.
        split: whether prices are in the shares of today, else in those of their day.
    """
    return list(Chart(market, symbol, span[1], split).bars(timeframe, span))


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a session, by shares of it."""

    session: Session
    path: PricePath
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What is known of a symbol's prices at a time.

    Attributes:
        now: nothing after it is shown.
        split: whether prices are in the shares of that day, else in those of their own.
    """

    market: Market
    symbol: str
    now: datetime
    split: bool

    def bars(
        self, timeframe: Timeframe, span: tuple[datetime, datetime], *, newest_first: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The bars that begin within a span, both ends included; made one by one as they are asked for."""
        start, end = span
        days = self._days(timeframe.first_day(local(start).date()), timeframe.last_day(local(end).date()), newest_first)
        if timeframe.unit == "minute":
            for session, path in days:
                for begins, part in self._parts(session, path, timeframe.number, newest_first):
                    if start <= begins <= end:
                        yield {"t": _time(begins), **self._bar(part)}
            return
        for first, group in groupby(days, lambda day: timeframe.first_day(day[0].day)):
            if start <= midnight(first) <= end:
                parts = [self._bar(_Part(session, path, 0.0, session.share(self.now))) for session, path in group]
                yield {"t": _time(midnight(first)), **_merged(parts[::-1] if newest_first else parts)}

    def _days(self, first: date, last: date, newest_first: bool) -> Iterator[tuple[Session, PricePath]]:
        known, gone = self.market.series(self.symbol).days, self.market.delisted.get(self.symbol, date.max)
        days = known[bisect_left(known, first) : bisect_right(known, last)]
        for day in reversed(days) if newest_first else days:
            for session in self.market.hours.between(day, day):
                path = self.market.path(self.symbol, session)
                if path is not None and session.opens <= self.now and day < gone:
                    yield session, path

    def _parts(
        self, session: Session, path: PricePath, minutes: int, newest_first: bool
    ) -> Iterator[tuple[datetime, _Part]]:
        """A session cut at multiples of so many minutes since midnight UTC, and when each part begins there."""
        step = timedelta(minutes=minutes)
        day = session.opens.replace(hour=0, minute=0)
        numbers = range((session.opens - day) // step, -((day - session.closes) // step))
        for number in reversed(numbers) if newest_first else numbers:
            begins = day + number * step
            since = max(begins, session.opens)
            if since <= self.now:
                until = min(begins + step, self.now)
                yield begins, _Part(session, path, session.share(since), session.share(until))

    def _bar(self, part: _Part) -> dict[str, Any]:
        factor = 1.0
        if self.split:
            today = self.market.factor(self.symbol, local(self.now).date())
            factor = today / self.market.factor(self.symbol, part.session.day)
        low, high = part.path.extremes(part.end, part.begin)
        first, last = part.path.price(part.begin), part.path.price(part.end)
        return {
            "o": round(first / factor, 4),
            "h": round(high / factor, 4),
            "l": round(low / factor, 4),
            "c": round(last / factor, 4),
            "v": int(part.path.volume * (part.end - part.begin) * factor),
            "n": 0,  # how many trades there were, the tables do not tell
            "vw": round((high + low + last) / 3 / factor, 6),
        }


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    volume = sum(bar["v"] for bar in parts)
    middle = sum(bar["vw"] * bar["v"] for bar in parts) / volume if volume else parts[-1]["vw"]
    high, low = max(bar["h"] for bar in parts), min(bar["l"] for bar in parts)
    ends = {"o": parts[0]["o"], "h": high, "l": low, "c": parts[-1]["c"]}
    return {**ends, "v": volume, "n": 0, "vw": round(middle, 6)}


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
