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
from mlops_cli.simulation.remarks import remarks
from mlops_cli.simulation.report import write_report
from mlops_cli.simulation.result_lines import evaluation_line, result_lines
from mlops_cli.simulation.result_table import result_table
from mlops_cli.system.files import write_whole
from tests.fakes.forecast_frames import (
    equal_shrinkage,
    forecast_frame,
    market_returns,
    noise,
    with_base,
    with_intervals,
)

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
    console.print(result_table(summary, width))
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


@pytest.fixture(scope="module")
def payers() -> dict[str, Any]:
    """Stocks with dividends, a base and intervals."""
    return judged_payers(6, 60)[1]


def judged_payers(
    models: int, days: int, network: float = 0.3, width: float = 0.03
) -> tuple[pd.DataFrame, dict[str, Any]]:
    frame = forecast_frame(market_returns(models, days, 1), noise(models, days, 1))
    dividend = np.where(np.arange(models * days) % 10 == 3, 0.02, 0.0)
    frame = with_base(frame, dividend, drift=0.0005, network=network)
    frame = with_intervals(frame, {80.0: width / 2, 95.0: width}, {80.0: 0.02, 95.0: 0.04})
    return frame, summarise(frame, equal_shrinkage(frame, network))


@pytest.mark.parametrize("width", [100, 120])
def test_table_fits(
    small: tuple[pd.DataFrame, dict[str, Any]], large: dict[str, Any], payers: dict[str, Any], width: int
) -> None:
    for summary in (small[1], large, payers):
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


def cells_of(text: str, model: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [model])


def test_the_table_of_models_with_a_base_shows_base_coverage_and_what_the_network_adds(payers: dict[str, Any]) -> None:
    text = printed(payers, 140)
    for row in payers["models"]:
        cells = cells_of(text, row["model"])
        assert float(cells[2]) == pytest.approx(row["mae_base"], rel=1e-3)
        assert float(cells[13]) == pytest.approx(100 * row["intervals"]["95"]["coverage"], abs=0.06)
        assert cells[15] == {"adds to the base": "adds", "adds nothing to the base": "nothing"}[row["base_verdict"]]
    pooled = cells_of(text, "all")
    assert float(pooled[2]) == pytest.approx(payers["pooled"]["mae_base"], rel=1e-3)
    assert float(pooled[13]) == pytest.approx(100 * payers["pooled"]["intervals"]["95"]["coverage"], abs=0.06)
    words = " ".join(text.split())
    assert "base: last close + drift - announced dividend, without the network." in words
    assert "in 95 %: share of closes inside the 95 % interval." in words
    assert "Too narrow" not in words


