"""Bars of any length, from the price's path through the sessions; never beyond the present."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from mlops_cli.exchange.hours import Session, local, midnight
from mlops_cli.exchange.market import Market
from mlops_cli.exchange.model import RefusedError
from mlops_cli.exchange.price_path import PricePath

_TIMEFRAME = re.compile(r"(\d{0,3})(Min|T|Hour|H|Day|D|Week|W|Month|M)")
_MINUTES = {"Min": 1, "T": 1, "Hour": 60, "H": 60}
_UNITS = {"Day": "day", "D": "day", "Week": "week", "W": "week", "Month": "month", "M": "month"}


@dataclass(frozen=True, slots=True)
class Timeframe:
    """Length of a bar: minutes within a session, or whole sessions of a day, week or month.

    Attributes:
        minutes: length; 0 for bars of whole sessions.
        unit: "day", "week" or "month", for those.
    """

    minutes: int
    unit: str = "day"


def read_timeframe(text: str) -> Timeframe:
    """A timeframe as Alpaca writes it: 5Min, 1Hour, 1Day, 1Week, 1Month.

    Raises:
        RefusedError: none that this exchange offers.
    """
    found = _TIMEFRAME.fullmatch(text)
    number = int(found[1] or 1) if found else 0
    if found and found[2] in _MINUTES and 0 < number * _MINUTES[found[2]] <= 23 * 60:
        return Timeframe(number * _MINUTES[found[2]])
    if found and found[2] in _UNITS and number == 1:
        return Timeframe(0, _UNITS[found[2]])
    raise RefusedError(400, 40010000, f"invalid timeframe: {text[:40]!r}")


def bars(market: Market, symbol: str, timeframe: Timeframe, span: tuple[datetime, datetime], split: bool) -> list[Any]:
    """A symbol's bars that begin within a span of time, oldest first; schema `stock_bar`.

    Args:
        market: where the prices are.
        symbol: of the market.
        timeframe: length of a bar.
        span: first and last time, both included; the last one no later than now.
        split: whether prices are in the shares of today, else in those of their day.
    """
    start, end = span
    days = _days(market, symbol, start, end)
    if timeframe.minutes:
        parts = (part for each in days for part in _parts(each, timeframe.minutes, end))
        made = [_bar(part, market, symbol, end, split) for part in parts]
        return [bar for bar in made if bar["t"] >= _time(start)]
    whole = [_Part(session, path, 0.0, session.share(end)) for session, path in days if midnight(session.day) >= start]
    if timeframe.unit == "day":
        return [_bar(part, market, symbol, end, split, of_day=True) for part in whole]
    groups = groupby(whole, lambda part: _first_day(part.session.day, timeframe.unit))
    return [
        {**_merged([_bar(part, market, symbol, end, split) for part in group]), "t": _time(midnight(first))}
        for first, group in groups
    ]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a session, by shares of it."""

    session: Session
    path: PricePath
    begin: float
    end: float


def _days(market: Market, symbol: str, start: datetime, end: datetime) -> Iterator[tuple[Session, PricePath]]:
    known = market.series(symbol).places
    for session in market.hours.between(local(start).date(), local(end).date()):
        if session.day in known and session.opens <= end and session.day < market.delisted.get(symbol, date.max):
            path = market.path(symbol, session)
            if path is not None:
                yield session, path


def _parts(day: tuple[Session, PricePath], minutes: int, end: datetime) -> Iterator[_Part]:
    session, path = day
    begin, step = session.opens, timedelta(minutes=minutes)
    while begin < session.closes and begin <= end:
        yield _Part(session, path, session.share(begin), session.share(min(begin + step, end)))
        begin += step


def _bar(
    part: _Part, market: Market, symbol: str, now: datetime, split: bool, *, of_day: bool = False
) -> dict[str, Any]:
    factor = market.factor(symbol, local(now).date()) / market.factor(symbol, part.session.day) if split else 1.0
    low, high = part.path.extremes(part.end, part.begin)
    first, last = part.path.price(part.begin), part.path.price(part.end)
    return {
        "t": _time(midnight(part.session.day) if of_day else part.session.at(part.begin)),
        "o": round(first / factor, 4),
        "h": round(high / factor, 4),
        "l": round(low / factor, 4),
        "c": round(last / factor, 4),
        "v": int(part.path.volume * (part.end - part.begin) * factor),
        "n": 0,  # how many trades there were, the tables do not tell
        "vw": round((high + low + last) / 3 / factor, 6),
    }


def _merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    each = list(parts)
    volume = sum(bar["v"] for bar in each)
    middle = sum(bar["vw"] * bar["v"] for bar in each) / volume if volume else each[-1]["vw"]
    high, low = max(bar["h"] for bar in each), min(bar["l"] for bar in each)
    ends = {"o": each[0]["o"], "h": high, "l": low, "c": each[-1]["c"]}
    return {"t": each[0]["t"], **ends, "v": volume, "n": 0, "vw": round(middle, 6)}


def _first_day(day: date, unit: str) -> date:
    return day.replace(day=1) if unit == "month" else day - timedelta(days=day.weekday())


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
