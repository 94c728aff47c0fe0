"""Pooled models, and models trained by several processes at once (DDP, FSDP), beside one process: real Ludwig.

Ludwig is imported once here and once by each of the two launches; everything below looks at what they left.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from mlops_cli.models.graph import INPUT, RAW_OUTPUT
from mlops_cli.models.session import start_session
from mlops_cli.training.tasks import group_tasks
from mlops_cli.training.torchrun.torchrun_trainer import Devices, TorchrunTrainer
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.train_jobs import HISTORY, NUMBERS, make_job, model_spec
from tests.fakes.wrapped_graphs import check_wrapped

pytestmark = [pytest.mark.ludwig, pytest.mark.slow]
REPOSITORY = Path(__file__).resolve().parents[2]
TICKERS = ("AAA", "BBB", "CCC")
MEMBERS = ["pool-aaa", "pool-bbb", "pool-ccc"]
# gives even numbers of rows to train and to validate on, and no last batch of two: so two see the batches of one
SESSIONS = 300
SGD = {"optimizer": {"type": "sgd"}, "learning_rate": 1.0, "epochs": 7, "early_stop": 0}
RAW = [{"name": name, "preprocessing": {"normalization": None}} for name in ("return_1", "return_5")]
# the real worker, which also notes what each rank ends with
WORKER = """
import os, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from mlops_cli.training.torchrun import torchrun_worker

def load():
    from mlops_cli.training.engine.ranks import backend as backend

    class Noting(backend.RankFitter):
        def train(self, job, rows):
            trained = super().train(job, rows)
            if not self._sharded:
                note = Path({notes!r}) / f"{{job.spec.name}}.{{self._ranks.rank}}"
                note.write_text(backend.weights_digest(trained.model.model))
            return trained

    backend.RankFitter = Noting
    return torchrun_worker._load_ludwig()

