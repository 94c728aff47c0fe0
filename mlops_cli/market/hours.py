"""The opening and closing time of every session."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from mlops_cli.market.sessions import opening_hours

CALENDAR = "XNYS"
NEW_YORK = ZoneInfo("America/New_York")
YEARS = range(1900, 2200)
_TWO_DAYS_FROM = date(2017, 9, 5)  # US trades settle after two sessions from this day on
_ONE_DAY_FROM = date(2024, 5, 28)  # and after one session from this day on


@dataclass(frozen=True, slots=True)
class Session:
    """A trading day; times are UTC."""

    day: date
    opens: datetime
    closes: datetime

    def fraction(self, at: datetime) -> float:
        """The fraction of the session that is over at a time, 0 to 1."""
        return min(1.0, max(0.0, (at - self.opens) / (self.closes - self.opens)))

    def time_at(self, fraction: float) -> datetime:
        """The time at which a fraction of the session is over."""
        return self.opens + (self.closes - self.opens) * fraction


class Hours:
    """The sessions of an exchange, oldest first."""

    def __init__(self, sessions: list[Session]) -> None:
        self.sessions = sessions
        self._days = [session.day for session in sessions]
        self._opens = [session.opens for session in sessions]
        self._closes = [session.closes for session in sessions]

    def current(self, now: datetime) -> Session | None:
        """The session that is open now, None if the market is closed. At its closing time a session is over."""
        place = bisect_right(self._opens, now) - 1
        return self.sessions[place] if place >= 0 and now < self._closes[place] else None

    def count_opened(self, now: datetime) -> int:
        """How many sessions have opened by now."""
        return bisect_right(self._opens, now)

    def next_open(self, now: datetime) -> Session:
        """The first session that opens after now, or else the last one known."""
        return self.sessions[min(bisect_right(self._opens, now), len(self.sessions) - 1)]

    def next_close(self, now: datetime) -> Session:
        """The first session that closes after now, or else the last one known."""
        return self.sessions[min(bisect_right(self._closes, now), len(self.sessions) - 1)]

    def between(self, first: date, last: date) -> list[Session]:
        """The sessions from `first` to `last`, both included."""
        return self.sessions[bisect_left(self._days, first) : bisect_right(self._days, last)]

    def before(self, day: date) -> Session | None:
        """The last session before a day, None if there is none."""
        place = bisect_left(self._days, day) - 1
        return self.sessions[place] if place >= 0 else None

    def settlement_day(self, day: date) -> date:
        """The day on which the trades of a day settle."""
        settlement_sessions = 1 if day >= _ONE_DAY_FROM else 2 if day >= _TWO_DAYS_FROM else 3
        return self._days[min(bisect_left(self._days, day) + settlement_sessions, len(self._days) - 1)]


@lru_cache(maxsize=1)
def us_hours() -> Hours:
    """The sessions of the New York Stock Exchange."""
    # the same tzinfo object as in other times: comparing times of different zones takes ten times as long
    return Hours(
        [
            Session(day, opens.replace(tzinfo=UTC), closes.replace(tzinfo=UTC))
            for day, opens, closes in opening_hours(CALENDAR)
        ]
    )


def in_new_york(at: datetime) -> datetime:
    """A time in New York's time zone."""
    return at.astimezone(NEW_YORK)


def midnight(day: date) -> datetime:
    """The time at which a day begins in New York, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).astimezone(UTC)


def parse_time(text: str, *, end_of_day: bool = False) -> datetime:
    """Read a time (UTC if it names no zone) or a date in New York, in ISO form, as a time in UTC.

    A date means its first microsecond, or with `end_of_day` its last one.

    Raises:
        ValueError: it is neither a date nor a time, or its year is not in `YEARS`.
    """
    if len(text) == 10:
        day = date.fromisoformat(text)
        if day.year not in YEARS:
            raise ValueError(f"{text} is out of range")
        start = midnight(day)
        return start + timedelta(days=1) - timedelta(microseconds=1) if end_of_day else start
    # a "+" that was not percent-encoded in a URL query arrives as a space
    at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    if at.year not in YEARS:
        raise ValueError(f"{text} is out of range")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
