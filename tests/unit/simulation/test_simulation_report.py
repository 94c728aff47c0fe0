"""A scenario's report: files whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.evaluation.frame import FORECAST_COLUMNS, check_forecasts
from mlops_cli.simulation.report import write_report
from mlops_cli.system.files import write_whole
from tests.fakes.judged_forecasts import judged

FILES = {
    "forecasts.parquet", "summary.json",
    "plots/forecast_vs_actual.png", "plots/error_over_time.png", "plots/teams.png",
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> tuple[pd.DataFrame, dict[str, Any]]:
    return judged(4)


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
