"""A scenario's report: files whole or not at all, and what a person reads."""

from __future__ import annotations

import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mlops_cli.errors import DataError
from mlops_cli.evaluation.frame import FORECAST_COLUMNS, check_forecasts
from mlops_cli.evaluation.paired import compare
from mlops_cli.evaluation.summary import summarise
from mlops_cli.simulation.ranking import best_and_worst
from mlops_cli.simulation.report import remarks, result_lines, result_table, write_report
from mlops_cli.system.files import write_whole
from tests.fakes.forecast_frames import equal_shrinkage, forecast_frame, market_returns, noise

FILES = {
    "forecasts.parquet", "summary.json",
    "plots/forecast_vs_actual.png", "plots/error_over_time.png", "plots/teams.png",
}  # fmt: skip


def judged(models: int, days: int = 40, shrinkage: float = 0.5) -> tuple[pd.DataFrame, dict[str, Any]]:
    frame = forecast_frame(market_returns(models, days, 1), noise(models, days, 1), shrinkage)
    return frame, summarise(frame, equal_shrinkage(frame, shrinkage))


@pytest.fixture(scope="module")
def small() -> tuple[pd.DataFrame, dict[str, Any]]:
    return judged(4)


@pytest.fixture(scope="module")
def large() -> dict[str, Any]:
    return judged(45, days=25)[1]


def printed(summary: dict[str, Any], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(result_table(summary))
    return console.file.getvalue()


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_files(small: tuple[pd.DataFrame, dict[str, Any]], tmp_path: Path) -> None:
    frame, summary = small
    folder = tmp_path / "reports" / "demo"
    written = write_report(folder, frame.sample(frac=1, random_state=0), summary)
    assert {path.relative_to(folder).as_posix() for path in written} == FILES == files_in(folder)
    assert written[-1].name == "summary.json"
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "forecasts.parquet"), check_forecasts(frame))
    assert json.loads((folder / "summary.json").read_text("utf-8")) == summary


def test_summary_is_told_by_the_forecasts_beside_it(small: tuple[pd.DataFrame, dict[str, Any]], tmp_path: Path) -> None:
    write_report(tmp_path, *small)
    frame = pd.read_parquet(tmp_path / "forecasts.parquet")
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert tuple(frame.columns) == FORECAST_COLUMNS
    for row in summary["models"]:
        mine = frame[frame["model"] == row["model"]]
        naive = np.mean(np.abs(mine["last_close"] - mine["actual_close"]))
        mae = np.mean(np.abs(mine["predicted_close"] - mine["actual_close"]))
        right = np.sign(mine["raw_predicted_close"] - mine["last_close"]) == np.sign(
            mine["actual_close"] - mine["last_close"]
        )
        assert row["mae"] == pytest.approx(mae, abs=1e-9)
        assert row["mae_raw"] == pytest.approx(np.mean(np.abs(mine["raw_predicted_close"] - mine["actual_close"])))
        assert row["mae_drift"] == pytest.approx(np.mean(np.abs(mine["drift_predicted_close"] - mine["actual_close"])))
        assert row["skill"] == pytest.approx(1 - mae / naive, abs=1e-9)
        assert row["direction_accuracy"] == pytest.approx(right.mean(), abs=1e-9)
    assert summary["pooled"]["mae"] == pytest.approx(np.mean(np.abs(frame["predicted_close"] - frame["actual_close"])))


def test_second_report_replaces_the_first_byte_for_byte(
    small: tuple[pd.DataFrame, dict[str, Any]], tmp_path: Path
) -> None:
    write_report(tmp_path, *small)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    write_report(tmp_path, *small)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_broken_forecasts_leave_the_old_report(small: tuple[pd.DataFrame, dict[str, Any]], tmp_path: Path) -> None:
    frame, summary = small
    write_report(tmp_path, frame, summary)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    with pytest.raises(DataError, match="prices not finite"):
        write_report(tmp_path, frame.assign(actual_close=math.nan), summary)
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


