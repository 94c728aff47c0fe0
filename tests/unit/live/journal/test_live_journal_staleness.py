"""How old the data of a forecast is, by the sessions of its exchange."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError, DataError
from mlops_cli.live.journal.making import closing_time
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.staleness import premature, sessions_behind, stale_when_issued
from mlops_cli.system.sqlite_files import IN_MEMORY
from tests.fakes.journal_forecasts import EVENING, SESSION, a_forecast, frame_in, issue_all
from tests.fakes.price_tables import xnys_sessions

FRIDAY = date(2024, 1, 12)


@pytest.mark.parametrize(
    ("now", "behind"),
    [
        ("2024-01-12T20:59:59", -1),  # Friday, a second before the close in New York
        ("2024-01-12T21:00:00", 0),
        ("2024-01-14T12:00:00", 0),  # Sunday
        ("2024-01-16T20:59:59", 0),  # Monday was a holiday; Tuesday's session is not over
        ("2024-01-16T21:00:00", 1),
        ("2024-01-17T23:00:00", 2),
        ("2024-01-01T00:00:00", -1),
    ],
)
def test_only_finished_sessions_count(now: str, behind: int) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert sessions_behind("XNYS", FRIDAY, at) == behind
    target = date(2024, 1, 16)
    closes_at = closing_time("XNYS", target)
    forecast = a_forecast(session=FRIDAY, target_session=target, target_closes_at=closes_at)
    assert forecast.is_stale(at) is (behind > 0)


def test_each_exchange_has_its_own_hours() -> None:
    at = datetime(2024, 1, 5, 17, 0, tzinfo=UTC)  # Frankfurt has closed, New York has not
    assert [sessions_behind(exchange, SESSION, at) for exchange in ("XETR", "XNYS")] == [1, 0]


def test_a_half_day_ends_early() -> None:
    day = date(2024, 11, 29)
    assert sessions_behind("XNYS", day, datetime(2024, 11, 29, 18, 0, tzinfo=UTC)) == 0
    assert sessions_behind("XNYS", day, datetime(2024, 11, 29, 17, 59, tzinfo=UTC)) == -1


def test_an_exchange_without_calendar() -> None:
    with pytest.raises(ConfigError, match="XXXX"):
        sessions_behind("XXXX", SESSION, EVENING)


@given(place=st.integers(2000, 6000), hours=st.integers(0, 24 * 20))
@settings(max_examples=50, deadline=None)
def test_it_counts_the_closes_between(place: int, hours: int) -> None:
    session = xnys_sessions()[place]
    now = session.to_pydatetime().replace(tzinfo=UTC) + timedelta(hours=22 + hours)
    following = xnys_sessions()[place + 1 : place + 30]
    # 22:00 UTC is after every close, and 12:00 UTC before
    before_now = sum(day.to_pydatetime().replace(tzinfo=UTC) + timedelta(hours=22) <= now for day in following)
    maybe = sum(day.to_pydatetime().replace(tzinfo=UTC) + timedelta(hours=12) <= now for day in following)
    assert before_now <= sessions_behind("XNYS", session.date(), now) <= maybe


def test_a_clock_that_was_set_back_issues_nothing() -> None:
    batch = [a_forecast(), a_forecast(model="de", exchange="XETR"), a_forecast(model="red-ibm")]
    noon = EVENING.replace(hour=18, minute=0)  # Frankfurt has closed, New York has not
    refusals = premature(batch, noon)
    assert [refusal.key.model for refusal in refusals] == ["red-aapl", "red-ibm"]
    assert "has not finished by 2024-01-04 18:00 UTC: the clock" in refusals[0].reason
    assert premature(batch, EVENING) == premature([], noon) == []


@given(place=st.integers(0, 7000), minutes=st.integers(-60, 24 * 60 * 8))
@settings(max_examples=60, deadline=None)
def test_stale_means_that_a_session_has_finished_since(place: int, minutes: int) -> None:
    """The time in the forecast says the same as the calendar, over holidays, half days and daylight saving time."""
    session, target = (day.date() for day in xnys_sessions()[place : place + 2])
    now = closing_time("XNYS", session) + timedelta(minutes=minutes)
    forecast = a_forecast(session=session, target_session=target, target_closes_at=closing_time("XNYS", target))
    assert forecast.is_stale(now) is (sessions_behind("XNYS", session, now) > 0)


def test_closing_times() -> None:
    assert closing_time("XNYS", date(2024, 7, 3)) == datetime(2024, 7, 3, 17, 0, tzinfo=UTC)  # a half day in summer
    assert closing_time("XETR", SESSION) == datetime(2024, 1, 4, 16, 30, tzinfo=UTC)
    with pytest.raises(DataError, match="2024-01-06 is no session"):
        closing_time("XNYS", date(2024, 1, 6))
    with pytest.raises(ConfigError):
        closing_time("XXXX", SESSION)


def test_which_were_stale_when_they_were_issued() -> None:
    closes_at = closing_time("XETR", date(2024, 1, 5))
    with open_journal(IN_MEMORY) as journal:
        issue_all(journal, [a_forecast(model="fresh"), a_forecast(model="de", target_closes_at=closes_at)])
        issue_all(journal, [a_forecast(model="late-de", target_closes_at=closes_at)], closes_at)
        issue_all(journal, [a_forecast(model="not late")], closes_at)
        issue_all(journal, [a_forecast(model="late")], EVENING + timedelta(days=1))
        frame = frame_in(journal)
    stale = dict(zip(frame["model"], stale_when_issued(frame), strict=True))
    assert stale == {"fresh": False, "de": False, "late-de": True, "not late": False, "late": True}
    assert stale_when_issued(frame).dtype == np.bool_
    assert stale_when_issued(frame.iloc[:0]).tolist() == []
