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
"""New York time on the session's day, half days too: until then a pass waits for prices that are late."""


@dataclass(frozen=True)
class Margins:
    """When orders may be sent: from `opens_minutes` after a close until `closes_minutes` before an open."""

    opens_minutes: int = 20
    closes_minutes: int = 15


@dataclass(frozen=True)
class Window:
    """Where a moment lies among the sessions, and when orders may be sent.

    Attributes:
        session: the last session that is over.
        target: the next session to open, which orders are for.
        opens: start of the present or next window in which orders may be sent, in UTC.
        closes: end of that window, in UTC.
        open: whether orders may be sent now.
        why: why not; empty where they may.
    """

    session: date
    target: date
    opens: datetime
    closes: datetime
    open: bool
    why: str


def window_at(now: datetime, hours: Sequence[SessionHours], margins: Margins) -> Window:
    """Find where `now` (UTC) lies among the sessions, which rise.

    Raises:
        BrokerError: the calendar does not reach from the last session to the next but one.
    """
    last, running, ahead = _around(now, hours)
    target = ahead[0]
    opens, closes = _between(running or last, target, margins)
    why = ""
    if now < opens:
        why = "the session is on" if running else f"the close was less than {margins.opens_minutes} minutes ago"
    elif now >= closes:
        opens, closes = _between(target, ahead[1], margins)
        why = f"the open of {target.session} is too near"
    return Window(last.session, target.session, opens, closes, not why, why)


def _around(
    now: datetime, hours: Sequence[SessionHours]
) -> tuple[SessionHours, SessionHours | None, Sequence[SessionHours]]:
    """The last session that is over, the one that is running, if any, and all that follow."""
    past = [session for session in hours if session.close <= now]
    running = next((session for session in hours if session.open <= now < session.close), None)
    ahead = [session for session in hours if session.open > now]
    if not past or len(ahead) < 2:
        raise BrokerError(
            f"the broker's calendar does not say which sessions lie around {now:%Y-%m-%d %H:%M} UTC",
            "nothing was sent; try again later",
        )
    return past[-1], running, ahead


def _between(before: SessionHours, after: SessionHours, margins: Margins) -> tuple[datetime, datetime]:
    """From when and until when orders are sent between two sessions."""
    opens = before.close + timedelta(minutes=margins.opens_minutes)
    return opens, after.open - timedelta(minutes=margins.closes_minutes)


def ask_window(broker: Broker, now: datetime, margins: Margins) -> Window:
    """Find where a moment lies among the sessions of the broker's calendar."""
    return window_at(now, broker.calendar((now - REACH).date(), (now + REACH).date()), margins)


def calendar_differences(broker: Broker, now: datetime) -> list[str]:
    """Describe each session around `now` for which the broker and `exchange_calendars` have different hours."""
    start, end = (now - REACH).date(), (now + REACH).date()
    theirs = {session.session: (session.open, session.close) for session in broker.calendar(start, end)}
    ours = {session.day: (session.opens, session.closes) for session in us_hours().between(start, end)}
    return [
        f"{day}: the broker has {_hours(theirs.get(day))}, exchange_calendars {_hours(ours.get(day))}"
        for day in sorted(theirs.keys() | ours.keys())
        if theirs.get(day) != ours.get(day)
    ]


def clock_skew(now: datetime) -> timedelta | None:
    """This machine's clock minus the broker's; None up to `LARGEST_SKEW`."""
    skew = datetime.now(UTC) - now
    return skew if abs(skew) > LARGEST_SKEW else None


def new_york(time: datetime) -> str:
    """A time in New York, formatted for people."""
    return f"{time.astimezone(NEW_YORK):%a %Y-%m-%d %H:%M %Z}"


def _hours(hours: tuple[datetime, datetime] | None) -> str:
    return "no session" if hours is None else f"{hours[0]:%H:%M} to {hours[1]:%H:%M} UTC"
