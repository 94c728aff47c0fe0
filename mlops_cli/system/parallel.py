"""Runs the same work on many items in several processes. A failing item does not affect the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from mlops_cli.errors import EXIT_INTERRUPTED, MlopsError, ServiceError
from mlops_cli.system.lifetime import call_when_ended

ITEMS_PER_WORKER = 100
"""Items of the usual size that make up for a process that first imports pandas (0.4 s, without bytecode 1.5 s)."""
MOST_WORKERS = 16
"""Each takes some 150 MB."""
LARGEST_CHUNK = 8


def each[Item, Result](
    work: Callable[[Item], Result], items: Sequence[Item], size: int = 1
) -> Iterator[Result | MlopsError]:
    """Do `work` on every item; few items are done one after another in this process, with the same results.

    Args:
        work: a function of a module, or a `partial` of one; it, items and results are pickled for other processes.
        items: what it is done on.
        size: how many times the usual work of some 15 ms an item is.

    Yields:
        One result per item, in the order of `items`; the error where `work` raised an `MlopsError`.

    Raises:
        ServiceError: a process died, as when memory runs out.
        Whatever else `work` raises: a bug.
    """
    workers = worker_count(len(items), size)
    attempt = partial(_attempt, work)
    if workers == 1:
        yield from map(attempt, items)
        return
    # started, not forked: a fork of a process that runs threads may hang
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        with _deaf_to_ctrl_c():
            results = executor.map(attempt, items, chunksize=max(1, min(LARGEST_CHUNK, len(items) // (16 * workers))))
        yield from results
    except BrokenProcessPool as error:
        raise ServiceError(
            "a worker process died, perhaps because memory ran out", "what was finished is kept; run again"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def worker_count(items: int, size: int = 1) -> int:
    """The number of processes that pay for this many items: at most one per core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, items, items * size // ITEMS_PER_WORKER, MOST_WORKERS))


def _attempt[Item, Result](work: Callable[[Item], Result], item: Item) -> Result | MlopsError:
    try:
        return work(item)
    except MlopsError as error:
        return error


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which a terminal sends to all; this process gets it and ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """End this worker when its parent ends, or it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # of a worker
    assert parent.pid is not None
    call_when_ended([parent.pid], lambda: os._exit(EXIT_INTERRUPTED))  # not os.getppid(): it may have gone before
