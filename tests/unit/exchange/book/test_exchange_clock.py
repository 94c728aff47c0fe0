"""The clock of the exchange: real time, replays, and where it may be moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from mlops_cli.exchange.book.clock import Clock, target
from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.market.hours import us_hours

NOON = datetime(2024, 7, 1, 16, tzinfo=UTC)


def test_the_real_time_passes_by_itself() -> None:
    clock = Clock()
    first = clock.now()
    assert first.tzinfo is UTC
    assert timedelta(0) <= datetime.now(UTC) - first < timedelta(seconds=5)
    assert clock.now() >= first


def test_a_replay_stands_still_until_it_is_moved() -> None:
    clock = Clock(NOON)
    assert clock.now() == clock.now() == NOON
    clock.advance(NOON + timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1)
    clock.advance(clock.now())  # the same time is no step back


def test_a_replay_does_not_go_back() -> None:
    clock = Clock(NOON)
    with pytest.raises(RefusedError, match="does not go back") as caught:
        clock.advance(NOON - timedelta(microseconds=1))
    assert caught.value.status == 422
    assert clock.now() == NOON


def test_a_clock_that_is_moved_becomes_a_replay() -> None:
    clock = Clock()
    clock.advance(datetime(2050, 1, 1, tzinfo=UTC))
    assert clock.standing == datetime(2050, 1, 1, tzinfo=UTC)


def test_times_of_another_zone_become_utc() -> None:
    clock = Clock(NOON)
    clock.advance(datetime(2024, 7, 1, 20, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now().tzinfo is UTC
    assert clock.now().hour == 18


@pytest.mark.parametrize(
    ("to", "seconds", "expected"),
    [
        (None, 0, "2024-07-01T16:00:00"),
        (None, 90.5, "2024-07-01T16:01:30.500000"),
        ("next_close", 0, "2024-07-01T20:00:00"),
        ("next_close", 60, "2024-07-01T20:01:00"),
        ("next_open", -60, "2024-07-02T13:29:00"),
    ],
)
def test_the_target_of_a_move(to: str | None, seconds: float, expected: str) -> None:
    assert target(NOON, us_hours(), to, seconds) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_the_next_close_after_a_half_day_is_after_the_holiday() -> None:
    half_day = datetime(2024, 7, 3, 17, tzinfo=UTC)  # its close; 4 July is a holiday
    assert target(half_day, us_hours(), "next_close", 0) == datetime(2024, 7, 5, 20, tzinfo=UTC)


def test_another_word_is_refused() -> None:
    with pytest.raises(RefusedError, match="next_open or next_close, not 'noon'"):
        target(NOON, us_hours(), "noon", 0)


@pytest.mark.parametrize("seconds", [1e12, -1e12, float("nan"), float("inf")])
def test_the_calendar_ends(seconds: float) -> None:
    with pytest.raises(RefusedError, match="the calendar is known until"):
        target(NOON, us_hours(), None, seconds)
