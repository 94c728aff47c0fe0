"""Runs passes in processes that kill themselves, without warning, at the line they are told to.

A process of its own, without threads, that forks: `python -m tests.fakes.pass_runner` reads one JSON object a line
(url, folder, seed, kill_at, sell) and answers each with one: how the child ended, and how many lines it ran.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import filelock  # noqa: F401 - once here, not in every child

from mlops_cli.errors import MlopsError
from tests.fakes.exchange_server import some_prices
from tests.fakes.paper_team import PaperTeam

TRADING = f"{os.sep}mlops_cli{os.sep}trading{os.sep}"
COUNTED = {
    f"{name}.py"
    for name in (
        "paper_pass", "deciding", "sending", "liquidate", "reconcile", "ledger", "connection", "opening",
        "alpaca_broker", "alpaca_client",
    )
}  # fmt: skip
"""Where something is written or sent; lines that only compute would be most of all lines, and all the same."""


class Fuse:
    """Counts the lines that are run where orders are written and sent, and kills the process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.lines = 0
        self._kill_at = kill_at

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if TRADING not in path or path.rpartition(os.sep)[2] not in COUNTED:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def one(order: dict[str, Any], prices: Any) -> dict[str, Any]:
    """One pass, traced from its first line."""
    team = PaperTeam(order["url"], Path(order["folder"]), prices, order["seed"])
    fuse = Fuse(order["kill_at"])
    sys.settrace(fuse)
    try:
        if order.get("sell"):
            done = team.liquidate()
            return {"outcome": "liquidated", "clean": not done.failed, "sent": len(done.sent), "lines": fuse.lines}
        report = team.run()
        return {"outcome": report.outcome, "clean": report.clean, "sent": len(report.sent), "lines": fuse.lines}
    except MlopsError as error:
        return {"outcome": type(error).__name__, "clean": False, "text": str(error), "lines": fuse.lines}
    finally:
        sys.settrace(None)


def main() -> None:
    """Serve orders until there are no more."""
    prices = some_prices()
    print("ready", flush=True)
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                json.dump(one(json.loads(line), prices), pipe)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        answer = json.loads(text) if text and not killed else {"outcome": "killed" if killed else "crashed"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
