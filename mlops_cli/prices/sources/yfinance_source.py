"""Prices from Yahoo, fetched by yfinance.

Each ticker is one call of `yfinance.Ticker.history`; a few run at once over one session. `yfinance.download` has the
same loop, but it only logs why a ticker failed, and it merges all tickers into one frame, in which a null from Yahoo
looks like a day without trade.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import yfinance
from curl_cffi.requests.exceptions import RequestException
from yfinance.exceptions import YFException

from mlops_cli.errors import DataError, ServiceError
from mlops_cli.market.sessions import FIRST_DAY, exchange_timezone, last_finished_session, sessions
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, PRICE_COLUMNS
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from mlops_cli.prices.sources.yahoo_session import RateLimitedSession, set_up_yfinance

ORIGIN = "yahoo chart"
OVERLAP = 5  # how many stored sessions are fetched again, to see whether Yahoo restated the history
RESTATEMENT_TOLERANCE = 1e-4
"""A larger relative change of close or adjusted close is not rounding; even a dividend of 0.01 % is larger."""
WORKERS = 4
GIVE_UP_AFTER = 3  # tickers in a row without any answer, after which the remaining tickers are not requested

_MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError)  # what yfinance raises on malformed answers


@dataclass(frozen=True)
class _Plan:
    """What to fetch for one ticker: the sessions from start to end; end is no later than the last finished session."""

    ticker: str
    exchange: str
    start: pd.Timestamp
    end: pd.Timestamp
    sessions: pd.DatetimeIndex
    stored: pd.DataFrame | None


class _History(NamedTuple):
    """The bars that Yahoo returned, and the day of the ticker's first trade according to Yahoo."""

    bars: pd.DataFrame
    first_trade: pd.Timestamp


