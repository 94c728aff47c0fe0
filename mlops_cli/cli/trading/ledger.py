"""`mlops ledger`: what the teams decided, sent, got and are worth."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import JsonFlag, ProjectOption, command_group, open_project
from mlops_cli.cli.output import print_json, print_table, say
from mlops_cli.errors import DataError

if TYPE_CHECKING:
    from mlops_cli.config.paths import Project

HEADS = (
    "TEAM",
    "SESSION",
    "ORDERS",
    "USD",
    "FILLS BPS",
    "MODEL BPS",
    "LOCAL BPS",
    "UNPRICED",
    "UNFILLED HERE",
)

TeamOption = Annotated[
    str | None, typer.Option("--team", metavar="TEAM", help="This team alone; all if left out.", show_default=False)
]
PRINTED = {
    "orders": "Intents and what became of them at the broker.",
    "fills": "Executions.",
    "positions": "What is held by all that is booked, and which tickers are blocked, and why.",
    "equity": "What the account was worth after each session.",
    "decisions": "Every decision with its forecast of the price (FORECAST BPS), the dividend and the expected total "
    "return, the intervals, the price seen and the constraint that bound; --json shows all.",
    "events": "Halts, refusals, blocked tickers and other things that happened.",
}
LimitOption = Annotated[int, typer.Option("--last", min=1, help="How many rows of each team, the newest.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("ledger", help="What each team decided, sent, got and is worth.")
    for table, help_text in PRINTED.items():
        group.command(table, help=help_text)(_positions if table == "positions" else _printing(table))
    for command in (slippage, export, accept, retry):
        group.command()(command)
    app.add_typer(group)


def _printing(table: str) -> Callable[..., None]:
    """The command that prints a table."""

    def command(
        team: TeamOption = None, last: LimitOption = 50, folder: ProjectOption = None, as_json: JsonFlag = False
    ) -> None:
        _print(table, team, last, folder, as_json)

    return command


def _positions(team: TeamOption = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    _print("positions", team, None, folder, as_json)


def export(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A folder; a CSV file is written for each table.")],
    team: TeamOption = None,
    folder: ProjectOption = None,
) -> None:
    """Write everything as CSV files, one for each team and table."""
    from mlops_cli.trading.ledger.views import COLUMNS

    project = open_project(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in _teams(project, team):
        for table, columns in COLUMNS.items():
            rows = _rows(project, name, table)
            path = target / f"{name}-{table}.csv"
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]) if rows else list(columns))
                writer.writeheader()
                writer.writerows(rows)
            print(path)


def accept(
    ticker: Annotated[str, typer.Argument(metavar="TICKER", help="The ticker that is blocked.")],
    qty: Annotated[
        str, typer.Option("--qty", metavar="SHARES", help="Shares that the broker holds, as you have seen there.")
    ],
    team: Annotated[str, typer.Option("--team", metavar="TEAM", help="Whose ledger.")],
    folder: ProjectOption = None,
) -> None:
    """Accept the broker's quantity of a position that the ledger cannot explain; this lifts the ticker's block."""
    from datetime import UTC, datetime

    from mlops_cli.trading.ledger.opening import open_ledger

    project = open_project(folder)
    held, name = _shares(qty), ticker.strip().upper()
    if not name:
        raise typer.BadParameter("TICKER: empty; see those that are blocked with: mlops ledger positions")
    _teams(project, team)
    with open_ledger(project.ledger(team), team) as ledger:
        ledger.accept_position(name, held, datetime.now(UTC))
    print(f"{team}: {name} is {held:f} shares from now on; the next pass compares again")


def retry(
    team: Annotated[str, typer.Option("--team", metavar="TEAM", help="Whose ledger.")],
    folder: ProjectOption = None,
) -> None:
    """Let the next pass send the refused orders of the last decided session again, for instance with the account free.

    They keep their names, so that none is sent twice. Once their session has begun, they are void.
    """
    from datetime import UTC, datetime

    from mlops_cli.trading.ledger.opening import open_ledger
    from mlops_cli.trading.passes.liquidate import LIQUIDATION

    project = open_project(folder)
    _teams(project, team)
    with open_ledger(project.ledger(team), team) as ledger:
        session, now = ledger.last_decided(), datetime.now(UTC)
        names = ledger.refused(session, besides=LIQUIDATION) if session else {}
        for name in names:
            ledger.set_state(name, "written", now, "to be sent again")
            ledger.event(now, "retry", None, name)
    if not names:
        print(f"{team}: no order is refused" + (f" for {session}" if session else ""))
    for name in names:
        print(f"{team}: {name} is sent again by the next pass, unless its session has begun by then")


def _shares(text: str) -> Decimal:
    try:
        held = Decimal(text)
    except InvalidOperation:
        held = Decimal("nan")
    if not held.is_finite():
        raise typer.BadParameter(f"--qty {text}: no number; give the shares as the broker shows them")
    return held


def _print(table: str, team: str | None, last: int | None, folder: Path | None, as_json: bool) -> None:
    from mlops_cli.trading.ledger.views import COLUMNS

    project = open_project(folder)
    teams = _teams(project, team)
    rows_by_team = {name: _rows(project, name, table)[-(last or 0) :] for name in teams}
    if as_json:
        print_json(rows_by_team)
        return
    columns = COLUMNS[table]
    heads = tuple(column.upper().replace("_", " ") for column in columns)
    lines = [
        (name, *(_cell(row[column], column) for column in columns))
        for name, rows in rows_by_team.items()
        for row in rows
    ]
    print_table(("TEAM", *heads), lines)


def _teams(project: Project, team: str | None) -> list[str]:
    with_ledger = sorted(path.stem for path in project.ledgers.glob("*.db"))
    if team is not None and team not in with_ledger:
        names = ", ".join(with_ledger) or "none yet"
        raise DataError(f"team {team} has no ledger (there are: {names})", "the first pass makes it: mlops paper-trade")
    if not with_ledger:
        print("no ledger yet: the first pass makes it: mlops paper-trade", file=sys.stderr)
    return with_ledger if team is None else [team]


def _rows(project: Project, team: str, table: str) -> list[dict[str, Any]]:
    from mlops_cli.trading.ledger.opening import read_ledger
    from mlops_cli.trading.ledger.views import view

    with read_ledger(project.ledger(team)) as ledger:
        return view(ledger, table)


def _cell(value: Any, column: str) -> Any:
    if isinstance(value, float):
        return f"{value:.4g}"
    if column == "intervals":
        return "; ".join(f"{level:g} %: {lower:.2f} to {upper:.2f}" for level, lower, upper in value)
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def slippage(
    team: TeamOption = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """How much worse than the opening price orders were filled, session by session.

    In basis points of what was traded: as they were filled, as the cost model of params.yaml says, and as the local
    exchange would have filled the same orders.
    """
    from mlops_cli.config.load import load_branches, load_params
    from mlops_cli.pipeline.trade.paper_trade import slippage_report

    project = open_project(folder)
    params = load_params(project)
    days_by_team = slippage_report(project, list(load_branches(project, params)), params.trading, team)
    if as_json:
        print_json(days_by_team)
        return
    if not any(days_by_team.values()):
        say("no filled orders yet")
    rows = [
        (
            name,
            row["session"],
            row["orders"],
            f"{row['traded']:,.0f}",
            *("-" if row[key] is None else f"{row[key]:.2f}" for key in ("fills_bps", "model_bps", "local_bps")),
            row["unpriced"],
            row["unfilled_here"],
        )
        for name, days in days_by_team.items()
        for row in days
    ]
    print_table(HEADS, rows)
