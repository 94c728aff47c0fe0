"""Alpaca's dividends through the real alpaca-py against a server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.prices.actions.action_source import ActionRequest, Listing, Listings
from mlops_cli.prices.actions.alpaca_actions import AlpacaActions, AlpacaKeys, dividends_by_symbol
from mlops_cli.prices.sources.source import SourceFailure
from tests.fakes.alpaca_contract import FILES, check
from tests.fakes.fake_corporate_actions import KEY, FakeCorporateActions

NOW = datetime(2024, 6, 30, 12, tzinfo=UTC)


@pytest.fixture
def alpaca() -> Iterator[FakeCorporateActions]:
    with FakeCorporateActions() as server:
        yield server


def listed(
    server: FakeCorporateActions, *tickers: str, key: str = KEY, start: date | None = None, now: datetime = NOW
) -> Listings:
    source = AlpacaActions(AlpacaKeys(key, "secret", server.url), deadline_s=5.0, retry_wait_s=0.01)
    return source.fetch(ActionRequest(dict.fromkeys(tickers, "XNYS"), now, start), lambda _: None)


def dividends(server: FakeCorporateActions, ticker: str = "IBM", now: datetime = NOW) -> list[tuple[str, float]]:
    listing = listed(server, ticker, now=now).by_ticker[ticker]
    assert isinstance(listing, Listing)
    return [(str(d.ex_date), d.amount or 0.0) for d in listing.dividends]


def test_past_and_coming_dividends_are_listed(alpaca: FakeCorporateActions) -> None:
    alpaca.dividend("IBM", "2010-05-06", 0.65)
    alpaca.dividend("IBM", "2024-08-09", 1.67)
    assert dividends(alpaca) == [("2010-05-06", 0.65), ("2024-08-09", 1.67)]


def test_a_year_ahead_is_asked_for(alpaca: FakeCorporateActions) -> None:
    listed(alpaca, "IBM", start=date(2020, 1, 1))
    (query,) = alpaca.requests
    assert (query["start"], query["end"]) == ("2020-01-01", "2025-07-01")
    assert query["types"] == "cash_dividend,forward_split,reverse_split"


def test_all_pages_are_read(alpaca: FakeCorporateActions) -> None:
    for day in range(1, 2501):
        alpaca.dividend("IBM", str(date.fromordinal(date(2012, 1, 1).toordinal() + day)), 0.1)
    assert len(dividends(alpaca)) == 2500
    assert len(alpaca.requests) == 3


def test_many_tickers_are_asked_for_in_parts(alpaca: FakeCorporateActions) -> None:
    tickers = [f"T{number}" for number in range(230)]
    alpaca.dividend("T229", "2024-08-09", 1.0)
    answer = listed(alpaca, *tickers)
    assert list(answer.by_ticker) == tickers
    assert [len(query["symbols"].split(",")) for query in alpaca.requests] == [100, 100, 30]


def test_a_ticker_of_which_nothing_is_listed_has_an_empty_complete_listing(alpaca: FakeCorporateActions) -> None:
    assert listed(alpaca, "GOOG").by_ticker["GOOG"] == Listing("GOOG", "alpaca")


def test_share_classes_have_their_own_spelling(alpaca: FakeCorporateActions) -> None:
    alpaca.dividend("BRK.B", "2024-08-09", 1.0)
    assert dividends(alpaca, "BRK-B") == [("2024-08-09", 1.0)]


def test_kind_and_currency_are_kept(alpaca: FakeCorporateActions) -> None:
    alpaca.dividend("IBM", "2024-08-09", 1.0, special=True, currency="EUR")
    listing = listed(alpaca, "IBM").by_ticker["IBM"]
    assert isinstance(listing, Listing)
    (special,) = listing.dividends
    assert (special.kind, special.currency, special.announced, special.where) == ("special", "EUR", None, "alpaca")


def test_the_same_dividend_on_two_pages_counts_once(alpaca: FakeCorporateActions) -> None:
    alpaca.dividend("IBM", "2024-08-09", 1.0)
    alpaca.dividend("IBM", "2024-08-09", 1.0)
    assert dividends(alpaca) == [("2024-08-09", 1.0)]


def test_the_server_speaks_as_the_contract_says(alpaca: FakeCorporateActions) -> None:
    alpaca.dividend("IBM", "2024-06-30", 1.0, special=True, currency="USD")
    alpaca.split("IBM", "2024-06-30", 4.0)
    alpaca.split("IBM", "2024-06-30", 1.0, 8.0)
    types = "cash_dividend,forward_split,reverse_split"
    status, body = alpaca.answer(f"/v1/corporate-actions?symbols=IBM&types={types}", KEY)
    answer = json.loads(body)
    assert (status, set(answer)) == (200, {"corporate_actions", "next_page_token"})
    for kind, actions in answer["corporate_actions"].items():
        for action in actions:
            check(FILES[1], kind.removesuffix("s"), action)
    assert [len(actions) for actions in answer["corporate_actions"].values()] == [1, 1, 1]


class TestSplits:
    def test_rates_before_a_split_are_per_share_of_today(self, alpaca: FakeCorporateActions) -> None:
        alpaca.dividend("AAPL", "2020-08-07", 0.82)
        alpaca.dividend("AAPL", "2020-11-06", 0.205)
        alpaca.split("AAPL", "2020-08-31", 4.0)
        assert dividends(alpaca, "AAPL") == [("2020-08-07", 0.205), ("2020-11-06", 0.205)]

    def test_a_coming_split_changes_nothing_yet(self, alpaca: FakeCorporateActions) -> None:
        alpaca.dividend("AAPL", "2024-05-10", 0.25)
        alpaca.split("AAPL", "2024-08-31", 4.0)
        assert dividends(alpaca, "AAPL") == [("2024-05-10", 0.25)]

    def test_in_the_evening_before_a_split_shares_are_those_of_today(self, alpaca: FakeCorporateActions) -> None:
        alpaca.dividend("AAPL", "2020-08-07", 0.82)
        alpaca.split("AAPL", "2020-08-31", 4.0)
        for hour, amount in ((3, 0.82), (5, 0.205)):  # UTC; midnight in New York is at 4
            assert dividends(alpaca, "AAPL", datetime(2020, 8, 31, hour, tzinfo=UTC)) == [("2020-08-07", amount)]

    @pytest.mark.parametrize("ex_date", ["2024-08-31", "2024-09-10"])
    def test_a_dividend_after_a_coming_split_is_per_share_of_today_too(self, ex_date: str) -> None:
        answer = {
            "forward_splits": [{"symbol": "NVDA", "ex_date": "2024-08-31", "new_rate": 10, "old_rate": 1}],
            "cash_dividends": [{"id": "1", "symbol": "NVDA", "ex_date": ex_date, "rate": 0.01, "special": False}],
        }
        for today, amount in ((date(2024, 8, 30), 0.1), (date(2024, 8, 31), 0.01)):
            (listed,) = dividends_by_symbol(answer, today)["NVDA"]
            assert listed.amount == pytest.approx(amount)

    def test_a_reverse_split_multiplies(self) -> None:
        answer = {
            "cash_dividends": [{"symbol": "GE", "ex_date": "2021-03-05", "rate": 0.01, "special": False}],
            "reverse_splits": [{"symbol": "GE", "ex_date": "2021-08-02", "new_rate": 1, "old_rate": 8}],
        }
        (dividend,) = dividends_by_symbol(answer, date(2024, 1, 1))["GE"]
        assert dividend.amount == pytest.approx(0.08)

    def test_a_dividend_on_the_day_of_the_split_is_per_new_share(self, alpaca: FakeCorporateActions) -> None:
        alpaca.dividend("AAPL", "2020-08-31", 0.205)
        alpaca.split("AAPL", "2020-08-31", 4.0)
        assert dividends(alpaca, "AAPL") == [("2020-08-31", 0.205)]


class TestFaults:
    def failed(self, server: FakeCorporateActions, **more: str) -> list[SourceFailure]:
        answers = listed(server, "IBM", "MSFT", **more).by_ticker.values()
        failures = [answer for answer in answers if isinstance(answer, SourceFailure)]
        assert [failure.ticker for failure in failures] == ["IBM", "MSFT"]
        assert {failure.exit_code for failure in failures} == {ServiceError.exit_code}
        return failures

    def test_a_server_that_is_down_fails_every_ticker_and_raises_nothing(self) -> None:
        with FakeCorporateActions() as server:
            url = server.url
        source = AlpacaActions(AlpacaKeys(KEY, "secret", url), deadline_s=5.0, retry_wait_s=0.01)
        answer = source.fetch(ActionRequest({"IBM": "XNYS"}, NOW), lambda _: None)
        failure = answer.by_ticker["IBM"]
        assert isinstance(failure, SourceFailure)
        assert "not available" in failure.reason

    def test_wrong_keys(self, alpaca: FakeCorporateActions) -> None:
        assert "forbidden" in self.failed(alpaca, key="PK-OTHER")[0].reason

    def test_a_passing_fault_is_tried_again(self, alpaca: FakeCorporateActions) -> None:
        alpaca.troubles = [429, 504]
        alpaca.dividend("IBM", "2024-08-09", 1.0)
        assert dividends(alpaca) == [("2024-08-09", 1.0)]

    def test_a_lasting_fault(self, alpaca: FakeCorporateActions) -> None:
        alpaca.troubles = [500] * 9
        assert "not available" in self.failed(alpaca)[0].reason

    @pytest.mark.parametrize(
        "text",
        [
            "[]", "null", "<html>", '{"corporate_actions": {"cash_dividends": [{}]}, "next_page_token": null}',
            '{"corporate_actions": {"cash_dividends": [{"symbol": "IBM", "ex_date": "soon", "rate": 1, '
            '"special": false}]}, "next_page_token": null}',
        ],
    )  # fmt: skip
    def test_malformed_answers(self, alpaca: FakeCorporateActions, text: str) -> None:
        alpaca.troubles = [text]
        self.failed(alpaca)

    def test_keys_are_never_shown(self) -> None:
        assert "geheim" not in repr(AlpacaKeys("geheim", "geheim"))
