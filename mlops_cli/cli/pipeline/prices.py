"""`mlops prices`: look at stored prices; and how `mlops ingest` and `mlops run` tell what cleaning repaired."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import BranchOption, JsonFlag, ProjectOption, command_group, open_project
from mlops_cli.cli.output import print_json, print_table, say
from mlops_cli.cli.pipeline.actions import COLUMNS as DIVIDEND_COLUMNS
from mlops_cli.cli.pipeline.actions import as_json as dividend_as_json
from mlops_cli.cli.pipeline.actions import row_of
from mlops_cli.errors import bounded

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.config.paths import Project
    from mlops_cli.pipeline.stages.stored_dividends import StoredDividend
    from mlops_cli.pipeline.stages.stored_prices import StoredPrices
    from mlops_cli.prices.cleaning.counts import TickerRepairs

PLOT_COLUMNS, PLOT_ROWS = 60, 8
END_ROWS = 3
MOST_WARNINGS = 10  # about dividends, of one branch
BLOCKS = " ▁▂▃▄▅▆▇█"


def register(app: typer.Typer) -> None:
    """Add `mlops prices` and its command to the app."""
    group = command_group(help="Look at the stored prices.")
    group.callback()(lambda: None)  # so that `show` stays a command of its own while it is the only one
    group.command()(show)
    app.add_typer(group, name="prices")


def show(
    ticker: Annotated[str, typer.Argument(metavar="TICKER", help="A ticker whose prices were ingested.")],
    branch: BranchOption = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a ticker's stored prices: first and last rows, source, dividends, what cleaning repaired, and a plot."""
    from mlops_cli.pipeline.stages.stored_prices import stored_prices

    tables = stored_prices(open_project(folder), ticker, branch)
    if as_json:
        print_json([_as_json(stored) for stored in tables])
        return
    for stored in tables:
        _show(stored)


def _as_json(stored: StoredPrices) -> dict[str, Any]:
    rows = stored.table.reset_index().to_dict("records")
    ends = {"first_rows": rows[:END_ROWS], "last_rows": rows[-END_ROWS:]}
    about = {key: value for key, value in stored.provenance.items() if key != "repairs"}
    days = [{**row, "session": str(row["session"])[:10]} for row in [*ends["first_rows"], *ends["last_rows"]]]
    first, last = days[: len(ends["first_rows"])], days[len(ends["first_rows"]) :]
    repairs = stored.repairs.to_dict()
    dividends = None if stored.dividends is None else [dividend_as_json(dividend) for dividend in stored.dividends]
    ends = {"first_rows": first, "last_rows": last}
    return {"branch": stored.branch, **about, **repairs, **ends, "dividends": dividends}


def _show(stored: StoredPrices) -> None:
    about, table, repairs = stored.provenance, stored.table, stored.repairs
    typer.echo(f"{about['ticker']}, branch {stored.branch}")
    typer.echo(f"source {about['origin']}, fetched {about['fetched_at']}; exchange {about['exchange']}")
    typer.echo(f"{len(table)} sessions, {about['first']} to {about['last']}")
    ends = table if len(table) <= 2 * END_ROWS else table.iloc[[*range(END_ROWS), *range(-END_ROWS, 0)]]
    rows = [(str(day)[:10], *(f"{value:.6g}" for value in row[:5]), f"{row[5]:.0f}") for day, *row in ends.itertuples()]
    if len(ends) < len(table):
        rows.insert(END_ROWS, ("…", *[""] * 6))
    print_table(("session", *map(str, table.columns)), rows)
    typer.echo("\n".join(plot(table["close"].tolist(), str(about["first"]), str(about["last"]))))
    _show_dividends(stored.dividends)
    if not repairs.rules:
        typer.echo("nothing was repaired")
        return
    print_table(("rule", "count", "examples"), [(r.rule, r.count, ", ".join(r.examples)) for r in repairs.rules])
    if repairs.touched:
        typer.echo(repairs.words)


def _show_dividends(dividends: Sequence[StoredDividend] | None) -> None:
    """Print the last and the coming dividends, or why there are none."""
    if dividends is None:
        typer.echo(
            "no dividends are known: the source has no adjusted closes and lists none, or ingest has not looked yet"
        )
        return
    past = [dividend for dividend in dividends if not dividend.is_coming]
    coming = [dividend for dividend in dividends if dividend.is_coming]
    typer.echo(f"{len(past)} dividends in these sessions, {len(coming) or 'none'} coming")
    if rows := [row_of(dividend)[1:] for dividend in [*past[-END_ROWS:], *coming]]:
        print_table(DIVIDEND_COLUMNS[1:], rows)


