"""The currencies of exchanges: known codes, pence that are no pounds, and that every exchange exists."""

from __future__ import annotations

import exchange_calendars
import pytest

from mlops_cli.market import currencies
from mlops_cli.market.currencies import quoted_currency, same_currency


@pytest.mark.parametrize(
    ("exchange", "currency"),
    [("XNYS", "USD"), ("NASDAQ", "USD"), ("XETR", "EUR"), ("XLON", "GBp"), ("XTKS", "JPY"), ("XSWX", "CHF")],
)
def test_known_exchanges(exchange: str, currency: str) -> None:
    assert quoted_currency(exchange) == currency


def test_an_exchange_that_is_not_known_has_none() -> None:
    assert quoted_currency("XXXX") is None
    assert quoted_currency("") is None


def test_every_code_is_a_calendar() -> None:
    assert set(currencies._OF_EXCHANGE) <= set(exchange_calendars.get_calendar_names(include_aliases=True))


@pytest.mark.parametrize(
    ("code", "other", "same"),
    [
        ("USD", "usd", True), (" USD ", "USD", True), ("USD", "EUR", False), ("GBp", "GBX", True),
        ("GBp", "GBP", False), ("GBX", "GBP", False), ("GBp", "gbp", False), ("GBP", "gbp", True),
    ],
)  # fmt: skip
def test_same_currency_either_way_round(code: str, other: str, same: bool) -> None:
    assert same_currency(code, other) is same_currency(other, code) is same
