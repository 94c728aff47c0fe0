"""Prices from the package `bokeh_sampledata`: public domain, no network.

AAPL, FB, GOOG, IBM, MSFT from the Quandl WIKI set, at most 2000-03-01 to 2013-03-01. Open, high, low, close and volume
are unadjusted; the adjusted close includes splits and dividends. So the cleaning rule `unadjusted_split` can prove the
splits of AAPL (2000-06-21, 2005-02-28) and MSFT (2003-02-18), and repairs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version

import pandas as pd
from bokeh_sampledata import stocks

from mlops_cli.prices.cleaning.repair import PRICE_COLUMNS
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure

TICKERS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


class SampleSource:
    """The five sample tickers. Each answer is the whole history."""

    name = "sample"
    local = True

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        """Yield the bars of each ticker, in order. The period is not applied here."""
        origin = f"bokeh_sampledata {version('bokeh_sampledata')}"
        for ticker in request.tickers:
            progress(f"sample: {ticker}")
            if ticker.upper() not in TICKERS:
                yield SourceFailure(
                    ticker,
                    f"{ticker}: not among the sample prices, which are {', '.join(TICKERS)}\n"
                    "for other tickers set source.kind to csv or yfinance in params.yaml",
                )
                continue
            columns = getattr(stocks, ticker.upper())
            frame = pd.DataFrame(
                {name: pd.Series(columns[name], dtype="float64").to_numpy() for name in PRICE_COLUMNS},
                index=pd.DatetimeIndex(pd.to_datetime(columns["date"], format="%Y-%m-%d")),
            )
            yield RawBars(ticker, frame, origin)
