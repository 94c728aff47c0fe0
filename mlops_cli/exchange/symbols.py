"""Names of share classes: Berkshire's B shares are BRK-B to Yahoo and to a project, and BRK.B to Alpaca."""

from __future__ import annotations

import re

_TICKER = re.compile(r"([A-Z]+)-([A-Z])")
_SYMBOL = re.compile(r"([A-Z]+)\.([A-Z])")


def symbol_of(ticker: str) -> str:
    """Alpaca's name for a US stock.

    >>> symbol_of("BRK-B"), symbol_of("AAPL")
    ('BRK.B', 'AAPL')
    """
    found = _TICKER.fullmatch(ticker)
    return f"{found[1]}.{found[2]}" if found else ticker


def ticker_of(symbol: str) -> str:
    """The other way round.

    >>> ticker_of("BRK.B"), ticker_of("AAPL")
    ('BRK-B', 'AAPL')
    """
    found = _SYMBOL.fullmatch(symbol)
    return f"{found[1]}-{found[2]}" if found else symbol
