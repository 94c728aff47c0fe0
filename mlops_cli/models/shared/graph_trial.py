"""Tries graphs in a process of their own, which ends when a graph runs too long or takes too much memory.

A graph can be made to run for ever, or to ask for all memory, already while ONNX Runtime builds a session of it.
Nothing can interrupt that inside of a process. So a graph of an architecture that was never run here is tried in a
child process first. The child stays for a while, because there may be many graphs to try at a time: its start takes
0.7 s, a trial some milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import signal
import subprocess
import sys
from threading import Lock
from typing import BinaryIO

from mlops_cli.errors import ModelError
from mlops_cli.models.shared.architectures import Split, same_answers, split

SECONDS = 10.0  # a usual trial takes milliseconds, that of a large recurrent model a second
MEMORY = 2 << 30  # bytes that a trial may take beyond what the process has
_IDLE = "10"  # seconds after which a process without work leaves
_HEADER = 1 << 16


class TrialProcess:
    """Does what `same_answers` does, in a child process that is started when it is needed. Threads may share it."""

    def __init__(self, seconds: float = SECONDS) -> None:
        """Give each graph this many seconds."""
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = Lock()
        self._closed = False

    def same_answers(self, graph: bytes, _: Split, columns: int) -> bool:
        """Whether the graph's shared form forecasts what the graph forecasts.

        Raises:
            ModelError: the graph does not run, or not within the bounds on time and memory.
        """
        request = json.dumps({"columns": columns, "bytes": len(graph), "seconds": self._seconds}).encode() + b"\n"
        with self._one_at_a_time:
            answer = self._ask(request + graph)
            if not answer and self._has_left():
                answer = self._ask(request + graph)
        if not answer:
            text = f"the graph did not finish a trial within {self._seconds:g} s and {MEMORY >> 30} GB"
            raise ModelError(text, "train the model again: mlops train")
        values = json.loads(answer)
        if "error" in values:
            raise ModelError(values["error"], "train the model again: mlops train")
        return bool(values["same"])

    def rest(self) -> None:
        """End the child process; the next trial starts another one."""
        with self._one_at_a_time:
            if self._process is not None:
                self._process.kill()
            self._release()

    def close(self) -> None:
        """End the child process, and start no other one. A trial that is under way fails."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
        with self._one_at_a_time:  # whoever waits for an answer gets none now
            self._release()

    def _has_left(self) -> bool:
        """Whether the child ended by itself, because it had nothing to do, just before it was asked."""
        return self._process is not None and self._process.wait() == 0

    def _ask(self, request: bytes) -> bytes:
        """The child's answer; empty where it has ended."""
        process = self._running()
        if process is None:
            return b""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(request)
            process.stdin.flush()
        return process.stdout.readline()

    def _running(self) -> subprocess.Popen[bytes] | None:
        if self._closed:
            return None
        if self._process is None or self._process.poll() is not None:
            self._release()
            command = [sys.executable, "-m", "mlops_cli.models.shared.graph_trial", _IDLE]
            pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, start_new_session=True)
            if self._closed:  # meanwhile
                self._process.kill()
        return self._process

    def _release(self) -> None:
        """Close the pipes of a child that has ended, or is ending."""
        if self._process is not None:
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def main() -> None:
    """Entry point of the child process: try each graph of the standard input, until it ends or nothing comes."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    used = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
    while select.select([requests], [], [], float(sys.argv[1]))[0]:
        line = requests.readline(_HEADER)
        if not line:
            return
        answers.write(_answer(json.loads(line), requests) + b"\n")
        answers.flush()


def _answer(request: dict[str, float], graphs: BinaryIO) -> bytes:
    graph, columns = graphs.read(int(request["bytes"])), int(request["columns"])
    # no handler: the system ends this process, whatever runs in it, and also if its parent is gone
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    try:
        return json.dumps({"same": same_answers(graph, split(graph, columns), columns)}).encode()
    except ModelError as error:
        return json.dumps({"error": error.message}).encode()
    except MemoryError:
        return json.dumps({"error": f"the graph takes more than {MEMORY >> 30} GB of memory"}).encode()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