def test_nan_is_refused_before_anything_is_written(small: tuple[pd.DataFrame, dict[str, Any]], tmp_path: Path) -> None:
    frame, summary = small
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path / "new", frame, {**summary, "extra": math.nan})
    assert not (tmp_path / "new").exists()


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a" / "x.txt", lambda part: part.write_text("old"))

    def interrupted(part: Path) -> None:
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted)
    assert path.read_text() == "old"
    assert files_in(tmp_path) == {"a/x.txt"}


@pytest.mark.parametrize("width", [100, 120])
def test_table_fits(small: tuple[pd.DataFrame, dict[str, Any]], large: dict[str, Any], width: int) -> None:
    for summary in (small[1], large):
        text = printed(summary, width)
        assert "…" not in text.replace(" … 25 more", "")
        assert all(len(line.rstrip()) <= width for line in text.splitlines())
        assert all(row["verdict"] in text for row in summary["models"])


def test_table_shows_the_two_figures_first_and_the_baselines_beside(
    small: tuple[pd.DataFrame, dict[str, Any]],
) -> None:
    summary = small[1]
    text = printed(summary, 120)
    row = min(summary["models"], key=lambda each: each["mae_ratio"])
    line = next(line for line in text.splitlines() if row["model"] in line)
    cells = line.split()
    assert cells[0] == row["model"]
    assert float(cells[1]) == pytest.approx(row["mae"], rel=1e-3)
    assert float(cells[2]) == pytest.approx(row["mae_raw"], rel=1e-3)
    assert float(cells[3]) == pytest.approx(100 * row["direction_accuracy"], abs=0.06)
    assert cells[4] == f"±{100 * row['direction_se']:.1f}"
    assert float(cells[5]) == pytest.approx(row["mae_naive"], rel=1e-3)
    assert float(cells[6]) == pytest.approx(100 * row["skill"], abs=0.006)
    assert float(cells[7]) == pytest.approx(row["mae_drift"], rel=1e-3)
    assert cells[8] == "40"
    assert float(cells[11]) == pytest.approx(100 * row["always_up_rate"], abs=0.06)
    assert cells[12:] == ["0.50", *row["verdict"].split()]


def test_table_of_few_models_shows_all_best_first_and_the_pool_last(
    small: tuple[pd.DataFrame, dict[str, Any]],
) -> None:
    summary = small[1]
    names = [line.split()[0] for line in printed(summary, 120).splitlines() if "±" in line]
    best_first = sorted(summary["models"], key=lambda row: row["mae_ratio"])
    assert names[-5:] == [*(row["model"] for row in best_first), "all"]


def test_table_of_many_models_shows_both_ends_and_says_what_is_left_out(large: dict[str, Any]) -> None:
    text = printed(large, 120)
    order = [row["model"] for row in sorted(large["models"], key=lambda row: row["mae_ratio"])]
    assert all(name in text for name in order[:10] + order[-10:])
    assert not any(name in text for name in order[10:-10])
    assert "… 25 more" in text
    assert "The 10 best and 10 worst of 45: all are in summary.json" in " ".join(text.split())


def test_lines_say_verdict_teams_and_alarm(small: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    lines = result_lines(small[1])
    assert lines[0] == "Verdict on the collection: NO SKILL - no difference from 'tomorrow = today' could be shown."
    assert "  Per model: 0 skill, 4 no skill, 0 worse than naive." in lines
    places = [line.split()[:2] for line in lines if line.lstrip().startswith(("1.", "2."))]
    assert places == [[f"{row['rank']}.", row["team"]] for row in small[1]["teams"]]
    assert lines[-1] == "Look-ahead alarm: silent."
    assert all(len(line) <= 120 for line in lines)


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        (0.3, "SKILL - the forecasts are better than 'tomorrow = today', by more than chance explains."),
        (-0.3, "WORSE THAN NAIVE - 'tomorrow = today' is better than the forecasts, by more than chance explains."),
    ],
)
def test_success_and_failure_are_said_alike(sign: float, said: str) -> None:
    returns = market_returns(2, 60, 3)
    frame = forecast_frame(returns, sign * returns)
    lines = result_lines(summarise(frame, equal_shrinkage(frame)))
    assert lines[0] == f"Verdict on the collection: {said}"
    assert ("LOOK-AHEAD ALARM" in "\n".join(lines)) == (sign > 0)


