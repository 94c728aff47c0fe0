"""Issues and settles nights of forecasts in processes that are killed without warning.

A process of its own, without threads, that forks: `python -m tests.fakes.journal_writer` reads one JSON object a line
(path, models, nights, kill_at, kill_after, traced) and answers each with one: how the child ended, and how many lines
it ran.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Actual
from tests.fakes.journal_forecasts import EVENING, a_fleet

FIRST = date(2024, 1, 4)
COUNTED = {"journal.py", "opening.py", "tables.py", "sqlite_files.py"}


class Fuse:
    """Counts the lines of the journal that are run, and kills the process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.lines = 0
        self._kill_at = kill_at

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename.rpartition(os.sep)[2] not in COUNTED:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def night(path: Path, session: date, models: int) -> None:
    """Issue the forecasts of a session, and settle those of the session before."""
    now = EVENING + (session - FIRST)
    earlier = [Actual(forecast.key, 50.0, 50.0, 1.0) for forecast in a_fleet(models, session - timedelta(days=1))]
    with open_journal(path) as journal:
        journal.issue(a_fleet(models, session), now)
        journal.add_actuals(earlier if session > FIRST else [], now)


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Some nights, traced from the first line if it is to be killed at one."""
    fuse = Fuse(order["kill_at"])
    sys.settrace(fuse if order.get("traced", order["kill_after"] is None) else None)
    try:
        for number in range(order["nights"]):
            night(Path(order["path"]), FIRST + timedelta(days=number), order["models"])
    finally:
        sys.settrace(None)
    return {"outcome": "done", "lines": fuse.lines}


def main() -> None:
    """Serve orders until there are no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                json.dump(run(order), pipe)
            os._exit(0)
        os.close(writer)
        if order["kill_after"] is not None:
            time.sleep(order["kill_after"])
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        answer = json.loads(text) if text and not killed else {"outcome": "killed" if killed else "crashed"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
