"""The dividends of a ticker that are to be looked at: what sources list and what prices imply, one per ex-date.

For each ex-date, the first of these counts that knows about the day:

1. the listing of a source of actions, from its first ex-date on;
2. the dividends in the bars of the price source, on the days of these bars;
3. the steps of the adjusted closes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from mlops_cli.prices.actions.action_source import ListedDividend, Listing
from mlops_cli.prices.actions.checks import Finding, Measure
from mlops_cli.prices.actions.implied_dividends import SOURCE as IMPLIED


@dataclass(frozen=True)
class BarDividends:
    """The dividends in the bars that a price source returned, in the units of the checked closes.

    Attributes:
        first, last: the days of these bars; they say nothing about other days.
    """

    source: str
    dividends: tuple[ListedDividend, ...]
    first: date
    last: date


@dataclass(frozen=True)
class Entry:
    """A dividend, and the name of the source that lists or implies it."""

    source: str
    listed: ListedDividend

    @property
    def day(self) -> date:
        """Its ex-date."""
        return self.listed.ex_date


@dataclass(frozen=True)
class Entries:
    """The dividends to look at, rising by ex-date.

    Attributes:
        missing: dividends of bars or adjusted closes that a complete listing should have and has not: not to be used.
    """

    entries: tuple[Entry, ...]
    missing: tuple[Entry, ...] = ()

    @property
    def days(self) -> set[date]:
        """All ex-dates of which something says that there is a dividend."""
        return {entry.day for entry in (*self.entries, *self.missing)}

    def disputes(self, source: str) -> list[Finding]:
        """The missing dividends in words; `source` is the listing's."""
        return [
            Finding("dividend_disputed", f"{e.day} {e.listed.amount:.6g} ({e.listed.where}), {source} lists none")
            for e in self.missing
        ]


def bar_dividends(source: str, frame: pd.DataFrame, closes: pd.Series[float]) -> BarDividends | None:
    """The dividends in raw bars, in the units of the checked `closes`; None if the bars list none at all.

    A bar's dividend is in the units of the bar's own close, which cleaning may have divided by a split or by 100.
    """
    if "dividends" not in frame or not (frame["dividends"] >= 0).any():
        return None
    days = pd.DatetimeIndex(frame.index).tz_localize(None).normalize()
    listed: dict[date, ListedDividend] = {}
    for day, amount, close in zip(days, frame["dividends"].tolist(), frame["close"].tolist(), strict=True):
        if amount and not np.isnan(amount):
            checked = float(closes.get(day, np.nan))
            factor = checked / close if close > 0 and checked > 0 else 1.0
            listed[day.date()] = ListedDividend(day.date(), amount * factor, f"{source} bars")
    dividends = tuple(listed[day] for day in sorted(listed))
    return BarDividends(f"{source} bars", dividends, days.min().date(), days.max().date())


def collect(measure: Measure, bars: BarDividends | None, listing: Listing | None) -> Entries:
    """The dividends after the first session of the price table.

    From its first ex-date on, a complete listing is believed to be complete: what only bars or adjusted closes show
    there is named, and not used. Of a listing that only says what comes next, the ex-dates after the table count.
    """
    past = [*_implied(measure, bars), *_in_bars(measure, bars)]
    past.sort(key=lambda entry: entry.day)
    if listing is None:
        return Entries(tuple(past))
    listed = _one_per_day(_after_first(listing, measure) if listing.complete else _after_table(listing, measure))
    since = min(listed, default=date.max) if listing.complete else date.max
    earlier = [entry for entry in past if entry.day < since]
    missing = tuple(entry for entry in past[len(earlier) :] if entry.day not in listed)
    return Entries((*earlier, *(Entry(listing.source, listed[day]) for day in sorted(listed))), missing)


def _after_first(listing: Listing, measure: Measure) -> list[ListedDividend]:
    return [dividend for dividend in listing.dividends if dividend.ex_date > measure.closes.index[0].date()]


def _after_table(listing: Listing, measure: Measure) -> list[ListedDividend]:
    return [dividend for dividend in listing.dividends if dividend.ex_date > measure.closes.index[-1].date()]


def _one_per_day(dividends: Iterable[ListedDividend]) -> dict[date, ListedDividend]:
    """By ex-date, the sum of its dividends: a special one may come with a regular one."""
    days: dict[date, ListedDividend] = {}
    for dividend in dividends:
        other = days.get(dividend.ex_date)
        if other is not None and other.amount is not None and dividend.amount is not None:
            regular = other if other.kind == "cash" else dividend
            dividend = replace(regular, amount=other.amount + dividend.amount)  # noqa: PLW2901
        days[dividend.ex_date] = dividend
    return days


def _implied(measure: Measure, bars: BarDividends | None) -> list[Entry]:
    implied = {} if measure.steps is None else measure.steps.dividends()
    after = measure.implied_after or date.min
    return [
        Entry(IMPLIED, ListedDividend(day, amount, "adjusted closes"))
        for day, amount in implied.items()
        if day > after and (bars is None or not bars.first <= day <= bars.last)
    ]


def _in_bars(measure: Measure, bars: BarDividends | None) -> list[Entry]:
    if bars is None:
        return []
    first, last = (measure.closes.index[place].date() for place in (0, -1))
    return [Entry(bars.source, listed) for listed in bars.dividends if first < listed.ex_date <= last]
