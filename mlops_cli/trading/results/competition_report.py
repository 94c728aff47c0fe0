"""The results of the competition: a table for the terminal, and files (JSON, CSV, Markdown, a plot of the equity)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_cli.trading.results.competition import BUY_AND_HOLD, CASH, normalised

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

COLUMNS = (
    "return\n%", "Sharpe\n± se", "deflated\nSharpe", "max\ndraw-\ndown %", "turn-\nover", "cost\nUSD", "cost\nbps",
    "hit\nrate %", "orders",
)  # fmt: skip
CAPTION = (
    "Sharpe: annualised. deflated: probability that the true Sharpe is above 0, given the number of trainings. "
    "turnover: dollars traded over mean equity. cost: paid above the opening price. "
    "hit rate: share of days and stocks with a position that gained."
)
COLOURS = {"red": "#c8373d", "blue": "#2b6cb0", "green": "#3a8f4d", BUY_AND_HOLD: "#4d4d4d", CASH: "#9a9a9a"}
OTHERS = ("#7b4ea3", "#d98a1f", "#1f8a8a", "#8c6d46", "#b2478f", "#5f6b7a")


def competition_table(summary: Mapping[str, Any]) -> Table:
    """The table, at most 100 columns wide: teams, best return first, then buy-and-hold and cash."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=CAPTION, caption_justify="left")
    table.add_column("", overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary["rows"]:
        if row["name"] == BUY_AND_HOLD:
            table.add_section()
        table.add_row(_title(row), *_cells(row))
    return table


def competition_lines(summary: Mapping[str, Any]) -> list[str]:
    """Lines of text shown with the table: the period, which models did not trade and why, and the notes."""
    period = summary["period"]
    lines = [
        f"{_count(period['sessions'], 'session')} from {period['first']} to {period['last']}, "
        f"{_count(len(period['tickers']), 'stock')}, every team from {summary['equity'][CASH][0]:,.0f} USD."
    ]
    teams = [row for row in summary["rows"] if row["kind"] == "team"]
    lines += filter(None, map(_idle_line, teams))
    if any(row["idle"] for row in teams) and not any(row["orders"] for row in teams):
        lines.append("To let these models trade anyway, use --trade-without-skill.")
    return lines + [f"Note: {note}." for note in summary["notes"]]


def _idle_line(row: Mapping[str, Any]) -> str:
    """Which models of a team did not trade, and why; empty where all did."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in row["idle"].items())
    if not row["orders"]:
        return f"{row['name']}: no trades: {reasons or 'no forecast was strong enough'}."
    return f"{row['name']}: {len(row['models'])} models traded, the others did not: {reasons}." if reasons else ""


def report_files(summary: Mapping[str, Any]) -> dict[str, bytes]:
    """The report's files by name: competition.json, .csv, .md and .png. Equal summaries give equal bytes."""
    return {
        "competition.csv": _csv(summary).encode(),
        "competition.md": _markdown(summary).encode(),
        "competition.png": _png(equity_figure(summary)),
        "competition.json": (json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode(),
    }


def equity_figure(summary: Mapping[str, Any]) -> Figure:
    """Plot the gain of each team, of buy-and-hold and of cash over time, and below it the loss since the last peak."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
    days = pd.DatetimeIndex(summary["sessions"])
    others = iter(OTHERS * len(summary["equity"]))
    for name, curve in summary["equity"].items():
        style = {"color": COLOURS.get(name) or next(others), "lw": 1.2 if name in (CASH, BUY_AND_HOLD) else 1.8}
        values = np.asarray(curve, np.float64)
        above.plot(days, normalised(curve), label=name, ls="--" if name == CASH else "-", **style)
        if name != CASH:
            below.plot(days, 100.0 * (values / np.maximum.accumulate(values) - 1.0), **style)
    above.set_title("Equity: gained since the start, %", loc="left")
    below.set_title("Loss since the highest equity, %", loc="left")
    above.legend(loc="best", frameon=False, ncols=2)
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    for axis in (above, below):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # without the "Software" note the bytes do not change with matplotlib's version number alone
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _csv(summary: Mapping[str, Any]) -> str:
    """One line per session, one column per curve."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["session", *summary["equity"]])
    writer.writerows(zip(summary["sessions"], *summary["equity"].values(), strict=True))
    return text.getvalue()


def _markdown(summary: Mapping[str, Any]) -> str:
    heads = ["", *(name.replace("-\n", "").replace("\n", " ") for name in COLUMNS)]
    lines = [
        "# Competition",
        "",
        *competition_lines(summary),
        "",
        "| " + " | ".join(heads) + " |",
        "|---|" + "---:|" * len(COLUMNS),
        *("| " + " | ".join([_title(row), *_cells(row)]) + " |" for row in summary["rows"]),
        "",
        CAPTION,
        "",
        "![equity](competition.png)",
    ]
    return "\n".join(lines) + "\n"


def _title(row: Mapping[str, Any]) -> str:
    return f"{row['rank']}. {row['name']}" if row["rank"] else str(row["name"])


def _cells(row: Mapping[str, Any]) -> list[str]:
    sharpe = _number(row["sharpe"], "+.2f")
    return [
        _number(row["return"], "+.2f", 100),
        sharpe if row["sharpe"] is None else f"{sharpe} ± {row['sharpe_se']:.2f}",
        _number(row.get("deflated_sharpe"), ".2f"),
        _number(row["max_drawdown"], ".2f", 100),
        _number(row.get("turnover"), ".2f"),
        _number(row.get("cost"), ",.0f"),
        _number(row.get("cost_bps"), ".2f"),
        _number(row.get("hit_rate"), ".1f", 100),
        _number(row.get("orders"), "d"),
    ]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _number(value: float | int | None, spec: str, factor: int = 1) -> str:
    return "-" if value is None else format(value * factor, spec)
