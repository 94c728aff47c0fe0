"""`mlops models`: list and show models, add a stock, choose versions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from mlops_cli.cli.models import health, versions
from mlops_cli.cli.models.chosen_models import chosen_models, models_named
from mlops_cli.cli.options import BranchOption, JsonFlag, OnlyOption, ProjectOption, command_group, open_project
from mlops_cli.cli.output import print_json, print_table, say

Tickers = Annotated[list[str], typer.Argument(metavar="TICKER", help="One or more, e.g. AAPL BRK-B.")]
Team = Annotated[str, typer.Option("--team", metavar="TEAM", help="The team that the models belong to.")]
Folder = Annotated[str, typer.Option("--folder", metavar="DIR", help="Under configs/; default: the team's own folder.")]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="A name from mlops models list.")]

_COLUMNS = {
    "model": "name",
    "branch": "branch",
    "ticker": "ticker",
    "trainer": "trainer",
    "trained until": "trained_until",
    "shrinkage": "shrinkage",
    "MAE / naive": "mae_ratio",
    "verdict": "verdict",
    "network": "base_verdict",
}


def register(app: typer.Typer) -> None:
    """Add `mlops models` and its commands to the app."""
    group = command_group(help="List and show models and their health; add a stock; promote a version.")
    group.command("list")(list_)
    group.command()(show)
    group.command()(add)
    group.command()(health.health)
    group.command()(versions.promote)
    group.command()(versions.rollback)
    app.add_typer(group, name="models")


def list_(
    branch: BranchOption = None, only: OnlyOption = None, folder: ProjectOption = None, as_json: JsonFlag = False
) -> None:
    """List the configured models, with their error relative to the naive forecast and their verdict.

    The error is measured on validation sessions, the verdict on sessions that the model never saw.
    """
    from mlops_cli.pipeline.versions.model_facts import model_facts

    project = open_project(folder)
    facts = [
        asdict(model)
        for holder, specs in chosen_models(project, branch, only)
        for model in model_facts(project, holder, specs)
    ]
    if as_json:
        print_json(facts)
        return
    print_table(tuple(_COLUMNS), [[_cell(model[key]) for key in _COLUMNS.values()] for model in facts])
    untrained = sum(model["trained_until"] is None for model in facts)
    if untrained:
        say(f"{untrained} of {len(facts)} not trained yet: mlops run")


def show(name: Name, branch: BranchOption = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Show one model: its config with all defaults filled in, and if it is trained manifest, verdict and versions."""
    from mlops_cli.pipeline.versions.model_facts import model_details

    project = open_project(folder)
    details = [model_details(project, holder, spec) for holder, spec in models_named(project, branch, name)]
    if as_json:
        print_json(details)
        return
    import yaml

    typer.echo(yaml.safe_dump_all(details, sort_keys=False, allow_unicode=True).rstrip())


def add(tickers: Tickers, team: Team, where: Folder = "", folder: ProjectOption = None) -> None:
    """Add stocks to a team's model file, and the file to a branch of params.yaml if no branch has it yet."""
    from mlops_cli.config.editing.add_model import add_model

    say(*add_model(open_project(folder), team, tickers, where))
    typer.echo("mlops run")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
