"""Names of share classes. Yahoo calls Berkshire's B shares BRK-B, Alpaca calls them BRK.B.

A project may use either name. The trading code uses tickers (BRK-B) only: it sends `symbol_of(ticker)` to the broker
and applies `ticker_of` to the symbols in its answers, which must give the same ticker again.
"""

from __future__ import annotations

import re

_TICKER = re.compile(r"([A-Z]+)-([A-Z])")
_SYMBOL = re.compile(r"([A-Z]+)\.([A-Z])")


def symbol_of(ticker: str) -> str:
    """Alpaca's symbol of a US stock.

    >>> symbol_of("BRK-B"), symbol_of("AAPL")
    ('BRK.B', 'AAPL')
    """
    share_class = _TICKER.fullmatch(ticker)
    return f"{share_class[1]}.{share_class[2]}" if share_class else ticker


def ticker_of(symbol: str) -> str:
    """The ticker that the trading code uses, from Alpaca's symbol or a project's ticker.

    >>> ticker_of("BRK.B"), ticker_of("BRK-B"), ticker_of("AAPL")
    ('BRK-B', 'BRK-B', 'AAPL')
    """
    share_class = _SYMBOL.fullmatch(symbol)
    return f"{share_class[1]}-{share_class[2]}" if share_class else symbol