torchrun_worker.serve(load)
"""


def ludwig(**trainer: Any) -> dict[str, Any]:
    return {
        "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 8, "dropout": 0.0},
        "trainer": {"epochs": 4, "batch_size": 100, "eval_batch_size": 32, "learning_rate": 0.01, **trainer},
    }


def pool_jobs(folder: Path, **changes: Any) -> list[TrainJob]:
    shared = {"pool": TICKERS, "file": "configs/pool.yaml", "ludwig": ludwig(), **changes}
    return [
        make_job(folder, model_spec(f"pool-{ticker.lower()}", ticker=ticker, **shared), prices=n, sessions=SESSIONS)
        for n, ticker in enumerate(TICKERS)
    ]


def job(folder: Path, name: str, sessions: int = SESSIONS, **changes: Any) -> TrainJob:
    return make_job(folder, model_spec(name, **{"ludwig": ludwig(), **changes}), sessions=sessions)


def common_jobs(folder: Path) -> list[TrainJob]:
    """Those that are trained in every way."""
    history = job(folder, "history", SESSIONS + 1, features=HISTORY)
    return [job(folder, "plain"), job(folder, "early-best", ludwig=ludwig(**SGD)), history, *pool_jobs(folder)]


@dataclass
class Done:
    """What was trained in one way, by name."""

    folder: Path
    results: dict[str, Fitted | FailedJob]
    said: list[str]

    def fitted(self, name: str) -> Fitted:
        result = self.results[name]
        assert isinstance(result, Fitted), result.reason
        return result

    def reason(self, name: str) -> str:
        result = self.results[name]
        assert isinstance(result, FailedJob)
        return result.reason

    def weights(self, name: str) -> dict[str, np.ndarray]:
        return load_file(self.fitted(name).job.folder / "ludwig" / "model_weights.safetensors")

    def forecasts(self, name: str, rows: np.ndarray) -> np.ndarray:
        graph = (self.fitted(name).job.folder / "model.onnx").read_bytes()
        return np.asarray(start_session(graph).run([RAW_OUTPUT], {INPUT: rows})[0])


def made(folder: Path, results: Iterator[Fitted | FailedJob], said: list[str]) -> Done:
    return Done(folder, {result.job.spec.name: result for result in results}, said)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One process, this one."""
    folder = tmp_path_factory.mktemp("alone")
    broken = job(folder, "broken", ticker="BAD", pool=("BAD", "GOOD"), file="configs/b.yaml")
    broken.features.write_bytes(b"this is no parquet file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlops_cli.training.engine.fit import LudwigFitter, prepare_process
        from mlops_cli.training.engine.work import fit_task

        prepare_process()
        fitter = LudwigFitter(folder / "graphs")
        jobs = [
            *common_jobs(folder),
            broken,
            job(folder, "whole", ticker="GOOD", pool=("BAD", "GOOD"), file="configs/b.yaml"),
        ]
        results = [result for task in group_tasks(jobs) for result in fit_task(fitter, task)]
    return made(folder, iter(results), [])


def launch(folder: Path, strategy: Any, more: list[TrainJob]) -> Done:
    script, notes = folder / "worker.py", folder / "notes"
    notes.mkdir()
    script.write_text(WORKER.format(repository=str(REPOSITORY), notes=str(notes)))
    said: list[str] = []
    trainer = TorchrunTrainer(folder / "log", folder / "graphs", Devices(strategy, "cpu", 2), (str(script),))
    return made(folder, trainer.fit([*more, *common_jobs(folder)], said.append), said)


@pytest.fixture(scope="module")
def ddp(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("ddp")
    squared = [{"name": "target", "loss": {"type": "mean_squared_error"}}]
    broken = job(folder, "not-a-number", ludwig={**ludwig(), "input_features": RAW, "output_features": squared})
    table = pd.read_parquet(broken.features)
    table.iloc[60:70, table.columns.get_loc("return_1")] = 3e38
    table.to_parquet(broken.features)
    auto, odd = (job(folder, f"batch-{size}", ludwig=ludwig(batch_size=size)) for size in ("auto", 65))
    return launch(folder, "ddp", [broken, auto, odd])


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("fsdp")
    return launch(folder, "fsdp", [job(folder, "regularised", ludwig=ludwig(regularization_lambda=0.1))])


@pytest.fixture(params=["ddp", "fsdp"])
def together(request: pytest.FixtureRequest) -> Done:
    return request.getfixturevalue(request.param)


COMMON = ["plain", "early-best", "history", *MEMBERS]


@pytest.mark.parametrize("name", COMMON)
def test_two_processes_train_what_one_does(alone: Done, together: Done, name: str):
    ours, theirs = alone.weights(name), together.weights(name)
    assert ours.keys() == theirs.keys()
    for key, weights in ours.items():
        np.testing.assert_allclose(theirs[key], weights, rtol=0, atol=1e-6, err_msg=key)
    losses = [epoch["validation_loss"] for epoch in alone.fitted(name).epochs]
    assert [epoch["validation_loss"] for epoch in together.fitted(name).epochs] == pytest.approx(losses, abs=1e-6)
    assert together.fitted(name).facts["processes"] == 2
    assert together.fitted(name).facts["best_epoch"] == alone.fitted(name).facts["best_epoch"]


@pytest.mark.parametrize("name", COMMON)
def test_base_and_intervals_fit_every_graph(alone: Done, together: Done, tmp_path: Path, name: str):
    for done in (alone, together):
        job = done.fitted(name).job
        rows = pd.read_parquet(job.features)[list(job.inputs)].to_numpy(np.float32)[:50]
        check_wrapped(job.folder / "model.onnx", rows, tmp_path)


def test_the_best_weights_are_kept_where_the_last_are_not_the_best(together: Done):
    fitted = together.fitted("early-best")
    assert fitted.facts["best_epoch"] < len(fitted.epochs)


@pytest.mark.parametrize("name", ["plain", "early-best", "history", "pool-aaa"])
def test_the_ranks_end_with_the_same_best_weights_bit_by_bit(ddp: Done, name: str):
    first, second = ((ddp.folder / "notes" / f"{name}.{rank}").read_text() for rank in range(2))
    assert first == second
    assert len(first) == 64


def test_only_one_rank_writes(together: Done):
    for name in COMMON:
        folder = together.fitted(name).job.folder
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert files == {
            "model.onnx",
            "ludwig/model_hyperparameters.json",
            "ludwig/model_weights.safetensors",
            "ludwig/training_set_metadata.json",
        }
    written = {path.name for path in together.folder.iterdir() if path.suffix != ".parquet"}
    assert written == {"worker.py", "notes", "log", "graphs", "models"}


def test_all_tasks_share_one_launch_and_a_failing_one_harms_no_other(together: Done):
    assert sum(text.startswith("starting 2 training processes") for text in together.said) == 1
    assert {name for name, result in together.results.items() if isinstance(result, Fitted)} == set(COMMON)


def test_configs_that_ranks_cannot_share_are_refused(ddp: Done, fsdp: Done):
    assert ddp.reason("batch-auto").startswith(
        "configs/batch-auto.yaml: ludwig.trainer.batch_size: several processes need a fixed number of rows, was 'auto'"
    )
    assert ddp.reason("batch-65").endswith("among 2 processes\nset it to 64 or 66")
    assert "regularization_lambda: cannot be used with fsdp" in fsdp.reason("regularised")


def test_what_is_not_a_number_ends_the_job_on_all_ranks(ddp: Done):
    assert ddp.reason("not-a-number").startswith("not-a-number: ")
    assert "NaN" in ddp.reason("not-a-number")


def test_members_of_a_pool_share_one_model_and_differ_in_their_graphs(alone: Done):
    rows = pd.read_parquet(alone.fitted("pool-aaa").job.features)[list(alone.fitted("pool-aaa").job.inputs)]
    rows = rows.to_numpy(np.float32)
    forecasts = [alone.forecasts(name, rows) for name in MEMBERS]
    assert np.abs(forecasts[0] - forecasts[1]).max() > 1e-4
    assert np.abs(forecasts[1] - forecasts[2]).max() > 1e-4
    folders = [alone.fitted(name).job.folder / "ludwig" for name in MEMBERS]
    for path in folders[0].iterdir():
        assert {(folder / path.name).read_bytes() for folder in folders} == {path.read_bytes()}
    assert alone.fitted("pool-aaa").facts["pooled_tickers"] == 3
    assert (
        len({start_session((folder.parent / "model.onnx").read_bytes()).get_inputs()[0].shape[1] for folder in folders})
        == 1
    )


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_forecasts_what_ludwig_does_for_its_ticker(alone: Done, name: str):
    from ludwig.api import LudwigModel

    one = alone.fitted(name).job
    table = pd.read_parquet(one.features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LudwigModel.load(str(one.folder / "ludwig"))
        rows = table[list(one.inputs)].assign(ticker=one.spec.ticker, split=2)
        predicted = model.predict(dataset=rows, skip_save_predictions=True)[0]["target_predictions"]
    ours = alone.forecasts(name, table[list(one.inputs)].to_numpy(np.float32))
    np.testing.assert_allclose(ours, predicted.to_numpy(), rtol=0, atol=1e-6)


def test_a_member_whose_rows_cannot_be_read_fails_and_the_others_train(alone: Done):
    assert "cannot be read" in alone.reason("broken")
    assert alone.fitted("whole").facts["pooled_tickers"] == 1


ENCODERS = {
    "onehot": {"input_features": [{"name": "return_1"}, {"name": "ticker", "encoder": {"type": "onehot"}}]},
    "small-embedding": {"defaults": {"category": {"encoder": {"type": "dense", "embedding_size": 2}}}},
    "price": {},
    "sequence": {},
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_ticker_may_be_encoded_as_the_user_likes(alone: Done, tmp_path: Path, kind: str):
    from mlops_cli.training.engine.fit import LudwigFitter
    from mlops_cli.training.engine.work import fit_task

    jobs = pool_jobs(
        tmp_path,
        ludwig={**ludwig(epochs=1), **ENCODERS[kind]},
        features=HISTORY if kind == "sequence" else NUMBERS,
        target="close" if kind == "price" else "log_return",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = fit_task(LudwigFitter(tmp_path / "graphs"), jobs)
    assert [result.job for result in results] == jobs
    assert all(isinstance(result, Fitted) for result in results), results
    if kind != "price":  # whose agreement follows the size of the prices
        assert all(result.facts["onnx_difference"] <= 1e-5 for result in results if isinstance(result, Fitted))


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_process_per_cuda_device(tmp_path: Path, strategy: Any):
    from mlops_cli.training.local.cuda_devices import count_cuda_devices

    devices = count_cuda_devices()
    shared = ludwig(batch_size=32 * devices, eval_batch_size=64 * devices)
    jobs = [replace(one, spec=one.spec.model_copy(update={"ludwig": shared})) for one in common_jobs(tmp_path)]
    said: list[str] = []
    trainer = TorchrunTrainer(tmp_path / "log", tmp_path / "graphs", Devices(strategy, "cuda"))
    done = made(tmp_path, trainer.fit(jobs, said.append), said)
    assert said[0].startswith(f"starting {devices} training processes")
    assert all(done.fitted(name).facts["onnx_difference"] <= 1e-5 for name in COMMON)
