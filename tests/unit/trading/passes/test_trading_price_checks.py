"""Prices beside the broker's: which differences keep a ticker from being traded."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from mlops_cli.trading.contract.broker import Bar, Quote
from mlops_cli.trading.contract.types import TradeForecast
from mlops_cli.trading.passes.deciding import differing_closes, gaps
from tests.fakes.ledgers import EVENING, NEXT_SESSION, SESSION, a_holding

D = Decimal


def forecast(close: str) -> TradeForecast:
    return TradeForecast("red-aapl", "AAPL", "red", SESSION, NEXT_SESSION, D(close), 0.01, "v")


def bar(close: str) -> Bar:
    return Bar("AAPL", date(2024, 1, 3), *[D(close)] * 4, D(1))


def quote(bid: str, ask: str) -> Quote:
    return Quote("AAPL", D(bid), D(ask), EVENING)


@pytest.mark.parametrize(
    ("theirs", "ours", "differ"),
    [
        ("100", "100", False),
        ("100", "95", False),  # 5 % of the larger one exactly
        ("100", "94.99", True),
        ("95", "100", False),
        ("94.99", "100", True),
        ("50", "100", True),
        ("400", "100", True),
    ],
)
def test_closes_may_differ_by_five_percent(theirs, ours, differ):
    others = differing_closes({"AAPL": bar(theirs)}, [forecast(ours)])
    assert ("AAPL" in others) == differ
    if differ:
        assert f"is {D(theirs):.2f} at the broker and {D(ours):.2f} here" in others["AAPL"]


def test_a_ticker_without_a_bar_is_not_doubted():
    assert differing_closes({}, [forecast("100")]) == {}
    assert differing_closes({"MSFT": bar("1")}, [forecast("100")]) == {}


@pytest.mark.parametrize(
    ("bid", "ask", "far_off"),
    [
        ("99.9", "100.1", False),
        ("125", "126", False),  # the bid is at the limit
        ("125.01", "126", True),
        ("74", "75", False),  # the ask is at the limit
        ("74", "74.99", True),
        ("50", "150", False),  # wide, as in the evening: says nothing
        ("24.9", "25.1", True),  # a split of 4 to 1
        ("0", "10", False),  # one-sided
        ("10", "0", False),
        ("30", "20", False),  # crossed
    ],
)
def test_quotes_may_be_a_quarter_off(bid, ask, far_off):
    assert bool(gaps({"AAPL": quote(bid, ask)}, {"AAPL": D(100)}, {})) == far_off


def test_words_of_a_gap():
    words = gaps({"AAPL": quote("24.9", "25.1")}, {"AAPL": D(100)}, {})["AAPL"]
    assert words == "the broker quotes 25.00, the last close known here is 100.00: a split, or bad data"


def test_quotes_of_other_tickers_are_ignored():
    assert gaps({"MSFT": quote("1", "2")}, {"AAPL": D(100)}, {}) == {}


@pytest.mark.parametrize("price", ["0", "-1"])
def test_a_holding_without_a_price_is_doubted(price):
    held = {"AAPL": a_holding("AAPL", "5", price)}
    assert gaps({}, {"AAPL": D(price)}, held) == {"AAPL": f"its price is {price}"}
    assert gaps({}, {"AAPL": D(100)}, held) == {}
    assert gaps({}, {}, held) == {}
