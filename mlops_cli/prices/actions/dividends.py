"""Dividends as they were seen, and the rule which of them a forecast may use.

A forecast made after the close of session *t* may subtract a dividend whose ex-date is *t+1* only if it was known by
then. US exchanges demand that a dividend is announced at least ten days before its record date (SEC rule 10b-17), so
the ex-dates of a price history were known in advance, although the history does not say since when. The rule is:

- a sighting was known from the day on which it was seen, in the time zone of the exchange; if its source says that it
  was announced later, from that day. So what was seen in the evening after the close of *t* counts for the forecast
  of *t*. What was first seen on the morning of *t+1* does not, although the exchange has not opened yet;
- the dividends in the history that existed before the first fetch are `taken` as announced: at the day of the
  announcement, if the source says it, else before their ex-date. `actions.record` decides once, when it adds a
  sighting, whether it belongs to that history.

Sightings are only ever added. If a source changes an amount, or no longer lists a dividend, that is a new sighting of
the same ex-date (with amount 0 if it was withdrawn), which replaces the earlier one from its own day on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

LEAST_SHARE, LARGEST_SHARE = 5e-4, 0.10
"""A dividend below or above these shares of the last close is not used: rounding, or a spin-off, or a mistake."""

ROUNDED = 1e-4  # relative difference of two closes that is rounding, and no split
SAME_AMOUNT = 0.01  # relative difference of two amounts that count as the same: sources round differently

Vector = npt.NDArray[np.float64]
Kind = Literal["cash", "special"]


@dataclass(frozen=True)
class Sighting:
    """One dividend, as one source listed it on one day.

    Attributes:
        ex_date: first session on which the buyer of a share no longer receives it.
        amount: per share, in the units of `close`; 0 if it was withdrawn.
        close_session: a session of the price table at that time...
        close: ...and its close then. A later split changes the close of that session in the price table, and so
            shows by how much the amount changes too (`restated`).
        source: name of the source, such as `implied`, `csv`, `alpaca`.
        seen: day on which the source was asked, in the time zone of the exchange.
        announced: day of the announcement, if the source says so.
        estimated: True if the source lists the ex-date without an amount, and the last paid amount is used.
        currency: ISO code, if the source says so.
        taken: True if its ex-date belongs to the history before the first fetch.
    """

    ex_date: date
    amount: float
    close_session: date
    close: float
    source: str
    seen: date
    announced: date | None = None
    kind: Kind = "cash"
    estimated: bool = False
    currency: str | None = None
    taken: bool = False

    @property
    def known_from(self) -> date:
        """The first day whose forecasts may use it; the first of all days if it is only assumed to be announced."""
        if self.taken:
            return self.announced or date.min
        return max(self.seen, self.announced or self.seen)

    @property
    def is_assumed(self) -> bool:
        """Whether nothing says when it was announced: it is assumed to be known before its ex-date."""
        return self.taken and self.announced is None


def is_same_amount(amount: float, other: float) -> bool:
    """Whether two amounts differ by rounding only."""
    return abs(amount - other) <= SAME_AMOUNT * max(amount, other)


def in_order(sightings: Iterable[Sighting]) -> list[Sighting]:
    """The sightings in the order in which they were seen; of two on one day, the one added later comes later."""
    return sorted(sightings, key=lambda sighting: sighting.seen)


def newest(sightings: Iterable[Sighting]) -> dict[date, Sighting]:
    """By ex-date, rising, the sighting that was seen last."""
    return dict(sorted({sighting.ex_date: sighting for sighting in in_order(sightings)}.items()))


def announced_amounts(sightings: Sequence[Sighting], sessions: pd.DatetimeIndex, targets: pd.DatetimeIndex) -> Vector:
    """The dividend that was known at the close of each session, of the target session.

    Args:
        sightings: all sightings of one ticker.
        sessions: sessions on which the forecasts are made, tz-naive, shape (n,).
        targets: the session that each of them forecasts, tz-naive, shape (n,).

    Returns:
        float64 (n,), in price units; 0 where no dividend was known. Removing sightings that became known after a
        session does not change its value.
    """
    amounts = np.zeros(len(sessions))
    place_of = {day: place for place, day in enumerate(targets.date)}
    days = sessions.date
    for sighting in in_order(sightings):
        place = place_of.get(sighting.ex_date)
        if place is not None and sighting.known_from <= days[place]:
            amounts[place] = sighting.amount
    return amounts


def paid_amounts(sightings: Sequence[Sighting], targets: pd.DatetimeIndex) -> Vector:
    """The dividend of each target session as the newest sighting has it: float64 (n,), price units, else 0.

    This is what the holder received, whenever it became known. It belongs into targets and figures, never into inputs.
    """
    amounts = {ex_date: sighting.amount for ex_date, sighting in newest(sightings).items()}
    return np.array([amounts.get(day, 0.0) for day in targets.date], dtype=np.float64)


def usable_shares(amounts: Vector, closes: Vector) -> Vector:
    """`amounts` as shares of the last `closes`, (n,); 0 where the share is not within the limits of this module."""
    shares = amounts / closes
    return np.where((shares > LEAST_SHARE) & (shares <= LARGEST_SHARE), shares, 0.0)


def restated(sightings: Iterable[Sighting], closes: pd.Series[float]) -> list[Sighting]:
    """The sightings with their amounts in the units of these `closes` (index: tz-naive sessions)."""
    return [_restated(sighting, closes) for sighting in sightings]


def _restated(sighting: Sighting, closes: pd.Series[float]) -> Sighting:
    now = float(closes.get(pd.Timestamp(sighting.close_session), sighting.close))
    factor = now / sighting.close
    if abs(factor - 1.0) <= ROUNDED:
        return sighting
    return replace(sighting, amount=sighting.amount * factor, close=now)
