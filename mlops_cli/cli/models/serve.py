"""`mlops serve`: one server for every model."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from mlops_cli.cli.boundary import end_with_parent
from mlops_cli.cli.shared import JsonFlag, ProjectOption, SetOption, open_project, print_json, say
from mlops_cli.cli.stage_calls import KeepGoing
from mlops_cli.config.paths import Project
from mlops_cli.errors import EXIT_SOME_FAILED, ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    models: Annotated[
        str | None,
        typer.Option(
            "--models", metavar="PATH|GLOB", help="Model folders; all of models/ if left out.", show_default=False
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes; they share the weights.")] = 1,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let anybody who reaches the address ask, without MLOPS_API_TOKEN.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Ask every model once without listening, write serving.json, and end.")
    ] = False,
    keep_going: KeepGoing = False,
    folder: ProjectOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve every model over HTTP: forecasts for people, the Open Inference Protocol v2 for programs."""
    project = open_project(folder, assignments)
    if smoke:
        _smoke(project, models, keep_going, as_json)
        return
    from mlops_cli.serving.process.server import run_server
    from mlops_cli.serving.process.server_options import ServeOptions

    authenticated = _authenticated(project, host, no_auth)
    run_server(ServeOptions(str(project.root), models, host, port, workers, authenticated), say)


def _authenticated(project: Project, host: str, no_auth: bool) -> bool:
    """Whether callers must bear a token: wherever there is one, and always where others can reach the address."""
    from mlops_cli.config.settings import load_settings

    if no_auth:
        return False
    if load_settings(project).api_token is not None:
        return True
    if _loopback(host):
        return False
    raise ConfigError(
        f"--host {host}: others could reach it, and MLOPS_API_TOKEN is not set",
        "set MLOPS_API_TOKEN in .env or in the environment, or say --no-auth",
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _smoke(project: Project, models: str | None, keep_going: bool, as_json: bool) -> None:
    end_with_parent()
    from mlops_cli.serving.process.smoke import FILE
    from mlops_cli.serving.process.smoke import smoke as work

    found = work(project, models, none_is_fine=keep_going)
    if as_json:
        print_json(found)
    else:
        say(*(f"failed: {name}: {reason}" for name, reason in found["failures"].items()))
        print(f"serve: {len(found['models'])} models answered, {len(found['failures'])} failed, see {FILE}")
    if found["failures"] and not keep_going:
        raise typer.Exit(EXIT_SOME_FAILED)
