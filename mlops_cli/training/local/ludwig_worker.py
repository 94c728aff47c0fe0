"""The training process: it imports Ludwig once and then trains tasks that it receives over a local connection.

It is started as `python -m mlops_cli.training.local.ludwig_worker GRAPHS NOTE OWNER`: the folder of exported
architectures, the file to which it writes its address once Ludwig is imported, and the id of its owner, with which it
ends. A client reads the address, connects and sends tasks (`tasks.task_to_json`). The answers are `{"doing": ...}`, one
`{"result": ...}` per job and `{"done": true}`. If the connection is lost during a task, the process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import psutil

from mlops_cli.system.files import write_text
from mlops_cli.system.lifetime import call_when_ended
from mlops_cli.training.process_settings import light_import, settle_arithmetic
from mlops_cli.training.tasks import Task, result_to_json, task_from_json
from mlops_cli.training.trainer import FailedJob, Fitted

Tick = Callable[[str], None]
Fit = Callable[[Task, Tick], Iterator[Fitted | FailedJob]]
HERE = "127.0.0.1"


def main() -> None:
    """Train with Ludwig until the owner has ended."""
    serve(lambda: load_ludwig(Path(sys.argv[-3])))


def serve(load: Callable[[], Fit]) -> None:
    """Train tasks with the function that `load` returns, until the owner has ended or its address file is removed."""
    note, owner = Path(sys.argv[-2]), int(sys.argv[-1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner handles Ctrl-C
    os.dup2(2, 1)  # the output of libraries goes to the log
    _end_with(owner, None)
    fit = load()
    key = secrets.token_bytes(32)
    with Listener((HERE, 0), authkey=key) as listener:
        process = psutil.Process()
        identity = {"pid": process.pid, "started": process.create_time()}
        address = {"port": listener.address[1], "key": key.hex(), **identity}
        write_text(note, json.dumps(address), mode=0o600)
        _end_with(owner, note)
        while True:
            with contextlib.suppress(AuthenticationError, EOFError, ConnectionError), listener.accept() as connection:
                _converse(connection, fit)


def _converse(connection: Connection[Any, Any], fit: Fit) -> None:
    """Answer a client until it disconnects."""
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()

    def read() -> None:
        try:
            while True:
                line = connection.recv_bytes().decode()
                busy.set()
                tasks.put(line)
        except (EOFError, OSError):
            if busy.is_set():
                os._exit(0)
            tasks.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (line := tasks.get()) is not None:
        for result in fit(task_from_json(line), lambda text: _send(connection, {"doing": text})):
            _send(connection, {"result": result_to_json(result)})
        busy.clear()
        _send(connection, {"done": True})


def _send(connection: Connection[Any, Any], message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def _end_with(owner: int, note: Path | None) -> None:
    """End this process when the owner has ended (even if it was killed), or when the note file is removed."""

    def end() -> None:
        if note is not None:
            note.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the folder still contains the notes of other processes
                note.parent.rmdir()
        os._exit(0)

    call_when_ended([owner], end, needed=lambda: note is None or note.exists())


def load_ludwig(graphs: Path) -> Fit:
    """Import Ludwig and return the function that fits a task; `graphs` is the folder of exported architectures.

    An empty CUDA_VISIBLE_DEVICES means that this process trains on the CPU.
    """
    settle_arithmetic()
    with light_import(cuda=os.environ.get("CUDA_VISIBLE_DEVICES") != ""):
        from mlops_cli.training.engine.fit import prepare_process
        from mlops_cli.training.engine.work import LudwigWork

    prepare_process()
    return LudwigWork(graphs).fit


if __name__ == "__main__":
    main()
