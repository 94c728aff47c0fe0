"""Prices from Yahoo, fetched by yfinance.

Each ticker is one `yfinance.Ticker.history` call; a few run at once over one polite session. `yfinance.download` is the
same loop, but it throws the reasons of failures away (it only logs them) and merges all tickers into one frame in which
a null of Yahoo and a day without trade look alike; so the loop is here.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd
import yfinance
from curl_cffi.requests.exceptions import RequestException
from pandas.errors import Pandas4Warning
from yfinance.data import YfData
from yfinance.exceptions import YFException

from mlops_cli.errors import DataError, ServiceError
from mlops_cli.market.sessions import FIRST_DAY, exchange_timezone, last_finished_session, sessions
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, PRICE_COLUMNS
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from mlops_cli.prices.sources.yfinance_session import PoliteSession

ORIGIN = "yahoo chart"
OVERLAP = 5
"""Stored sessions fetched again, to see whether history was restated."""
RESTATED = 1e-4
"""Relative change of close or adjusted close that is no rounding: a dividend of 0.01 % already is more."""
WORKERS = 4
GIVE_UP_AFTER = 3
"""Tickers in a row that Yahoo did not answer at all: the others are not asked any more."""

_MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError)  # what yfinance raises on odd answers


@dataclass(frozen=True)
class _Plan:
    """What one ticker needs: the sessions wanted from start to end, and what is stored of them."""

    ticker: str
    exchange: str
    start: pd.Timestamp
    end: pd.Timestamp
    wanted: pd.DatetimeIndex
    stored: pd.DataFrame | None


class YfinanceSource:
    """Yahoo's daily bars: split-adjusted prices, adjusted close, dividends and splits.

    Incremental: where bars are stored, only the sessions after them are asked for, plus `OVERLAP` stored ones. If those
    differ from what is stored (a split or dividend restated the past), the whole history is fetched again. Sessions
    before the stored ones are fetched only if Yahoo says that the ticker traded then. A session that has not closed yet
    is never asked for.

    Args:
        rate_per_s: requests per second at most.
        retries: how often a request is asked again after 429, 5xx, timeouts and broken connections.
        backoff_s: wait before the first repeat; doubles each time.
        timeout_s: for one answer.
        base_url: another server instead of Yahoo's.
        clock: gives the current time; the system's if none.
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
        self._session_of = partial(PoliteSession, rate_per_s, retries, backoff_s, base_url or "")
        self._timeout_s = timeout_s
        self._clock = clock or partial(pd.Timestamp.now, "UTC")
        self._silent = 0

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        """Fetch all tickers, a few at a time, and yield them as they arrive.

        Raises:
            ServiceError: Yahoo answered for no ticker at all.
            ConfigError: an exchange's calendar does not exist.
        """
        _set_up_yfinance()
        self._silent = 0
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

    def _fetch_one(self, session: PoliteSession, plan: _Plan) -> RawBars | SourceFailure:
        ticker = plan.ticker
        if self._silent >= GIVE_UP_AFTER:
            return _unanswered(ticker, f"not asked: Yahoo did not answer for {self._silent} tickers before it")
        answer: RawBars | SourceFailure
        try:
            answer = self._bars(session, plan)
        except RequestException as error:
            self._silent += 1
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
        self._silent = 0
        return answer

    def _plan(self, request: FetchRequest, ticker: str) -> _Plan:
        exchange = request.exchanges.get(ticker, "XNYS")
        finished = last_finished_session(exchange, self._clock())
        start = FIRST_DAY if request.start is None else pd.Timestamp(request.start)
        end = finished if request.end is None else min(pd.Timestamp(request.end), finished)
        return _Plan(ticker, exchange, start, end, sessions(exchange, start, end), request.stored.get(ticker))

    def _bars(self, session: PoliteSession, plan: _Plan) -> RawBars:
        ticker, wanted, stored = plan.ticker, plan.wanted, plan.stored
        if wanted.empty:
            raise DataError(
                f"{ticker}: {plan.exchange} has no finished session from {plan.start.date()} to {plan.end.date()}",
                "widen period: in params.yaml",
            )
        if stored is None or stored.empty:
            return RawBars(ticker, self._history(session, plan, wanted[0], wanted[-1])[0], ORIGIN)
        older = bool(wanted[0] < stored.index[0])
        newer = bool(wanted[-1] > stored.index[-1])
        if not newer and not older:
            return RawBars(ticker, stored.iloc[:0], ORIGIN, replaces_all=False)
        overlap = stored.iloc[-OVERLAP:]
        last = max(wanted[-1], stored.index[-1])
        frame, first_trade = self._history(session, plan, overlap.index[0], last)
        if _restated(overlap, frame) or (older and first_trade < stored.index[0]):
            return RawBars(ticker, self._history(session, plan, min(wanted[0], stored.index[0]), last)[0], ORIGIN)
        return RawBars(ticker, frame[frame.index > stored.index[-1]], ORIGIN, replaces_all=False)

    def _history(
        self, session: PoliteSession, plan: _Plan, first: pd.Timestamp, last: pd.Timestamp
    ) -> tuple[pd.DataFrame, pd.Timestamp]:
        """The bars from first to last day, and the day of the first trade Yahoo knows of."""
        ticker = yfinance.Ticker(plan.ticker, session=session)
        ticker._tz = exchange_timezone(plan.exchange)  # else yfinance spends a request per ticker on asking for it
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
        known = ticker.history_metadata.get("firstTradeDate")  # a local time stamp, or None
        first_trade = frame.index[0] if known is None else known.tz_localize(None).normalize()
        return frame[[*PRICE_COLUMNS, *ACTION_COLUMNS]].astype("float64"), first_trade


def _set_up_yfinance() -> None:
    """Make yfinance raise instead of log, remember nothing between fetches and write no files.

    Its caches (cookies, time zones) are SQLite files in the user's home, which may be read-only; a folder that cannot
    exist makes yfinance go on without them.
    """
    yfinance.config.debug.hide_exceptions = False
    yfinance.set_tz_cache_location(os.path.join(os.devnull, "yfinance"))
    YfData.cache_get.cache_clear()
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=Pandas4Warning, module="yfinance")  # its affair, and it shows them all


def _unanswered(ticker: str, reason: str) -> SourceFailure:
    return SourceFailure(ticker, f"{ticker}: {reason}; try again later", ServiceError.exit_code)


def _restated(stored: pd.DataFrame, fetched: pd.DataFrame) -> bool:
    """Whether any of the stored sessions comes back missing or with another close or adjusted close."""
    again = fetched[~fetched.index.duplicated(keep="last")].reindex(stored.index)[["close", "adj_close"]]
    change = (again / stored[["close", "adj_close"]] - 1).abs().to_numpy()
    return not bool(np.all(change <= RESTATED))
