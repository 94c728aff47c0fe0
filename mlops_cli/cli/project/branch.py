"""`mlops branch`: cut the collection into branches, in params.yaml or in git."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mlops_cli.cli.shared import JsonFlag, ProjectOption, command_group, open_project, print_json, print_table, say
from mlops_cli.errors import EXIT_SOME_FAILED

Selection = Annotated[
    str, typer.Argument(metavar="TEAM[/TICKER]", help="A team's models: all, or those on one ticker.")
]
InGit = Annotated[bool, typer.Option("--git", help="Make a git branch that holds these models alone.")]
From = Annotated[str | None, typer.Option("--from", metavar="BRANCH", help="The git branch to take; main if left out.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group(help="Give a team, or one of its stocks, a pipeline of its own.")
    group.command()(create)
    group.command("list")(list_)
    group.command()(sync)
    app.add_typer(group, name="branch")


def create(selection: Selection, in_git: InGit = False, folder: ProjectOption = None) -> None:
    """Cut models out into a branch of their own: of params.yaml, or with --git of git.

    With --git nothing changes here: the git branch starts from the last commit, and its params.yaml holds the
    selected models alone.
    """
    from mlops_cli.scaffold.branches import create_branch
    from mlops_cli.scaffold.git_branches import create_git_branch

    project = open_project(folder)
    if not in_git:
        say(*create_branch(project, selection))
        typer.echo("mlops run")
        return
    made = create_git_branch(project, selection)
    say(f"git branch {made.title}: holds branch {made.name} of params.yaml alone. Work on it with:")
    # --allow-missing: nothing of the branch has been made yet
    steps = [f"git switch {made.title}", "dvc checkout --allow-missing", "mlops run", "git add dvc.lock"]
    typer.echo("\n".join([*steps, f'git commit -m "Run {made.name}"']))


def list_(folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """List the branches of params.yaml, and the git branches that hold one each."""
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
    """Carry main's code and configs into every git branch that `branch create --git` made.

    Each keeps the branches: of its params.yaml and its dvc.lock. A branch with conflicts is left as it is (exit 9).
    """
    from mlops_cli.scaffold.git_branches import main_branch
    from mlops_cli.scaffold.git_branches import sync as sync_branches

    project = open_project(folder)
    done = sync_branches(project, source or main_branch(project))
    if as_json:
        print_json([asdict(one) for one in done])
    else:
        print_table(
            ("git branch", "", "conflicts"), [(one.title, one.status, ", ".join(one.conflicts)) for one in done]
        )
    left = [one for one in done if one.status in ("conflict", "checked out")]
    for one in left:
        way = "mend it with" if one.status == "conflict" else "it is checked out, so merge it with"
        say(f"{one.title}: left as it is; {way}: git switch {one.title} && git merge {source or main_branch(project)}")
    if left:
        raise typer.Exit(EXIT_SOME_FAILED)
