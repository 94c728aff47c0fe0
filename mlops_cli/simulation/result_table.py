"""The table of results in the terminal: one row per model, and the whole collection at its foot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlops_cli.simulation.figure_text import direction, figure, p_value, percent, price
from mlops_cli.simulation.ranking import best_and_worst
from mlops_cli.simulation.remarks import FEWEST, remarks
from mlops_cli.simulation.report import SUMMARY_FILE

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
ALL_SHOWN, BEST_AND_WORST = 30, 10
DEFAULT_WIDTH = 100
ALL = "all"
CAPTION = (
    "direction: share of rises and falls that the raw forecasts predicted correctly. skill: 1 - MAE / naive MAE. "
    "verdict: from DM p, corrected for the number of models. -: undefined. Best MAE / naive MAE first."
)
NETWORK = {"adds to the base": "adds", "adds nothing to the base": "nothing", "takes from the base": "takes"}


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        header: its title, in lines.
        cell: the text of a row (of the summary's models, or `pooled`).
        explanation: what the caption says about it beside CAPTION.
        leaves: place in the order in which columns are left out of a narrow table; 0: it always stays.
    """

    header: str
    cell: Callable[[Row], str]
    explanation: str = ""
    leaves: int = 0


@dataclass(frozen=True)
class Rows:
    """The rows of a table: of a summary's models or teams; `all_in` says where all are, if there are too many."""

    by: Literal["model", "team"] = "model"
    all_in: str = SUMMARY_FILE

    def of(self, summary: Mapping[str, Any]) -> list[Row]:
        """The rows, each with its name as `model`."""
        if self.by == "model":
            return list(summary["models"])
        return [{**row, "model": row["team"], "intervals": {}} for row in summary["teams"]]


MODELS = Rows()


def result_table(summary: Mapping[str, Any], width: int = DEFAULT_WIDTH, rows: Rows = MODELS) -> Table:
    """Table of the results per model, best MAE ratio first, and the pooled results at its foot.

    With more than 30 models: the 10 best and the 10 worst, and how many are left out. Where `width` characters are too
    few, the columns that matter least are left out, and the caption names them.
    """
    columns = _columns(summary)
    left_out: list[Column] = []
    table = _table(summary, rows, columns, left_out)
    while _least_width(table) > width and (leaving := [column for column in columns if column.leaves]):
        left_out.append(min(leaving, key=lambda column: column.leaves))
        columns.remove(left_out[-1])
        table = _table(summary, rows, columns, left_out)
    return table


def _table(summary: Mapping[str, Any], rows: Rows, columns: Sequence[Column], left_out: Sequence[Column]) -> Table:
    from rich import box
    from rich.table import Table

    shown = rows.of(summary)
    best, worst = best_and_worst(shown, ALL_SHOWN, BEST_AND_WORST)
    hidden = len(shown) - len(best) - len(worst)
    more = f"The {BEST_AND_WORST} best and {BEST_AND_WORST} worst of {len(shown)}: all are in {rows.all_in}."
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        caption=_caption(summary, columns, left_out, more if hidden else ""),
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column(rows.by, overflow="fold")
    for column in columns:
        table.add_column(column.header, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=10)

    def add(row: Row, name: str, style: str | None = None) -> None:
        cells = [column.cell({**row, "model": name}) for column in columns]
        table.add_row(name, *cells, row["verdict"], style=style)

    for row in best:
        add(row, row["model"])
    if hidden:
        table.add_row(f"… {hidden} more", style="dim")
    for row in worst:
        add(row, row["model"])
    table.add_section()
    add(summary["pooled"], ALL, "bold")
    return table


def _least_width(table: Table) -> int:
    """Width below which the table would cut off figures."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=1000)
    return Measurement.get(console, console.options, table).minimum


def _caption(summary: Mapping[str, Any], columns: Sequence[Column], left_out: Sequence[Column], more: str) -> str:
    sentences = [CAPTION, *(column.explanation for column in columns if column.explanation)]
    if more:
        sentences.append(more)
    if left_out:
        names = ", ".join(column.header.replace("\n", " ") for column in left_out)
        sentences.append(f"Too narrow to show: {names}.")
    return " ".join([*sentences, *remarks(summary)])


def _columns(summary: Mapping[str, Any]) -> list[Column]:
    """The columns between the model's name and its verdict, for what there is in the summary."""
    retrained = _retrained_maes(summary)
    has_base = summary["pooled"].get("mae_base") is not None
    levels = list(summary["pooled"].get("intervals", {}))
    columns = [
        Column("MAE", lambda row: price(row["mae"])),
        _retrained_column(retrained) if retrained is not None else None,
        _base_column() if has_base else None,
        Column("raw\nMAE", lambda row: price(row["mae_raw"]), leaves=5),
        Column("direction\n% ± se", direction),
        Column("naive\nMAE", lambda row: price(row["mae_naive"])),
        Column("skill\n%", _skill),
        Column("drift\nMAE", lambda row: price(row["mae_drift"]), leaves=6),
        Column("n", lambda row: str(row["n"]), leaves=4),
        Column("DM\np", lambda row: p_value(row["dm_p"])),
        Column("PT\np", lambda row: p_value(row["pt_p"]), leaves=2),
        Column("always\nup %", lambda row: percent(row["always_up_rate"]), leaves=1),
        _coverage_column(levels[-1]) if levels else None,
        Column(
            "λ",
            lambda row: figure(row["shrinkage"], ".2f"),
            "λ: share of the network's own forecast that is kept.",
            leaves=3,
        ),
        _network_column() if has_base else None,
    ]
    return [column for column in columns if column is not None]


def _base_column() -> Column:
    return Column(
        "base\nMAE",
        lambda row: price(row["mae_base"]),
        "base: last close + drift - announced dividend, without the network.",
    )


def _network_column() -> Column:
    return Column(
        "network\nto base",
        lambda row: NETWORK.get(row["base_verdict"], "-"),
        "network to base: what the network adds to the base.",
    )


def _coverage_column(level: str) -> Column:
    return Column(
        f"in\n{level} %",
        lambda row: percent(row["intervals"].get(level, {}).get("coverage")),
        f"in {level} %: share of closes inside the {level} % interval.",
    )


def _retrained_column(maes: Mapping[str, float]) -> Column:
    return Column(
        "re-\ntrained\nMAE",
        lambda row: price(maes.get(row["model"])),
        "retrained MAE: of the same models, retrained while the scenario went on.",
    )


def _retrained_maes(summary: Mapping[str, Any]) -> dict[str, float] | None:
    """MAE of the retrained models by name, and under `all` the pooled one; None without a walk-forward part."""
    walk = summary.get("walk_forward")
    if walk is None or not walk["models"]:
        return None
    maes = {row["model"]: row["mae"] for row in walk["models"]}
    # a mean over fewer models cannot be compared with the mean of all frozen models
    return maes | ({ALL: walk["pooled"]["mae"]} if len(maes) == len(summary["models"]) else {})


def _skill(row: Row) -> str:
    few = row.get("n_days", row["n"]) < FEWEST
    return percent(None if few else row["skill"], 2, "+")
