"""A worker process: the event loop, the data plane, and HTTP in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import uvloop

from mlops_cli.config.load import load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.config.settings import load_settings
from mlops_cli.errors import ConfigError, MlopsError, ModelError
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.serving.http.app import build
from mlops_cli.serving.http.front import App
from mlops_cli.serving.http.service import Service
from mlops_cli.serving.http.worker_files import WorkerFiles, keep_in_step
from mlops_cli.serving.process.server_options import (
    BACKLOG,
    DRAIN_SECONDS,
    ServeOptions,
    failure_note,
    greeting,
    ready_mark,
)
from mlops_cli.system.lifetime import call_when_ended

KEEP_ALIVE_SECONDS = 75
# libuv accepts one connection per socket in each turn of the event loop. Under load, one turn serves every open
# connection before it accepts new ones, so that callers may wait for seconds. Each copy of the descriptor accepts one
# connection more
ACCEPTS_AT_ONCE = 32


@dataclass(frozen=True)
class WorkerPlace:
    """What a worker gets from its server: the listening socket, the folder that all workers share, its number from 0.

    `ready` is called once it accepts connections. The worker ends when the process `parent` ends; None: it is no child.
    """

    listener: socket.socket
    notes: Path
    number: int
    ready: Callable[[], None]
    parent: int | None = None


def make_service(plane: DataPlane, settings: Serving, worker_files: WorkerFiles) -> Service:
    """What all endpoints share."""
    return Service(
        plane, worker_files.resume(), worker_files, settings.batching.max_rows, int(settings.max_body_mb * 1e6)
    )


def run_worker(options: ServeOptions, place: WorkerPlace) -> None:
    """Serve on the socket until SIGTERM or SIGINT, then finish open requests within `DRAIN_SECONDS`.

    Raises:
        ConfigError: callers must send a token, and none is set.
        ModelError: there is no model to serve.
    """
    project = Project.at(Path(options.root))
    settings = load_params(project).serving
    token = _token(project) if options.authenticated else None
    plane = DataPlane(project, settings, options.models)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(plane, settings, token, place))


async def serve(plane: DataPlane, settings: Serving, token: str | None, place: WorkerPlace) -> None:
    """Serve a data plane that is not started yet; see `run_worker`."""
    files = WorkerFiles(place.notes, place.number)
    service = make_service(plane, settings, files)
    await plane.start()
    try:
        if not plane.catalog.names():
            raise ModelError("there is no model to serve", "train some first: mlops run; or correct --models")
        gc.collect()
        gc.freeze()  # later garbage collections skip what is loaded now; otherwise each would take 50 ms and more
        server = _server(build(service, token), place.ready)
        tasks = [asyncio.create_task(keep_in_step(plane, service.counters, files))]
        if place.parent is not None:
            call_when_ended([place.parent], server.stop)
        doors = [place.listener.dup() for _ in range(ACCEPTS_AT_ONCE - 1)]
        await server.serve(sockets=[place.listener, *doors])
        for task in tasks:
            task.cancel()
    finally:
        service.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(plane.stop(), DRAIN_SECONDS)


class _Server(uvicorn.Server):
    """Uvicorn that calls `ready` when it listens, and that exits with 0 after a signal."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then call `ready`."""
        await super().startup(sockets)
        self.ready()

    def stop(self) -> None:
        """Finish the requests that are being answered, then end; may be called from any thread."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals. Uvicorn's own method raises the signal again at the end, so that the exit code is not 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _server(app: App, ready: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config)
    server.ready = ready
    return server


def _token(project: Project) -> str:
    secret = load_settings(project).api_token
    if secret is None:
        raise ConfigError("MLOPS_API_TOKEN is not set", "set it in .env, or serve with --no-auth")
    return secret.get_secret_value()


def alone(options: ServeOptions, listener: socket.socket, notes: Path, say: Callable[[str], None]) -> None:
    """Serve in this process, as the only worker."""
    run_worker(options, WorkerPlace(listener, notes, 0, lambda: say(greeting(options, listener))))


def main() -> None:
    """Entry point of a child process. Arguments: options as JSON, and the descriptor of the socket."""
    given = json.loads(sys.argv[1])
    notes, number = Path(given.pop("notes")), given.pop("worker")
    mark = ready_mark(notes, number)
    place = WorkerPlace(socket.socket(fileno=int(sys.argv[2])), notes, number, mark.touch, os.getppid())
    try:
        run_worker(ServeOptions(**given), place)
    except MlopsError as error:
        why = {"exit_code": error.exit_code, "message": error.message, "hint": error.hint}
        failure_note(notes, number).write_text(json.dumps(why))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
