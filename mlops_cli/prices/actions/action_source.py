"""Interface `ActionSource`: lists the dividends of tickers, and reports the tickers that it could not list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from mlops_cli.market.sessions import exchange_timezone
from mlops_cli.prices.actions.dividends import Kind
from mlops_cli.prices.sources.source import SourceFailure


@dataclass(frozen=True)
class ListedDividend:
    """One dividend as a source lists it, not checked yet.

    Attributes:
        amount: per share, in the units of today's close: after a split, the source has divided earlier amounts too.
            None if the source lists the ex-date alone.
        where: for messages, such as `actions/IBM.csv:3` or `alpaca`.
        currency: ISO code, or GBp for pence; None if the source does not say it.
        announced: day of the announcement; None if the source does not say it.
    """

    ex_date: date
    amount: float | None
    where: str
    kind: Kind = "cash"
    currency: str | None = None
    announced: date | None = None


@dataclass(frozen=True)
class Listing:
    """The dividends that a source lists for one ticker.

    Attributes:
        complete: True if the source lists all dividends from its first one on, coming ones too. False if it only says
            which one comes next.
    """

    ticker: str
    source: str
    dividends: tuple[ListedDividend, ...] = ()
    complete: bool = True


@dataclass(frozen=True)
class ActionRequest:
    """What to list.

    Attributes:
        exchanges: by ticker, the calendar code of its exchange (`XNYS`).
        now: the time of the request, with a time zone; dividends of the year after it are wanted too.
        start: first ex-date; None for all.
    """

    exchanges: Mapping[str, str]
    now: datetime
    start: date | None = None

    def today(self, ticker: str) -> date:
        """The day on which the request is made, at the exchange of a ticker."""
        return self.now.astimezone(ZoneInfo(exchange_timezone(self.exchanges[ticker]))).date()


@dataclass(frozen=True)
class Listings:
    """The answer of a source.

    Attributes:
        by_ticker: exactly one listing or failure per requested ticker. A failure with the exit code of a
            `ServiceError` means that the source was not available: forecasts then go on with what was seen before.
            Any other failure means that the source contains a fault: the ticker is refused.
        notes: for the user, about no ticker of the request.
    """

    by_ticker: Mapping[str, Listing | SourceFailure]
    notes: tuple[str, ...] = ()


class ActionSource(Protocol):
    """Lists dividends.

    Only a fault that stops every ticker and that the user must repair raises (`ConfigError`).
    """

    name: str

    def fetch(self, request: ActionRequest, progress: Callable[[str], None]) -> Listings:
        """List the dividends of all tickers, and call `progress` with a short line about each step."""
        ...
