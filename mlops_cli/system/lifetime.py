"""Lets a process end when the process it works for has ended, even if that one was killed."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

import psutil

POLL_SECONDS = 0.5
PR_SET_PDEATHSIG = 1


def end_with_parent() -> Callable[[], None] | None:
    """For `Popen(preexec_fn=...)`: the kernel sends the child SIGTERM once the thread that started it has ended.

    It holds for a parent that was killed too, and for children that know nothing of it. None outside of Linux.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # before the fork: a child of a process with threads must not load libraries
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def call_when_ended(
    processes: Sequence[psutil.Process | int], act: Callable[[], None], needed: Callable[[], bool] = lambda: True
) -> None:
    """Call `act` in a separate thread once one of `processes` has ended, or if it no longer exists.

    Args:
        processes: the processes to watch; given as ids, they must be running or have only just ended.
        act: called once, within about half a second; usually ends this process.
        needed: called regularly; `act` is also called once this returns False.
    """

    def watch() -> None:
        try:
            watched = [psutil.Process(one) if isinstance(one, int) else one for one in processes]
            while needed() and all(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in watched):
                time.sleep(POLL_SECONDS)
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied:
            return  # another user's process cannot be watched
        act()

    threading.Thread(target=watch, daemon=True).start()
