"""The table of results: what it shows, for any number of models and any width of the terminal."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.evaluation.summary import summarise
from mlops_cli.simulation.remarks import remarks
from mlops_cli.simulation.result_lines import result_lines
from tests.fakes.forecast_frames import equal_shrinkage, forecast_frame, market_returns, noise
from tests.fakes.judged_forecasts import cells_of, judged, judged_payers, printed, walked


@pytest.fixture(scope="module")
def small() -> tuple[pd.DataFrame, dict[str, Any]]:
    return judged(4)


@pytest.fixture(scope="module")
def large() -> dict[str, Any]:
    return judged(45, days=25)[1]


@pytest.fixture(scope="module")
def payers() -> dict[str, Any]:
    """Stocks with dividends, a base and intervals."""
    return judged_payers(6, 60)[1]


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


def test_printing_changes_nothing(small: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    before = copy.deepcopy(small[1])
    printed(small[1], 100)
    result_lines(small[1])
    assert small[1] == before
