"""Runs models: at once if no request waits, else from a bounded queue that batches the requests of one model.

There are two lanes. The fast lane runs models in the event loop, for at most `SLICE_SECONDS` in a row, so that
requests that arrive meanwhile are admitted or refused. The slow lane runs models in threads if they take longer than
`SLOW_SECONDS`, as measured, so that no other request waits for them.
"""

from __future__ import annotations

import asyncio
import math
import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.models.graph import INPUT
from mlops_cli.models.session import RUN_FAILURES, BoundSession, run_graph, run_with_interval
from mlops_cli.models.shared.architectures import Weights
from mlops_cli.models.shared.weight_files import LoadedModel
from mlops_cli.serving.answering.waiting_queue import Batch, Outputs, Waiting, WaitingQueue
from mlops_cli.serving.contract.messages import OverloadedError, Rows, UnservableError

SLICE_SECONDS = 0.005
SLOW_SECONDS = 0.002


class Dispatcher:
    """The fast and the slow lane of one event loop."""

    def __init__(self, settings: Serving) -> None:
        delayed, batching = settings.delayed_answer, settings.batching
        deadline = delayed.deadline_ms / 1e3 if delayed.enabled else math.inf
        self._max_queued = delayed.queue if delayed.enabled else math.inf
        self._max_rows = batching.max_rows
        self._waits_for_more = batching.max_wait_ms > 0
        self._slice = _Slice()
        self._fast = _FastLane(WaitingQueue(deadline, batching.max_rows), batching.max_wait_ms / 1e3)
        self._slow = _SlowLane(WaitingQueue(deadline, batching.max_rows), batching.max_rows)

    @property
    def queued(self) -> int:
        """Number of requests that wait."""
        return self._fast.queue.count + self._slow.queue.count

    def run_now(self, model: LoadedModel, rows: Rows, levels: int = 0) -> Outputs | None:
        """Run at once, or raise an `UnservableError`. None if it must wait (`run_queued`).

        With `levels`, the outputs have the intervals of the model, which are of so many levels.
        """
        count = len(rows)
        if self._fast.queue.count or self._waits_for_more or self._is_slow(model, count):
            return None
        start = perf_counter()
        if not self._slice.has_time(start):
            return None
        outputs = run_bound(model, rows, levels)
        record_duration(model, count, perf_counter() - start)
        return outputs

    async def run_queued(self, model: LoadedModel, rows: Rows, levels: int = 0) -> tuple[Outputs, float]:
        """Wait in the queue, then run; the outputs as of `run_now`, and the seconds waited.

        Raises:
            OverloadedError: the queue is full, or the deadline passed.
            UnservableError: the graph failed.
        """
        if self.queued >= self._max_queued and self._fast.is_held_up():
            self._fast.work()
        if self.queued >= self._max_queued:
            text = f"the queue is full: {self.queued} requests wait"
            raise OverloadedError(text, self._fast.queue.retry_after())
        waiting = Waiting(rows, perf_counter(), asyncio.get_running_loop().create_future(), levels)
        model.users += 1
        try:
            (self._slow if self._is_slow(model, len(rows)) else self._fast).add(model, waiting)
            return await waiting.done
        finally:
            model.users -= 1

    def expire(self) -> None:
        """Refuse requests past their deadline. Called regularly, as nothing else does it while all threads are busy."""
        now = perf_counter()
        self._fast.queue.expire(now)
        self._slow.queue.expire(now)

    def longest_wait(self) -> float:
        """The longest time in seconds that a request waited since the last call, or has waited until now."""
        now = perf_counter()
        return max(self._fast.queue.longest_wait(now), self._slow.queue.longest_wait(now))

    async def stop(self) -> None:
        """Return when nothing waits or runs any more."""
        while self.queued or self._slow.is_busy():
            await asyncio.sleep(0.005)
        self._slow.close()

    def _is_slow(self, model: LoadedModel, rows: int) -> bool:
        return rows > self._max_rows or expected_seconds(model, rows) > SLOW_SECONDS


class _Slice:
    """The time limit for running models immediately, counted from the first run in a turn of the event loop."""

    def __init__(self) -> None:
        self._open = False
        self._end = 0.0

    def has_time(self, now: float) -> bool:
        """Whether there is time left; opens the slice if this is the first run in this turn."""
        if self._open:
            return now <= self._end
        self._open = True
        self._end = now + SLICE_SECONDS
        asyncio.get_running_loop().call_soon(self._close)
        return True

    def _close(self) -> None:
        self._open = False


