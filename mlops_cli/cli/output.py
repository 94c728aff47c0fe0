"""Printing: results on stdout, everything said to the person at the terminal on stderr.

Text that comes from outside (a broker's words, the name of a file) is printed with its control characters escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from mlops_cli.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

_PIPED_WIDTH = 10_000


def say(*lines: str) -> None:
    """Print lines on stderr."""
    for line in lines:
        typer.echo(printable(line), err=True)


def show(text: str = "") -> None:
    """Print a line of a result on stdout."""
    typer.echo(printable(text))


def print_json(data: Any) -> None:
    """Print a result as JSON on stdout; values that JSON does not know (dates, paths) are printed as text."""
    typer.echo(json.dumps(data, indent=2, default=str))


def result_console(piped_width: int = 120) -> Console:
    """Make a console on stdout as wide as the terminal, or `piped_width` characters, as Rich's 80 are too few."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=piped_width)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a result as a table on stdout, with None as an empty cell. In a pipe each row stays on one line."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = result_console(_PIPED_WIDTH)
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # as Text: Rich would take [...] in a broker's words for its markup
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console.print(table)
