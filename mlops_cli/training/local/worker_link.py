"""One training process, as seen by who gives it work."""

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
ENDING_SECONDS = 10
SAME_SECONDS = 1.0  # between what a process and others say of its start
LOG_TAIL = 5


class StoppedError(Exception):
    """Nobody wants the answer any more."""


class WorkerLink:
    """A training process that is connected and ready."""

    def __init__(self, note: Path, connection: Connection[Any, Any], known: psutil.Process, log: Path) -> None:
        self._known = known
        self._note, self._connection, self._log = note, connection, log
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def find(cls, note: Path, log: Path) -> WorkerLink | None:
        """Connect to the process that left this note; None (and no note) if it is gone."""
        try:
            content = json.loads(note.read_text())
            process = psutil.Process(content["pid"])
            if abs(process.create_time() - content["started"]) > SAME_SECONDS:
                raise ValueError("another process has its number by now")
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
        wanted: Callable[[], bool],
    ) -> WorkerLink:
        """Start a process and wait until it is ready.

        Args:
            command: how; it leaves its address in `note`.
            note: where.
            log: takes what it prints; overwritten.
            environment: laid over `PROCESS_SETTINGS`.
            wanted: asked now and then; once it says no, the process is ended.

        Raises:
            TrainingError: it ended before it was ready.
            StoppedError: `wanted` said no.
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
            while process.poll() is None and wanted():
                if note.exists():
                    link = cls.find(note, log)
                    if link is None:
                        raise TrainingError("the training process left an address that leads nowhere", f"see {log}")
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

    def ask(self, line: str, heard: Callable[[dict[str, Any]], None], wanted: Callable[[], bool]) -> bool:
        """Give it a task and hand on what it answers, until it is done.

        Args:
            line: the task.
            heard: takes each answer.
            wanted: asked now and then.

        Returns:
            Whether it came to the end; False when the process died over it.

        Raises:
            StoppedError: `wanted` said no; the process is to be ended.
        """
        try:
            self._connection.send_bytes(line.encode())
            while True:
                while not self._connection.poll(ANSWER_POLL_SECONDS):
                    if not wanted():
                        raise StoppedError
                answer = json.loads(self._connection.recv_bytes())
                if "done" in answer:
                    return True
                heard(answer)
        except (EOFError, OSError):
            return False

    def leave(self) -> None:
        """Let go of it; it waits for the next one."""
        self._connection.close()
        if self._process is not None:
            self._process.returncode = 0  # or Python warns of a child that is still running

    def stop(self) -> None:
        """End it and wait for that."""
        self._connection.close()
        self._note.unlink(missing_ok=True)
        if self._process is not None:
            _end(self._process)
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            self._known.terminate()  # refuses where another process has its number by now
            psutil.wait_procs([self._known], timeout=ENDING_SECONDS)

    def last_words(self) -> str:
        """How it ended, and the end of what it printed; asked once it died."""
        code = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(ENDING_SECONDS)
        return _last_words(code, self._log)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(code: int | None, log: Path) -> str:
    how = "it is gone" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
    lines = log.read_text(errors="replace").strip().splitlines()[-LOG_TAIL:] if log.is_file() else []
    return f"{how}; {' | '.join(lines)}" if lines else how
