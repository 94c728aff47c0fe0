"""The evenings of a replay: when its passes run."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from mlops_cli.errors import ConfigError
from mlops_cli.market.sessions import OpeningHours, opening_hours

AFTER_OPENING = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(days=60)
"""No exchange is closed for so long."""


@dataclass(frozen=True)
class ReplayPeriod:
    """The days whose closes are forecast: from `start` on, `days` calendar days."""

    start: date
    days: int

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.start + timedelta(days=self.days)


@dataclass(frozen=True)
class Evening:
    """One pass: the session that has closed, and the time of the pass in UTC."""

    session: date
    now: datetime


def evenings(exchanges: Iterable[str], period: ReplayPeriod, opens_minutes: int) -> list[Evening]:
    """The passes of a replay, the first after the last session before the period, the last after the period's last.

    A pass runs after the last close of a day on any of the exchanges, one minute after orders may be sent.

    Args:
        exchanges: calendar codes of the models' exchanges.
        period: the days whose closes are forecast.
        opens_minutes: minutes after a close from which orders may be sent.

    Raises:
        ConfigError: an exchange has no calendar, or there is no session in the period or before it.
    """
    closes = _closes(exchanges, period)
    days = sorted(closes)
    inside = [day for day in days if day >= period.start]
    before = [day for day in days if day < period.start]
    if not inside or not before:
        raise ConfigError(
            f"no session of {', '.join(sorted(exchanges))} from {period.start} on, for {period.days} days",
            "choose another --replay DATE, or more --days",
        )
    wait = timedelta(minutes=opens_minutes) + AFTER_OPENING
    return [Evening(day, max(closes[day]) + wait) for day in [before[-1], *inside]]


def _closes(exchanges: Iterable[str], period: ReplayPeriod) -> dict[date, list[datetime]]:
    """The closing times of each session up to the end of the period, from some time before it on."""
    closes: dict[date, list[datetime]] = defaultdict(list)
    for exchange in exchanges:
        hours = opening_hours(exchange)
        first, end = (bisect_left(hours, day, key=_day) for day in (period.start - LONGEST_PAUSE, period.end))
        for session in hours[first:end]:
            closes[session.day].append(session.closes.astimezone(UTC))
    return closes


def _day(hours: OpeningHours) -> date:
    return hours.day
