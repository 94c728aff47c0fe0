"""Whether the prices that are decided on are the broker's, too: a split that one side does not know of, or bad data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from mlops_cli.trading.contract.broker import Bar, Quote
from mlops_cli.trading.contract.types import Holding, TradeForecast
from mlops_cli.trading.decide.stocks import PRICE_GAP

LARGEST_GAP = Decimal(str(PRICE_GAP))
LARGEST_DIFFERENCE = Decimal("0.05")
"""Between two closes of the same session, broker's and ours: feeds differ by cents, a split or a bad price by more."""


def other_closes(bars: Mapping[str, Bar], forecasts: Sequence[TradeForecast]) -> dict[str, str]:
    """Tickers whose close of the session, on which the forecasts were made, is another one at the broker."""
    others = {}
    for one in forecasts:
        theirs = bars[one.ticker].close if one.ticker in bars else one.last_close
        if abs(theirs - one.last_close) > LARGEST_DIFFERENCE * max(theirs, one.last_close):
            others[one.ticker] = (
                f"its close of {one.session} is {theirs:.2f} at the broker and {one.last_close:.2f} here: "
                "a split that one side does not know of, or bad data"
            )
    return others


def gaps(quotes: Mapping[str, Quote], prices: Mapping[str, Decimal], holdings: Mapping[str, Holding]) -> dict[str, str]:
    """Tickers whose last close is not what the broker quotes: a split that one side does not know of, or bad data."""
    found = {}
    for ticker, quote in ((name, quotes[name]) for name in prices if name in quotes):
        seen, known = quote.middle, prices[ticker]
        # both sides of it: in the evening quotes are often so wide that their middle says nothing
        if seen is not None and (quote.bid > known * (1 + LARGEST_GAP) or quote.ask < known * (1 - LARGEST_GAP)):
            found[ticker] = (
                f"the broker quotes {seen:.2f}, the last close known here is {known:.2f}: a split, or bad data"
            )
    for ticker, holding in holdings.items():
        if ticker in prices and prices[ticker] <= 0:
            found[ticker] = f"its price is {holding.last_price}"
    return found
