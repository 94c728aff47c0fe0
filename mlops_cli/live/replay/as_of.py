"""Sources as they were on an evening of the past: nothing that came later is in their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from mlops_cli.market.sessions import last_finished_session, sessions
from mlops_cli.prices.actions.action_source import ActionRequest, ActionSource, ListedDividend, Listing, Listings
from mlops_cli.prices.sources.source import FetchRequest, PriceSource, RawBars, SourceFailure

_LONGEST_PAUSE = timedelta(days=21)


class PricesAsOf:
    """A source of prices on disk, cut at the last session of each ticker's exchange that had closed by then.

    Args:
        source: the source.
        now: the evening, with a time zone.
        read: keeps the bars that this process has read, so that it does not read every file on every evening.
    """

    def __init__(self, source: PriceSource, now: datetime, read: dict[str, RawBars] | None = None) -> None:
        self.name = source.name
        self.local = source.local
        self._source = source
        self._now = now
        self._read = {} if read is None else read

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the bars: they are read again in another process, which is faster than to send them."""
        return PricesAsOf, (self._source, self._now)

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        """The bars of each ticker up to then; see `PriceSource.fetch`."""
        new = [ticker for ticker in request.tickers if ticker not in self._read]
        for ticker in request.tickers:
            if ticker in self._read:
                yield self._cut(self._read[ticker], request)
        if not new:
            return
        for answer in self._source.fetch(replace(request, tickers=new), progress):
            if isinstance(answer, RawBars):
                self._read[answer.ticker] = answer
                yield self._cut(answer, request)
            else:
                yield answer

    def _cut(self, bars: RawBars, request: FetchRequest) -> RawBars:
        newest = last_finished_session(request.exchanges.get(bars.ticker, "XNYS"), pd.Timestamp(self._now))
        days = pd.DatetimeIndex(bars.frame.index).tz_localize(None).normalize()
        return replace(bars, frame=bars.frame[days <= newest])


class ActionsAsOf:
    """A source of dividends, cut at what was announced by the time of the request.

    If the source does not say when a dividend was announced, it is listed from the evening before its ex-date on.
    """

    def __init__(self, source: ActionSource) -> None:
        self.name = source.name
        self._source = source

    def fetch(self, request: ActionRequest, progress: Callable[[str], None]) -> Listings:
        """The dividends that were known at `request.now`; see `ActionSource.fetch`."""
        # asked as of today, because a source may refuse dividends that are announced later than the request
        listings = self._source.fetch(replace(request, now=max(request.now, datetime.now(UTC))), progress)
        known = {
            ticker: answer if isinstance(answer, SourceFailure) else _known(answer, request)
            for ticker, answer in listings.by_ticker.items()
        }
        return Listings(known, listings.notes)


def _known(listing: Listing, request: ActionRequest) -> Listing:
    today = request.today(listing.ticker)
    ahead = sessions(request.exchanges[listing.ticker], today + timedelta(days=1), today + _LONGEST_PAUSE)
    tomorrow = ahead[0].date() if len(ahead) else today

    def is_known(dividend: ListedDividend) -> bool:
        return dividend.ex_date <= tomorrow if dividend.announced is None else dividend.announced <= today

    return replace(listing, dividends=tuple(filter(is_known, listing.dividends)))
