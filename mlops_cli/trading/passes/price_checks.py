"""Compares the prices that are decided on with the broker's: a difference is a split, or bad data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from mlops_cli.trading.contract.broker import Bar, Quote
from mlops_cli.trading.contract.types import Holding, TradeForecast
from mlops_cli.trading.decide.stocks import PRICE_GAP

LARGEST_GAP = Decimal(str(PRICE_GAP))
LARGEST_DIFFERENCE = Decimal("0.05")
"""Largest relative difference of two closes of one session: feeds differ by cents, a split or a bad price by more."""


def other_closes(bars: Mapping[str, Bar], forecasts: Sequence[TradeForecast]) -> dict[str, str]:
    """Tickers whose close differs from the broker's, and the difference in words.

    Args:
        bars: the broker's daily bars of the session on whose close the forecasts were made; tickers may be missing.
        forecasts: with the close that each starts from.
    """
    others = {}
    for forecast in forecasts:
        ours = forecast.last_close
        theirs = bars[forecast.ticker].close if forecast.ticker in bars else ours
        if abs(theirs - ours) > LARGEST_DIFFERENCE * max(theirs, ours):
            others[forecast.ticker] = (
                f"its close of {forecast.session} is {theirs:.2f} at the broker and {ours:.2f} here: "
                "a split that one side does not know of, or bad data"
            )
    return others


def gaps(quotes: Mapping[str, Quote], prices: Mapping[str, Decimal], holdings: Mapping[str, Holding]) -> dict[str, str]:
    """Tickers whose last close is far from the broker's quote, and the gap in words.

    Args:
        quotes: of the broker; tickers may be missing.
        prices: last close by ticker.
        holdings: positions; one whose price is 0 or less is a gap, too.
    """
    far_off = {}
    for ticker, quote in ((name, quotes[name]) for name in prices if name in quotes):
        middle, close = quote.middle, prices[ticker]
        # bid and ask are compared, not their middle: in the evening quotes are often too wide for it to mean anything
        if middle is not None and (quote.bid > close * (1 + LARGEST_GAP) or quote.ask < close * (1 - LARGEST_GAP)):
            far_off[ticker] = (
                f"the broker quotes {middle:.2f}, the last close known here is {close:.2f}: a split, or bad data"
            )
    for ticker, holding in holdings.items():
        if ticker in prices and prices[ticker] <= 0:
            far_off[ticker] = f"its price is {holding.last_price}"
    return far_off
