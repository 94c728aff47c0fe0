"""The days on which an exchange trades, from the library `exchange_calendars`."""

from __future__ import annotations

import warnings
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import exchange_calendars
import pandas as pd
from exchange_calendars.errors import CalendarError

from mlops_cli.errors import ConfigError

FIRST_DAY = pd.Timestamp("1960-01-01")
_MESSAGE_LENGTH = 200  # exchange_calendars may list thousands of days in one message


@lru_cache(maxsize=32)
def _calendar(exchange: str) -> Any:
    try:
        return _build(exchange, FIRST_DAY)
    except CalendarError as error:
        raise ConfigError(
            f"exchange {exchange!r}: no such calendar",
            "give a calendar code such as XNYS, XLON or XETR; all of them: "
            'python -c "import exchange_calendars as x; print(x.get_calendar_names())"',
        ) from error
    except (ValueError, NotImplementedError):
        return _shorter_calendar(exchange)


def _build(exchange: str, start: pd.Timestamp | None) -> Any:
    with warnings.catch_warnings():
        # exchange_calendars 4.13 uses features that pandas 3.1 and numpy 2.5 have deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        return exchange_calendars.get_calendar(exchange, start=start)


def _shorter_calendar(exchange: str) -> Any:
    """The whole calendar of an exchange if it begins later than 1960 (XTKS: 1997)."""
    try:
        return _build(exchange, type(_build(exchange, None)).bound_min())
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"exchange {exchange!r}: exchange_calendars cannot build its calendar: {str(error)[:_MESSAGE_LENGTH]}",
            "use another version of exchange_calendars, or the calendar of an exchange with the same holidays",
        ) from error


def _day(day: date | pd.Timestamp) -> pd.Timestamp:
    stamp = pd.Timestamp(day)
    return (stamp if stamp.tzinfo is None else stamp.tz_localize(None)).normalize()


def sessions(exchange: str, start: date | pd.Timestamp, end: date | pd.Timestamp) -> pd.DatetimeIndex:
    """The sessions of an exchange (`XNYS`), both ends included: tz-naive midnights, unique, ascending; may be empty.

    Days before 1960, before the calendar begins, or more than about a year ahead of today are left out.

    Raises:
        ConfigError: the calendar does not exist.
    """
    every = pd.DatetimeIndex(_calendar(exchange).sessions.to_numpy())
    return every[every.searchsorted(_day(start)) : every.searchsorted(_day(end), side="right")]


def last_finished_session(exchange: str, now: pd.Timestamp) -> pd.Timestamp:
    """The newest session that has closed by `now` (in UTC if it has no time zone): a tz-naive midnight date.

    Raises:
        ConfigError: the calendar does not exist.
    """
    calendar = _calendar(exchange)
    utc = now.tz_localize("UTC") if now.tzinfo is None else now.tz_convert("UTC")
    finished = int(calendar.closes.searchsorted(utc, side="right"))
    return pd.Timestamp(calendar.sessions[finished - 1])


class OpeningHours(NamedTuple):
    """A session and its opening and closing time in UTC."""

    day: date
    opens: datetime
    closes: datetime


def opening_hours(exchange: str) -> list[OpeningHours]:
    """Day, opening and closing time (UTC) of every session, in order; a `ConfigError` if there is no calendar."""
    calendar = _calendar(exchange)
    days = pd.DatetimeIndex(calendar.sessions).date
    opens, closes = (pd.DatetimeIndex(times).to_pydatetime() for times in (calendar.opens, calendar.closes))
    return [OpeningHours(*session) for session in zip(days, opens, closes, strict=True)]


def exchange_timezone(exchange: str) -> str:
    """Name of the exchange's time zone (`America/New_York`); a `ConfigError` if it has no calendar."""
    return str(_calendar(exchange).tz)
