"""The next ex-date of each ticker from Yahoo's calendar, fetched by yfinance: one call per ticker.

Yahoo names the day, not the amount, and keeps naming the last ex-date until the next one is announced. Past dividends
come with the bars of the price source.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import yfinance
from curl_cffi.requests.exceptions import HTTPError, RequestException
from yfinance.exceptions import YFException

from mlops_cli.errors import ServiceError
from mlops_cli.market.sessions import exchange_timezone
from mlops_cli.prices.actions.action_source import ActionRequest, ListedDividend, Listing, Listings
from mlops_cli.prices.sources.source import SourceFailure
from mlops_cli.prices.sources.yahoo_session import RateLimitedSession, set_up_yfinance

WORKERS = 4
GIVE_UP_AFTER = 3  # tickers in a row without any answer, after which the remaining tickers are not asked for
SOURCE = "yfinance"


class YfinanceActions:
    """Yahoo's calendar of coming ex-dates, without amounts.

    Args:
        rate_per_s: requests of all threads together.
        base_url: where requests go instead of Yahoo; empty: to Yahoo.
    """

    name = SOURCE

    def __init__(self, *, rate_per_s: float = 4.0, base_url: str = "") -> None:
        self._session_of = partial(RateLimitedSession, rate_per_s, 0, 1.0, base_url)
        self._unanswered_in_row = 0

    def fetch(self, request: ActionRequest, progress: Callable[[str], None]) -> Listings:
        """Ask for the next ex-date of every ticker."""
        set_up_yfinance()
        self._unanswered_in_row = 0
        with self._session_of(progress) as session, ThreadPoolExecutor(WORKERS) as pool:
            progress(f"yahoo: coming ex-dates of {len(request.exchanges)} tickers")
            answers = pool.map(partial(self._list, session), request.exchanges.items())
            return Listings({answer.ticker: answer for answer in answers})

    def _list(self, session: RateLimitedSession, item: tuple[str, str]) -> Listing | SourceFailure:
        ticker, exchange = item
        if self._unanswered_in_row >= GIVE_UP_AFTER:
            return _failure(ticker, "not asked, because Yahoo did not answer for the tickers before it")
        try:
            answer = yfinance.Ticker(ticker, session=session)._quote._fetch(["calendarEvents"])
            days = ex_dates(answer, exchange)
        except HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                days = ()  # Yahoo has no calendar of this ticker
            else:
                return self._unanswered(ticker, f"Yahoo's calendar refuses: {str(error)[:100]}")
        except (RequestException, YFException) as error:
            return self._unanswered(ticker, f"Yahoo's calendar does not answer: {str(error)[:100]}")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return _failure(ticker, f"the answer of Yahoo's calendar is malformed ({str(error)[:100]})")
        self._unanswered_in_row = 0
        dividends = tuple(ListedDividend(day, None, "yahoo calendar") for day in days)
        return Listing(ticker, SOURCE, dividends, complete=False)

    def _unanswered(self, ticker: str, reason: str) -> SourceFailure:
        self._unanswered_in_row += 1
        return _failure(ticker, reason)


def ex_dates(answer: dict[str, Any], exchange: str) -> tuple[date, ...]:
    """The ex-date in an answer of Yahoo's calendar, if it has one.

    yfinance converts the time in the zone of the machine, which is the day before west of Greenwich. Midnight UTC is a
    label of its day; any other time is converted in the zone of the exchange.

    Raises:
        ValueError, KeyError, TypeError, IndexError: the answer is malformed.
    """
    stamp = answer["quoteSummary"]["result"][0]["calendarEvents"].get("exDividendDate")
    if not stamp:
        return ()
    moment = datetime.fromtimestamp(float(stamp), UTC)
    if moment.time() != time(0):
        moment = moment.astimezone(ZoneInfo(exchange_timezone(exchange)))
    return (moment.date(),)


def _failure(ticker: str, reason: str) -> SourceFailure:
    return SourceFailure(ticker, reason, ServiceError.exit_code)
