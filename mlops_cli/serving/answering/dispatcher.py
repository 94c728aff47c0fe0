"""Runs models: at once where nothing waits, else from a bounded queue, requests of one model together.

The event loop runs models for at most `SLICE` seconds in a row, so that what arrives meanwhile is admitted or refused.
A model whose run takes longer than `SLOW` (as measured) runs in a thread instead, so that it holds up nobody else.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.models.graph import INPUT
from mlops_cli.models.session import RUN_FAILURES, run_graph
from mlops_cli.models.shared.architectures import Weights
from mlops_cli.models.shared.weight_files import LoadedModel
from mlops_cli.serving.contract.messages import OverloadedError, Rows, UnservableError

Outputs = tuple[Rows, Rows]
SLICE = 0.005
SLOW = 0.002
_ROWS_AS_ONE = 64  # so many further rows cost about as much as the first
_FORGET = 0.05  # how fast a measured duration may grow: one slow run is noise


@dataclass(eq=False, slots=True)
class _Waiting:
    rows: Rows
    since: float
    done: asyncio.Future[tuple[Outputs, float]]


class Dispatcher:
    """The queue of one event loop.

    Attributes:
        queued: requests that wait.
    """

    def __init__(self, settings: Serving) -> None:
        delayed, batching = settings.delayed_answer, settings.batching
        self._bound = delayed.queue if delayed.enabled else math.inf
        self._deadline = delayed.deadline_ms / 1e3 if delayed.enabled else math.inf
        self._max_rows = batching.max_rows
        self._company = batching.max_wait_ms / 1e3
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="slow-model")
        self._free = os.cpu_count() or 1
        self._fast: dict[LoadedModel, deque[_Waiting]] = {}  # in the order of arrival
        self._slow: dict[LoadedModel, deque[_Waiting]] = {}
        self._draining = False
        self._drained_at = 0.0
        self._slice_end = 0.0
        self._slice_open = False
        self._longest_wait = 0.0
        self.queued = 0

    def run_now(self, model: LoadedModel, rows: Rows) -> Outputs | None:
        """Run at once; None where the request has to wait its turn (`run_queued`).

        Raises:
            UnservableError: the graph failed.
        """
        count = len(rows)
        if self._fast or self._company or model.seconds * (1 + count / _ROWS_AS_ONE) > SLOW or count > self._max_rows:
            return None
        start = perf_counter()
        if not self._slice_open:
            self._slice_open = True
            self._slice_end = start + SLICE
            asyncio.get_running_loop().call_soon(self._close_slice)
        elif start > self._slice_end:
            return None
        outputs = _run(model, model.feed, rows)
        _note(model, count, perf_counter() - start)
        return outputs

    async def run_queued(self, model: LoadedModel, rows: Rows) -> tuple[Outputs, float]:
        """Wait in the queue, then run.

        Returns:
            The outputs, and the seconds waited.

        Raises:
            OverloadedError: the queue is full, or the deadline passed.
            UnservableError: the graph failed.
        """
        if self.queued >= self._bound and perf_counter() - self._drained_at > SLICE:
            self._work_off()  # a flood of arrivals keeps the loop from coming to it
        if self.queued >= self._bound:
            raise OverloadedError(f"the queue is full: {self.queued} requests wait", self._retry_after())
        loop = asyncio.get_running_loop()
        waiting = _Waiting(rows, perf_counter(), loop.create_future())
        slow = model.seconds * (1 + len(rows) / _ROWS_AS_ONE) > SLOW or len(rows) > self._max_rows
        (self._slow if slow else self._fast).setdefault(model, deque()).append(waiting)
        self.queued += 1
        model.users += 1
        try:
            if slow:
                self._start_threads()
            elif not self._draining:
                self._draining = True
                self._drained_at = waiting.since  # nothing waited before
                loop.call_later(self._company, self._drain) if self._company else loop.call_soon(self._drain)
            return await waiting.done
        finally:
            model.users -= 1

    def expire(self) -> None:
        """Refuse requests past their deadline; called regularly, as a full thread pool takes nothing off the queue."""
        now = perf_counter()
        for groups in (self._fast, self._slow):
            for model in list(groups):
                queue = groups[model]
                while queue and now - queue[0].since > self._deadline:
                    self._refuse(queue.popleft(), now)
                if not queue:
                    del groups[model]

    def longest_wait(self) -> float:
        """Seconds that a request waited at most, since the last call; those that wait still included."""
        now = perf_counter()
        heads = [queue[0].since for groups in (self._fast, self._slow) for queue in groups.values() if queue]
        longest = max(self._longest_wait, now - min(heads, default=now))
        self._longest_wait = 0.0
        return longest

    async def stop(self) -> None:
        """Return when nothing waits any more."""
        while self.queued or self._free < (os.cpu_count() or 1):
            await asyncio.sleep(0.005)
        self._threads.shutdown(wait=False)

    def _close_slice(self) -> None:
        self._slice_open = False

    def _drain(self) -> None:
        try:
            self._work_off()
        finally:
            self._draining = bool(self._fast)
            if self._draining:
                asyncio.get_running_loop().call_soon(self._drain)

    def _work_off(self) -> None:
        """Run what waits, for at most `SLICE`, or for as long as the loop was busy with other things since."""
        began = perf_counter()
        end = began + max(SLICE, began - self._drained_at)
        while self._fast and perf_counter() < end:
            model = next(iter(self._fast))
            batch = self._take(self._fast, model)
            if batch:
                start = perf_counter()
                rows = _joined(batch)
                try:
                    outputs = _run(model, model.feed, rows)
                except UnservableError as error:
                    _fail(batch, error)
                else:
                    _note(model, len(rows), perf_counter() - start)
                    _give(batch, outputs, start)
                finally:
                    _fail(batch, _broken_off())
        self._drained_at = perf_counter()

    def _take(self, groups: dict[LoadedModel, deque[_Waiting]], model: LoadedModel) -> list[_Waiting]:
        """Requests of one model that run together; those that wait no more or too long are sorted out."""
        queue, count, now = groups.pop(model), 0, perf_counter()
        batch: list[_Waiting] = []
        while queue and (not batch or count + len(queue[0].rows) <= self._max_rows):
            waiting = queue.popleft()
            if waiting.done.done():  # the caller hung up
                self.queued -= 1
            elif now - waiting.since > self._deadline:
                self._refuse(waiting, now)
            else:
                self.queued -= 1
                count += len(waiting.rows)
                batch.append(waiting)
        if batch:
            self._longest_wait = max(self._longest_wait, now - batch[0].since)
        if queue:
            groups[model] = queue  # at the end: other models first
        return batch

    def _refuse(self, waiting: _Waiting, now: float) -> None:
        self.queued -= 1
        self._longest_wait = max(self._longest_wait, now - waiting.since)
        if not waiting.done.done():
            text = f"not answered within {self._deadline * 1e3:.0f} ms"
            waiting.done.set_exception(OverloadedError(text, self._retry_after()))

    def _start_threads(self) -> None:
        while self._free and self._slow:
            model = next(iter(self._slow))
            batch = self._take(self._slow, model)
            if batch:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._run_in_thread(model, batch))
                task.add_done_callback(lambda _: self._start_threads())

    async def _run_in_thread(self, model: LoadedModel, batch: list[_Waiting]) -> None:
        start, rows = perf_counter(), _joined(batch)
        try:
            work = asyncio.get_running_loop().run_in_executor(
                self._threads, _run_chunks, model, dict(model.feed), rows, self._max_rows
            )
            outputs, seconds = await work
        except UnservableError as error:
            _fail(batch, error)
        else:
            _note(model, min(len(rows), self._max_rows), seconds)
            _give(batch, outputs, start)
        finally:
            self._free += 1
            _fail(batch, _broken_off())

    def _retry_after(self) -> int:
        return max(1, math.ceil(self._deadline)) if self._deadline < math.inf else 1


def _run(model: LoadedModel, feed: Weights, rows: Rows) -> Outputs:
    feed[INPUT] = rows
    try:
        return run_graph(model.architecture.session, feed)
    except RUN_FAILURES as error:
        text = f"the graph does not fit its manifest: {error}"
        raise UnservableError(text, "train the model again: mlops train") from error
    finally:
        feed.pop(INPUT, None)


def _run_chunks(model: LoadedModel, feed: Weights, rows: Rows, size: int) -> tuple[Outputs, float]:
    """Run in chunks of `size` rows; the outputs, and the seconds of the quickest chunk."""
    parts, quickest = [], math.inf
    for start in range(0, len(rows), size):
        began = perf_counter()
        parts.append(_run(model, feed, rows[start : start + size]))
        quickest = min(quickest, perf_counter() - began)
    if len(parts) == 1:
        return parts[0], quickest
    return (np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])), quickest


def _note(model: LoadedModel, rows: int, seconds: float) -> None:
    """Remember what a row costs: at once if it is less than thought, slowly if it is more."""
    one = seconds / (1 + rows / _ROWS_AS_ONE)
    model.seconds = one if one < model.seconds else model.seconds + _FORGET * (one - model.seconds)


def _joined(batch: list[_Waiting]) -> Rows:
    return batch[0].rows if len(batch) == 1 else np.concatenate([waiting.rows for waiting in batch])


def _give(batch: Iterable[_Waiting], outputs: Outputs, start: float) -> None:
    place = 0
    for waiting in batch:
        end = place + len(waiting.rows)
        if not waiting.done.done():
            part = outputs[0][place:end], outputs[1][place:end]
            waiting.done.set_result((part, start - waiting.since))
        place = end


def _broken_off() -> UnservableError:
    """For whoever has no answer yet when a run ends in a way that nobody foresaw: nobody waits for ever."""
    return UnservableError("the run was broken off", "see the server's log")


def _fail(batch: Iterable[_Waiting], error: UnservableError) -> None:
    """Give the error to those of the batch that have no answer."""
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
