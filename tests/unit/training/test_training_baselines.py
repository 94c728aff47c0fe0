"""The baselines as trainers: exact values by hand, rows that count, and a broken table that harms no other job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.models.graph import INPUT, OUTPUT, RAW_OUTPUT
from mlops_cli.models.session import start_session
from mlops_cli.training.baseline_trainer import BaselineTrainer, mean_log_return
from mlops_cli.training.rows import read_rows
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.price_tables import xnys_sessions
from tests.fakes.train_jobs import make_job, model_spec, poisoned_job

CLOSES = [100.0, 110.0, 99.0, 99.0, 120.0, 60.0, 61.0]


@pytest.fixture
def by_hand(tmp_path: Path) -> TrainJob:
    """Six rows: three train, two validate, one is held out."""
    sessions = xnys_sessions()[:7]
    table = pd.DataFrame({"x": 1.0, "last_close": CLOSES[:-1], "next_close": CLOSES[1:]}, index=sessions[:6])
    table["target"] = np.log(table["next_close"] / table["last_close"])
    table["target_session"] = sessions[1:]
    features, folder = tmp_path / "by-hand.parquet", tmp_path / "by-hand"
    table.to_parquet(features)
    folder.mkdir()
    return TrainJob(model_spec(), features, ("x",), sessions[3].date(), sessions[6].date(), 7, folder)


def say_nothing(_: str) -> None:
    return


def forecast(folder: Path, columns: int) -> tuple[float, float]:
    session = start_session((folder / "model.onnx").read_bytes())
    shrunk, raw = session.run([OUTPUT, RAW_OUTPUT], {INPUT: np.ones((2, columns), np.float32)})
    assert shrunk[0] == shrunk[1]
    return float(shrunk[0]), float(raw[0])


def test_drift_is_the_mean_log_return_of_the_training_rows(by_hand: TrainJob):
    # 100 -> 110 -> 99 -> 99: the steps telescope
    assert mean_log_return(by_hand) == pytest.approx(np.log(99 / 100) / 3, rel=1e-12)
    (result,) = BaselineTrainer("drift").fit([by_hand], say_nothing)
    assert isinstance(result, Fitted)
    assert result.facts == {"log_return": mean_log_return(by_hand)}
    assert forecast(by_hand.folder, 1) == pytest.approx((np.log(0.99) / 3,) * 2, rel=1e-6)


def test_drift_leaves_out_rows_without_a_target(by_hand: TrainJob):
    table = pd.read_parquet(by_hand.features)
    table.loc[table.index[1], ["target", "next_close"]] = np.nan
    table.to_parquet(by_hand.features)
    assert mean_log_return(by_hand) == pytest.approx(np.log(110 / 100) / 2, rel=1e-12)


def test_drift_does_not_depend_on_the_target(tmp_path: Path):
    spec = model_spec(trainer="drift")
    returns, closes = (
        make_job(tmp_path, spec),
        make_job(tmp_path, spec.model_copy(update={"name": "c", "target": "close"})),
    )
    assert mean_log_return(returns) == mean_log_return(closes)


def test_naive_says_no_change_and_reads_no_rows(by_hand: TrainJob):
    (result,) = BaselineTrainer("naive").fit([replace(by_hand, features=Path("/nowhere"))], say_nothing)
    assert result == Fitted(result.job, epochs=[], facts={"log_return": 0.0})
    assert forecast(by_hand.folder, 1) == (0.0, 0.0)


def test_the_graph_has_the_width_of_the_inputs(tmp_path: Path):
    job = make_job(tmp_path, model_spec(trainer="drift"))
    list(BaselineTrainer("drift").fit([job], say_nothing))
    graph = onnx.load(job.folder / "model.onnx").graph
    assert graph.input[0].type.tensor_type.shape.dim[1].dim_value == len(job.inputs) == 3


@pytest.mark.parametrize("content", [None, b"", b"this is no parquet file" * 10])
def test_a_broken_table_is_one_jobs_failure(tmp_path: Path, content: bytes | None):
    jobs = [make_job(tmp_path, model_spec(name)) for name in ("one", "two", "three")]
    jobs[1].features.unlink()
    if content is not None:
        jobs[1].features.write_bytes(content)
    said: list[str] = []
    one, two, three = BaselineTrainer("drift").fit(jobs, said.append)
    assert isinstance(one, Fitted)
    assert isinstance(three, Fitted)
    assert isinstance(two, FailedJob)
    assert two.exit_code == 4
    assert two.reason.startswith(f"two: {jobs[1].features} cannot be read: ")
    assert said == ["training one", "training two", "training three"]


def test_only_rows_before_the_end_with_a_target_are_read(by_hand: TrainJob):
    assert len(read_rows(by_hand)) == 5
    assert len(read_rows(replace(by_hand, end=by_hand.validation_start))) == 2


def test_rows_at_or_after_the_end_never_change_what_is_read(tmp_path: Path):
    job = make_job(tmp_path, model_spec())
    pd.testing.assert_frame_equal(read_rows(poisoned_job(job, "poisoned")), read_rows(job))


def test_reading_a_missing_table_says_what_to_do(by_hand: TrainJob):
    by_hand.features.unlink()
    with pytest.raises(DataError) as refusal:
        read_rows(by_hand)
    assert refusal.value.hint == "run: mlops featurize"
