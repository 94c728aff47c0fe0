"""When orders are sent: ordinary days, half days, holidays, weekends, changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from mlops_cli.errors import BrokerError
from mlops_cli.market.hours import us_hours
from mlops_cli.trading.contract.broker import SessionHours
from mlops_cli.trading.passes.order_window import Margins, new_york, window_at

HOURS = [
    SessionHours(one.day, one.opens, one.closes) for one in us_hours().between(date(2024, 1, 1), date(2024, 12, 31))
]


def at(text: str):
    return window_at(datetime.fromisoformat(text).replace(tzinfo=UTC), HOURS, Margins(20, 15))


@pytest.mark.parametrize(
    ("now", "session", "target"),
    [
        ("2024-01-03 21:20", "2024-01-03", "2024-01-04"),  # 16:20 in New York, on the minute
        ("2024-01-04 14:14", "2024-01-03", "2024-01-04"),  # 9:14, the last minute
        ("2024-01-06 12:00", "2024-01-05", "2024-01-08"),  # a Saturday
        ("2024-07-03 17:25", "2024-07-03", "2024-07-05"),  # after a half day, before a holiday
        ("2024-07-04 15:00", "2024-07-03", "2024-07-05"),  # the holiday itself
        ("2024-11-29 18:25", "2024-11-29", "2024-12-02"),  # the half day after Thanksgiving
        ("2024-03-08 21:20", "2024-03-08", "2024-03-11"),  # winter time's last close
        ("2024-03-11 13:14", "2024-03-08", "2024-03-11"),  # summer time's first open is an hour earlier in UTC
        ("2024-11-01 20:20", "2024-11-01", "2024-11-04"),
        ("2024-11-04 14:14", "2024-11-01", "2024-11-04"),  # and winter time's again an hour later
    ],
)
def test_orders_are_sent_between_a_close_and_the_next_open(now, session, target):
    window = at(now)
    assert window.open, window.why
    assert (window.session, window.target) == (date.fromisoformat(session), date.fromisoformat(target))
    assert window.why == ""


@pytest.mark.parametrize(
    ("now", "why", "opens"),
    [
        ("2024-01-03 21:19", "the close was less than 20 minutes ago", "2024-01-03 16:20 EST"),
        ("2024-01-03 15:00", "the session is on", "2024-01-03 16:20 EST"),
        ("2024-01-03 20:59", "the session is on", "2024-01-03 16:20 EST"),
        ("2024-01-03 14:15", "the open of 2024-01-03 is too near", "2024-01-03 16:20 EST"),
        ("2024-07-03 16:59", "the session is on", "2024-07-03 13:20 EDT"),
        ("2024-07-03 17:10", "the close was less than 20 minutes ago", "2024-07-03 13:20 EDT"),
        ("2024-11-29 17:30", "the session is on", "2024-11-29 13:20 EST"),
        ("2024-03-11 13:20", "the open of 2024-03-11 is too near", "2024-03-11 16:20 EDT"),
        ("2024-03-11 14:00", "the session is on", "2024-03-11 16:20 EDT"),
    ],
)
def test_at_other_times_it_says_why_and_from_when_on(now, why, opens):
    window = at(now)
    assert not window.open
    assert window.why == why
    assert new_york(window.opens).endswith(opens)
    assert window.opens < window.closes


def test_a_calendar_that_is_too_short_is_no_calendar():
    with pytest.raises(BrokerError, match="does not say which sessions"):
        window_at(datetime(2024, 12, 31, 22, tzinfo=UTC), HOURS, Margins())
