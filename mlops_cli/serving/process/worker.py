"""A worker process: the event loop, the data plane, and HTTP in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from mlops_cli.config.load import load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.config.secret_checks import team_tokens
from mlops_cli.config.settings import load_settings
from mlops_cli.errors import ConfigError, MlopsError, ModelError
from mlops_cli.serving.answering.session_ages import SessionAges
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.serving.http.app import build
from mlops_cli.serving.http.front import Access
from mlops_cli.serving.http.jobs.job_office import JobOffice
from mlops_cli.serving.http.service import Service
from mlops_cli.serving.http.worker_files import WorkerFiles, keep_in_step, report_counts
from mlops_cli.serving.process.server_options import (
    DRAIN_SECONDS,
    ServeOptions,
    failure_note,
    greeting,
    ready_mark,
)
from mlops_cli.serving.process.server_parts import ServerParts, server_parts
from mlops_cli.system.http_server import Server, ServerTimes, http_server
from mlops_cli.system.lifetime import call_when_ended
from mlops_cli.system.own_site import OwnSite

KEEP_ALIVE_SECONDS = 75
# libuv accepts one connection per socket in each turn of the event loop. Under load, one turn serves every open
# connection before it accepts new ones, so that callers may wait for seconds. Each copy of the descriptor accepts one
# connection more
ACCEPTS_AT_ONCE = 32
_LOOK_SECONDS = 0.2  # between two looks whether the server has been told to end


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
        ConfigError: callers must send a token, and none is set; or an allowed host is no host name.
        ModelError: there is no model to serve.
    """
    project = Project.at(Path(options.root))
    settings = load_params(project).serving
    site = OwnSite.of(options.host, options.allowed_hosts, pages=True)
    access = _access(project) if options.authenticated else Access(site=site)
    parts = server_parts(options.parts, project)
    plane = DataPlane(project, settings, options.models, parts.issued, SessionAges())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(plane, settings, access, place, parts))


async def serve(
    plane: DataPlane, settings: Serving, access: Access, place: WorkerPlace, parts: ServerParts | None = None
) -> None:
    """Serve a data plane that is not started yet; see `run_worker`."""
    files = WorkerFiles(place.notes, place.number)
    service = make_service(plane, settings, files)
    office = JobOffice(parts.desk) if parts is not None and parts.desk is not None else None
    await plane.start()
    try:
        if not plane.catalog.names():
            raise ModelError("there is no model to serve", "train some first: mlops run; or correct --models")
        gc.collect()
        gc.freeze()  # later garbage collections skip what is loaded now; otherwise each would take 50 ms and more
        app = build(service, access, office)
        server = http_server(app, ServerTimes(KEEP_ALIVE_SECONDS, DRAIN_SECONDS), place.ready)
        tasks = [asyncio.create_task(keep_in_step(plane, service.counters, files))]
        if office is not None:
            tasks.append(asyncio.create_task(_end_streams(server, office)))
        if place.number == 0:  # the counts are those of all workers
            report = plane.project.live / "servers" / f"{place.notes.name}.json"
            tasks.append(asyncio.create_task(report_counts(files, report)))
        if place.parent is not None:
            call_when_ended([place.parent], server.stop)
        doors = [place.listener.dup() for _ in range(ACCEPTS_AT_ONCE - 1)]
        await server.serve(sockets=[place.listener, *doors])
        for task in tasks:
            task.cancel()
    finally:
        service.close()
        if office is not None:
            office.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(plane.stop(), DRAIN_SECONDS)


async def _end_streams(server: Server, office: JobOffice) -> None:
    """End the streams about jobs once the server is told to end, which would otherwise wait for them."""
    while not server.should_exit:
        await asyncio.sleep(_LOOK_SECONDS)
    office.end_streams()


def _access(project: Project) -> Access:
    settings = load_settings(project)
    if not settings.tokens:
        raise ConfigError("MLOPS_API_TOKEN is not set", "set it in .env, or serve with --no-auth")
    teams = team_tokens(settings, load_params(project).trading.teams)
    return Access(settings.api_token.get_secret_value() if settings.api_token else None, teams=teams)


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
