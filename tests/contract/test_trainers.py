"""What every trainer promises: one result per job, one kind of graph, and eyes shut to the held-out time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import numpy_helper

from mlops_cli.models.graph import INPUT, OUTPUT, RAW_OUTPUT, SHRINKAGE
from mlops_cli.models.session import start_session
from mlops_cli.training.baseline_trainer import BaselineTrainer
from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.local.workers import WorkerSettings
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.train_jobs import make_job, model_spec, poisoned_job, same_job

QUICK = {
    "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 8, "dropout": 0.1},
    "trainer": {"epochs": 2, "batch_size": 64, "eval_batch_size": 1024},
}
GOOD = ("first", "again", "poisoned", "other", "last")


@dataclass
class Done:
    """All that one trainer made of one list of jobs."""

    trainer: Trainer
    jobs: list[TrainJob]
    results: list[Fitted | FailedJob]
    said: list[str]

    def folder(self, name: str) -> Path:
        return next(job.folder for job in self.jobs if job.spec.name == name)

    def graph(self, name: str) -> bytes:
        return (self.folder(name) / "model.onnx").read_bytes()


def jobs_in(folder: Path) -> list[TrainJob]:
    first = make_job(folder, model_spec("first", ludwig=QUICK))
    refused = make_job(folder, model_spec("refused", ludwig={**QUICK, "combiner": {"type": "nonsense"}}))
    broken = make_job(folder, model_spec("broken", ludwig=QUICK))
    broken.features.write_bytes(b"this is no parquet file")
    other = make_job(folder, model_spec("other", ludwig=QUICK), prices=1)
    again, last = same_job(first, "again"), same_job(other, "last")
    return [first, refused, again, broken, poisoned_job(first, "poisoned"), other, last]


def trainer_of(kind: str, folder: Path) -> Trainer:
    match kind:
        case "naive" | "drift":
            return BaselineTrainer(kind)
        case "ludwig":
            return LudwigTrainer(WorkerSettings(folder / "graphs", folder / "logs"))
        case _:
            return LinearTrainer(refuse=("refused", "broken"))


@pytest.fixture(
    scope="module",
    params=[
        "naive",
        "drift",
        "fake",
        pytest.param("ludwig", marks=[pytest.mark.ludwig, pytest.mark.slow]),  # one process for all tests here
    ],
)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp(request.param)
    trainer, jobs, said = trainer_of(request.param, folder), jobs_in(folder), []
    return Done(trainer, jobs, list(trainer.fit(jobs, said.append)), said)


def test_every_job_has_one_result(done: Done):
    assert sorted(result.job.spec.name for result in done.results) == sorted(job.spec.name for job in done.jobs)
    assert all(any(result.job is job for job in done.jobs) for result in done.results)


def test_a_job_that_fails_harms_no_other(done: Done):
    fitted = {result.job.spec.name for result in done.results if isinstance(result, Fitted)}
    assert set(GOOD) <= fitted
    for result in done.results:
        if isinstance(result, FailedJob):
            assert result.job.spec.name in {"refused", "broken"}
            assert result.job.spec.name in result.reason
            assert 3 <= result.exit_code <= 8
    if done.trainer.name == "ludwig":
        reasons = {result.job.spec.name: result.reason for result in done.results if isinstance(result, FailedJob)}
        assert reasons["refused"].startswith(
            "configs/refused.yaml: Ludwig refuses the config: ludwig.combiner.type: 'nonsense' is not one of ["
        )
        assert "cannot be read" in reasons["broken"]


def test_progress_names_the_jobs(done: Done):
    assert all(f"training {name}" in done.said for name in GOOD)


@pytest.mark.parametrize("name", GOOD)
def test_every_graph_has_the_same_face(done: Done, name: str):
    graph = onnx.load_from_string(done.graph(name)).graph
    (features,) = graph.input
    assert features.name == INPUT
    rows, columns = features.type.tensor_type.shape.dim
    assert rows.dim_param
    assert columns.dim_value == 3
    assert [output.name for output in graph.output] == [OUTPUT, RAW_OUTPUT]
    shrinkage = next(numpy_helper.to_array(one) for one in graph.initializer if one.name == SHRINKAGE)
    assert (shrinkage.shape, shrinkage.dtype, float(shrinkage)) == ((), np.float32, 1.0)


@pytest.mark.parametrize("count", [1, 2, 5, 200])
def test_every_graph_forecasts_any_number_of_rows(done: Done, count: int):
    table = pd.read_parquet(done.jobs[0].features)
    rows = table[list(done.jobs[0].inputs)].to_numpy(np.float32)[:count]
    session = start_session(done.graph("first"))
    shrunk, raw = session.run([OUTPUT, RAW_OUTPUT], {INPUT: rows})
    assert shrunk.shape == raw.shape == (count,)
    assert shrunk.dtype == raw.dtype == np.float32
    np.testing.assert_array_equal(shrunk, raw)
    assert (np.abs(raw) < 1).all()
    # one row does not depend on its neighbours
    (alone,) = session.run([RAW_OUTPUT], {INPUT: rows[:1]})
    assert alone[0] == pytest.approx(raw[0], abs=1e-6)


def test_the_held_out_time_never_changes_the_result(done: Done):
    assert done.graph("poisoned") == done.graph("first")


def test_the_same_job_gives_the_same_bytes_whatever_was_trained_before(done: Done):
    assert done.graph("again") == done.graph("first")
    assert done.graph("last") == done.graph("other")


def test_other_prices_give_another_model(done: Done):
    assert (done.graph("other") == done.graph("first")) == (done.trainer.name == "naive")


def test_results_say_the_same_of_the_same_job(done: Done):
    of = {result.job.spec.name: result for result in done.results if isinstance(result, Fitted)}
    assert of["again"].facts == of["first"].facts
    assert of["poisoned"].epochs == of["first"].epochs


def test_folders_hold_no_more_than_they_should(done: Done):
    ours = {"model.onnx"} | ({"ludwig"} if done.trainer.name == "ludwig" else set())
    assert {path.name for name in GOOD for path in done.folder(name).iterdir()} == ours


def test_nothing_is_written_beside_the_folders(done: Done):
    root = done.jobs[0].folder.parent
    assert {path.name for path in root.iterdir()} == {job.spec.name for job in done.jobs}


def test_no_jobs_give_no_results(done: Done):
    assert list(done.trainer.fit([], lambda _: None)) == []
