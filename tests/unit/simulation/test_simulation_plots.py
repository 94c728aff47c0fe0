"""The pictures: they show the forecasts' own figures, for any size of collection, the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mlops_cli.evaluation.summary import summarise
from mlops_cli.simulation.plots import error_over_time, forecast_vs_actual, plot_all, teams_side_by_side
from tests.fakes.forecast_frames import (
    equal_shrinkage,
    forecast_frame,
    market_returns,
    noise,
    with_base,
    with_intervals,
)


def judged(models: int, days: int = 30, shrinkage: float = 0.5) -> tuple[pd.DataFrame, dict[str, Any]]:
    frame = forecast_frame(market_returns(models, days, 1), noise(models, days, 1), shrinkage)
    return frame, summarise(frame, equal_shrinkage(frame, shrinkage))


def heading(figure: Figure) -> str:
    return figure.get_suptitle()


@pytest.mark.parametrize(("models", "days"), [(1, 1), (1, 30), (2, 2), (4, 30), (13, 25)])
def test_every_size_gives_the_same_three_files(models: int, days: int, tmp_path: Path) -> None:
    frame, summary = judged(models, days)
    paths = plot_all(frame, summary, tmp_path / "plots")
    assert [path.name for path in paths] == ["forecast_vs_actual.png", "error_over_time.png", "teams.png"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in paths)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_collections_without_any_figure_are_drawn(tmp_path: Path) -> None:
    frame = forecast_frame(np.zeros((3, 2)), np.zeros((3, 2)))
    assert len(plot_all(frame, summarise(frame, equal_shrinkage(frame, 0.0)), tmp_path)) == 3


def test_same_forecasts_same_bytes_and_no_program_named_inside(tmp_path: Path) -> None:
    frame, summary = judged(2)
    one, other = (
        [path.read_bytes() for path in plot_all(frame, summary, tmp_path / name)] for name in ("one", "other")
    )
    assert one == other
    assert not any(b"tEXt" in picture for picture in one)


def test_panels_hold_the_forecasts_and_the_actual_closes() -> None:
    frame, summary = judged(3)
    figure = forecast_vs_actual(frame, summary["models"])
    best = min(summary["models"], key=lambda row: row["mae_ratio"])
    mine = frame[frame["model"] == best["model"]]
    actual, forecast = figure.axes[0].get_lines()
    assert np.array_equal(actual.get_ydata(), mine["actual_close"])
    assert np.array_equal(forecast.get_ydata(), mine["predicted_close"])
    assert figure.axes[0].get_title(loc="left").startswith(f"{best['model']}: MAE ")
    assert heading(figure).endswith("actual close: 3 models")


def test_many_models_are_chosen_by_a_rule_that_the_title_tells() -> None:
    frame, summary = judged(20, days=8)
    figure = forecast_vs_actual(frame, summary["models"])
    order = [row["model"] for row in sorted(summary["models"], key=lambda row: row["mae_ratio"])]
    shown = [axis.get_title(loc="left").split(":")[0] for axis in figure.axes if axis.get_visible()]
    assert shown == order[:6] + order[-6:]
    assert heading(figure).endswith("the 6 best and 6 worst by MAE / naive MAE of 20 models")


def test_error_over_time_ends_at_the_whole_periods_loss() -> None:
    frame, summary = judged(4, days=30)
    figure = error_over_time(frame)
    above, below = figure.axes
    assert [line.get_label() for line in above.get_lines()] == ["naive", "drift", "forecast"]
    last_20 = frame[frame["target_session"].isin(frame["target_session"].unique()[-20:])]
    naive = 100 * (last_20["last_close"] - last_20["actual_close"]).abs() / last_20["last_close"]
    assert above.get_lines()[0].get_ydata()[-1] == pytest.approx(naive.mean(), rel=1e-12)
    total = next(line for line in below.get_lines() if line.get_label() == "forecast").get_ydata()[-1]
    assert total == pytest.approx(100 * 30 * (summary["pooled"]["mae_ratio"] - 1), rel=1e-9)


def test_intervals_are_a_band_and_the_base_a_line_of_its_own() -> None:
    frame = with_base(judged(2)[0], np.zeros(60), drift=0.001, network=0.5)
    width = np.full(60, 0.02)
    width[:5] = np.nan
    frame = with_intervals(frame, {80.0: 0.01, 95.0: width}, {80.0: 0.01, 95.0: 0.02})
    summary = summarise(frame, equal_shrinkage(frame))
    figure = forecast_vs_actual(frame, summary["models"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["95 % interval", "actual close", "forecast"]
    for axis, row in zip(figure.axes, sorted(summary["models"], key=lambda row: row["mae_ratio"]), strict=False):
        mine = frame[frame["model"] == row["model"]]
        (band,) = axis.collections
        drawn = band.get_paths()[0].vertices[:, 1]
        assert drawn.min() == mine["lower_95"].min()
        assert drawn.max() == mine["upper_95"].max()
    above, below = error_over_time(frame).axes
    assert [line.get_label() for line in above.get_lines()] == ["naive", "drift", "base", "forecast"]
    total = next(line for line in below.get_lines() if line.get_label() == "base").get_ydata()[-1]
    assert total == pytest.approx(100 * 30 * (summary["pooled"]["base_ratio"] - 1), rel=1e-9)


def test_teams_stand_in_the_order_of_the_leaderboard() -> None:
    _, summary = judged(4)
    errors, directions = teams_side_by_side(summary["teams"]).axes
    assert [label.get_text() for label in errors.get_yticklabels()] == [
        f"{row['rank']}. {row['team']}" for row in summary["teams"]
    ]
    points = [container.lines[0] for container in errors.containers]
    assert [float(point.get_xdata()[0]) for point in points] == [row["mae_ratio"] for row in summary["teams"]]
    right = [float(container.lines[0].get_xdata()[0]) for container in directions.containers]
    assert right == [100 * row["direction_accuracy"] for row in summary["teams"]]


def test_drawing_touches_no_global_state_of_matplotlib() -> None:
    code = (
        "import sys, mlops_cli.simulation.report as report, mlops_cli.simulation.plots as plots;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
