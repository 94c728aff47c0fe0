"""Port `PriceSource`: raw daily bars by ticker, and what became of each ticker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RawBars:
    """Bars as a source gave them, with columns named as in the price table but nothing repaired or checked.

    Attributes:
        ticker: as asked for.
        frame: index of dates (any order, repeats possible); columns `open high low close adj_close volume`, and
            where the source reports them `stock_splits` (ratio on the day, else 0; 1 says that a leap is real) and
            `dividends` (price units on the ex-day, else 0). Prices as the source reports them; nulls as NaN.
        origin: where it came from, for the provenance (a file, "yahoo chart", "bokeh_sampledata 2026.1").
        replaces_all: the frame is the ticker's whole history (a first fetch or a restated history), not new
            sessions to append to what is stored.
    """

    ticker: str
    frame: pd.DataFrame
    origin: str
    replaces_all: bool = True


@dataclass(frozen=True)
class SourceFailure:
    """A ticker that could not be fetched, and why, in words for the user."""

    ticker: str
    reason: str
    exit_code: int = 4


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch.

    Attributes:
        tickers: in order.
        start: first day wanted, None for all there is.
        end: last day wanted (included), None for up to the last finished session.
        stored: per ticker, the raw bars already on disk (for incremental sources; others ignore it).
        exchanges: per ticker, the exchange calendar code (`XNYS`).
    """

    tickers: Sequence[str]
    start: date | None = None
    end: date | None = None
    stored: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    exchanges: Mapping[str, str] = field(default_factory=dict)


class PriceSource(Protocol):
    """Yields exactly one `RawBars` or `SourceFailure` per requested ticker, as they arrive.

    One failing ticker never raises; only what stops every ticker does (`ServiceError`, `ConfigError`).

    Attributes:
        name: for messages.
        local: the prices lie on this machine, and asking for a few tickers at a time, in several processes, gives the
            same; the source can be pickled.
    """

    name: str
    local: bool

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        """Fetch all tickers; call `progress` with a short line about what is being done."""
        ...
