"""Checks of listed dividends. A dividend that fails one is named, with its day; most are not added to the sightings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import pandas as pd

from mlops_cli.market.currencies import quoted_currency, same_currency
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.actions.action_source import ListedDividend
from mlops_cli.prices.actions.dividends import LARGEST_SHARE
from mlops_cli.prices.actions.implied_dividends import ImpliedSteps
from mlops_cli.prices.cleaning.repair import Repair, noted


@dataclass(frozen=True)
class Finding:
    """One fault of one dividend.

    Attributes:
        rule: the check that found it.
        words: the day, the numbers, and where they come from.
        is_added: whether the dividend is added to the sightings nevertheless. It is then part of what was paid, and
            the rules of `dividends` keep it out of forecasts.
    """

    rule: str
    words: str
    is_added: bool = False


@dataclass(frozen=True)
class Measure:
    """What listed dividends are measured against.

    Attributes:
        exchange: calendar code.
        closes: of the checked price table, index: tz-naive sessions.
        steps: what its adjusted closes imply; None if it has none of its own.
        implied_after: steps count as dividends after this day only, because an earlier fetch has settled the days
            before; None for all.
    """

    exchange: str
    closes: pd.Series[float]
    steps: ImpliedSteps | None
    implied_after: date | None = None

    def close_before(self, ex_date: date) -> tuple[date, float]:
        """The last session of the table before an ex-date that is after its first session, and its close."""
        place = int(self.closes.index.searchsorted(pd.Timestamp(ex_date))) - 1
        return self.closes.index[place].date(), float(self.closes.iloc[place])


def fault_of(dividend: ListedDividend, amount: float, measure: Measure) -> Finding | None:
    """The first fault of a listed dividend, or None.

    Args:
        dividend: its ex-date is after the first session of the table.
        amount: in price units.
        measure: what it is measured against.
    """
    _, close = measure.close_before(dividend.ex_date)
    named = f"{dividend.ex_date} {amount:.6g} ({dividend.where})"
    if not 0 < amount < close:
        return Finding("dividend_absurd", f"{named}, close before {close:.6g}")
    quoted = quoted_currency(measure.exchange)
    if dividend.currency and quoted and not same_currency(dividend.currency, quoted):
        return Finding("dividend_currency", f"{named} in {dividend.currency}, {measure.exchange} quotes {quoted}")
    if sessions(measure.exchange, dividend.ex_date, dividend.ex_date).empty:
        return Finding("dividend_no_session", f"{named}: {measure.exchange} has no session")
    implied = None if measure.steps is None else measure.steps.amount_on(dividend.ex_date)
    if implied is not None and measure.steps is not None and not measure.steps.agrees(dividend.ex_date, amount):
        return Finding("dividend_disputed", f"{named}, adjusted closes {max(implied, 0.0):.6g}")
    return _remark(dividend, amount, named, measure)


def _remark(dividend: ListedDividend, amount: float, named: str, measure: Measure) -> Finding | None:
    """What deserves a look in a dividend that nothing contradicts."""
    _, close = measure.close_before(dividend.ex_date)
    if amount > LARGEST_SHARE * close:
        # adjusted closes with the same step confirm it; nothing confirms a coming one
        is_confirmed = measure.steps is not None and measure.steps.amount_on(dividend.ex_date) is not None
        words = f"{named} is {amount / close:.1%} of the close {close:.6g}"
        return Finding("dividend_large" if is_confirmed else "dividend_unconfirmed", words, is_confirmed)
    if dividend.announced is not None and dividend.announced >= dividend.ex_date:
        return Finding("dividend_announced_late", f"{named} announced {dividend.announced}", is_added=True)
    return None


def remark_on_implied(ex_date: date, amount: float, measure: Measure) -> Finding | None:
    """A step of adjusted closes that is larger than dividends are: perhaps a spin-off, or a mistake."""
    _, close = measure.close_before(ex_date)
    if amount <= LARGEST_SHARE * close:
        return None
    words = f"{ex_date} {amount:.6g} (adjusted closes) is {amount / close:.1%} of the close {close:.6g}"
    return Finding("dividend_large", words, is_added=True)


def in_table(findings: Iterable[Finding]) -> tuple[Repair, ...]:
    """The findings as entries of a ticker's table of repairs, one per rule."""
    by_rule: dict[str, list[str]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding.words)
    return tuple(repair for rule, words in by_rule.items() for repair in noted(rule, words))
