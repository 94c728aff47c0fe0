"""The Typer app: every command, registered by the file that holds it."""

from __future__ import annotations

import typer

from mlops_cli import __version__
from mlops_cli.cli import (
    branch_commands,
    config_commands,
    doctor_command,
    exchange_command,
    export_command,
    ledger_commands,
    model_commands,
    project_commands,
    run_commands,
    schedule_command,
    serve_command,
    stage_commands,
    trade_commands,
)
from mlops_cli.cli.boundary import BoundaryGroup
from mlops_cli.cli.project import command_group

app = command_group(
    "mlops",
    cls=BoundaryGroup,
    pretty_exceptions_enable=False,
    help="Train, judge, serve and paper-trade next-day close forecasts for any number of stocks in one run.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mlops {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options that come before the command."""


for commands in (
    project_commands,
    run_commands,
    stage_commands,
    serve_command,
    model_commands,
    export_command,
    trade_commands,
    ledger_commands,
    schedule_command,
    exchange_command,
    config_commands,
    branch_commands,
    doctor_command,
):
    commands.register(app)
