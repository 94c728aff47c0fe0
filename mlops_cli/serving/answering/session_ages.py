"""How old the data of a forecast are: sessions that its exchange has finished since."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from mlops_cli.errors import MlopsError, ServiceError
from mlops_cli.serving.contract.messages import UNKNOWN_AGE, Age

log = logging.getLogger(__name__)
LOAD_SECONDS = 60
PATIENCE = 5.0
"""Seconds that a request waits for the sessions of an exchange."""


class SessionTimes(NamedTuple):
    """The sessions of an exchange, rising: their days, and when each closes, in seconds since 1970."""

    days: Sequence[date]
    closes: Sequence[float]


def load_sessions(exchange: str) -> SessionTimes:
    """Ask a process that ends again: the calendars would add 60 MB to every worker of a server.

    Raises:
        ServiceError: the exchange has no calendar, or the process failed.
    """
    command = [sys.executable, "-m", "mlops_cli.market.closing_times", exchange]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"the sessions of {exchange} are not known: {error}") from error
    if done.returncode:
        raise ServiceError(f"the sessions of {exchange} are not known: {done.stderr.strip()[-300:]}")
    pairs = json.loads(done.stdout)
    return SessionTimes([date.fromisoformat(day) for day, _ in pairs], [close for _, close in pairs])


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SessionAges:
    """Tells the age of data. The sessions of an exchange are loaded when they are first asked for."""

    def __init__(
        self, load: Callable[[str], SessionTimes] = load_sessions, now: Callable[[], datetime] = _utc_now
    ) -> None:
        """`load` gives the sessions of an exchange, in a thread; `now` the time."""
        self._load = load
        self.now = now
        self._times: dict[str, SessionTimes | None] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}

    async def learn(self, exchanges: Iterable[str]) -> None:
        """Load the sessions of these exchanges, unless they are known; wait for at most `PATIENCE`."""
        begun = self.begin(exchanges)
        if begun:
            await asyncio.wait(begun, timeout=PATIENCE)

    def begin(self, exchanges: Iterable[str]) -> list[asyncio.Task[None]]:
        """Begin to load them; the tasks that load."""
        for exchange in {*exchanges} - self._times.keys() - self._loading.keys():
            self._loading[exchange] = asyncio.create_task(self._learn(exchange))
        return [self._loading[exchange] for exchange in {*exchanges} & self._loading.keys()]

    async def stop(self) -> None:
        """Wait for what is being loaded."""
        await asyncio.gather(*self._loading.values(), return_exceptions=True)

    def knows(self, exchange: str) -> bool:
        """Whether it can tell the age of this exchange's data."""
        return self._times.get(exchange) is not None

    def age(self, exchange: str, session: date) -> Age:
        """The age of data whose last session is this one. A session that has not finished yet is not old."""
        times = self._times.get(exchange)
        if times is None:
            return UNKNOWN_AGE
        finished = bisect_right(times.closes, self.now().timestamp())
        if finished == len(times.closes):
            return UNKNOWN_AGE  # after the end of the calendar, which reaches a year ahead
        sessions = max(0, finished - bisect_right(times.days, session))
        return Age(sessions, sessions > 0)

    async def _learn(self, exchange: str) -> None:
        try:
            self._times[exchange] = await asyncio.to_thread(self._load, exchange)
        except MlopsError as error:
            log.warning("%s", error)
            self._times[exchange] = None
        finally:
            del self._loading[exchange]
