"""What commands share: their common options, opening the project, and printing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.config.paths import Project

if TYPE_CHECKING:
    from rich.console import Console

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="Project folder; the current one if left out.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Write a value into params.yaml first; repeatable.", show_default=False
    ),
]
BranchOption = Annotated[
    str | None,
    typer.Option(
        "--branch", metavar="NAME", help="This branch of params.yaml alone; all if left out.", show_default=False
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option("--only", metavar="GLOB", help="Models of this name or glob alone, e.g. 'red-*'.", show_default=False),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
VerboseFlag = Annotated[bool, typer.Option("-v", "--verbose", help="Say more about what is being done.")]

_PIPED_WIDTH = 10_000


def command_group(name: str | None = None, **settings: Any) -> typer.Typer:
    """A group of commands with plain help: Rich's takes half a second to load, more than all the rest."""
    return typer.Typer(name=name, no_args_is_help=True, rich_markup_mode=None, **settings)


def open_project(folder: Path | None, assignments: Sequence[str] | None = None) -> Project:
    """Open the project and write `--set` values into its params.yaml, saying so on stderr.

    Raises:
        ConfigError: no project there, or a wrong assignment.
    """
    project = Project.at(folder or Path())
    if assignments:
        from mlops_cli.config.editing.params import set_values

        say(*set_values(project, assignments))
    return project


def say(*lines: str) -> None:
    """Print lines for the person at the terminal, on stderr."""
    for line in lines:
        typer.echo(line, err=True)


def print_json(data: Any) -> None:
    """Print a result as JSON on stdout."""
    typer.echo(json.dumps(data, indent=2, default=str))


def result_console(piped_width: int = 120) -> Console:
    """A console on stdout: as wide as the terminal, and so wide in a log or a file, where Rich would assume 80."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=piped_width)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a result as a table on stdout; piped, a row is never broken into lines."""
    from rich import box
    from rich.table import Table

    console = result_console(_PIPED_WIDTH)
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)