class YfinanceSource:
    """Yahoo's daily bars: split-adjusted prices, adjusted close, dividends and splits.

    It is incremental: if bars are stored, only the sessions after them are fetched, plus the last `OVERLAP` stored
    ones. If those differ from the stored ones (a split or dividend restated the past), the whole history is fetched
    again. Sessions before the stored ones are fetched only if Yahoo says that the ticker traded then. A session that
    has not closed yet is never fetched. Rate, retries and `base_url` are those of `RateLimitedSession`.
    """

    name = "yfinance"
    local = False

    def __init__(
        self,
        *,
        rate_per_s: float = 4.0,
        retries: int = 4,
        backoff_s: float = 2.0,
        timeout_s: float = 30.0,
        base_url: str | None = None,
        clock: Callable[[], pd.Timestamp] | None = None,
    ) -> None:
        self._session_of = partial(RateLimitedSession, rate_per_s, retries, backoff_s, base_url or "")
        self._timeout_s = timeout_s
        self._clock = clock or partial(pd.Timestamp.now, "UTC")
        self._unanswered_in_row = 0

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        """Fetch all tickers, a few at a time, and yield them as they arrive.

        Raises:
            ServiceError: Yahoo answered for none of the tickers.
            ConfigError: an exchange's calendar does not exist.
        """
        set_up_yfinance()
        self._unanswered_in_row = 0
        unanswered: list[SourceFailure] = []
        tasks = [self._plan(request, ticker) for ticker in request.tickers]
        with self._session_of(progress) as session, ThreadPoolExecutor(WORKERS) as pool:
            jobs = [pool.submit(self._fetch_one, session, task) for task in tasks]
            try:
                for number, job in enumerate(as_completed(jobs), start=1):
                    answer = job.result()
                    progress(f"yahoo: {answer.ticker} ({number} of {len(jobs)})")
                    if isinstance(answer, SourceFailure) and answer.exit_code == ServiceError.exit_code:
                        unanswered.append(answer)
                    else:
                        yield answer
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        if tasks and len(unanswered) == len(tasks):
            raise ServiceError(
                f"no answer from Yahoo: {unanswered[0].reason}",
                "try again later, or use source: csv (--set source.kind=csv)",
            )
        yield from unanswered

    def _fetch_one(self, session: RateLimitedSession, plan: _Plan) -> RawBars | SourceFailure:
        ticker = plan.ticker
        if self._unanswered_in_row >= GIVE_UP_AFTER:
            count = self._unanswered_in_row
            return _unanswered(ticker, f"not requested, because Yahoo did not answer for {count} tickers before it")
        answer: RawBars | SourceFailure
        try:
            answer = self._bars(session, plan)
        except RequestException as error:
            self._unanswered_in_row += 1
            refused = error.response is not None and error.response.status_code == 429
            why = "Yahoo refuses more requests for now (HTTP 429)" if refused else f"Yahoo does not answer: {error}"
            return _unanswered(ticker, why.split(". See http", maxsplit=1)[0])
        except DataError as error:
            answer = SourceFailure(ticker, str(error), error.exit_code)
        except YFException as error:
            answer = SourceFailure(
                ticker,
                f"{ticker}: Yahoo has no such prices: {str(error).removeprefix(f'${ticker}: ')}\n"
                "check the ticker on finance.yahoo.com (other exchanges have a suffix: SAP.DE, BP.L), or the period",
            )
        except _MALFORMED as error:
            answer = _unanswered(ticker, f"Yahoo's answer is malformed ({error!r})")
        self._unanswered_in_row = 0
        return answer

    def _plan(self, request: FetchRequest, ticker: str) -> _Plan:
        exchange = request.exchanges.get(ticker, "XNYS")
        finished = last_finished_session(exchange, self._clock())
        start = FIRST_DAY if request.start is None else pd.Timestamp(request.start)
        end = finished if request.end is None else min(pd.Timestamp(request.end), finished)
        return _Plan(ticker, exchange, start, end, sessions(exchange, start, end), request.stored.get(ticker))

    def _bars(self, session: RateLimitedSession, plan: _Plan) -> RawBars:
        ticker, stored = plan.ticker, plan.stored
        if plan.sessions.empty:
            raise DataError(
                f"{ticker}: {plan.exchange} has no finished session from {plan.start.date()} to {plan.end.date()}",
                "widen period: in params.yaml",
            )
        first, last = plan.sessions[0], plan.sessions[-1]
        if stored is None or stored.empty:
            return self._whole_history(session, plan, first, last)
        older = bool(first < stored.index[0])
        newer = bool(last > stored.index[-1])
        if not newer and not older:
            return RawBars(ticker, stored.iloc[:0], ORIGIN, replaces_all=False)
        overlap = stored.iloc[-OVERLAP:]
        last = max(last, stored.index[-1])
        recent = self._history(session, plan, overlap.index[0], last)
        if _restated(overlap, recent.bars) or (older and recent.first_trade < stored.index[0]):
            return self._whole_history(session, plan, min(first, stored.index[0]), last)
        return RawBars(ticker, recent.bars[recent.bars.index > stored.index[-1]], ORIGIN, replaces_all=False)

    def _whole_history(self, session: RateLimitedSession, plan: _Plan, *span: pd.Timestamp) -> RawBars:
        return RawBars(plan.ticker, self._history(session, plan, *span).bars, ORIGIN)

    def _history(self, session: RateLimitedSession, plan: _Plan, first: pd.Timestamp, last: pd.Timestamp) -> _History:
        ticker = yfinance.Ticker(plan.ticker, session=session)
        ticker._tz = exchange_timezone(plan.exchange)  # otherwise yfinance sends a request per ticker to learn it
        frame = ticker.history(
            start=first.date(),
            end=last.date() + timedelta(days=1),
            auto_adjust=False,
            actions=True,
            keepna=True,
            timeout=self._timeout_s,
        )
        if frame.empty:
            raise YFException(f"no bars from {first.date()} to {last.date()}")
        frame = frame.rename(columns=lambda name: str(name).lower().replace(" ", "_"))
        frame.index = frame.index.tz_localize(None).normalize().as_unit("ns")
        stamp = ticker.history_metadata.get("firstTradeDate")  # in local time, or None
        first_trade = frame.index[0] if stamp is None else stamp.tz_localize(None).normalize()
        return _History(frame[[*PRICE_COLUMNS, *ACTION_COLUMNS]].astype("float64"), first_trade)


def _unanswered(ticker: str, reason: str) -> SourceFailure:
    return SourceFailure(ticker, f"{ticker}: {reason}; try again later", ServiceError.exit_code)


def _restated(stored: pd.DataFrame, fetched: pd.DataFrame) -> bool:
    """Whether one of the stored sessions is missing now, or has another close or adjusted close."""
    again = fetched[~fetched.index.duplicated(keep="last")].reindex(stored.index)[["close", "adj_close"]]
    change = (again / stored[["close", "adj_close"]] - 1).abs().to_numpy()
    return not bool(np.all(change <= RESTATEMENT_TOLERANCE))
