"""Bars of any length: timeframes, labels, pieces of sessions, and the present within a bar."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from mlops_cli.exchange.api.bars import Chart, Timeframe, TimeSpan, read_timeframe
from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import MemoryTables
from mlops_cli.market.hours import us_hours
from tests.fakes.small_exchange import table


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def market() -> Market:
    return Market(MemoryTables({"AAA": table()}), us_hours())


def listed(market: Market, frame: str, start: str, end: str, split: bool = False) -> list[dict[str, Any]]:
    return list(Chart(market, "AAA", utc(end), split).bars(read_timeframe(frame), TimeSpan(utc(start), utc(end))))


@pytest.mark.parametrize(
    ("text", "timeframe"),
    [
        ("1Min", Timeframe(1, "minute")),
        ("59T", Timeframe(59, "minute")),
        ("2Hour", Timeframe(120, "minute")),
        ("23H", Timeframe(1380, "minute")),
        ("Day", Timeframe(1, "day")),
        ("1D", Timeframe(1, "day")),
        ("1Week", Timeframe(1, "week")),
        ("12M", Timeframe(12, "month")),
    ],
)
def test_timeframes(text: str, timeframe: Timeframe) -> None:
    assert read_timeframe(text) == timeframe


@pytest.mark.parametrize(
    "text", ["60Min", "24H", "2Day", "2Week", "5Month", "0Min", "1min", "-1Min", "1 Min", "1000Min"]
)
def test_what_is_no_timeframe(text: str) -> None:
    with pytest.raises(RefusedError, match="invalid timeframe") as caught:
        read_timeframe(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1Min", "2024-07-03", "2024-07-03"),
        ("1Day", "2024-07-03", "2024-07-03"),
        ("1Week", "2024-07-01", "2024-07-07"),
        ("1Month", "2024-07-01", "2024-07-31"),
        ("3Month", "2024-07-01", "2024-09-30"),
        ("4Month", "2024-05-01", "2024-08-31"),
        ("12Month", "2024-01-01", "2024-12-31"),
    ],
)
def test_the_days_of_a_bar(text: str, first: str, last: str) -> None:
    timeframe = read_timeframe(text)
    assert timeframe.first_day(date(2024, 7, 3)) == date.fromisoformat(first)
    assert timeframe.last_day(date(2024, 7, 3)) == date.fromisoformat(last)


def test_a_daily_bar_is_the_row_of_the_table(market: Market) -> None:
    (bar,) = listed(market, "1Day", "2024-07-01T04:00", "2024-07-01T23:00")
    assert bar == {
        "t": "2024-07-01T04:00:00Z",
        "o": 102,
        "h": 110,
        "l": 98,
        "c": 105,
        "v": 1000,
        "n": 0,
        "vw": round((110 + 98 + 105) / 3, 6),
    }


def test_a_bar_is_listed_if_it_begins_within_the_span(market: Market) -> None:
    assert listed(market, "1Day", "2024-07-01T04:00:01", "2024-07-02T03:59:59") == []
    assert len(listed(market, "1Day", "2024-07-01T04:00", "2024-07-02T04:00")) == 1  # Tuesday's has no price yet
    assert len(listed(market, "1Day", "2024-07-01T04:00", "2024-07-02T13:30")) == 2


def test_todays_bar_ends_now(market: Market) -> None:
    (bar,) = listed(market, "1Day", "2024-07-01T04:00", "2024-07-01T14:35")  # half way down to the low
    assert (bar["o"], bar["h"], bar["l"], bar["c"]) == (102, 102, 100, 100)
    assert bar["v"] == int(1000 / 6)


def test_bars_of_hours_begin_with_the_clock_and_not_with_the_session(market: Market) -> None:
    found = listed(market, "1Hour", "2024-07-01T04:00", "2024-07-01T23:00")
    assert [bar["t"][11:16] for bar in found] == [f"{hour}:00" for hour in range(13, 20)]
    assert sum(bar["v"] for bar in found) == pytest.approx(1000, abs=7)
    assert (found[0]["o"], found[-1]["c"]) == (102, 105)
    assert found[0]["v"] < found[1]["v"]  # the first one holds half an hour of trade


def test_bars_of_the_half_day_end_early(market: Market) -> None:
    found = listed(market, "30Min", "2024-07-03T04:00", "2024-07-03T23:00")
    assert (found[0]["t"][11:16], found[-1]["t"][11:16], len(found)) == ("13:30", "16:30", 7)


def test_the_minute_that_is_running_is_shown_as_far_as_it_is(market: Market) -> None:
    found = listed(market, "5Min", "2024-07-01T13:30", "2024-07-01T13:37")
    assert [bar["t"][11:16] for bar in found] == ["13:30", "13:35"]
    assert found[1]["v"] == int(1000 * 2 / 390)


def test_a_week_merges_its_days(market: Market) -> None:
    (bar,) = listed(market, "1Week", "2024-07-01T04:00", "2024-07-08T00:00")
    assert (bar["t"], bar["o"], bar["h"], bar["l"], bar["c"], bar["v"]) == (
        "2024-07-01T04:00:00Z",
        102,
        110,
        90,
        94,
        4000,
    )
    means = [(110 + 98 + 105) / 3, (106 + 90 + 92) / 3, (94 + 91 + 93) / 3, (95 + 92 + 94) / 3]
    assert bar["vw"] == pytest.approx(sum(means) / 4, abs=1e-5)


def test_a_month_begins_before_its_first_session(market: Market) -> None:
    june, july = listed(market, "1Month", "2024-06-01T04:00", "2024-07-31T00:00")
    assert (june["t"], june["c"]) == ("2024-06-01T04:00:00Z", 100)
    assert (july["t"], july["o"]) == ("2024-07-01T04:00:00Z", 102)


@pytest.mark.parametrize("frame", ["1Hour", "1Day", "1Week", "1Month"])
def test_newest_first_is_the_same_list_backwards(market: Market, frame: str) -> None:
    span = TimeSpan(utc("2024-06-01T04:00"), utc("2024-07-05T15:00"))
    chart, timeframe = Chart(market, "AAA", span.end, False), read_timeframe(frame)
    oldest_first = list(chart.bars(timeframe, span))
    assert len(oldest_first) > 1
    assert list(chart.bars(timeframe, span, newest_first=True)) == oldest_first[::-1]


def test_after_its_delisting_a_symbol_has_no_bars(market: Market) -> None:
    market.delisted["AAA"] = date(2024, 7, 2)
    found = listed(market, "1Day", "2024-06-28T04:00", "2024-07-08T00:00")
    assert [bar["t"][:10] for bar in found] == ["2024-06-28", "2024-07-01"]


def test_split_prices_are_in_the_shares_of_the_last_day(market: Market) -> None:
    market.split("AAA", date(2024, 7, 2), 2.0)
    start, end = "2024-07-01T04:00", "2024-07-02T20:00"
    raw, adjusted = listed(market, "1Day", start, end), listed(market, "1Day", start, end, split=True)
    assert [bar["c"] for bar in raw] == [105, 46]
    assert [bar["c"] for bar in adjusted] == [52.5, 46]
    assert [bar["v"] for bar in adjusted] == [2000, 2000]
    before = listed(market, "1Day", start, "2024-07-01T20:00", split=True)  # the split is still to come
    assert [bar["c"] for bar in before] == [105]


def test_bars_are_made_as_they_are_asked_for(market: Market) -> None:
    span = TimeSpan(utc("2024-06-28T04:00"), utc("2024-07-05T20:00"))
    made = Chart(market, "AAA", span.end, False).bars(read_timeframe("1Min"), span)
    assert next(made)["t"] == "2024-06-28T13:30:00Z"
