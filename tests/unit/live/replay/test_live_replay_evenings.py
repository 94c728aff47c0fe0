"""When the passes of a replay run."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError
from mlops_cli.live.replay.evenings import ReplayPeriod, evenings
from mlops_cli.market.hours import us_hours


def test_the_first_pass_forecasts_the_first_day_of_the_period() -> None:
    """Tuesday after Labor Day 2012: the evening before is that of Friday."""
    plan = evenings(["XNYS"], ReplayPeriod(date(2012, 9, 4), 3), 20)
    assert [evening.session for evening in plan] == [date(2012, 8, 31), *(date(2012, 9, day) for day in (4, 5, 6))]
    assert plan[0].now == datetime(2012, 8, 31, 20, 21, tzinfo=UTC)


def test_the_demo_ends_with_the_last_session_of_its_prices() -> None:
    plan = evenings(["XNYS"], ReplayPeriod(date(2012, 9, 4), 178), 20)
    assert plan[-1].session == date(2013, 2, 28)
    assert len(plan) == 122, "New York was closed for two days after the hurricane Sandy"


def test_half_days_end_early() -> None:
    plan = evenings(["XNYS"], ReplayPeriod(date(2024, 7, 3), 1), 30)
    assert plan[-1].now == datetime(2024, 7, 3, 17, 31, tzinfo=UTC)


def test_a_day_on_which_only_one_of_two_exchanges_is_open_has_a_pass() -> None:
    """The Fourth of July in London; on other days the pass waits for New York."""
    plan = evenings(["XLON", "XNYS"], ReplayPeriod(date(2024, 7, 4), 2), 20)
    assert [(each.session.day, each.now.hour) for each in plan] == [(3, 17), (4, 15), (5, 20)]


@pytest.mark.parametrize("start", [date(2024, 7, 6), date(1950, 1, 3)])
def test_a_period_without_sessions_is_refused(start: date) -> None:
    with pytest.raises(ConfigError, match="no session of XNYS"):
        evenings(["XNYS"], ReplayPeriod(start, 2), 20)


@given(st.dates(date(1970, 1, 1), date(2025, 1, 1)), st.integers(8, 60), st.integers(1, 120))
def test_passes_are_in_order_and_before_the_next_open(start: date, days: int, minutes: int) -> None:
    plan = evenings(["XNYS"], ReplayPeriod(start, days), minutes)
    assert plan[0].session < start <= plan[1].session
    hours = us_hours()
    assert [each.session for each in plan[1:]] == [
        session.day for session in hours.between(start, ReplayPeriod(start, days - 1).end)
    ]
    for before, after in pairwise(plan):
        assert before.now < after.now
        assert before.now < hours.next_open(before.now).opens
        assert hours.next_open(before.now).day == after.session
