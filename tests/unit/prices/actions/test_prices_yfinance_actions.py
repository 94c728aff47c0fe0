"""Yahoo's coming ex-dates through the real yfinance against a server on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.prices.actions.action_source import ActionRequest, ListedDividend, Listing, Listings
from mlops_cli.prices.actions.yfinance_actions import YfinanceActions, ex_dates
from mlops_cli.prices.sources.source import SourceFailure
from tests.fakes.fake_yahoo import FakeYahoo

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MIDNIGHT = int(pd.Timestamp("2026-12-04", tz="UTC").timestamp())


@pytest.fixture
def yahoo() -> Iterator[FakeYahoo]:
    with FakeYahoo() as server:
        yield server


def listed(yahoo: FakeYahoo, exchanges: dict[str, str]) -> Listings:
    source = YfinanceActions(rate_per_s=1000.0, base_url=yahoo.url)
    return source.fetch(ActionRequest(exchanges, NOW), lambda _: None)


def answer(stamp: object) -> dict:
    return {"quoteSummary": {"result": [{"calendarEvents": {"exDividendDate": stamp}}], "error": None}}


class TestDays:
    @pytest.mark.parametrize("exchange", ["XNYS", "XLON", "XTKS", "XASX"])
    def test_midnight_utc_labels_its_day_everywhere(self, exchange: str) -> None:
        assert ex_dates(answer(MIDNIGHT), exchange) == (date(2026, 12, 4),)

    @pytest.mark.parametrize(
        ("moment", "exchange", "day"),
        [
            ("2026-12-04 14:30", "XNYS", 4),  # the open in New York
            ("2026-12-04 05:00", "XNYS", 4),  # midnight in New York
            ("2026-12-05 02:00", "XNYS", 4),  # the evening in New York
            ("2026-12-03 15:00", "XTKS", 4),  # midnight in Tokyo
            ("2026-12-03 23:30", "XASX", 4),  # the morning in Sydney
        ],
    )
    def test_other_times_are_converted_in_the_zone_of_the_exchange(self, moment: str, exchange: str, day: int) -> None:
        stamp = pd.Timestamp(moment, tz="UTC").timestamp()
        assert ex_dates(answer(stamp), exchange) == (date(2026, 12, day),)

    @pytest.mark.parametrize("stamp", [None, 0, ""])
    def test_no_ex_date(self, stamp: object) -> None:
        assert ex_dates(answer(stamp), "XNYS") == ()

    @pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
    def test_the_zone_of_the_machine_does_not_matter(self, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as environment:
            environment.setenv("TZ", zone)
            time.tzset()
            assert datetime.fromtimestamp(MIDNIGHT).astimezone().utcoffset() != timedelta(0)
            days = ex_dates(answer(MIDNIGHT), "XNYS")
        time.tzset()
        assert days == (date(2026, 12, 4),)


def test_the_coming_day_is_listed_without_amount_and_as_incomplete(yahoo: FakeYahoo) -> None:
    yahoo.calendars = {"IBM": MIDNIGHT, "GOOG": None}
    answers = listed(yahoo, {"IBM": "XNYS", "GOOG": "XNYS"}).by_ticker
    coming = ListedDividend(date(2026, 12, 4), None, "yahoo calendar")
    assert answers["IBM"] == Listing("IBM", "yfinance", (coming,), complete=False)
    assert answers["GOOG"] == Listing("GOOG", "yfinance", (), complete=False)


def test_one_request_per_ticker(yahoo: FakeYahoo) -> None:
    yahoo.calendars = dict.fromkeys(["A", "B", "C", "D", "E"], MIDNIGHT)
    listed(yahoo, dict.fromkeys(yahoo.calendars, "XNYS"))
    assert sorted(yahoo.calendar_requests) == ["A", "B", "C", "D", "E"]


def test_a_ticker_that_yahoo_does_not_know_has_no_calendar(yahoo: FakeYahoo) -> None:
    assert listed(yahoo, {"NONE": "XNYS"}).by_ticker["NONE"] == Listing("NONE", "yfinance", (), complete=False)


def failures(answers: Listings) -> list[SourceFailure]:
    failed = [answer for answer in answers.by_ticker.values() if isinstance(answer, SourceFailure)]
    assert all(failure.exit_code == ServiceError.exit_code for failure in failed)
    return failed


@pytest.mark.parametrize("status", [429, 500, 401])
def test_a_server_with_troubles_fails_the_tickers_and_raises_nothing(yahoo: FakeYahoo, status: int) -> None:
    yahoo.calendar_status = status
    answers = listed(yahoo, {f"T{number}": "XNYS" for number in range(30)})
    assert len(failures(answers)) == 30
    assert len(set(yahoo.calendar_requests)) < 12  # after some tickers without an answer, no more are asked for


@pytest.mark.parametrize("text", ["[]", "<html>", "{}", '{"quoteSummary": {"result": null}}', "null"])
def test_malformed_answers_fail_their_ticker_only(yahoo: FakeYahoo, text: str) -> None:
    yahoo.calendars = {"IBM": text, "MSFT": MIDNIGHT}
    answers = listed(yahoo, {"IBM": "XNYS", "MSFT": "XNYS"})
    (failure,) = failures(answers)
    assert failure.ticker == "IBM"
    assert "malformed" in failure.reason


def test_a_server_that_is_gone(yahoo: FakeYahoo) -> None:
    with FakeYahoo() as gone:
        pass
    source = YfinanceActions(rate_per_s=1000.0, base_url=gone.url)
    assert len(failures(source.fetch(ActionRequest({"IBM": "XNYS"}, NOW), lambda _: None))) == 1
