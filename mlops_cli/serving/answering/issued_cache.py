"""The issued forecasts in memory: read again when they change, and never waited for long."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from time import monotonic

from mlops_cli.errors import MlopsError, ServiceError
from mlops_cli.serving.contract.issued_forecasts import Issued, IssuedForecasts

PATIENCE = 0.5
"""Seconds that a request waits for forecasts that are being read; then those that were read before must do."""
RETRY = 5.0
"""Seconds until forecasts that could not be read are tried again, unless they change before."""
_MANY_SESSIONS = 100


class IssuedCache:
    """The issued forecasts of some sessions.

    Attributes:
        problem: why the forecasts cannot be read; empty if they can, or were never asked for.
    """

    def __init__(self, source: IssuedForecasts, patience: float = PATIENCE, retry: float = RETRY) -> None:
        self._source = source
        self._patience = patience
        self._retry = retry
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="issued")
        self._reading: asyncio.Future[Issued] | None = None
        self._issued: Issued = {}
        self._state: Hashable = None
        self._sessions: frozenset[date] = frozenset()
        self._try_at = 0.0
        self._is_slow = False
        self.problem = ""

    async def made_on(self, sessions: Collection[date]) -> Issued:
        """The forecasts made on these sessions, and maybe others; none that cannot be read."""
        state = self._source.state()
        if self._reading is None and self._must_read(state, sessions):
            wanted = frozenset(sessions)
            if state == self._state and len(self._sessions) < _MANY_SESSIONS:
                wanted |= self._sessions
            loop = asyncio.get_running_loop()
            self._reading = loop.run_in_executor(self._thread, self._source.made_on, wanted)
            self._reading.add_done_callback(lambda done: self._take(done, state, wanted))
        if self._reading is not None and not self._is_slow:
            done, _ = await asyncio.wait({self._reading}, timeout=self._patience)
            if not done:
                self._is_slow = True  # nobody else waits for this read
                self.problem = f"the issued forecasts could not be read within {self._patience:g} s"
        return self._issued

    def close(self) -> None:
        """End the thread, without waiting for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _must_read(self, state: Hashable, sessions: Collection[date]) -> bool:
        if state == self._state and monotonic() < self._try_at:
            return False
        return bool(self.problem) or state != self._state or not self._sessions.issuperset(sessions)

    def _take(self, done: asyncio.Future[Issued], state: Hashable, sessions: frozenset[date]) -> None:
        """Keep what was read, or why nothing was."""
        self._reading, self._is_slow = None, False
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._issued, self.problem = done.result(), ""
        elif isinstance(error, MlopsError):
            self.problem = str(error)
            if not isinstance(error, ServiceError):  # while another program locks it, what was read before is shown
                self._issued = {}
            self._try_at = monotonic() + self._retry
        else:
            raise error
        self._state, self._sessions = state, sessions
