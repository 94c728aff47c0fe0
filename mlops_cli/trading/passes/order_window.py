"""When orders are sent: from some minutes after a close until some minutes before the next open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from mlops_cli.errors import BrokerError
from mlops_cli.market.hours import NEW_YORK, us_hours
from mlops_cli.trading.contract.broker import Broker, SessionHours

REACH = timedelta(days=12)  # the longest pause so far, in September 2001, took six days
LARGEST_SKEW = timedelta(seconds=90)
PRICES_UNTIL = time(19, 20)
"""In New York, on the session's day, half days too: how long late prices are waited for. All is decided at once."""


@dataclass(frozen=True)
class Margins:
    """Minutes to keep from a close and from an open."""

    opens_minutes: int = 20
    closes_minutes: int = 15


@dataclass(frozen=True)
class Window:
    """Where a moment lies.

    Attributes:
        session: the last session that is over.
        target: the next one to open: what orders are for.
        opens: when orders may be sent from on, for `target` or, while a session is on, for the one after it.
        closes: and until when.
        open: whether they may now.
        why: why not; empty where they may.
    """

    session: date
    target: date
    opens: datetime
    closes: datetime
    open: bool
    why: str


def window_at(now: datetime, hours: Sequence[SessionHours], margins: Margins) -> Window:
    """Where `now` lies among the sessions.

    Raises:
        BrokerError: the calendar does not reach from the last session to the next but one.
    """
    past = [one for one in hours if one.close <= now]
    ahead = [one for one in hours if one.open > now]
    if not past or len(ahead) < 2:
        raise BrokerError(
            f"the broker's calendar does not say which sessions lie around {now:%Y-%m-%d %H:%M} UTC",
            "nothing was sent; try again later",
        )
    running = next((one for one in hours if one.open <= now < one.close), None)
    session, target = running or past[-1], ahead[0]
    opens = session.close + timedelta(minutes=margins.opens_minutes)
    closes = target.open - timedelta(minutes=margins.closes_minutes)
    if now < opens:
        why = "the session is on" if running else f"the close was less than {margins.opens_minutes} minutes ago"
        return Window(past[-1].session, target.session, opens, closes, False, why)
    if now >= closes:
        opens = target.close + timedelta(minutes=margins.opens_minutes)
        closes = ahead[1].open - timedelta(minutes=margins.closes_minutes)
        why = f"the open of {target.session} is too near"
        return Window(session.session, target.session, opens, closes, False, why)
    return Window(session.session, target.session, opens, closes, True, "")


def ask_window(broker: Broker, now: datetime, margins: Margins) -> Window:
    """Where `now` lies, by the broker's calendar."""
    return window_at(now, broker.calendar((now - REACH).date(), (now + REACH).date()), margins)


def calendar_differences(broker: Broker, now: datetime) -> list[str]:
    """Sessions around `now` on which the broker and `exchange_calendars` do not agree, in words."""
    start, end = (now - REACH).date(), (now + REACH).date()
    theirs = {one.session: (one.open, one.close) for one in broker.calendar(start, end)}
    ours = {one.day: (one.opens, one.closes) for one in us_hours().between(start, end)}
    return [
        f"{day}: the broker has {_hours(theirs.get(day))}, exchange_calendars {_hours(ours.get(day))}"
        for day in sorted(theirs.keys() | ours.keys())
        if theirs.get(day) != ours.get(day)
    ]


def clock_skew(now: datetime) -> timedelta | None:
    """How far this machine's clock is from the broker's; None where that is little."""
    skew = datetime.now(UTC) - now
    return skew if abs(skew) > LARGEST_SKEW else None


def new_york(time: datetime) -> str:
    """A time for people."""
    return f"{time.astimezone(NEW_YORK):%a %Y-%m-%d %H:%M %Z}"


def _hours(hours: tuple[datetime, datetime] | None) -> str:
    return "no session" if hours is None else f"{hours[0]:%H:%M} to {hours[1]:%H:%M} UTC"
