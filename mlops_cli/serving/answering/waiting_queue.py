"""Requests that wait to be run, grouped by model."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from mlops_cli.models.shared.weight_files import LoadedModel
from mlops_cli.serving.contract.messages import OverloadedError, Rows, UnservableError

Outputs = tuple[Rows, ...]  # log_return and raw_log_return, (n,) each; and interval, (n, 2 * levels), if asked for


@dataclass(eq=False, slots=True)
class Waiting:
    """A request that waits: its `rows`, float32 (n, columns), and `since` when (time of `perf_counter`).

    It asks for intervals of so many `levels`. `done` will hold its outputs and the seconds that it waited.
    """

    rows: Rows
    since: float
    done: asyncio.Future[tuple[Outputs, float]]
    levels: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """At least one request of one model; they run together."""

    model: LoadedModel
    requests: Sequence[Waiting]

    @property
    def levels(self) -> int:
        """How many levels of intervals the run must give."""
        return max(waiting.levels for waiting in self.requests)

    def rows(self) -> Rows:
        """The rows of all requests, one after another."""
        if len(self.requests) == 1:
            return self.requests[0].rows
        return np.concatenate([waiting.rows for waiting in self.requests])

    def answer(self, outputs: Outputs, started: float) -> None:
        """Give each request its part of the outputs of `rows()`; the run started at this time of `perf_counter`."""
        place = 0
        for waiting in self.requests:
            end = place + len(waiting.rows)
            if not waiting.done.done():
                asked = outputs if waiting.levels else outputs[:2]
                part = tuple(output[place:end] for output in asked)
                waiting.done.set_result((part, started - waiting.since))
            place = end

    def fail(self, error: UnservableError) -> None:
        """Give the error to the requests that have no answer."""
        for waiting in self.requests:
            if not waiting.done.done():
                waiting.done.set_exception(error)

    def close(self) -> None:
        """Fail the requests that still have no answer, so that no caller waits for ever."""
        self.fail(UnservableError("the run ended without an answer", "see the server's log"))


class WaitingQueue:
    """A queue that groups requests by model. Models take turns: after its batch, a model moves to the end."""

    def __init__(self, deadline: float, max_rows: int) -> None:
        """Refuse requests that wait longer than `deadline` seconds, and take at most `max_rows` rows at once."""
        self._deadline = deadline
        self._max_rows = max_rows
        self._groups: dict[LoadedModel, deque[Waiting]] = {}
        self._longest_wait = 0.0
        self.count = 0

    def add(self, model: LoadedModel, waiting: Waiting) -> None:
        """Add a request."""
        self._groups.setdefault(model, deque()).append(waiting)
        self.count += 1

    def take(self) -> Batch | None:
        """The next batch. Requests that wait too long are refused, and those whose caller hung up are dropped.

        Returns:
            None if the next model has no request left to run. The queue may still hold requests of other models.
        """
        model = next(iter(self._groups))
        queue, rows, now = self._groups.pop(model), 0, perf_counter()
        requests: list[Waiting] = []
        while queue and (not requests or rows + len(queue[0].rows) <= self._max_rows):
            waiting = queue.popleft()
            self.count -= 1
            if waiting.done.done():
                continue  # the caller disconnected
            if now - waiting.since > self._deadline:
                self._refuse(waiting, now)
                continue
            rows += len(waiting.rows)
            requests.append(waiting)
        if queue:
            self._groups[model] = queue
        if not requests:
            return None
        self._longest_wait = max(self._longest_wait, now - requests[0].since)
        return Batch(model, requests)

    def expire(self, now: float) -> None:
        """Refuse the requests past their deadline."""
        for model in list(self._groups):
            queue = self._groups[model]
            while queue and now - queue[0].since > self._deadline:
                self.count -= 1
                self._refuse(queue.popleft(), now)
            if not queue:
                del self._groups[model]

    def longest_wait(self, now: float) -> float:
        """The longest time in seconds that a request waited since the last call, or has waited until now."""
        oldest = min((queue[0].since for queue in self._groups.values() if queue), default=now)
        longest = max(self._longest_wait, now - oldest)
        self._longest_wait = 0.0
        return longest

    def retry_after(self) -> int:
        """Seconds after which a refused caller may try again, >= 1."""
        return max(1, math.ceil(self._deadline)) if self._deadline < math.inf else 1

    def _refuse(self, waiting: Waiting, now: float) -> None:
        self._longest_wait = max(self._longest_wait, now - waiting.since)
        if not waiting.done.done():
            text = f"not answered within {self._deadline * 1e3:.0f} ms"
            waiting.done.set_exception(OverloadedError(text, self.retry_after()))
