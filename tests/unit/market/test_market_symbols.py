"""Names of share classes: what trading sends to a broker comes back as the same ticker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.market.symbols import symbol_of, ticker_of

NAMES = st.from_regex(r"[A-Z]{1,5}", fullmatch=True)
CLASSES = st.sampled_from("ABCK")


@pytest.mark.parametrize(
    ("ticker", "symbol"),
    [
        ("BRK-B", "BRK.B"),
        ("AAPL", "AAPL"),
        ("BF-A", "BF.A"),
        ("BTC-USD", "BTC-USD"),
        ("^GSPC", "^GSPC"),
        ("7203.T", "7203.T"),
    ],
)
def test_only_share_classes_are_renamed(ticker: str, symbol: str) -> None:
    assert symbol_of(ticker) == symbol


@given(NAMES, CLASSES)
def test_share_classes_come_back(name: str, share_class: str) -> None:
    ticker, symbol = f"{name}-{share_class}", f"{name}.{share_class}"
    assert symbol_of(ticker) == symbol
    assert ticker_of(symbol) == ticker
    assert symbol_of(symbol) == symbol  # a project may use Alpaca's names
    assert ticker_of(ticker) == ticker


@given(NAMES)
def test_plain_names_stay(name: str) -> None:
    assert ticker_of(symbol_of(name)) == symbol_of(name) == name


@given(st.from_regex(r"[A-Z0-9^=]{1,6}([-.][A-Z0-9]{1,3})?", fullmatch=True))
def test_the_way_out_and_back_ends(ticker: str) -> None:
    """Sent out and read again, any ticker has one name in the trading room, and keeps it."""
    once = ticker_of(symbol_of(ticker))
    assert ticker_of(symbol_of(once)) == once
    assert symbol_of(once) == symbol_of(ticker)
