"""Options of a server, and the files by which its workers report to it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

DRAIN_SECONDS = 10
BACKLOG = 2048


@dataclass(frozen=True)
class ServeOptions:
    """Options of `mlops serve`.

    Attributes:
        root: the project's folder.
        models: a path or glob of model folders; None: all of the project's.
        host: to listen on.
        port: to listen on; 0: any free one.
        workers: number of processes.
        authenticated: whether callers must send MLOPS_API_TOKEN.
    """

    root: str
    models: str | None
    host: str
    port: int
    workers: int
    authenticated: bool


def greeting(options: ServeOptions, listener: socket.socket) -> str:
    """The line that tells the user where the server is, with the actual port where port 0 was given."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"serving on http://{host}:{listener.getsockname()[1]} - try /forecasts or /docs"


def ready_mark(notes: Path, worker: int) -> Path:
    """File that exists once a worker accepts connections."""
    return notes / f"ready-{worker}"


def failure_note(notes: Path, worker: int) -> Path:
    """File in which a worker that cannot start writes the reason."""
    return notes / f"failure-{worker}.json"
