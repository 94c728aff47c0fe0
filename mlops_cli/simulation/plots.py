"""Plots of a scenario: forecast against actual, error over time, teams side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from mlops_cli.evaluation.frame import interval_columns, interval_levels
from mlops_cli.evaluation.metrics import score_forecasts
from mlops_cli.simulation.ranking import best_and_worst
from mlops_cli.system.files import write_whole

MAX_PANELS = 12
WINDOW = 20
"""Sessions of the rolling means."""

MODEL, NAIVE, DRIFT, BASE, ACTUAL = "#d1495b", "#4d4d4d", "#2e86ab", "#3a8f4d", "#9a9a9a"
TEAM_COLOURS = {"red": "#c8373d", "blue": "#2b6cb0", "green": "#3a8f4d"}
OTHER_COLOURS = ("#7b4ea3", "#d98a1f", "#1f8a8a", "#8c6d46", "#b2478f", "#5f6b7a")


def plot_all(forecasts: pd.DataFrame, summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw a scenario's plots from its forecasts (of `check_forecasts`) and their summary; return the files written.

    With the same matplotlib, the same forecasts give the same bytes.
    """
    figures = {
        "forecast_vs_actual": forecast_vs_actual(forecasts, summary["models"]),
        "error_over_time": error_over_time(forecasts),
        "teams": teams_side_by_side(summary["teams"]),
    }
    return [_save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def forecast_vs_actual(forecasts: pd.DataFrame, models: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw actual and forecast closes over the target sessions, one panel per model (`models`: of the summary).

    A band behind the lines is the interval of the highest level, where the forecasts have one.
    With more than 12 models: the 6 best and the 6 worst by MAE / naive MAE, best first.
    """
    best, worst = best_and_worst(models, MAX_PANELS, MAX_PANELS // 2)
    chosen = [*best, *worst]
    columns = min(3, len(chosen))
    lines = -(-len(chosen) // columns)
    figure = _figure(width=5.0 * columns + 1.0, height=2.6 * lines + 1.0)
    axes = figure.subplots(lines, columns, squeeze=False).flat
    levels = interval_levels(forecasts)
    for axis, row in zip(axes, chosen, strict=False):
        mine = forecasts[forecasts["model"] == row["model"]]
        if levels:
            _band(axis, mine, levels[-1])
        dot = "." if len(mine) < 10 else ""
        axis.plot(mine["target_session"], mine["actual_close"], color=ACTUAL, lw=1.8, marker=dot, label="actual close")
        axis.plot(mine["target_session"], mine["predicted_close"], color=MODEL, lw=0.9, marker=dot, label="forecast")
        axis.set_title(_panel_title(row), fontsize=9, loc="left")
        _dates(axis, mine["target_session"])
    for axis in list(figure.axes)[len(chosen) :]:
        axis.set_visible(False)
    which = f"the {len(best)} best and {len(worst)} worst by MAE / naive MAE of " if worst else ""
    figure.suptitle(f"Next-day forecast and actual close: {which}{_models(len(models))}", fontsize=12)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _band(axis: Axes, forecasts: pd.DataFrame, level: float) -> None:
    lower, upper, _ = interval_columns(level)
    bounds = forecasts[lower], forecasts[upper]
    axis.fill_between(
        forecasts["target_session"], *bounds, color=MODEL, alpha=0.15, lw=0.0, label=f"{level:g} % interval"
    )


def error_over_time(forecasts: pd.DataFrame) -> Figure:
    """Draw the collection's error in % of the last close (mean over models, rolling mean over sessions) and its gain.

    The lower panel adds up, day by day, the mean of (error - naive error) / mean naive error: a rising line loses to
    naive.
    """
    scores = score_forecasts(forecasts)
    days = scores["target_session"]
    figure = _figure(width=10.0, height=6.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.1))
    lines = [("mae_naive", NAIVE, "naive", 2.4), ("mae_drift", DRIFT, "drift", 1.4), ("mae", MODEL, "forecast", 1.4)]
    if scores["has_base"].any():
        lines.insert(2, ("mae_base", BASE, "base", 3.0))  # seen behind forecasts that are the base
    below.axhline(0.0, color=NAIVE, lw=2.4)
    for column, colour, label, width in lines:
        error = (100 * scores[column] / scores["last_close"]).groupby(days).mean()
        above.plot(
            error.rolling(WINDOW, min_periods=min(WINDOW // 2, len(error))).mean(), color=colour, lw=width, label=label
        )
        if column != "mae_naive":
            loss = ((scores[column] - scores["mae_naive"]) / scores["scale"]).groupby(days).mean().fillna(0.0)
            below.plot(100 * loss.cumsum(), color=colour, lw=width, label=label)
    above.set_title(
        f"Error: mean over {_models(scores['model'].nunique())}, rolling mean of {WINDOW} sessions", loc="left"
    )
    above.set_ylabel("MAE, % of last close")
    below.set_title("Error less naive's, added up over the days (below 0 = better than naive)", loc="left")
    below.set_ylabel("% of one day's\nmean naive error")
    above.legend(loc="best", frameon=False, ncols=len(lines))
    _dates(below, days)
    return figure


def teams_side_by_side(teams: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the teams of the summary: MAE / naive MAE, and direction accuracy with its day-clustered error."""
    figure = _figure(width=10.0, height=1.8 + 0.6 * len(teams))
    errors, directions = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(teams):
        colour = TEAM_COLOURS.get(row["team"], OTHER_COLOURS[place % len(OTHER_COLOURS)])
        ratio, accuracy = _number(row["mae_ratio"]), _number(row["direction_accuracy"])
        error = 1.96 * _number(row["mae_ratio_se"])
        errors.errorbar(ratio, place, xerr=error, fmt="o", ms=9, capsize=4, color=colour)
        spread = 196 * _number(row["direction_se"])
        directions.errorbar(100 * accuracy, place, xerr=spread, fmt="o", ms=9, capsize=4, color=colour)
        directions.plot(100 * _number(row["always_up_rate"]), place, marker="|", ms=22, mew=2, color=NAIVE)
    errors.axvline(1.0, color=NAIVE, lw=1.2, ls="--")
    errors.set_title("MAE / naive MAE (left of 1 = better than naive)", loc="left", fontsize=10)
    errors.set_yticks(range(len(teams)), [f"{row['rank']}. {row['team']}" for row in teams])
    errors.set_ylim(len(teams) - 0.5, -0.5)
    errors.ticklabel_format(axis="x", useOffset=False)
    errors.locator_params(axis="x", nbins=6)
    directions.axvline(50.0, color=NAIVE, lw=1.2, ls="--")
    directions.set_title("% of rises and falls predicted (| = up every day)", loc="left", fontsize=10)
    figure.suptitle("Teams side by side; bars: 95 % intervals, clustered by day", fontsize=12)
    return figure


def _panel_title(row: Mapping[str, Any]) -> str:
    accuracy = "-" if row["direction_accuracy"] is None else f"{100 * row['direction_accuracy']:.0f} %"
    base = "" if row["mae_base"] is None else f", base {row['mae_base']:.4g}"
    return f"{row['model']}: MAE {row['mae']:.4g} (naive {row['mae_naive']:.4g}{base}), direction {accuracy}"


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _figure(width: float, height: float) -> Figure:
    """Create a figure outside of matplotlib's global state, so that drawing is safe in any thread."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dates(axis: Axes, days: pd.Series) -> None:
    # A margin in days, because the locator needs a range even for a single session.
    margin = pd.Timedelta(days=2 + (days.max() - days.min()).days // 40)
    axis.set_xlim(days.min() - margin, days.max() + margin)
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _save(figure: Figure, path: Path) -> Path:
    for axis in figure.axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    # Without the "Software" entry, a new version number of matplotlib alone does not change the bytes.
    return write_whole(path, lambda part: figure.savefig(part, format="png", metadata={"Software": None}))