def walked(models: int, days: int = 40) -> dict[str, Any]:
    """A summary with a walk-forward part whose last model is left out."""
    frame, summary = judged(models, days)
    other = forecast_frame(market_returns(models, days, 1), noise(models, days, 2), 0.5)
    other = other[other["model"] != summary["models"][-1]["model"]]
    walk = summarise(other, equal_shrinkage(other))
    walk.pop("alarm")
    left_out = [{"model": summary["models"][-1]["model"], "reason": "no memory"}]
    facts = {"retrain": "monthly", "dates": ["2023-01-03", "2023-02-01"], "left_out": left_out}
    return summary | {"walk_forward": walk | facts | {"comparison": compare(other, frame)}}


@pytest.mark.parametrize("models", [4, 45])
def test_the_table_with_a_walk_forward_part_has_one_column_more_and_fits(models: int) -> None:
    summary = walked(models)
    text = printed(summary, 100)
    assert "…" not in text.replace(f" … {models - 20} more", "")
    assert all(len(line.rstrip()) <= 100 for line in text.splitlines())
    assert "retrained MAE: of the same models" in " ".join(text.split())
    cells = {line.split()[0]: line.split() for line in printed(summary, 120).splitlines() if "±" in line}
    shown = [row for row in summary["walk_forward"]["models"] if row["model"] in cells]
    assert len(shown) >= 3
    for row in shown:
        assert float(cells[row["model"]][2]) == pytest.approx(row["mae"], rel=1e-3)
    assert cells["all"][2] == "-", "a mean over fewer models would be compared with one over all"
    left_out = summary["walk_forward"]["left_out"][0]["model"]
    assert models > 4 or cells[left_out][2] == "-"


@pytest.mark.parametrize(
    ("verdict", "retrain", "said"),
    [
        (
            "no difference",
            "monthly",
            "retrained monthly: no difference between the retrained and the frozen models could be shown.",
        ),
        ("better", 20, "retrained every 20 sessions: retraining lowers the error, by more than chance explains."),
        ("worse", "quarterly", "retrained quarterly: retraining raises the error, by more than chance explains."),
    ],
)
def test_lines_say_what_retraining_does(verdict: str, retrain: str | int, said: str) -> None:
    summary = walked(4)
    walk = summary["walk_forward"]
    walk |= {"retrain": retrain, "comparison": walk["comparison"] | {"verdict": verdict}}
    lines = result_lines(summary)
    place = lines.index(f"Walk-forward, {said}")
    assert "after the first retraining; day-clustered test: t = " in lines[place + 1]
    assert lines[place + 2] == "  1 model is left out of it: its retraining failed."
    assert lines[-1].startswith("Look-ahead alarm")
    assert all(len(line) <= 150 for line in lines)


def test_the_forecasts_of_retrained_models_stand_beside_and_go_when_there_are_none(
    small: tuple[pd.DataFrame, dict[str, Any]], tmp_path: Path
) -> None:
    frame, summary = small
    written = write_report(tmp_path, frame, summary, frame.sample(frac=1, random_state=0))
    assert {path.relative_to(tmp_path).as_posix() for path in written} == FILES | {"forecasts_walk_forward.parquet"}
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "forecasts_walk_forward.parquet"), check_forecasts(frame))
    with pytest.raises(DataError, match="prices not finite"):
        write_report(tmp_path / "new", frame, summary, frame.assign(actual_close=math.nan))
    assert not (tmp_path / "new").exists()
    write_report(tmp_path, frame, summary)
    assert files_in(tmp_path) == FILES


def test_one_team_needs_no_leaderboard() -> None:
    frame, _ = judged(1)
    lines = result_lines(summarise(frame, equal_shrinkage(frame)))
    assert not any("Teams" in line for line in lines)


