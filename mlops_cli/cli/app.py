"""The Typer app: each command file adds its commands."""

from __future__ import annotations

import typer

from mlops_cli import __version__
from mlops_cli.cli.boundary import BoundaryGroup
from mlops_cli.cli.live import journal, live
from mlops_cli.cli.models import export, jobs, models, serve
from mlops_cli.cli.options import command_group
from mlops_cli.cli.pipeline import actions, prices, run, stages
from mlops_cli.cli.project import branch, config, doctor, init
from mlops_cli.cli.trading import exchange, ledger, paper_trade, schedule

app = command_group(
    "mlops",
    cls=BoundaryGroup,
    pretty_exceptions_enable=False,
    help="Train, judge, serve and paper-trade next-day close forecasts for any number of stocks in one run.",
)


def _version(show: bool) -> None:
    if show:
        print(f"mlops {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options that come before the command."""


app.command()(init.init)
app.command()(run.run)
app.command()(run.simulate)
stages.register(app)
app.command()(live.live)
app.command()(serve.serve)
app.command()(export.export)
for commands in (prices, actions, models, jobs, journal, paper_trade, ledger, schedule, exchange, config, branch):
    commands.register(app)
app.command()(doctor.doctor)
