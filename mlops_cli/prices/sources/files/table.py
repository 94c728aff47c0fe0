"""The rows of one ticker as a file has them, before anything is converted, and which rows they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.prices.sources.files.content import MOST_ROWS

_US_SUFFIX = re.compile(r"(?:\.US|\s+U[SNWQAPRV]?(?:\s+Equity)?)$", re.IGNORECASE)
_US_PREFIX = re.compile(r"^(?:NASDAQ|NASDAQGS|NYSE|AMEX|NYSEARCA|XNAS|XNYS|XASE|ARCX|BATS)\s*:\s*", re.IGNORECASE)
_LIKE_A_TICKER = re.compile(r"(?:[A-Z0-9&]{1,12}|[a-z]{1,5})(?:[.-][A-Za-z]{1,3})?")


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
    if plain(ticker) not in plain(symbol):  # most symbols of a file with many
        return False
    symbol = symbol.strip()
    return plain(ticker) in {plain(symbol), plain(_US_SUFFIX.sub("", symbol)), plain(_US_PREFIX.sub("", symbol))}


def looks_like_ticker(text: str) -> bool:
    """Whether a text looks like a ticker rather than the name of a company.

    >>> looks_like_ticker("AMD"), looks_like_ticker("Advanced Micro Devices")
    (True, False)
    """
    return _LIKE_A_TICKER.fullmatch(text.strip()) is not None


@dataclass(frozen=True)
class Event:
    """A dividend or split that stands in a row of its own, as in Yahoo's web table.

    Attributes:
        row: position in the dates of the table.
        kind: `dividends` or `stock_splits`.
        text: the amount, or the ratio such as `10:1`.
    """

    row: int
    kind: str
    text: str


@dataclass(frozen=True)
class Table:
    """One ticker's rows in the order of the file.

    Attributes:
        dates: texts without space around them, or the timestamps of a parquet file.
        times: times of day in a column of their own; None if there is none.
        numbers: by kind (`close`), texts without space around them, or numbers of a parquet file.
        other_numbers: texts that are not kept, but show how the file writes numbers.
        events: rows that are no bars.
        separator: of the cells; empty for parquet.
    """

    dates: pd.Series
    times: list[str] | None
    numbers: Mapping[str, list[str] | pd.Series]
    other_numbers: tuple[list[str], ...] = ()
    events: tuple[Event, ...] = ()
    separator: str = ""


def names_a_company(symbols: Iterable[str]) -> bool:
    """Whether the column `name` of a file holds the same name of a company in each row, which says no ticker.

    Args:
        symbols: its cells; they are read up to the second different one.
    """
    different: set[str] = set()
    for symbol in symbols:
        different |= {symbol.strip()} - {""}
        if len(different) > 1:
            return False
    return not any(map(looks_like_ticker, different))


@dataclass
class TickerRows:
    """Decides which rows of a file belong to a ticker, where a column names the ticker of each row.

    Attributes:
        file: for messages.
    """

    file: str
    ticker: str
    _kept: dict[str, bool] = field(default_factory=dict)
    _blank: int = 0

    def keeps(self, symbol: str) -> bool:
        """Whether a row with this symbol (without space around it) is the ticker's. A row without a symbol is kept."""
        kept = self._kept.get(symbol)
        if kept is None:
            kept = not symbol or same_ticker(symbol, self.ticker)
            if len(self._kept) < MOST_ROWS:
                self._kept[symbol] = kept
        self._blank += not symbol
        return kept

    def check(self) -> None:
        """Refuse a file that has only rows of others, or rows of which it is unknown whose they are."""
        others = sorted(symbol for symbol, kept in self._kept.items() if not kept)
        ours = [symbol for symbol, kept in self._kept.items() if kept and symbol]
        if others and not ours:
            raise other_ticker(self.file, others, self.ticker)
        if others and self._blank:
            raise DataError(
                f"{self.file}: {self._blank} rows do not name their ticker, and the file has rows of {bounded(others)}",
                "fill the column that names the ticker",
            )


def other_ticker(file: str, others: Iterable[str], ticker: str) -> DataError:
    """The error about a file of other tickers."""
    return DataError(
        f"{file}: contains prices of {bounded(list(others))}, not of {ticker}",
        "rename or replace the file; if its column means something else, set source.columns: {TITLE: ignore}",
    )


def too_many_rows(file: str) -> DataError:
    """The error about a file with more rows than one ticker can have."""
    return DataError(
        f"{file}: more than {MOST_ROWS:,} rows for one ticker", "give daily bars (in yfinance: interval='1d')"
    )
