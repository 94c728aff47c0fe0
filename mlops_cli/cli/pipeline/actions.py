"""`mlops actions`: the dividends that are known, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli import stage_calls
from mlops_cli.cli.options import BranchOption, JsonFlag, ProjectOption, command_group, open_project
from mlops_cli.cli.output import print_json, print_table, say
from mlops_cli.errors import DataError, bounded

if TYPE_CHECKING:
    from mlops_cli.pipeline.stages.stored_dividends import BranchDividends, StoredDividend

COLUMNS = ("ticker", "ex-date", "amount", "of the close", "source", "known since", "remarks")


def register(app: typer.Typer) -> None:
    """Add `mlops actions` and its command to the app."""
    group = command_group(help="Look at dividends.")
    group.callback()(lambda: None)  # so that `list` stays a command of its own while it is the only one
    group.command("list")(list_actions)
    app.add_typer(group, name="actions")


def list_actions(
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="Only these tickers.", show_default=False)
    ] = None,
    upcoming: Annotated[bool, typer.Option("--upcoming", help="Only ex-dates after the last stored price.")] = False,
    branch: BranchOption = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the dividends that ingest has seen: ex-date, amount, source, and since when forecasts may use them."""
    from mlops_cli.pipeline.stages.stored_dividends import stored_dividends

    project = open_project(folder)
    only = [ticker.upper() for ticker in tickers or ()]
    branches = stage_calls.chosen_branches(project, branch)
    _refuse_unknown(only, {spec.ticker for chosen in branches for spec in chosen.models})
    listed = stored_dividends(project, branches, only)
    if as_json:
        print_json([_as_json(dividends, upcoming) for dividends in listed])
        return
    for dividends in listed:
        _show(dividends, upcoming)


def _refuse_unknown(only: list[str], tickers: set[str]) -> None:
    unknown = [ticker for ticker in only if ticker not in tickers]
    if unknown:
        raise DataError(f"{', '.join(unknown)}: no model has this ticker", f"tickers: {bounded(sorted(tickers))}")


def _chosen(listed: BranchDividends, upcoming: bool) -> list[StoredDividend]:
    return [dividend for dividend in listed.dividends if dividend.is_coming or not upcoming]


def _as_json(listed: BranchDividends, upcoming: bool) -> dict[str, Any]:
    dividends = [as_json(dividend) for dividend in _chosen(listed, upcoming)]
    return {"branch": listed.branch, "dividends": dividends, "unknown": list(listed.unknown)}


def as_json(dividend: StoredDividend) -> dict[str, Any]:
    """A dividend as JSON values; `known_since` is null if it is taken as announced."""
    sighting = dividend.sighting
    return {
        "ticker": dividend.ticker,
        "ex_date": str(sighting.ex_date),
        "amount": sighting.amount,
        "share_of_close": dividend.share,
        "source": sighting.source,
        "seen": str(sighting.seen),
        "known_since": None if sighting.is_assumed else str(sighting.known_from),
        "taken_as_announced": sighting.is_assumed,
        "estimated": sighting.estimated,
        "kind": sighting.kind,
        "currency": sighting.currency,
        "coming": dividend.is_coming,
        "remarks": list(dividend.remarks),
    }


def row_of(dividend: StoredDividend) -> tuple[str, ...]:
    """A dividend as a row of the table with `COLUMNS`."""
    sighting = dividend.sighting
    amount, share = f"{sighting.amount:.6g}", f"{dividend.share:.2%}"
    facts = (str(sighting.ex_date), amount, share, sighting.source, dividend.known_since)
    return (dividend.ticker, *facts, ", ".join(dividend.remarks))


def _show(listed: BranchDividends, upcoming: bool) -> None:
    rows = [row_of(dividend) for dividend in _chosen(listed, upcoming)]
    typer.echo(f"dividends, branch {listed.branch}: {len(rows) or 'none'}")
    if rows:
        print_table(COLUMNS, rows)
    if listed.unknown:
        say(f"note: no dividends are known for {bounded(list(listed.unknown))}")
    if listed.without_prices:
        say(f"note: no prices are stored for {bounded(list(listed.without_prices))}; run: mlops ingest")
