"""Names of share classes: Berkshire's B shares are BRK-B to Yahoo, and BRK.B to Alpaca.

A project may have either. Trading has the first alone: what goes out as `symbol_of(ticker)` comes back as
`ticker_of(symbol)`, and must be the same stock.
"""

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
    """The name that trading has for a stock, by Alpaca's name of it or by a project's.

    >>> ticker_of("BRK.B"), ticker_of("BRK-B"), ticker_of("AAPL")
    ('BRK-B', 'BRK-B', 'AAPL')
    """
    found = _SYMBOL.fullmatch(symbol)
    return f"{found[1]}-{found[2]}" if found else symbol
