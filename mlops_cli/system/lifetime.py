"""Processes that end with the process they work for, even if that one is killed without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import psutil

POLL_SECONDS = 0.5


def when_gone(
    processes: Sequence[psutil.Process | int], act: Callable[[], None], needed: Callable[[], bool] = lambda: True
) -> None:
    """Call `act` in a thread of its own once one of `processes` has ended, or is not there already.

    Args:
        processes: to watch; as numbers, they must be running or just ended.
        act: called once, within about half a second; usually ends this process.
        needed: asked regularly; `act` is called as well once it says no.
    """

    def watch() -> None:
        try:
            watched = [psutil.Process(one) if isinstance(one, int) else one for one in processes]
            while needed() and all(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in watched):
                time.sleep(POLL_SECONDS)
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied:
            return  # another user's process: not to be watched
        act()

    threading.Thread(target=watch, daemon=True).start()
