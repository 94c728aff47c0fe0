"""Requests to Alpaca: a deadline for each, a limit per minute, retries where they are safe, and failures as `Failed`.

`AlpacaBroker` builds alpaca-py's clients and hands their methods in; nothing here imports alpaca-py.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from mlops_cli.config.addresses import is_local
from mlops_cli.system.bounded_http import bounded
from mlops_cli.trading.contract.broker import BrokerUnreachable, KeysRefused

PAPER = "https://paper-api.alpaca.markets"
LIVE = "https://api.alpaca.markets"
DATA = "https://data.alpaca.markets"
REQUESTS_PER_MINUTE = 200
ALPACA = "alpaca.markets"
FORBIDDEN = 40_310_000
"""Alpaca's code for what an account may not do, such as while it is blocked."""
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
LARGEST_ANSWER = 50 * 10**6
"""Bytes of an answer. A page of 500 orders has half a million."""


@dataclass(frozen=True, repr=False)
class AlpacaAccess:
    """The keys and addresses of an account; the keys are never shown.

    Attributes:
        address: of the trading API, without `/v2`.
        data_address: of the market data API; empty: the exchange itself where it is local, else Alpaca's.
    """

    key: str
    secret: str
    address: str = PAPER
    data_address: str = ""

    @property
    def market_data(self) -> str:
        """Address of the market data API."""
        return self.data_address or (self.address if is_local(self.address) else DATA)


@dataclass(frozen=True)
class Patience:
    """How long a request may take and how often it is tried.

    Attributes:
        timeout: seconds to connect, and seconds between two bytes of the answer.
        first_wait: seconds before the second attempt; doubled for each further one, with jitter.
        deadline: seconds until an answer must be whole, however it arrives.
    """

    timeout: tuple[float, float] = (5.0, 20.0)
    attempts: int = 5
    first_wait: float = 0.5
    deadline: float = 30.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt, counted from 0."""
        return self.first_wait * 2.0**attempt * random.uniform(0.75, 1.25)


class TokenBucket:
    """Token bucket: at most `per_minute` requests in any minute, of which a quarter may be sent at once."""

    def __init__(self, per_minute: int = REQUESTS_PER_MINUTE) -> None:
        self._most = per_minute / 4
        self._rate = (per_minute - self._most) / 60
        self._tokens = self._most
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Wait until another request may be sent."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
            self._at = now
            self._tokens -= 1
            short = -self._tokens / self._rate
        if short > 0:
            time.sleep(short)


class TimedSession(requests.Session):
    """A session that bounds the time and the answer of every request, which alpaca-py does not.

    It also keeps to a limit per minute, `bucket`, which does not hold for an exchange on this machine.
    """

    def __init__(self, address: str, patience: Patience, bucket: TokenBucket) -> None:
        super().__init__()
        local = is_local(address)
        self.trust_env = not local  # a proxy cannot reach this machine's loopback address
        self._patience = patience
        self._bucket = None if local else bucket

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request."""
        if self._bucket is not None:
            self._bucket.take()
        options = {"timeout": self._patience.timeout, **options, "stream": True}
        ask = partial(super().request, *arguments, **options)
        return bounded(ask, self._patience.deadline, LARGEST_ANSWER)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: requests would read the whole body of one first, and Alpaca sends none."""


@dataclass(eq=False)
class Failed(Exception):  # noqa: N818 - only between these two modules
    """A request that failed.

    Attributes:
        status: HTTP status; None where there was no answer, or none that could be read.
        code: Alpaca's own; 0 where there is none.
        outlook: `again`: another attempt may succeed, if the status allows it; `slow`: the answer was not whole at the
            deadline; `unreadable`: the answer is too large, or nested too deeply.
    """

    status: int | None
    code: int
    words: str
    outlook: Literal["again", "slow", "unreadable"] = "again"

    @property
    def ambiguous(self) -> bool:
        """Whether the server may have carried out the request nevertheless."""
        return self.status is None or (self.status in RETRIED and self.status != 429)

    @property
    def passing(self) -> bool:
        """Whether another attempt may succeed."""
        return self.outlook == "again" and (self.status is None or self.status in RETRIED)


def is_real_money(address: str) -> bool:
    """Whether an address is Alpaca's and not its paper account's, however it is written."""
    host = (urlsplit(address).hostname or "").rstrip(".")
    return (host == ALPACA or host.endswith(f".{ALPACA}")) and not host.startswith("paper-")


def repeat[Answer](ask: Callable[[], Answer], patience: Patience, where: str) -> Answer:
    """Send a request until it is answered. Only for requests that change nothing: never for an order.

    Raises:
        BrokerUnreachable: no attempt was answered, or an answer took too long.
        KeysRefused: 401 or 403.
        Failed: another refusal.
    """
    attempts = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, Failed) and error.passing),
        stop=stop_after_attempt(patience.attempts),
        wait=lambda state: patience.pause(state.attempt_number - 1),
        reraise=True,
    )
    try:
        return attempts(ask)
    except Failed as error:
        if not error.passing and error.outlook != "slow":
            raise_if_keys(error, where)
            raise
        hint = "nothing is lost: run again later; what was sent is asked for by its name"
        if error.status is None and is_local(where):
            hint = f"is it running? mlops exchange serve --port {urlsplit(where).port or 80}; {hint}"
        attempts_made = f" ({patience.attempts} attempts)" if error.passing else ""
        words = f"{where} does not answer: {error.words}{attempts_made}"
        raise BrokerUnreachable(words, hint) from error


def raise_if_keys(error: Failed, where: str) -> None:
    """Raise KeysRefused for an answer of 401 or 403, unless it says that the account may not do this."""
    if error.status in (401, 403) and error.code != FORBIDDEN:
        raise KeysRefused(
            f"{where} refuses the keys: {error.words}", "look at ALPACA_API_KEY and ALPACA_SECRET_KEY in .env"
        ) from None
