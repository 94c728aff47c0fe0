"""A connection to a training process: find or start the process, give it tasks, end it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import psutil

from mlops_cli.errors import TrainingError
from mlops_cli.training.process_settings import PROCESS_SETTINGS

HERE = "127.0.0.1"
POLL_SECONDS = 0.05
ANSWER_POLL_SECONDS = 0.2
SHUTDOWN_SECONDS = 10
SAME_SECONDS = 1.0  # largest difference between two readings of the start time of one process
LOG_TAIL = 5


class StoppedError(Exception):
    """The caller has stopped, so the answer is not needed."""


class WorkerLink:
    """A training process that is connected and ready."""

    def __init__(self, note: Path, connection: Connection[Any, Any], identity: psutil.Process, log: Path) -> None:
        self._identity = identity  # of a process that this one may not have started
        self._note, self._connection, self._log = note, connection, log
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def find(cls, note: Path, log: Path) -> WorkerLink | None:
        """Connect to the process that wrote this note; if it has ended, remove the note and return None."""
        try:
            content = json.loads(note.read_text())
            process = psutil.Process(content["pid"])
            if abs(process.create_time() - content["started"]) > SAME_SECONDS:
                raise ValueError("another process has got its id")
            connection = Client((HERE, content["port"]), authkey=bytes.fromhex(content["key"]))
            return cls(note, connection, process, log)
        except (OSError, EOFError, ValueError, LookupError, TypeError, AuthenticationError, psutil.Error):
            note.unlink(missing_ok=True)
            return None

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        note: Path,
        log: Path,
        environment: Mapping[str, str],
        needed: Callable[[], bool],
    ) -> WorkerLink:
        """Start a process and wait until it is ready.

        Args:
            command: command that starts a process, which writes its address to `note`.
            note: file of the address.
            log: file for its output; overwritten.
            environment: added to `PROCESS_SETTINGS`.
            needed: called repeatedly while waiting; when it returns False, the process is ended.

        Raises:
            TrainingError: it ended before it was ready.
            StoppedError: `needed` returned False.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **PROCESS_SETTINGS, **environment},
            )
        link = None
        try:
            while process.poll() is None and needed():
                if note.exists():
                    link = cls.find(note, log)
                    if link is None:
                        raise TrainingError("the training process wrote an address where nothing answers", f"see {log}")
                    link._process = process
                    return link
                time.sleep(POLL_SECONDS)
            if process.poll() is None:
                raise StoppedError
        finally:
            if link is None:
                _end(process)
        words = _last_words(process.returncode, log)
        raise TrainingError(f"the training process did not start: {words}", f"its whole output is in {log}")

    def ask(self, line: str, heard: Callable[[dict[str, Any]], None], needed: Callable[[], bool]) -> bool:
        """Send a task (a line of JSON) and call `heard` with each answer; False if the process died during the task.

        Raises:
            StoppedError: `needed` returned False; the caller must end the process.
        """
        try:
            self._connection.send_bytes(line.encode())
            while True:
                while not self._connection.poll(ANSWER_POLL_SECONDS):
                    if not needed():
                        raise StoppedError
                answer = json.loads(self._connection.recv_bytes())
                if "done" in answer:
                    return True
                heard(answer)
        except (EOFError, OSError):
            return False

    def leave(self) -> None:
        """Disconnect; the process waits for the next connection."""
        self._connection.close()
        if self._process is not None:
            self._process.returncode = 0  # else Python warns of a child that is still running

    def stop(self) -> None:
        """End the process and wait until it has ended."""
        self._connection.close()
        self._note.unlink(missing_ok=True)
        if self._process is not None:
            _end(self._process)
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            self._identity.terminate()  # fails if another process has got its id
            psutil.wait_procs([self._identity], timeout=SHUTDOWN_SECONDS)

    def last_words(self) -> str:
        """How the process ended, and the last lines of its output."""
        code = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(SHUTDOWN_SECONDS)
        return _last_words(code, self._log)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SHUTDOWN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(code: int | None, log: Path) -> str:
    ending = "it is gone" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
    lines = log.read_text(errors="replace").strip().splitlines()[-LOG_TAIL:] if log.is_file() else []
    return f"{ending}; {' | '.join(lines)}" if lines else ending