class _FastLane:
    """Runs queued requests in the event loop, slice by slice. While any wait, one call of `_turn` is scheduled."""

    def __init__(self, queue: WaitingQueue, gather_seconds: float) -> None:
        """Let the first request wait `gather_seconds` for others of its model."""
        self.queue = queue
        self._gather_seconds = gather_seconds
        self._scheduled = False
        self._worked_at = 0.0  # when it last ran something, or when the first request came

    def add(self, model: LoadedModel, waiting: Waiting) -> None:
        """Add a request, and see to it that it is run."""
        self.queue.add(model, waiting)
        if not self._scheduled:
            self._scheduled = True
            self._worked_at = waiting.since
            asyncio.get_running_loop().call_later(self._gather_seconds, self._turn)

    def is_held_up(self) -> bool:
        """Whether so many requests arrive that the event loop does not get to run the queued ones."""
        return perf_counter() - self._worked_at > SLICE_SECONDS

    def work(self) -> None:
        """Run queued requests for `SLICE_SECONDS` or, if longer, for as long as the event loop did other work."""
        began = perf_counter()
        end = began + max(SLICE_SECONDS, began - self._worked_at)
        while self.queue.count and perf_counter() < end:
            batch = self.queue.take()
            if batch is not None:
                _run_batch(batch)
        self._worked_at = perf_counter()

    def _turn(self) -> None:
        try:
            self.work()
        finally:
            self._scheduled = bool(self.queue.count)
            if self._scheduled:
                asyncio.get_running_loop().call_soon(self._turn)


def _run_batch(batch: Batch) -> None:
    start = perf_counter()
    rows = batch.rows()
    try:
        outputs = run_bound(batch.model, rows, batch.levels)
    except UnservableError as error:
        batch.fail(error)
    else:
        record_duration(batch.model, len(rows), perf_counter() - start)
        batch.answer(outputs, start)
    finally:
        batch.close()


class _SlowLane:
    """Runs queued requests in threads, one batch per thread."""

    def __init__(self, queue: WaitingQueue, max_rows: int) -> None:
        """Run at most `max_rows` rows at once."""
        self.queue = queue
        self._max_rows = max_rows
        self._size = os.cpu_count() or 1
        self._free = self._size
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="slow-model")

    def add(self, model: LoadedModel, waiting: Waiting) -> None:
        """Add a request, and start it if a thread is free."""
        self.queue.add(model, waiting)
        self._start()

    def is_busy(self) -> bool:
        """Whether a thread runs a model."""
        return self._free < self._size

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)

    def _start(self) -> None:
        while self._free and self.queue.count:
            batch = self.queue.take()
            if batch is not None:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._run(batch))
                task.add_done_callback(lambda _: self._start())

    async def _run(self, batch: Batch) -> None:
        start, rows = perf_counter(), batch.rows()
        loop = asyncio.get_running_loop()
        try:
            outputs, seconds = await loop.run_in_executor(
                self._threads,
                run_in_chunks,
                batch.model,
                dict(batch.model.feed),
                rows,
                self._max_rows,
                batch.levels,
            )
        except UnservableError as error:
            batch.fail(error)
        else:
            record_duration(batch.model, min(len(rows), self._max_rows), seconds)
            batch.answer(outputs, start)
        finally:
            self._free += 1
            batch.close()


_ROWS_PER_RUN_COST = 64  # 64 more rows take about as long as the first row alone
_SLOWER_WEIGHT = 0.05  # weight of a run slower than expected in the measured duration: a single one is noise


def run_bound(model: LoadedModel, rows: Rows, levels: int = 0) -> Outputs:
    """Run a model as `run_model` does, quicker, but in one thread alone: in the event loop."""
    try:
        if model.bound is None:
            model.bound = BoundSession(model.architecture.session, model.feed)
        return model.bound.run(rows, levels)
    except RUN_FAILURES as error:
        raise _misfit(error) from error


def _misfit(error: Exception) -> UnservableError:
    return UnservableError(f"the graph does not fit its manifest: {error}", "train the model again: mlops train")


def run_model(model: LoadedModel, feed: Weights, rows: Rows, levels: int = 0) -> Outputs:
    """Run a model on float32 (n, columns), with its intervals of so many levels if there are any.

    The rows are added to `feed`, its weights, for the duration of the run, so a thread needs a copy of its own.

    Raises:
        UnservableError: the graph failed.
    """
    feed[INPUT] = rows
    try:
        session = model.architecture.session
        return run_with_interval(session, feed, levels) if levels else run_graph(session, feed)
    except RUN_FAILURES as error:
        raise _misfit(error) from error
    finally:
        feed.pop(INPUT, None)


def run_in_chunks(model: LoadedModel, feed: Weights, rows: Rows, size: int, levels: int = 0) -> tuple[Outputs, float]:
    """Run a model on `size` rows at a time, as `run_model` does; also returns the seconds of the quickest chunk."""
    parts, quickest = [], math.inf
    for start in range(0, len(rows), size):
        began = perf_counter()
        parts.append(run_model(model, feed, rows[start : start + size], levels))
        quickest = min(quickest, perf_counter() - began)
    if len(parts) == 1:
        return parts[0], quickest
    return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True)), quickest


def expected_seconds(model: LoadedModel, rows: int) -> float:
    """Expected duration of a run of this many rows, estimated from earlier runs; 0.0 before the first run."""
    return model.seconds * (1 + rows / _ROWS_PER_RUN_COST)


def record_duration(model: LoadedModel, rows: int, seconds: float) -> None:
    """Update the expected duration: a quicker run replaces it, a slower run raises it by a small part of the excess."""
    single = seconds / (1 + rows / _ROWS_PER_RUN_COST)
    model.seconds = single if single < model.seconds else model.seconds + _SLOWER_WEIGHT * (single - model.seconds)
