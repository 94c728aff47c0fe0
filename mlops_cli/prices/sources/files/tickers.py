"""Whether the name of an instrument in a file means a ticker."""

from __future__ import annotations

import re

_US_SUFFIX = re.compile(r"(?:\.US|\s+U[SNWQAPRV]?(?:\s+Equity)?)$", re.IGNORECASE)
_US_PREFIX = re.compile(r"^(?:NASDAQ|NASDAQGS|NYSE|AMEX|NYSEARCA|XNAS|XNYS|XASE|ARCX|BATS)\s*:\s*", re.IGNORECASE)
_LIKE_A_TICKER = re.compile(r"(?:[A-Z]{1,5}|[a-z]{1,5}|\d{4,6})(?:[.-][A-Za-z]{1,3})?")


def plain(ticker: str) -> str:
    """A ticker without case and punctuation, in which sources differ.

    >>> plain("brk-b") == plain("BRK.B")
    True
    """
    return re.sub(r"[^A-Z0-9]", "", ticker.upper())


def same_ticker(symbol: str, ticker: str) -> bool:
    """Whether `symbol`, as a file writes it, is `ticker`. Only the marks of exchanges in the USA may be added to it.

    >>> same_ticker("STQ.US", "STQ"), same_ticker("NASDAQ:AAPL", "AAPL"), same_ticker("AAPL US Equity", "AAPL")
    (True, True, True)
    >>> same_ticker("BP.L", "BP"), same_ticker("BRK.B", "BRK.A")
    (False, False)
    """
    symbol = symbol.strip()
    return plain(ticker) in {plain(symbol), plain(_US_SUFFIX.sub("", symbol)), plain(_US_PREFIX.sub("", symbol))}


def looks_like_ticker(text: str) -> bool:
    """Whether a text looks like a ticker rather than the name of a company.

    >>> looks_like_ticker("AMD"), looks_like_ticker("Advanced Micro Devices")
    (True, False)
    """
    return _LIKE_A_TICKER.fullmatch(text.strip()) is not None
