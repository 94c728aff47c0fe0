"""`mlops serve`: one server for every model."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli.boundary import end_with_parent
from mlops_cli.cli.options import AllowedHosts, JsonFlag, KeepGoing, ProjectOption, SetOption, open_project
from mlops_cli.cli.output import print_json, say
from mlops_cli.config.paths import Project
from mlops_cli.errors import EXIT_SOME_FAILED


def serve(
    models: Annotated[
        str | None,
        typer.Option(
            "--models", metavar="PATH|GLOB", help="Model folders; default: all of models/.", show_default=False
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes; they share the weights.")] = 1,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Answer everybody who can reach the address, without a token.")
    ] = False,
    allowed_hosts: AllowedHosts = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Ask every model once, write serving.json and end; do not listen.")
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
    from mlops_cli.live_wiring import SERVER_PARTS
    from mlops_cli.serving.process.server import run_server
    from mlops_cli.serving.process.server_options import ServeOptions, needs_token

    authenticated, names = needs_token(project, host, no_auth), tuple(allowed_hosts or ())
    run_server(ServeOptions(str(project.root), models, host, port, workers, authenticated, names, SERVER_PARTS), say)


def _smoke(project: Project, models: str | None, keep_going: bool, as_json: bool) -> None:
    end_with_parent()
    from mlops_cli.serving.process.smoke import FILE
    from mlops_cli.serving.process.smoke import smoke as work

    answers = work(project, models, allow_no_models=keep_going)
    failures = answers["failures"]
    if as_json:
        print_json(answers)
    else:
        say(*(f"failed: {name}: {reason}" for name, reason in failures.items()))
        print(f"serve: {len(answers['models'])} models answered, {len(failures)} failed, see {FILE}")
    if failures and not keep_going:
        raise typer.Exit(EXIT_SOME_FAILED)
