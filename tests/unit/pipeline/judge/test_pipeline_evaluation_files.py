"""Files of stage `evaluate`: what is written is what the next evaluation reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.evaluation.verdicts import verdicts
from mlops_cli.pipeline.judge.evaluation_files import (
    METRIC_KEYS,
    JudgedVersion,
    numbers_of,
    read_evaluation,
    write_evaluation,
    write_metrics,
)
from tests.fakes.forecast_frames import forecast_frame, market_returns, noise, with_base, with_intervals

FRAME = forecast_frame(market_returns(3, 40, seed=1), noise(3, 40, seed=1))
NAMES = sorted(FRAME["model"].unique())


def version(model: str, name: str = "v1", shrinkage: float = 1.0) -> JudgedVersion:
    return JudgedVersion(name, shrinkage, FRAME.loc[FRAME["model"] == model])


def newest(*models: str) -> dict[str, JudgedVersion]:
    return {model: version(model) for model in models or NAMES}


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "models.json").read_text())


def test_every_version_has_a_row_with_its_figures(tmp_path: Path) -> None:
    figures = write_evaluation(tmp_path, newest(), {}, [])
    assert [row["model"] for row in rows(tmp_path)] == NAMES
    assert {row["version"] for row in rows(tmp_path)} == {"v1"}
    for row in rows(tmp_path):
        assert {key: row[key] for key in figures[row["model"]]} == figures[row["model"]]
    assert verdicts(tmp_path) == {(row["model"], "v1"): row["verdict"] for row in rows(tmp_path)}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_evaluation(tmp_path, newest(), {}, [])
    read = read_evaluation(tmp_path, NAMES[:2])
    assert sorted(read.newest) == NAMES[:2]
    assert read.pinned == []
    for name, judged in read.newest.items():
        assert (judged.version, judged.shrinkage) == ("v1", 1.0)
        pd.testing.assert_frame_equal(
            judged.forecasts.reset_index(drop=True), version(name).forecasts.reset_index(drop=True), check_dtype=False
        )


def test_judging_what_was_read_gives_the_same_files(tmp_path: Path) -> None:
    write_evaluation(tmp_path, newest(), {}, [])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_evaluation(tmp_path, read_evaluation(tmp_path, NAMES).newest, {}, [])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_base_and_intervals_are_kept_for_the_next_evaluation(tmp_path: Path) -> None:
    based = with_intervals(with_base(FRAME, np.full(len(FRAME), 0.001), 0.0002), {95.0: 0.03}, {95.0: 0.02})
    versions = {model: JudgedVersion("v1", 1.0, based.loc[based["model"] == model]) for model in NAMES}
    figures = write_evaluation(tmp_path, versions, {}, [])
    for row in figures.values():
        numbers = numbers_of(row)
        assert numbers["mae_base"] == row["mae_base"]
        assert numbers["coverage_95"] == row["intervals"]["95"]["coverage"]
        assert numbers["score_ratio_95"] == row["intervals"]["95"]["score_ratio"]
        assert {type(value) for value in numbers.values()} == {float}
    assert all(row["mae_base"] > 0 and row["intervals"]["95"]["n"] == 40 for row in rows(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_evaluation(tmp_path, read_evaluation(tmp_path, NAMES).newest, {}, [])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mae_base"] == pytest.approx((based["base_predicted_close"] - based["actual_close"]).abs().mean())


def test_forecasts_of_an_older_version_are_judged_beside_new_ones(tmp_path: Path) -> None:
    """An older version knew no base: its table has two columns less."""
    write_evaluation(tmp_path, newest(), {}, [])
    table = tmp_path / "forecasts.parquet"
    old = pd.read_parquet(table).drop(columns=["base_predicted_close", "announced_dividend"])
    old.to_parquet(table, index=False)
    based = with_base(FRAME.loc[FRAME["model"] == NAMES[0]], np.full(40, 0.001))
    write_evaluation(
        tmp_path, {**read_evaluation(tmp_path, NAMES[1:]).newest, NAMES[0]: JudgedVersion("v2", 1.0, based)}, {}, []
    )
    verdicts_on_base = {row["model"]: row["base_verdict"] for row in rows(tmp_path)}
    assert verdicts_on_base.pop(NAMES[0]) is not None
    assert set(verdicts_on_base.values()) == {None}


def test_a_pinned_version_has_a_row_of_its_own_and_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    write_evaluation(tmp_path, newest(), {}, [])
    alone = rows(tmp_path)
    pinned = {NAMES[0]: version(NAMES[0], "v0", 0.5)}
    figures = write_evaluation(tmp_path, newest(), pinned, [])
    assert rows(tmp_path)[:3] == alone
    (row,) = rows(tmp_path)[3:]
    assert (row["model"], row["version"], row["pinned"], row["shrinkage"]) == (NAMES[0], "v0", True, 0.5)
    assert figures[NAMES[0]]["shrinkage"] == 1.0, "the tracker is told of the newest"
    assert len(pd.read_parquet(tmp_path / "forecasts.parquet")) == len(FRAME), "its forecasts are not stored twice"


def test_rows_of_pinned_versions_are_read_apart_and_kept(tmp_path: Path) -> None:
    write_evaluation(tmp_path, newest(), {NAMES[0]: version(NAMES[0], "v0")}, [])
    read = read_evaluation(tmp_path, NAMES)
    assert read.newest[NAMES[0]].version == "v1"
    assert [row["version"] for row in read.pinned] == ["v0"]
    write_evaluation(tmp_path, newest(), {}, read.pinned)
    assert [row["version"] for row in rows(tmp_path)] == ["v1", "v1", "v1", "v0"]


def test_without_models_all_files_are_there_and_empty(tmp_path: Path) -> None:
    assert write_evaluation(tmp_path, {}, {}, []) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forecasts.parquet", "metrics.json", "models.json"]
    assert len(pd.read_parquet(tmp_path / "forecasts.parquet")) == 0
    assert rows(tmp_path) == []
    assert set(json.loads((tmp_path / "metrics.json").read_text()).values()) == {None}
    assert read_evaluation(tmp_path, NAMES).newest == {}


def test_the_metrics_are_the_pooled_figures_that_dvc_compares(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"mae": 1.5, "n_days": 40, "verdict": "skill"})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert tuple(metrics) == METRIC_KEYS
    assert (metrics["mae"], metrics["n_days"], metrics["skill"]) == (1.5, 40, None)


@pytest.mark.parametrize("text", ["", "[", "{"])
def test_a_damaged_list_of_models_counts_as_no_evaluation(tmp_path: Path, text: str) -> None:
    write_evaluation(tmp_path, newest(), {}, [])
    (tmp_path / "models.json").write_text(text)
    assert read_evaluation(tmp_path, NAMES).newest == {}


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    write_evaluation(tmp_path, newest(), {}, [])
    (tmp_path / "forecasts.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"forecasts\.parquet: damaged"):
        read_evaluation(tmp_path, NAMES)


def test_an_evaluation_of_an_earlier_program_without_versions_is_read(tmp_path: Path) -> None:
    write_evaluation(tmp_path, newest(), {}, [])
    old = [{key: value for key, value in row.items() if key != "version"} for row in rows(tmp_path)]
    (tmp_path / "models.json").write_text(json.dumps(old))
    assert {judged.version for judged in read_evaluation(tmp_path, NAMES).newest.values()} == {""}


def test_a_model_whose_forecasts_are_gone_is_left_out(tmp_path: Path) -> None:
    write_evaluation(tmp_path, newest(), {}, [])
    FRAME.loc[FRAME["model"] != NAMES[0]].to_parquet(tmp_path / "forecasts.parquet")
    assert sorted(read_evaluation(tmp_path, NAMES).newest) == NAMES[1:]