def plot(closes: Sequence[float], first: str, last: str) -> list[str]:
    """Lines of a plot of closes over time, with the highest and lowest close at its left.

    Each column shows the last close of an equal part of the sessions, as a bar above the lowest close.
    """
    columns = min(PLOT_COLUMNS, len(closes))
    values = [closes[(column + 1) * len(closes) // columns - 1] for column in range(columns)]
    low, high = min(values), max(values)
    steps = PLOT_ROWS * (len(BLOCKS) - 1)
    heights = [round((value - low) / (high - low) * (steps - 1)) + 1 if high > low else steps // 2 for value in values]
    labels = {0: f"{low:.6g}"} | ({PLOT_ROWS - 1: f"{high:.6g}"} if high > low else {})
    width = max(map(len, labels.values()))
    lines = []
    for row in reversed(range(PLOT_ROWS)):
        cells = (min(max(height - row * (len(BLOCKS) - 1), 0), len(BLOCKS) - 1) for height in heights)
        lines.append(f"{labels.get(row, ''):>{width}} {''.join(BLOCKS[cell] for cell in cells)}".rstrip())
    return [*lines, f"{'':>{width}} {first}{last:>{max(columns - len(first), len(last) + 1)}}"]


def repairs_in(project: Project, branch: Branch, only: str | None) -> list[TickerRepairs]:
    """What cleaning repaired in the tickers of a branch's models, as the files beside the price tables say."""
    from mlops_cli.prices.cleaning.counts import read_repairs

    tickers = {spec.ticker for spec in branch.models if only is None or fnmatchcase(spec.name, only)}
    return read_repairs(project.prices(branch.name), tickers)


def tell_repairs(project: Project, branches: Sequence[Branch], only: str | None, verbose: bool) -> None:
    """Print rules, counts and the most touched tickers of each branch; with `verbose`, every rule of every ticker."""
    from mlops_cli.prices.cleaning.counts import by_rule

    for branch in branches:
        repairs = repairs_in(project, branch, only)
        _tell_dividends(project, branch, repairs)
        rows = by_rule(repairs)
        if not rows:
            continue
        print(f"\nprices {branch.name}: what cleaning repaired, dropped or noted, in {len(repairs)} tickers")
        print_table(("rule", "count", "tickers", "most touched"), rows)
        if verbose:
            every = [(t.ticker, r.rule, r.count, ", ".join(r.examples)) for t in repairs for r in t.rules]
            print_table(("ticker", "rule", "count", "examples"), every)
        say(*(f"warning: {t.ticker}: {t.words}; see: mlops prices show {t.ticker}" for t in repairs if t.much))


def _tell_dividends(project: Project, branch: Branch, repairs: Sequence[TickerRepairs]) -> None:
    """Say of which tickers no dividends are known, and whose dividends the checks found faults with."""
    from mlops_cli.prices.actions.sightings_file import dividends_file

    folder = project.prices(branch.name)
    unknown = [ticker for ticker in repairs if not dividends_file(folder, ticker.ticker).is_file()]
    if unknown:
        say(f"note: no dividends are known for {bounded([ticker.ticker for ticker in unknown])}: base none")
    # these prices were fetched by a version of mlops that did not look for dividends
    if unseen := [ticker.ticker for ticker in unknown if ticker.has_adjusted_closes]:
        say(f"note: nobody has looked for the dividends of {bounded(unseen)} yet; run: mlops ingest, then mlops run")
    tickers: dict[tuple[str, str], list[str]] = {}  # a source that is down has the same words for each
    for ticker in repairs:
        for rule in ticker.dividend_faults:
            tickers.setdefault((rule.rule, bounded(list(rule.examples), 2)), []).append(ticker.ticker)
    for (name, words), names in list(tickers.items())[:MOST_WARNINGS]:
        say(f"warning: {bounded(names)}: {name}: {words}; docs/data-sources.md says what to do")
    if len(tickers) > MOST_WARNINGS:
        say(f"warning: {len(tickers) - MOST_WARNINGS} more faults of dividends; see: mlops ingest -v")
