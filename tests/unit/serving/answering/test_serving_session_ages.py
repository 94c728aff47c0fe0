"""How many sessions old data are: by the calendar of their exchange, and unknown without one."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pandas as pd
import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.market.sessions import last_finished_session, opening_hours
from mlops_cli.serving.answering.session_ages import SessionAges, SessionTimes, load_sessions
from mlops_cli.serving.contract.messages import UNKNOWN_AGE, Age

DAYS = [date(2024, 1, day) for day in (3, 4, 5, 8, 9)]
CLOSES = [datetime(2024, 1, day, 21, tzinfo=UTC).timestamp() for day in (3, 4, 5, 8, 9)]


def in_memory(exchange: str) -> SessionTimes:
    if exchange != "XNYS":
        raise ServiceError(f"{exchange}: no such calendar")
    return SessionTimes(DAYS, CLOSES)


def at(*time: int) -> SessionAges:
    """Ages in January 2024 at this day, hour and minute."""
    ages = SessionAges(in_memory, lambda: datetime(2024, 1, *time, tzinfo=UTC))
    asyncio.run(ages.learn(["XNYS", "XABC"]))
    return ages


@pytest.mark.parametrize(
    ("now", "session", "age"),
    [
        ((5, 20, 59), date(2024, 1, 4), 0),
        ((5, 21, 0), date(2024, 1, 4), 1),
        ((7, 12, 0), date(2024, 1, 5), 0),
        ((8, 21, 0), date(2024, 1, 3), 3),
        ((5, 12, 0), date(2024, 1, 5), 0),
        ((7, 12, 0), date(2024, 1, 6), 0),
    ],
    ids=["until the close", "from the close on", "weekend", "days later", "a session that is open", "no session"],
)
def test_age_by_the_calendar(now: tuple[int, ...], session: date, age: int) -> None:
    assert at(*now).age("XNYS", session) == Age(age, age > 0)


def test_what_is_unknown() -> None:
    assert at(5, 12, 0).age("XABC", DAYS[0]) == UNKNOWN_AGE
    assert SessionAges(in_memory).age("XNYS", DAYS[0]) == UNKNOWN_AGE, "nothing is loaded"
    assert at(9, 21, 0).age("XNYS", DAYS[0]) == UNKNOWN_AGE, "the calendar has ended"


def test_a_calendar_is_loaded_once_for_many_requests() -> None:
    loaded = []

    def load(exchange: str) -> SessionTimes:
        loaded.append(exchange)
        return SessionTimes(DAYS, CLOSES)

    async def work() -> None:
        ages = SessionAges(load)
        await asyncio.gather(*(ages.learn(["XNYS"]) for _ in range(5)))
        assert ages.begin(["XNYS"]) == []
        await ages.stop()

    asyncio.run(work())
    assert loaded == ["XNYS"]


def test_the_real_calendar_of_another_process() -> None:
    times = load_sessions("XNYS")
    hours = opening_hours("XNYS")
    assert list(times.days) == [session.day for session in hours]
    assert list(times.closes) == [session.closes.timestamp() for session in hours]
    ages = SessionAges(lambda _: times)
    asyncio.run(ages.learn(["XNYS"]))
    last = last_finished_session("XNYS", pd.Timestamp(ages.now())).date()
    assert ages.age("XNYS", last).sessions in (0, 1), "1 if a session closed just now"
    with pytest.raises(ServiceError, match="NOWHERE"):
        load_sessions("NOWHERE")
