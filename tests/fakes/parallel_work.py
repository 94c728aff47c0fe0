"""Work for `system.parallel`, in a module of its own so that other processes can import it; also a program to stop.

    python -m tests.fakes.parallel_work FOLDER

sleeps on many items in two processes or more, leaves a file per item begun, and says `stopped` on Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from mlops_cli.errors import DataError
from mlops_cli.system.parallel import each

STOPPED = 130
LARGE = 1000  # of items so large, two are worth two processes


def square(number: int) -> int:
    time.sleep((number % 3) / 1000)  # so that later items are done before earlier ones
    return number * number


def process_of(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def odd_only(number: int) -> int:
    if number % 2 == 0:
        raise DataError(f"T{number}: even", "give odd numbers")
    return number


def buggy(number: int) -> float:
    return 1 / (number - 5)


def dies(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def begun(folder: Path, number: int) -> int:
    (folder / str(number)).touch()
    time.sleep(0.05)
    return number


if __name__ == "__main__":
    try:
        for _ in each(partial(begun, Path(sys.argv[1])), range(2000), size=LARGE):
            pass
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(STOPPED)