def test_undefined_figures_are_dashes() -> None:
    frame = forecast_frame(np.zeros((3, 2)), np.zeros((3, 2)))
    summary = summarise(frame, equal_shrinkage(frame, 0.0))
    line = next(line for line in printed(summary, 120).splitlines() if "red-s000" in line)
    assert " ".join(line.split()) == "red-s000 0.000 0.000 - 0.000 - 0.006001 3 - - - 0.00 no skill"
    assert "undefined (fewer than 20 days, or forecasts equal to naive)" in "\n".join(result_lines(summary))


@pytest.mark.parametrize(("sessions", "shown"), [(1, False), (2, False), (19, False), (20, True), (60, True)])
def test_figures_of_few_sessions_are_not_shown_and_the_table_says_why(sessions: int, shown: bool) -> None:
    frame = forecast_frame(market_returns(1, sessions, 0), noise(1, sessions, 0))
    summary = summarise(frame, equal_shrinkage(frame))
    text = printed(summary, 120)
    cells = next(line for line in text.splitlines() if "red-s000" in line).split()
    assert (summary["models"][0]["direction_accuracy"] is not None) == shown
    assert (summary["pooled"]["direction_accuracy"] is not None) == shown
    if not shown:
        assert cells[3] == "-"
        assert cells[5] == "-"  # skill
    assert ("have fewer than 20 sessions" in " ".join(text.split())) != shown
    assert bool(remarks(summary)) != shown


def scenario_summary(sessions: int, replayed: int, short: dict[str, int]) -> dict[str, Any]:
    frame = forecast_frame(market_returns(1, 40, 0), noise(1, 40, 0))
    filled = {"sessions": sessions, "replayed": replayed, "last_session": "2024-01-30"}
    scenario = {"name": "holdout", **filled, "filled": not short, "short_models": short}
    return {**summarise(frame, equal_shrinkage(frame)), "scenario": scenario}


def test_a_scenario_that_the_data_do_not_fill_says_how_much_of_it_there_was() -> None:
    summary = scenario_summary(275, 40, {"red-s000": 40})
    for text in (printed(summary, 120), "\n".join(result_lines(summary))):
        assert "ONLY 40 OF THE SCENARIO'S 275 SESSIONS" in " ".join(text.split())
    assert "days 40 of 275" in "\n".join(result_lines(summary))


def test_a_model_that_ends_early_is_named() -> None:
    text = "\n".join(result_lines(scenario_summary(40, 40, {"red-s001": 12})))
    assert "red-s001 12" in text
    assert "ONLY" not in text


def test_a_filled_scenario_needs_no_warning() -> None:
    text = "\n".join(result_lines(scenario_summary(40, 39, {})))
    assert "ONLY" not in text
    assert "fewer" not in text


def test_much_repaired_prices_are_a_warning() -> None:
    words = {f"main/T{number}": "400 of 800 rows repaired or dropped (50 %): missing_open 400" for number in range(7)}
    lines = result_lines({**scenario_summary(40, 40, {}), "repaired_prices": words})
    assert "  main/T0: 400 of 800 rows repaired or dropped (50 %): missing_open 400" in lines
    assert lines[-1] == "  and 2 more: mlops doctor"


def test_printing_changes_nothing(small: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    before = copy.deepcopy(small[1])
    printed(small[1], 100)
    result_lines(small[1])
    assert small[1] == before


def test_ranking_keeps_both_ends_with_undefined_ratios_last() -> None:
    rows = [
        {"model": name, "mae_ratio": ratio} for name, ratio in zip("abcde", [1.0, None, 0.0, 1.0, 2.0], strict=True)
    ]
    whole, none = best_and_worst(rows, at_most=5, each=1)
    assert ([row["model"] for row in whole], none) == (["c", "a", "d", "e", "b"], [])
    best, worst = best_and_worst(rows, at_most=4, each=2)
    assert ([row["model"] for row in best], [row["model"] for row in worst]) == (["c", "a"], ["e", "b"])
