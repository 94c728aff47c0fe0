from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.market.sessions import exchange_timezone, last_finished_session, opening_hours, sessions


def test_both_ends_are_included():
    days = sessions("XNYS", date(2024, 3, 28), date(2024, 4, 1))
    assert list(days.strftime("%Y-%m-%d")) == ["2024-03-28", "2024-04-01"]  # Good Friday and a weekend between


def test_sessions_are_naive_rising_dates():
    days = sessions("XNYS", pd.Timestamp("2001-09-01"), pd.Timestamp("2001-09-30"))
    assert days.tz is None
    assert days.is_unique
    assert days.is_monotonic_increasing
    assert (days == days.normalize()).all()
    assert not days.isin(pd.to_datetime(["2001-09-11", "2001-09-12", "2001-09-13", "2001-09-14"])).any()


def test_time_of_day_and_zone_of_the_ends_do_not_matter():
    start = pd.Timestamp("2024-03-11 13:30", tz="America/New_York")
    end = pd.Timestamp("2024-03-12 00:01", tz="America/New_York")
    assert len(sessions("XNYS", start, end)) == 2


def test_history_begins_in_1960_and_reaches_beyond_today():
    days = sessions("XNYS", date(1900, 1, 1), date(2200, 1, 1))
    assert days[0].year == 1960
    assert days[-1] > pd.Timestamp.now() + pd.Timedelta(days=300)


def test_a_period_without_sessions_is_empty():
    assert sessions("XNYS", date(2024, 3, 30), date(2024, 3, 31)).empty


def test_a_period_that_ends_before_it_begins_is_empty():
    assert sessions("XNYS", date(2024, 3, 31), date(2024, 3, 1)).empty


def test_other_exchanges_have_other_holidays():
    new_york = sessions("XNYS", date(2023, 1, 1), date(2023, 12, 31))
    tokyo = sessions("XTKS", date(2023, 1, 1), date(2023, 12, 31))
    good_friday, labour_thanksgiving = pd.Timestamp("2023-04-07"), pd.Timestamp("2023-11-23")
    assert good_friday not in new_york
    assert good_friday in tokyo
    assert labour_thanksgiving not in tokyo


def test_a_calendar_known_from_later_than_1960_gives_what_it_has():
    days = sessions("XTKS", date(1960, 1, 1), date(1997, 1, 31))
    assert days[0] == pd.Timestamp("1997-01-06")


def test_unknown_exchange_says_how_to_find_codes():
    with pytest.raises(ConfigError) as caught:
        sessions("NYSE ARCA", date(2024, 1, 1), date(2024, 2, 1))
    assert "'NYSE ARCA'" in caught.value.message
    assert "XNYS" in caught.value.hint
    assert "get_calendar_names" in caught.value.hint


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2024-03-12 15:00", "2024-03-11"),  # trading
        ("2024-03-12 19:59", "2024-03-11"),  # 15:59 in New York
        ("2024-03-12 20:00", "2024-03-12"),  # the close
        ("2024-03-17 12:00", "2024-03-15"),  # Sunday
        ("2024-07-03 17:00", "2024-07-03"),  # early close at 13:00
    ],
)
def test_last_finished_session(now, expected):
    assert last_finished_session("XNYS", pd.Timestamp(now, tz="UTC")) == pd.Timestamp(expected)


def test_last_finished_session_takes_naive_times_as_utc_and_converts_others():
    naive = last_finished_session("XNYS", pd.Timestamp("2024-03-12 20:00"))
    local = last_finished_session("XNYS", pd.Timestamp("2024-03-12 16:00", tz="America/New_York"))
    assert naive == local == pd.Timestamp("2024-03-12")


def test_exchange_timezone():
    assert exchange_timezone("XNYS") == "America/New_York"
    assert exchange_timezone("XHKG") == "Asia/Hong_Kong"
    with pytest.raises(ConfigError):
        exchange_timezone("NOPE")


def test_opening_hours_know_half_days_and_summer_time():
    hours = {day: (opens, closes) for day, opens, closes in opening_hours("XNYS")}
    assert [time.strftime("%H:%M%z") for time in hours[date(2024, 7, 3)]] == ["13:30+0000", "17:00+0000"]
    assert [time.strftime("%H:%M%z") for time in hours[date(2024, 11, 29)]] == ["14:30+0000", "18:00+0000"]
    assert date(2024, 7, 4) not in hours
    assert list(hours) == sorted(hours)
