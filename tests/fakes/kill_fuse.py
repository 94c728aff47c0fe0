"""Work in child processes that kill themselves, without warning, at the line of the nightly pass they are told to.

A process of its own forks a child for each order: a JSON object a line on stdin, one with the answer on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from mlops_cli.errors import MlopsError

ROOMS = tuple(
    f"{os.sep}mlops_cli{os.sep}{room.replace('/', os.sep)}"
    for room in (
        "live/passes/", "live/replay/", "live/journal/journal", "live/journal/opening", "live/health/update",
        "pipeline/stages/ingest", "pipeline/stages/tables", "pipeline/stages/stage", "pipeline/versions/",
        "models/versions", "system/files", "system/sqlite_files", "trading/passes/paper_pass", "trading/ledger/ledger",
    )
)  # fmt: skip
"""Where something is written, sent or decided; lines that only compute would be most of all lines, and all the same."""
SINGLE_THREADED = {  # a process with threads forks badly
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
Order = dict[str, Any]


class Fuse:
    """Counts the lines that are run in these rooms, and kills the process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.lines = 0
        self._kill_at = kill_at
        self._counted: dict[str, bool] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        counted = self._counted.get(file)
        if counted is None:
            counted = self._counted[file] = any(room in file for room in ROOMS)
        if not counted:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def traced(work: Callable[[Order], Order], order: Order) -> Order:
    """Do the work of an order, traced from its first line if it is to be killed."""
    fuse = Fuse(order["kill_at"])
    sys.settrace(fuse if order["kill_at"] is not None or order.get("count") else None)
    try:
        return {**work(order), "lines": fuse.lines}
    except MlopsError as error:
        return {"outcome": type(error).__name__, "text": str(error), "lines": fuse.lines}
    except BaseException:
        sys.settrace(None)
        traceback.print_exc()
        raise
    finally:
        sys.settrace(None)


def serve(work: Callable[[Order], Order]) -> None:
    """Serve orders until there are no more, each in a child of its own."""
    # onnxruntime starts a thread when it is imported; nothing here waits for it
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                with os.fdopen(writer, "w") as pipe:
                    json.dump(traced(work, order), pipe)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        answer = json.loads(text) if text and not killed else {"outcome": "killed" if killed else "crashed"}
        print(json.dumps(answer), flush=True)


class KilledProcesses:
    """Sends orders to a module that serves them."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **SINGLE_THREADED},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, **order: Any) -> Order:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: Order = json.loads(self._process.stdout.readline())
        assert answer["outcome"] != "crashed", f"{order}: a bug; its traceback is above"
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=20)
