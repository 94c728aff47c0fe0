"""`mlops models promote` and `rollback`: which version of a model is its champion."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.models.chosen_models import branches_of, the_model_named
from mlops_cli.cli.shared import (
    BranchOption,
    JsonFlag,
    OnlyOption,
    ProjectOption,
    open_project,
    print_json,
    print_table,
    say,
)
from mlops_cli.config.paths import Project
from mlops_cli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from mlops_cli.models.champion import Change
    from mlops_cli.pipeline.versions.challenge import Judgement

NAME = typer.Argument(metavar="MODEL", help="As mlops models list names it.", show_default=False)
VERSION = typer.Argument(
    metavar="VERSION",
    help="Or its first letters; the newest if left out, and then whatever is newest.",
    show_default=False,
)
BySkill = Annotated[
    bool, typer.Option("--by-skill", help="Every newest version that is measurably nearer than its champion.")
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
    """Let a version of a model answer: one that you name, or each that proves nearer on sessions it never saw."""
    project = open_project(folder)
    if by_skill == (name is not None) or (only and not by_skill):
        raise typer.BadParameter("give either a MODEL, or --by-skill (with --only for some of them)")
    if by_skill:
        _by_skill(project, branch, only, as_json)
        return
    from mlops_cli.models.champion import promote as work

    _show(work(project, *the_model_named(project, branch, str(name)), version), as_json)


def rollback(
    name: Annotated[str, NAME],
    branch: BranchOption = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let the version before the one that answers now answer again, and go on answering."""
    from mlops_cli.config.load import load_params
    from mlops_cli.models.champion import rollback as work

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
        else "what is trained later answers when it is finished"
    )


def _by_skill(project: Project, branch: str | None, only: str | None, as_json: bool) -> None:
    from mlops_cli.config.load import load_params
    from mlops_cli.pipeline.versions.challenge import promote_by_skill

    models = [
        (one.name, spec.name)
        for one in branches_of(project, branch)
        for spec in one.models
        if only is None or fnmatchcase(spec.name, only)
    ]
    serving = load_params(project).serving
    found = list(promote_by_skill(project, models, serving.promotion, serving.routes))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        columns = ("model", "branch", "champion", "challenger", "sessions", "MAE", "new MAE", "p", "done", "why")
        if found:
            print_table(columns, [_row(one) for one in found])
        promoted, back = sum(one.promoted for one in found), sum(one.rolled_back for one in found)
        say(f"{promoted} of {len(found)} challengers promoted, {back} rolled back, {len(models)} models")
    if any(one.exit_code for one in found):
        raise typer.Exit(EXIT_SOME_FAILED)


def _row(one: Judgement) -> list[str]:
    figures = ["-" if value is None else f"{value:.4g}" for value in (one.mae_champion, one.mae_challenger, one.p)]
    names = [one.model, one.branch, one.champion, one.challenger, str(one.sessions)]
    done = "promoted" if one.promoted else "rolled back" if one.rolled_back else "-"
    return [*names, *figures, done, one.reason]
