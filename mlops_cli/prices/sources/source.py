"""Interface `PriceSource`: fetches raw daily bars of tickers, and reports the tickers that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RawBars:
    """Bars as a source gave them: columns are named as in the price table, but nothing is repaired or checked.

    Attributes:
        frame: index of dates (any order, repeats possible); columns `open high low close adj_close volume` and, if the
            source has them, `stock_splits` (ratio on the day, else 0; 1 confirms that a large move is real) and
            `dividends` (price units on the ex-day, else 0). Prices as the source gives them; nulls are NaN.
        origin: where the bars came from, recorded as provenance (a file, "yahoo chart", "bokeh_sampledata 2026.1").
        replaces_all: True if the frame is the ticker's whole history (a first fetch or a restated history), False if
            it contains new sessions to append to the stored ones.
    """

    ticker: str
    frame: pd.DataFrame
    origin: str
    replaces_all: bool = True


@dataclass(frozen=True)
class SourceFailure:
    """A ticker that could not be fetched, with the reason as shown to the user and the matching exit code."""

    ticker: str
    reason: str
    exit_code: int = 4


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch.

    Attributes:
        start: first day; None for the whole history.
        end: last day (included); None for the last session that has closed.
        stored: by ticker, the price table on disk; only incremental sources use it.
        exchanges: by ticker, the exchange calendar code (`XNYS`).
    """

    tickers: Sequence[str]
    start: date | None = None
    end: date | None = None
    stored: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    exchanges: Mapping[str, str] = field(default_factory=dict)


class PriceSource(Protocol):
    """Yields exactly one `RawBars` or `SourceFailure` per requested ticker, as they arrive.

    A ticker that fails does not raise. Only a fault that stops every ticker raises (`ServiceError`, `ConfigError`).

    Attributes:
        local: True if the prices are on this machine, the source can be pickled, and several processes may fetch a few
            tickers each.
    """

    name: str
    local: bool

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        """Fetch all tickers, and call `progress` with a short line about each step."""
        ...
