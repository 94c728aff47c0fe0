"""Locks between processes: a file that one process holds at a time, released when it ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_cli.errors import MlopsError


@contextmanager
def file_lock(
    path: Path, busy: MlopsError, seconds: float = 0.0, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock file `path`.

    Args:
        path: the file; it and its folder are made if they are not there.
        busy: the error to raise if another process holds the lock.
        seconds: how long to wait for that process first.
        waiting: called once before the wait, for example to inform the user.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)  # the thread that releases it may not be the one that acquired it
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not seconds:
            raise busy from None
        if waiting is not None:
            waiting()
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            raise busy from None
    try:
        yield
    finally:
        lock.release()
