"""What a server and its workers agree on: what is asked of them, and the files by which they tell each other."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

DRAIN_SECONDS = 10
BACKLOG = 2048


@dataclass(frozen=True)
class ServeOptions:
    """What one server is asked to be.

    Attributes:
        root: the project's folder.
        models: a path or glob of model folders; None: all of the project's.
        host: to listen on.
        port: to listen on; 0: any free one.
        workers: processes.
        authenticated: whether callers must bear MLOPS_API_TOKEN.
    """

    root: str
    models: str | None
    host: str
    port: int
    workers: int
    authenticated: bool


def greeting(options: ServeOptions, listener: socket.socket) -> str:
    """Where the server is, with the port that was free where 0 was asked for, and what to try first."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"serving on http://{host}:{listener.getsockname()[1]} - try /forecasts or /docs"


def ready_mark(notes: Path, worker: int) -> Path:
    """File that is there once a worker accepts connections."""
    return notes / f"ready-{worker}"


def failure_note(notes: Path, worker: int) -> Path:
    """File in which a worker that cannot start says why."""
    return notes / f"failure-{worker}.json"
