"""`mlops journal`: every forecast as it was issued, and how good the live forecasts are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.live.journal_tables import count_lines, gap_lines, print_forecasts, print_gap, stale_lines
from mlops_cli.cli.options import BranchOption, JsonFlag, ProjectOption, command_group, open_project
from mlops_cli.cli.output import print_json, result_console, say, show
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.cli.stage_calls import print_failures
from mlops_cli.errors import EXIT_SOME_FAILED, ConfigError

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from mlops_cli.config.paths import Project
    from mlops_cli.live.issued.chosen import Filters
    from mlops_cli.live.journal.journal import Journal, Selection

ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="GLOB", help="Only models whose name matches.", show_default=False)
]
TickerOption = Annotated[
    str | None, typer.Option("--ticker", metavar="TICKER", help="Only this ticker.", show_default=False)
]
TeamOption = Annotated[
    str | None, typer.Option("--team", metavar="TEAM", help="Only models of this team.", show_default=False)
]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="DAY", help="Only sessions from this day on.", show_default=False)
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="DAY", help="Only sessions up to this day.", show_default=False)
]


class By(StrEnum):
    """What a row of the scores is about."""

    MODEL = "model"
    TEAM = "team"


def register(app: typer.Typer) -> None:
    """Add `mlops journal` and its commands to the app."""
    group = command_group(help="Every forecast as it was issued, and how good the live forecasts are.")
    group.command("list")(list_forecasts)
    group.command("scores")(show_scores)
    group.command("gap")(show_gap)
    group.command("export")(export)
    app.add_typer(group, name="journal")


def list_forecasts(
    model: ModelOption = None,
    ticker: TickerOption = None,
    team: TeamOption = None,
    branch: BranchOption = None,
    session: Annotated[
        str | None,
        typer.Option("--session", metavar="DAY", help="All forecasts made on this session.", show_default=False),
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    is_open: Annotated[bool, typer.Option("--open", help="All forecasts whose close is not known yet.")] = False,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List forecasts with the actual close, if it is known: the newest of each model, or those of some sessions.

    STALE: the exchange has finished a later session than the one that the newest forecast of a model was made on.
    """
    from datetime import UTC, datetime

    from mlops_cli.live.issued import listing
    from mlops_cli.live.issued.chosen import Filters

    if session is not None and (first is not None or last is not None):
        raise typer.BadParameter("give either --session, or --from and --to")
    days = _days("--from", first, last) if session is None else _days("--session", session, session)
    filters = Filters(model, ticker, team, branch, *days, is_open)
    with _opened(open_project(folder), filters) as (journal, selection):
        newest = journal.newest(selection)
        forecasts = list(journal.forecasts(selection)) if filters.names_days else newest
        every_newest = journal.newest() if filters.names_days else newest
    rows = list(listing.listed(forecasts, every_newest, datetime.now(UTC)))
    if as_json:
        print_json([listing.as_json(row) for row in rows])
    elif rows:
        print_forecasts(rows)
    else:
        say("no forecasts of this selection")
    say(*stale_lines(rows))


def show_scores(
    model: ModelOption = None,
    ticker: TickerOption = None,
    team: TeamOption = None,
    branch: BranchOption = None,
    first: FromOption = None,
    last: ToOption = None,
    by: Annotated[By, typer.Option("--by", help="What a row of the table is about.")] = By.MODEL,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge the live forecasts: errors and direction beside naive, drift and base, with the tests of mlops simulate."""
    from mlops_cli.live.issued.chosen import Filters
    from mlops_cli.live.journal.track_record import scores

    filters = Filters(model, ticker, team, branch, *_days("--from", first, last))
    with _opened(open_project(folder), filters) as (journal, selection):
        judged = scores(_frame(journal, selection))
    if as_json:
        print_json(judged)
        return
    from mlops_cli.simulation.result_lines import result_lines
    from mlops_cli.simulation.result_table import Rows, result_table

    console = result_console()
    console.print(result_table(judged["summary"], console.width, Rows(by.value, "mlops journal scores --json")))
    for line in [*count_lines(judged["counts"]), *result_lines(judged["summary"])]:
        console.print(line, soft_wrap=True)


def show_gap(
    model: ModelOption = None,
    ticker: TickerOption = None,
    team: TeamOption = None,
    branch: BranchOption = None,
    first: FromOption = None,
    last: ToOption = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare what was issued with what the models and data of today give for the same sessions, and name the causes.

    Restated prices show here, and sessions on which nothing was issued.
    """
    from mlops_cli.live.issued.chosen import Filters
    from mlops_cli.live.issued.project_gap import differing, project_gap
    from mlops_cli.live.journal.gap import gap_figures

    project = open_project(folder)
    filters = Filters(model, ticker, team, branch, *_days("--from", first, last))
    with _opened(project, filters) as (journal, selection):
        issued, ends = _frame(journal, selection), journal.last_sessions(filters.last)
    with ConsoleProgress() as progress:
        compared = project_gap(project, issued, ends, progress)
    figures, rows = gap_figures(compared.table), differing(compared.table)
    if as_json:
        print_json({**figures, "rows": rows})
    else:
        print_gap(rows)
        for line in gap_lines(figures):
            show(line)
    print_failures(compared.failures)
    if compared.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def export(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file: NAME.parquet or NAME.csv.")],
    model: ModelOption = None,
    ticker: TickerOption = None,
    team: TeamOption = None,
    branch: BranchOption = None,
    first: FromOption = None,
    last: ToOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
    folder: ProjectOption = None,
) -> None:
    """Write forecasts and actual closes to a parquet or csv file, whole or not at all."""
    from mlops_cli.live.issued.chosen import Filters
    from mlops_cli.live.journal.export import write_export

    filters = Filters(model, ticker, team, branch, *_days("--from", first, last))
    if target.exists() and not force:
        raise ConfigError(f"{target}: exists already", "name another file, or replace it: --force")
    with _opened(open_project(folder), filters) as (journal, selection):
        frame = _frame(journal, selection)
    write_export(frame, target)
    show(f"{target}: {len(frame)} forecasts")


@contextmanager
def _opened(project: Project, filters: Filters) -> Iterator[tuple[Journal, Selection]]:
    """The project's journal, and what the filters select of it."""
    from mlops_cli.live.issued.chosen import chosen
    from mlops_cli.live.journal.opening import read_journal

    with read_journal(project.journal) as journal:
        yield journal, chosen(journal, filters)


def _frame(journal: Journal, selection: Selection) -> pd.DataFrame:
    from mlops_cli.live.journal.frames import journal_frame

    return journal_frame(journal.batches(selection))


def _days(option: str, first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """The first and the last day that the options name; a usage error if they are no days, or in the wrong order."""
    days = _day(option, first), _day("--to", last)
    if first is not None and last is not None and first > last:
        raise typer.BadParameter(f"--from {first} is after --to {last}")
    return days


def _day(option: str, text: str | None) -> date | None:
    from datetime import date

    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} {text}: no day; write it as 2024-01-02") from None
