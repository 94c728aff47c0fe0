"""`mlops models promote` and `rollback`: choose which version of a model is its champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.models.chosen_models import chosen_models, the_model_named
from mlops_cli.cli.options import BranchOption, JsonFlag, OnlyOption, ProjectOption, open_project
from mlops_cli.cli.output import print_json, print_table, say
from mlops_cli.config.paths import Project
from mlops_cli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from mlops_cli.models.promotion import Change
    from mlops_cli.pipeline.versions.challenge import Judgement

NAME = typer.Argument(metavar="MODEL", help="A name from mlops models list.", show_default=False)
VERSION = typer.Argument(
    metavar="VERSION",
    help="A version or its first letters; default: the newest, now and after every training.",
    show_default=False,
)
BySkill = Annotated[
    bool, typer.Option("--by-skill", help="Promote every newest version that is measurably better than its champion.")
]


def promote(
    name: Annotated[str | None, NAME] = None,
    version: Annotated[str | None, VERSION] = None,
    by_skill: BySkill = False,
    branch: BranchOption = None,
    only: OnlyOption = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Choose the version of a model that answers: one you name, or each that is better on sessions it never saw."""
    project = open_project(folder)
    if by_skill == (name is not None) or (only and not by_skill):
        raise typer.BadParameter("give either a MODEL, or --by-skill (with --only for some of them)")
    if by_skill:
        _by_skill(project, branch, only, as_json)
        return
    from mlops_cli.models.promotion import promote as work

    _show(work(project, *the_model_named(project, branch, str(name)), version), as_json)


def rollback(
    name: Annotated[str, NAME], branch: BranchOption = None, folder: ProjectOption = None, as_json: JsonFlag = False
) -> None:
    """Return to the version that answered before the present one, and keep it until another is promoted."""
    from mlops_cli.config.load import load_params
    from mlops_cli.models.promotion import rollback as work

    project = open_project(folder)
    of_branch, name = the_model_named(project, branch, name)
    routes = load_params(project).serving.routes
    _show(work(project, of_branch, name, routed=name in routes), as_json)


def _show(change: Change, as_json: bool) -> None:
    if as_json:
        print_json(asdict(change))
        return
    if change.before == change.after:
        typer.echo(f"{change.model}: {change.after} is champion, as before")
    else:
        typer.echo(f"{change.model}: {change.after} is champion, in place of {change.before or 'none'}")
    say(
        "it answers until another is promoted; judge it with: mlops evaluate"
        if change.pinned
        else "newly trained versions answer as soon as they are finished"
    )


def _by_skill(project: Project, branch: str | None, only: str | None, as_json: bool) -> None:
    from mlops_cli.config.load import load_params
    from mlops_cli.pipeline.versions.challenge import promote_by_skill

    models = [(holder.name, spec.name) for holder, specs in chosen_models(project, branch, only) for spec in specs]
    serving = load_params(project).serving
    judgements = list(promote_by_skill(project, models, serving.promotion, serving.routes))
    if as_json:
        print_json([asdict(judgement) for judgement in judgements])
    else:
        _print_judgements(judgements, len(models))
    if any(judgement.exit_code for judgement in judgements):
        raise typer.Exit(EXIT_SOME_FAILED)


def _print_judgements(judgements: Sequence[Judgement], models: int) -> None:
    columns = ("model", "branch", "champion", "challenger", "sessions", "MAE", "new MAE", "p", "done", "why")
    if judgements:
        print_table(columns, [_row(judgement) for judgement in judgements])
    promoted = sum(judgement.promoted for judgement in judgements)
    back = sum(judgement.rolled_back for judgement in judgements)
    say(f"{promoted} of {len(judgements)} challengers promoted, {back} rolled back, {models} models")


def _row(judgement: Judgement) -> list[str]:
    figures = (judgement.mae_champion, judgement.mae_challenger, judgement.p)
    return [
        judgement.model,
        judgement.branch,
        judgement.champion,
        judgement.challenger,
        str(judgement.sessions),
        *("-" if value is None else f"{value:.4g}" for value in figures),
        "promoted" if judgement.promoted else "rolled back" if judgement.rolled_back else "-",
        judgement.reason,
    ]
