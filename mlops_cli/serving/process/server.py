"""`mlops serve`: a listening socket, and one or several worker processes that answer on it.

A single worker runs in the process itself. Several workers are child processes. They share the socket (the kernel
hands each connection to one of them) and, by mmap, the weights. The parent loads no model. It restarts workers
that died, and on SIGTERM or Ctrl-C it ends all workers after they have finished their open requests.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from mlops_cli.errors import MlopsError, ServiceError, error_with
from mlops_cli.serving.process.server_options import (
    BACKLOG,
    DRAIN_SECONDS,
    ServeOptions,
    failure_note,
    greeting,
    ready_mark,
)
from mlops_cli.system.scratch_folders import scratch_folder
from mlops_cli.system.sockets import listen

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0  # a worker that ran longer than this is restarted without a longer pause
POLL_SECONDS = 0.1


def run_server(options: ServeOptions, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `say` prints a line: where the server is, and which worker died.

    Raises:
        ServiceError: the port is taken, or workers die as soon as they start.
        MlopsError: the workers cannot start, for example because there is no model.
    """
    hint = "stop the program that listens there, or use another port: mlops serve --port 8081"
    listening = listen(options.host, options.port, hint, BACKLOG)
    with listening as listener, scratch_folder("mlops-serve-") as notes:
        if options.workers == 1:
            from mlops_cli.serving.process.worker import alone

            alone(options, listener, notes, say)
        else:
            _WorkerPool(options, listener, notes, say).run()


@dataclass
class _Child:
    """A worker process, and when to start it again if it dies."""

    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE  # before its next start
    restart_at: float = 0.0


class _WorkerPool:
    """The parent of several workers."""

    def __init__(self, options: ServeOptions, listener: socket.socket, notes: Path, say: Callable[[str], None]) -> None:
        self._options = options
        self._listener = listener
        self._notes = notes
        self._say = say
        self._children = [_Child() for _ in range(options.workers)]
        self._stopping = False

    def run(self) -> None:
        """Keep the workers running until a signal comes, then end them."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        said = False
        try:
            while not self._stopping:
                for number, child in enumerate(self._children):
                    self._restart_if_dead(number, child)
                if not said and all(ready_mark(self._notes, number).exists() for number in range(len(self._children))):
                    self._say(greeting(self._options, self._listener))
                    said = True
                time.sleep(POLL_SECONDS)
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopping = True

    def _restart_if_dead(self, number: int, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.restart_at:
                child.process, child.started = self._spawn(number), now
            return
        code = child.process.poll()
        if code is None:
            return
        if not ready_mark(self._notes, number).exists():
            raise self._failure(number, code)
        child.process = None
        pause = FIRST_PAUSE if now - child.started > STEADY_SECONDS else child.pause
        child.restart_at = now + pause
        child.pause = min(2 * pause, LONGEST_PAUSE)
        self._say(f"worker {number} ended ({code}); starts again in {pause:g} s")

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        given = json.dumps({**asdict(self._options), "notes": str(self._notes), "worker": number})
        descriptor = self._listener.fileno()
        command = [sys.executable, "-m", "mlops_cli.serving.process.worker", given, str(descriptor)]
        # a new session: Ctrl-C in the terminal reaches only the parent, which then ends the workers properly
        return subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL, start_new_session=True)

    def _failure(self, number: int, code: int) -> MlopsError:
        path = failure_note(self._notes, number)
        if path.exists():
            why = json.loads(path.read_text())
            return error_with(why["exit_code"], why["message"], why["hint"])
        return ServiceError(f"worker {number} ended with {code} before it was ready", "see the error with: --workers 1")

    def _end(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + DRAIN_SECONDS + 5
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