def test_models_without_base_and_intervals_have_the_table_of_old(small: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    text = printed(small[1], 140)
    assert "base" not in text
    assert "interval" not in text
    assert len(cells_of(text, "red-s000")) == 15


@pytest.mark.parametrize("width", [80, 90, 100, 110, 120])
def test_a_narrow_table_leaves_out_what_matters_least_and_says_so(payers: dict[str, Any], width: int) -> None:
    text = printed(payers, width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert "…" not in text
    words = " ".join(text.split())
    wide = printed(payers, 140)
    left_out = len(cells_of(wide, "red-s000")) - len(cells_of(text, "red-s000"))
    for row in payers["models"]:
        cells = cells_of(text, row["model"])
        assert cells[1] == cells_of(wide, row["model"])[1], "MAE and the verdict always stay"
        assert row["verdict"].split()[0] in cells
    if left_out:
        named = words.split("Too narrow to show: ")[1].split(".")[0].split(", ")
        assert len(named) == left_out
        assert named[0] == "always up %"
        assert not {"base MAE", "naive MAE", "skill %", "network to base", "in 95 %"} & set(named)
    else:
        assert width >= 110


def test_reports_of_older_versions_are_shown(small: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    old = copy.deepcopy(small[1])
    del old["decomposition"]
    for row in (*old["models"], *old["teams"], old["pooled"]):
        for key in [key for key in row if "base" in key or key == "intervals"]:
            del row[key]
    assert printed(old, 100) == printed(small[1], 100)
    assert result_lines(old) == result_lines(small[1])


def test_lines_say_what_the_gain_is_made_of(payers: dict[str, Any]) -> None:
    lines = result_lines(payers)
    assert lines[1] == "  The network adds nothing to the base: no difference from the base alone could be shown."
    assert "base " in lines[2]
    place = next(number for number, line in enumerate(lines) if "Change of the error by each part" in line)
    assert lines[place + 1].split() == ["forecasts", "dividends", "drift", "network", "together"]
    kinds = {"all days": "all_days", "ex-days": "ex_days", "other days": "other_days"}
    for line, (name, key) in zip(lines[place + 2 :], kinds.items(), strict=False):
        figures = payers["decomposition"][key]
        cells = line.removeprefix(f"    {name}").split()
        assert cells[0] == str(figures["n"])
        parts = ("dividends", "drift", "network", "together")
        assert [float(cell) for cell in cells[1::2]] == pytest.approx(
            [100 * figures[part]["relative_loss"] for part in parts], abs=0.0006
        )
    assert all(len(line) <= 120 for line in lines)


def test_lines_say_how_good_the_intervals_are() -> None:
    summary = judged_payers(6, 60)[1]
    figures = summary["pooled"]["intervals"]["95"]
    lines = result_lines(summary)
    place = next(number for number, line in enumerate(lines) if line.startswith("  Intervals "))
    assert [line.split()[0] for line in lines[place + 1 : place + 3]] == ["80", "95"]
    worst = figures["worst_month"]
    assert lines[place + 2].split() == [
        "95", "%", "360", f"{100 * figures['coverage']:.1f}", "%", f"{100 * worst['coverage']:.1f}", "%",
        worst["month"], f"{100 * figures['width']:.2f}", "%", f"{figures['score_ratio']:.3f}",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "said"), [(0.012, "too narrow"), (0.5, "too wide"), (0.03, "")])
def test_intervals_that_are_off_are_a_remark(width: float, said: str) -> None:
    summary = judged_payers(20, 80, width=width)[1]
    about = [line for line in remarks(summary) if line.startswith("The 95 % intervals are")]
    assert len(about) == bool(said)
    assert all(
        line.startswith(f"The 95 % intervals are {said}: ") and "chance does not explain" in line for line in about
    )


def test_skill_from_dividends_is_called_no_profit() -> None:
    summary = judged_payers(12, 300, network=0.0)[1]
    assert summary["pooled"]["verdict"] == "skill"
    said = "This is skill in the quoted close; it is no profit: the holder receives the dividend."
    assert said in remarks(summary)
    assert f"  {said}" in result_lines(summary)
    assert said in " ".join(printed(summary, 100).split())


def test_no_skill_and_skill_without_dividends_need_no_such_sentence() -> None:
    returns = market_returns(4, 125, 4)
    skill = with_base(forecast_frame(returns, 0.3 * returns), np.zeros(500), drift=0.0001)
    plain = forecast_frame(returns, 0.3 * returns)
    no_skill = with_base(forecast_frame(returns, noise(4, 125, 4)), np.full(500, 1e-5), network=0.5)
    for summary in (summarise(frame, equal_shrinkage(frame)) for frame in (skill, plain, no_skill)):
        assert not any("no profit" in line for line in remarks(summary))


def test_retrained_models_have_their_verdicts_and_decomposition_too() -> None:
    frame, summary = judged_payers(4, 60)
    walk = summarise(frame, equal_shrinkage(frame))
    walk.pop("alarm")
    facts = {"retrain": "yearly", "dates": [], "left_out": [], "comparison": None}
    lines = result_lines(summary | {"walk_forward": walk | facts})
    place = next(number for number, line in enumerate(lines) if line.startswith("Walk-forward"))
    assert lines[place + 1].startswith("  Over the whole period: NO SKILL, ADDS NOTHING TO THE BASE. MAE / naive MAE ")
    assert any("Change of the error by each part" in line for line in lines[place:])
    assert any(line.startswith("  Intervals ") for line in lines[place:])


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


def test_the_line_of_an_evaluated_model_names_base_and_coverage_if_there_are_any(payers: dict[str, Any]) -> None:
    row = {"version": "0123", "pinned": True, **payers["models"][0]}
    inside = [
        f"{100 * row['intervals'][level]['coverage']:.1f} % of closes in the {level} % interval"
        for level in ("80", "95")
    ]
    assert evaluation_line(row) == (
        f"{row['model']} (pinned 0123): MAE {row['mae']:.4g} (naive {row['mae_naive']:.4g}, "
        f"base {row['mae_base']:.4g}), skill {100 * row['skill']:+.2f} %, "
        f"{row['verdict']}, {row['base_verdict']}, {inside[0]}, {inside[1]}"
    )
    old = {"model": "red-a", "mae": 1.5, "mae_naive": 1.25, "skill": -0.2, "verdict": "no skill"}
    assert evaluation_line(old) == "red-a: MAE 1.5 (naive 1.25), skill -20.00 %, no skill"
    assert "skill - %" in evaluation_line(old | {"skill": None}), "a close that never changed"
