"""The contract of `ActionSource`, run over every adapter through the same door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.prices.actions.action_source import ActionRequest, ActionSource, Listing
from mlops_cli.prices.actions.alpaca_actions import AlpacaActions, AlpacaKeys
from mlops_cli.prices.actions.csv_actions import CsvActions
from mlops_cli.prices.actions.yfinance_actions import YfinanceActions
from mlops_cli.prices.sources.source import SourceFailure
from tests.fakes.fake_corporate_actions import KEY, FakeCorporateActions
from tests.fakes.fake_yahoo import FakeYahoo

NOW = datetime(2024, 6, 30, 12, tzinfo=UTC)
COMING = date(2024, 8, 9)
KNOWN = ("IBM", "MSFT")


@dataclass
class Adapter:
    """A source that knows the coming ex-date of the tickers of `KNOWN`, and a way to break all of it."""

    source: ActionSource
    break_it: Callable[[], None]


@pytest.fixture(params=["csv", "one file", "alpaca", "yfinance"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    match request.param:
        case "csv":
            for ticker in KNOWN:
                (tmp_path / f"{ticker}.csv").write_text(f"ex_date,amount\n{COMING},1.5\n")
            broken = [tmp_path / f"{ticker}.csv" for ticker in (*KNOWN, "GOOG")]
            yield Adapter(CsvActions(tmp_path), lambda: [path.write_text("<html>") for path in broken] and None)
        case "one file":
            path = tmp_path / "all.csv"
            path.write_text("ticker,ex_date,amount\n" + "".join(f"{ticker},{COMING},1.5\n" for ticker in KNOWN))
            yield Adapter(CsvActions(tmp_path, file="all.csv"), lambda: path.write_text("<html>") and None)
        case "alpaca":
            with FakeCorporateActions() as server:
                for ticker in KNOWN:
                    server.dividend(ticker, str(COMING), 1.5)
                source = AlpacaActions(AlpacaKeys(KEY, "secret", server.url), deadline_s=5.0, retry_wait_s=0.01)
                yield Adapter(source, lambda: server.troubles.extend([500] * 20))
        case "yfinance":
            with FakeYahoo() as yahoo:
                yahoo.calendars = dict.fromkeys(KNOWN, int(pd.Timestamp(COMING, tz="UTC").timestamp()))
                yield Adapter(
                    YfinanceActions(rate_per_s=1000.0, base_url=yahoo.url),
                    lambda: setattr(yahoo, "calendar_status", 503),
                )


def request_for(*tickers: str) -> ActionRequest:
    return ActionRequest(dict.fromkeys(tickers, "XNYS"), NOW)


def test_every_ticker_gets_exactly_one_answer(adapter: Adapter) -> None:
    answers = adapter.source.fetch(request_for("GOOG", *KNOWN), lambda _: None).by_ticker
    assert list(answers) == ["GOOG", *KNOWN]
    assert all(answers[ticker].ticker == ticker for ticker in answers)


def test_a_coming_ex_date_is_listed_on_its_day(adapter: Adapter) -> None:
    for answer in adapter.source.fetch(request_for(*KNOWN), lambda _: None).by_ticker.values():
        assert isinstance(answer, Listing)
        assert [dividend.ex_date for dividend in answer.dividends] == [COMING]
        assert answer.dividends[0].amount in (1.5, None)
        assert answer.source == adapter.source.name


def test_a_ticker_that_the_source_does_not_know_is_no_failure(adapter: Adapter) -> None:
    answer = adapter.source.fetch(request_for("GOOG"), lambda _: None).by_ticker["GOOG"]
    assert isinstance(answer, Listing)
    assert answer.dividends == ()


def test_a_broken_source_fails_its_tickers_and_raises_nothing(adapter: Adapter) -> None:
    adapter.break_it()
    answers = adapter.source.fetch(request_for(*KNOWN), lambda _: None).by_ticker
    assert list(answers) == list(KNOWN)
    for answer in answers.values():
        assert isinstance(answer, SourceFailure)
        assert answer.reason
        assert answer.exit_code in (4, 8)


def test_the_second_answer_is_like_the_first(adapter: Adapter) -> None:
    first, second = (adapter.source.fetch(request_for(*KNOWN), lambda _: None) for _ in range(2))
    assert first == second


def test_progress_is_told(adapter: Adapter) -> None:
    lines: list[str] = []
    adapter.source.fetch(request_for(*KNOWN), lines.append)
    assert lines


def test_today_is_that_of_the_exchange() -> None:
    request = ActionRequest({"IBM": "XNYS", "7203.T": "XTKS"}, NOW + timedelta(hours=10))
    assert (request.today("IBM"), request.today("7203.T")) == (date(2024, 6, 30), date(2024, 7, 1))
