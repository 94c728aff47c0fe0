"""The requests to Yahoo: one session for all threads, with a rate limit and retries, and yfinance's global settings."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import tenacity
import yfinance
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import ConnectionError as CurlConnectionError
from curl_cffi.requests.exceptions import HTTPError, Timeout
from pandas.errors import Pandas4Warning
from yfinance.data import YfData

CHART_PATH = "/v8/finance/chart/"
_RETRIED = {429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 120.0


class RateLimitedSession(Session[Response]):
    """A curl_cffi session with a rate limit, which retries after 429, 5xx, timeouts and broken connections.

    Only price requests are retried; the requests for Yahoo's cookie and crumb are optional. All threads together keep
    to the rate. The wait is `backoff_s` before the first retry and doubles each time, with jitter; a longer
    `Retry-After` is obeyed. If `base_url` is not empty, all requests to Yahoo's hosts go there instead.
    """

    def __init__(
        self, rate_per_s: float, retries: int, backoff_s: float, base_url: str, notify: Callable[[str], None]
    ) -> None:
        super().__init__(impersonate="chrome")
        self._spacing_s = 1.0 / rate_per_s
        self._retries = retries
        self._backoff = tenacity.wait_exponential(backoff_s, max=_LONGEST_WAIT_S) + tenacity.wait_random(0, backoff_s)
        self._base_url = base_url
        self._notify = notify
        self._next_turn = 0.0
        self._lock = threading.Lock()

    def request(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Response:
        """Send a request, with retries if it is a price request.

        Raises:
            RequestException: the last try got no answer (timeout, no connection). `HTTPError`, with its `response`: the
                last answer was 429 or 5xx.
        """
        target = self._redirected(url)
        if CHART_PATH not in url:
            return self._send(method, target, *args, **kwargs)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._retries + 1),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type((Timeout, CurlConnectionError))
            | tenacity.retry_if_result(lambda answer: answer.status_code in _RETRIED),
            before_sleep=self._tell,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        answer: Response = retrying(self._send, method, target, *args, **kwargs)
        if answer.status_code in _RETRIED:  # given this answer, yfinance would repeat all with other cookies
            raise HTTPError(f"HTTP {answer.status_code}", response=answer)
        return answer

    def _send(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Response:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next_turn)
            self._next_turn = turn + self._spacing_s
        time.sleep(turn - now)
        return super().request(method, url, *args, **kwargs)

    def _redirected(self, url: str) -> str:
        parts = urlsplit(url)
        if not self._base_url or not (parts.hostname or "").endswith("yahoo.com"):
            return url
        base = urlsplit(self._base_url)
        return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + parts.path, parts.query, parts.fragment))

    def _wait(self, state: tenacity.RetryCallState) -> float:
        wait = self._backoff(state)
        if state.outcome and not state.outcome.failed:
            after = state.outcome.result().headers.get("Retry-After") or ""
            wait = max(wait, float(after)) if after.isdigit() else wait
        return min(wait, _LONGEST_WAIT_S)

    def _tell(self, state: tenacity.RetryCallState) -> None:
        outcome, action = state.outcome, state.next_action
        if outcome and action:
            what = type(outcome.exception()).__name__ if outcome.failed else f"HTTP {outcome.result().status_code}"
            self._notify(f"yahoo: {what}, retrying in {action.sleep:.0f} s ({state.attempt_number}/{self._retries})")


def set_up_yfinance() -> None:
    """Make yfinance raise errors instead of logging them, forget earlier answers, and write no files.

    Its caches (cookies, time zones) are SQLite files in the user's home, which may be read-only. With a cache folder
    that cannot exist, yfinance works without them.
    """
    yfinance.config.debug.hide_exceptions = False
    yfinance.set_tz_cache_location(os.path.join(os.devnull, "yfinance"))
    YfData.cache_get.cache_clear()
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=Pandas4Warning, module="yfinance")  # only yfinance can fix them
