"""Turns what sources list and what prices imply into new sightings of a ticker's dividends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd

from mlops_cli.prices.actions.action_source import ListedDividend, Listing
from mlops_cli.prices.actions.checks import Finding, Measure, fault_of, remark_on_implied
from mlops_cli.prices.actions.dividends import Sighting, is_same_amount, newest, restated
from mlops_cli.prices.actions.entries import BarDividends, Entry, collect
from mlops_cli.prices.actions.implied_dividends import SOURCE as IMPLIED
from mlops_cli.prices.actions.implied_dividends import implied_steps


@dataclass(frozen=True)
class Evidence:
    """All that is known about one ticker's dividends on one day.

    Attributes:
        exchange: calendar code.
        prices: the checked price table.
        adjusted: whether its adjusted closes are the source's own.
        seen: today, in the time zone of the exchange.
        bars: dividends in the bars; None if the price source lists none at all.
        listing: of the source of actions; None without such a source, or if it was not available.
        stored: the sightings so far; None if no dividends are known.
        stored_from, stored_until: first and last session of the price table before this fetch; None if there was none.
        is_appended: whether this fetch only appended sessions to that table.
    """

    exchange: str
    prices: pd.DataFrame
    adjusted: bool
    seen: date
    bars: BarDividends | None = None
    listing: Listing | None = None
    stored: Sequence[Sighting] | None = None
    stored_from: date | None = None
    stored_until: date | None = None
    is_appended: bool = False


@dataclass(frozen=True)
class Recorded:
    """The result for one ticker.

    Attributes:
        new: sightings to add.
        findings: dividends that are not used, or that deserve a look.
        is_known: whether anything says what dividends there are, even that there are none.
    """

    new: tuple[Sighting, ...]
    findings: tuple[Finding, ...]
    is_known: bool


def record(evidence: Evidence) -> Recorded:
    """Compare all that is known with the sightings so far, and return what is new and what is wrong."""
    measure = _measure(evidence)
    stored = restated(evidence.stored or (), measure.closes)
    collected = collect(measure, evidence.bars, evidence.listing)
    accepted: list[Sighting] = []
    findings = [*_empty_listing(evidence), *collected.disputes(evidence.listing.source if evidence.listing else "")]
    for entry in collected.entries:
        amount = _amount(entry.listed, [*stored, *accepted])
        fault = _fault(entry, amount, measure)
        findings += [fault] if fault is not None else []
        if amount is not None and (fault is None or fault.is_added):
            accepted.append(_sighting(entry, amount, measure, evidence))
    new = (*_new(evidence, stored, accepted, measure), *_withdrawn(evidence, stored, collected.days))
    return Recorded(new, tuple(findings), bool(new) or _is_known(evidence, measure))


def _measure(evidence: Evidence) -> Measure:
    steps = implied_steps(evidence.prices) if evidence.adjusted or evidence.bars else None
    after = evidence.stored_until if evidence.is_appended and evidence.stored is not None else None
    return Measure(evidence.exchange, evidence.prices["close"], steps, after)


def _is_known(evidence: Evidence, measure: Measure) -> bool:
    """Whether the absence of dividends means that there are none."""
    listing = evidence.listing
    return evidence.stored is not None or measure.steps is not None or (listing is not None and listing.complete)


def _amount(listed: ListedDividend, before: list[Sighting]) -> float | None:
    return _last_paid(before, listed.ex_date) if listed.amount is None else listed.amount


def _fault(entry: Entry, amount: float | None, measure: Measure) -> Finding | None:
    listed = entry.listed
    if amount is None:
        return Finding("dividend_no_amount", f"{listed.ex_date} ({listed.where}), and none was paid before")
    if entry.source == IMPLIED:
        return remark_on_implied(listed.ex_date, amount, measure)
    return fault_of(listed, amount, measure)


def _empty_listing(evidence: Evidence) -> list[Finding]:
    """What to say of a source that lists nothing any more: a fault of the source is likelier than that."""
    listing = evidence.listing
    if listing is None or listing.dividends or not listing.complete:
        return []
    if not any(sighting.source == listing.source and sighting.amount > 0 for sighting in evidence.stored or ()):
        return []
    return [Finding("dividends_not_fetched", f"{listing.source} lists none any more; what was seen before stays")]


def _last_paid(sightings: Iterable[Sighting], before: date) -> float | None:
    """The newest regular dividend before a day, which estimates the next one."""
    paid = [s for s in newest(sightings).values() if s.ex_date < before and s.kind == "cash" and s.amount > 0]
    return paid[-1].amount if paid else None


def _sighting(entry: Entry, amount: float, measure: Measure, evidence: Evidence) -> Sighting:
    listed = entry.listed
    session, close = measure.close_before(listed.ex_date)
    return Sighting(
        ex_date=listed.ex_date,
        amount=amount,
        close_session=session,
        close=close,
        source=entry.source,
        seen=evidence.seen,
        announced=listed.announced,
        kind=listed.kind,
        estimated=listed.amount is None,
        currency=listed.currency,
        taken=_is_history(listed.ex_date, evidence),
    )


def _is_history(ex_date: date, evidence: Evidence) -> bool:
    """Whether an ex-date belongs to the history that was there before anything was fetched.

    That is the past at the first fetch of the ticker. If the period is widened later, it is also the ex-dates before
    that fetch that the stored prices did not reach. An ex-date that they did reach was not listed then.
    """
    if evidence.stored is None:
        return ex_date <= evidence.seen
    first_fetch = min((sighting.seen for sighting in evidence.stored), default=date.min)
    if evidence.stored_from is None or evidence.stored_until is None:
        return False
    is_beyond = ex_date <= evidence.stored_from or evidence.stored_until < ex_date <= first_fetch
    return is_beyond and all(sighting.ex_date != ex_date for sighting in evidence.stored)


def _new(
    evidence: Evidence, stored: Sequence[Sighting], accepted: Iterable[Sighting], measure: Measure
) -> list[Sighting]:
    """The accepted sightings that say something new about their ex-date.

    An amount is no news if it is the stored one before it was restated: the source does not restate after splits. But
    where adjusted closes confirm it, it is per share of today.
    """
    before = newest(stored)
    unrestated = newest(evidence.stored or ())
    news = []
    for sighting in accepted:
        old = before.get(sighting.ex_date)
        if old is not None:
            is_confirmed = measure.steps is not None and measure.steps.amount_on(sighting.ex_date) is not None
            amounts = (old.amount,) if is_confirmed else (old.amount, unrestated[sighting.ex_date].amount)
            if not _is_news(sighting, amounts, old):
                continue
        news.append(sighting)
    return news


def _is_news(sighting: Sighting, amounts: tuple[float, ...], old: Sighting) -> bool:
    if sighting.estimated and not old.estimated and old.amount > 0:
        return False  # an estimate is no news of an amount that was listed
    if (old.kind, old.estimated) != (sighting.kind, sighting.estimated):
        return True
    if sighting.announced is not None and sighting.announced != old.announced:
        return True
    return not any(is_same_amount(amount, sighting.amount) for amount in amounts)


def _withdrawn(evidence: Evidence, stored: Sequence[Sighting], days: set[date]) -> list[Sighting]:
    """Sightings of amount 0 for stored ex-dates that the source which listed them no longer lists.

    Adjusted closes say nothing of that kind, because rounding may hide a step.
    """
    first = evidence.prices.index[0].date()
    gone = [old for day, old in newest(stored).items() if old.amount > 0 and day > first and day not in days]
    return [
        replace(old, amount=0.0, seen=evidence.seen, announced=None, estimated=False, taken=False)
        for old in gone
        if _gone_from_bars(old, evidence) or _gone_from_listing(old, evidence)
    ]


def _gone_from_bars(old: Sighting, evidence: Evidence) -> bool:
    """Whether the prices of an ex-date show that nothing was paid on it, as far as its source can tell."""
    bars = evidence.bars
    covered = bars is not None and bars.first <= old.ex_date <= bars.last
    if old.estimated:  # a coming ex-date was moved, or the estimate came from a calendar that was wrong
        return old.ex_date <= evidence.prices.index[-1].date() and (covered or evidence.adjusted)
    return covered and bars is not None and old.source == bars.source


def _gone_from_listing(old: Sighting, evidence: Evidence) -> bool:
    """Whether the source of an ex-date lists other dividends now, among which it should be."""
    listing = evidence.listing
    if listing is None or not listing.dividends or listing.source != old.source:
        return False
    is_coming = old.ex_date > evidence.prices.index[-1].date()
    if listing.complete:
        return is_coming or old.ex_date >= min(dividend.ex_date for dividend in listing.dividends)
    return is_coming and any(dividend.ex_date > evidence.prices.index[-1].date() for dividend in listing.dividends)
