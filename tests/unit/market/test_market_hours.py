"""Opening hours: sessions around a time, settlement days, and times as text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.market.hours import Hours, Session, in_new_york, midnight, parse_time, us_hours


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def day_of(session: Session | None) -> date | None:
    return None if session is None else session.day


MONDAY = Session(date(2024, 7, 1), utc("2024-07-01T13:30"), utc("2024-07-01T20:00"))


@pytest.mark.parametrize(
    ("now", "current", "opened", "next_open", "next_close"),
    [
        ("2024-07-01T13:29:59", None, 0, 1, 1),
        ("2024-07-01T13:30:00", 1, 1, 2, 1),
        ("2024-07-01T19:59:59", 1, 1, 2, 1),
        ("2024-07-01T20:00:00", None, 1, 2, 2),
        ("2024-07-03T17:00:00", None, 3, 5, 5),  # the end of a half day; 4 July is a holiday
    ],
)
def test_sessions_around_a_time(now: str, current: int | None, opened: int, next_open: int, next_close: int) -> None:
    hours, at = us_hours(), utc(now)
    before = hours.count_opened(utc("2024-07-01T00:00"))
    assert day_of(hours.current(at)) == (None if current is None else date(2024, 7, current))
    assert hours.count_opened(at) - before == opened
    assert hours.next_open(at).day == date(2024, 7, next_open)
    assert hours.next_close(at).day == date(2024, 7, next_close)


def test_sessions_between_days_include_both() -> None:
    days = [session.day.day for session in us_hours().between(date(2024, 7, 3), date(2024, 7, 8))]
    assert days == [3, 5, 8]
    assert us_hours().between(date(2024, 7, 4), date(2024, 7, 4)) == []
    assert us_hours().between(date(2024, 7, 8), date(2024, 7, 3)) == []


def test_the_session_before_a_day() -> None:
    hours = us_hours()
    assert day_of(hours.before(date(2024, 7, 5))) == date(2024, 7, 3)
    assert day_of(hours.before(date(2024, 7, 6))) == date(2024, 7, 5)
    assert hours.before(hours.sessions[0].day) is None


def test_the_last_session_is_the_end_of_what_is_known() -> None:
    hours = Hours([MONDAY])
    later = MONDAY.closes + timedelta(days=30)
    assert hours.next_open(later) == hours.next_close(later) == MONDAY
    assert hours.current(later) is None
    assert hours.settlement_day(MONDAY.day) == MONDAY.day


@pytest.mark.parametrize(
    ("day", "settled"),
    [
        ("2017-09-01", "2017-09-07"),  # three sessions, with Labor Day between
        ("2017-09-05", "2017-09-07"),  # two sessions
        ("2024-05-24", "2024-05-29"),  # two sessions, with Memorial Day between
        ("2024-05-28", "2024-05-29"),  # one session
        ("2024-07-03", "2024-07-05"),
    ],
)
def test_the_settlement_of_trades(day: str, settled: str) -> None:
    assert us_hours().settlement_day(date.fromisoformat(day)) == date.fromisoformat(settled)


def test_fractions_of_a_session() -> None:
    assert MONDAY.fraction(MONDAY.opens - timedelta(hours=1)) == 0
    assert MONDAY.fraction(MONDAY.opens) == 0
    assert MONDAY.fraction(utc("2024-07-01T16:45")) == 0.5
    assert MONDAY.fraction(MONDAY.closes + timedelta(hours=1)) == 1
    assert MONDAY.time_at(0.5) == utc("2024-07-01T16:45")


@given(st.floats(0, 1))
def test_time_at_is_the_inverse_of_fraction(fraction: float) -> None:
    assert MONDAY.fraction(MONDAY.time_at(fraction)) == pytest.approx(fraction, abs=1e-9)


@pytest.mark.parametrize("season", [("2024-01-10", 5), ("2024-07-10", 4)])
def test_midnight_in_new_york_follows_summer_time(season: tuple[str, int]) -> None:
    day, hour = date.fromisoformat(season[0]), season[1]
    assert midnight(day) == datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    assert midnight(day).tzinfo is UTC
    assert in_new_york(midnight(day)).date() == day


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-07-01", "2024-07-01T04:00:00"),
        ("2024-01-02", "2024-01-02T05:00:00"),
        ("2024-07-01T13:30:00Z", "2024-07-01T13:30:00"),
        ("2024-07-01T13:30:00", "2024-07-01T13:30:00"),
        ("2024-07-01T09:30:00-04:00", "2024-07-01T13:30:00"),
        ("2024-07-01T15:30:00 02:00", "2024-07-01T13:30:00"),  # a + that was not encoded in a query
        ("2024-07-01 13:30", "2024-07-01T13:30:00"),
    ],
)
def test_times_are_read_as_utc(text: str, expected: str) -> None:
    at = parse_time(text)
    assert at == utc(expected)
    assert at.utcoffset() == timedelta(0)


def test_a_day_may_mean_its_end() -> None:
    end = parse_time("2024-07-01", end_of_day=True)
    assert end + timedelta(microseconds=1) == midnight(date(2024, 7, 2))
    at = "2024-07-01T13:30:00Z"
    assert parse_time(at, end_of_day=True) == parse_time(at)


@pytest.mark.parametrize(
    "text", ["", "soon", "2024-13-01", "1899-12-31", "2200-01-01", "1899-12-31T00:00:00Z", "20240701x"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@given(st.datetimes(datetime(1901, 1, 1), datetime(2199, 12, 30)))
def test_iso_times_come_back(at: datetime) -> None:
    assert parse_time(at.isoformat()) == at.replace(tzinfo=UTC)
