"""`mlops branch`: divide the models into branches, in params.yaml or in git."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import JsonFlag, ProjectOption, command_group, open_project
from mlops_cli.cli.output import print_json, print_table, say
from mlops_cli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from mlops_cli.scaffold.git_branches import Synced

Selection = Annotated[
    str, typer.Argument(metavar="TEAM[/TICKER]", help="A team: all of its models, or only those on one ticker.")
]
InGit = Annotated[bool, typer.Option("--git", help="Make a git branch with only these models.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="BRANCH", help="The git branch to merge; default: main or master.")
]


def register(app: typer.Typer) -> None:
    """Add `mlops branch` and its commands to the app."""
    group = command_group(help="Give a team, or one of its stocks, a pipeline of its own.")
    group.command()(create)
    group.command("list")(list_)
    group.command()(sync)
    app.add_typer(group, name="branch")


def create(selection: Selection, in_git: InGit = False, folder: ProjectOption = None) -> None:
    """Move models into their own branch of params.yaml, or with --git into their own git branch.

    With --git your files do not change: the git branch starts from the last commit, and its params.yaml has only the
    selected models.
    """
    from mlops_cli.scaffold.branches import create_branch
    from mlops_cli.scaffold.git_branches import create_git_branch

    project = open_project(folder)
    if not in_git:
        say(*create_branch(project, selection))
        typer.echo("mlops run")
        return
    made = create_git_branch(project, selection)
    say(f"git branch {made.title}: its params.yaml has only branch {made.name}. Work on it with:")
    # --allow-missing: the branch has no results yet
    steps = [f"git switch {made.title}", "dvc checkout --allow-missing", "mlops run", "git add dvc.lock"]
    typer.echo("\n".join([*steps, f'git commit -m "Run {made.name}"']))


def list_(folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """List the branches of params.yaml, and the git branches made with `branch create --git`."""
    from mlops_cli.config.load import load_branches, load_params
    from mlops_cli.scaffold.git_branches import git_branches

    project = open_project(folder)
    branches = load_branches(project, load_params(project))
    in_git = git_branches(project)
    if as_json:
        models = {name: [model.name for model in branch.models] for name, branch in branches.items()}
        print_json({"branches": models, "git": [asdict(branch) for branch in in_git]})
        return
    rows = [
        (name, len(b.models), ", ".join(sorted({m.team for m in b.models})), b.source.kind)
        for name, b in branches.items()
    ]
    print_table(("branch", "models", "teams", "source"), rows)
    if in_git:
        print_table(("git branch", "branch", ""), [(b.title, b.name, "here" if b.current else "") for b in in_git])


def sync(source: From = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Merge main's code and configs into every git branch that `branch create --git` made.

    Each keeps its dvc.lock and the key branches in its params.yaml. A branch with conflicts does not change (exit 9).
    """
    from mlops_cli.scaffold.git_branches import main_branch
    from mlops_cli.scaffold.git_branches import sync as sync_branches

    project = open_project(folder)
    merged_branch = source or main_branch(project)
    results = sync_branches(project, merged_branch)
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        rows = [(result.title, result.status, ", ".join(result.conflicts)) for result in results]
        print_table(("git branch", "", "conflicts"), rows)
    unmerged = [result for result in results if result.unmerged]
    say(*(_advice(result, merged_branch) for result in unmerged))
    if unmerged:
        raise typer.Exit(EXIT_SOME_FAILED)


def _advice(result: Synced, merged_branch: str) -> str:
    reason = "it has conflicts" if result.status == "conflict" else "it is checked out"
    return (
        f"{result.title}: not merged, {reason}; merge it with: git switch {result.title} && git merge {merged_branch}"
    )
