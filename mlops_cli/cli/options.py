"""The options that several commands share, and opening the project that they name."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from mlops_cli.cli.output import say
from mlops_cli.config.paths import Project
from mlops_cli.errors import bounded

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="Project folder; default: the current folder.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="First write this value into params.yaml; repeatable.", show_default=False
    ),
]
BranchOption = Annotated[
    str | None,
    typer.Option(
        "--branch", metavar="NAME", help="Only this branch of params.yaml; default: all branches.", show_default=False
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option("--only", metavar="GLOB", help="Only models whose name matches, e.g. 'red-*'.", show_default=False),
]
FIRST_YEAR, LAST_YEAR = 1900, 2200
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
VerboseFlag = Annotated[bool, typer.Option("-v", "--verbose", help="Print more about what is being done.")]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        metavar="NAME",
        help="A further name by which the server may be called, such as that of a reverse proxy; repeatable.",
        show_default=False,
    ),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Exit 0 even if some models failed. DVC needs this to run later stages.")
]


def command_group(name: str | None = None, **settings: Any) -> typer.Typer:
    """Make a group of commands with plain help, because loading Rich's help takes half a second."""
    return typer.Typer(name=name, no_args_is_help=True, rich_markup_mode=None, **settings)


def warn_of_exposed_files(project: Project) -> None:
    """Say which files with secrets or trades others on this machine may read."""
    exposed = [str(file) for file in project.exposed_files()]
    if exposed:
        say(f"warning: others may read {bounded(exposed)}: chmod 600 {shlex.join(exposed)}")


def open_project(folder: Path | None, assignments: Sequence[str] | None = None) -> Project:
    """Open the project (default: the current folder); write the `--set` values into its params.yaml, each with a line.

    Raises:
        ConfigError: the folder is no project, or an assignment is wrong.
    """
    project = Project.at(folder or Path())
    if assignments:
        from mlops_cli.config.editing.params import set_values

        say(*set_values(project, assignments))
    return project


def replay_day(text: str) -> date:
    """The day of an option `--replay`; a `BadParameter` if it is none."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--replay {text}: no day; write it as 2024-01-02") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise typer.BadParameter(f"--replay {text}: no day between {FIRST_YEAR} and {LAST_YEAR}")
    return day
