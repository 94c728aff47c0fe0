"""What every tracker promises: it takes what stages tell it, any number of times, and never stops a run."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.tracking.mlflow_tracker import MlflowTracker
from mlops_cli.tracking.tracker import NullTracker, RunContext, Tracker, TrainedModel

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.slow,  # mlflow's import and a new database take seconds each
    # MLflow 3.17 itself: with SQLAlchemy 2.1, and while mlflow.pyfunc is imported
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

CONTEXT = RunContext("2026-01-05T07.00", "red", "0123abc", "4567.dir", "mlops train --branch red")


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens: bound for as long as the tests run."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trackers") / "mlruns.db"


@dataclass
class Desk:
    """A tracker, and what its record holds.

    Attributes:
        tracker: the tracker under test.
        uri: the database of its record; None where it keeps no record.
        experiment: name of its experiment.
        models: whether it stores models.
    """

    tracker: Tracker
    uri: str | None = None
    experiment: str = ""
    models: bool = False

    @property
    def keeps(self) -> bool:
        return self.uri is not None

    def runs(self) -> dict[str, Run]:
        """The recorded trainings by model, empty where no record is kept; two of one model are an error."""
        if self.uri is None:
            return {}
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return {}
        trainings = [run for run in client.search_runs([experiment.experiment_id]) if "mlops.model" in run.data.tags]
        by_model = {run.data.tags["mlops.model"]: run for run in trainings}
        assert len(by_model) == len(trainings)
        return by_model

    def only(self, model: TrainedModel) -> Run | None:
        """The record of a model, which is the only one; None where no record is kept."""
        runs = self.runs()
        assert set(runs) == ({model.name} if self.keeps else set())
        return runs.get(model.name)


@pytest.fixture(params=["none", "sqlite", "sqlite without models", "server down", "no database", "wrong address"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, database: Path, closed_port: int) -> Desk:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    uri, runs = f"sqlite:///{database}", tmp_path / "runs"
    match request.param:
        case "none":
            return Desk(NullTracker())
        case "sqlite":
            return Desk(MlflowTracker(uri, runs, tmp_path.name), uri, tmp_path.name, models=True)
        case "sqlite without models":
            return Desk(MlflowTracker(uri, runs, tmp_path.name, log_models=False), uri, tmp_path.name)
        case "server down":
            return Desk(MlflowTracker(f"http://127.0.0.1:{closed_port}", runs))
        case "no database":
            return Desk(MlflowTracker(f"sqlite:///{tmp_path}/broken.db", runs))
        case _:
            return Desk(MlflowTracker("carrier-pigeon://roof", runs))


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    slope = numpy_helper.from_array(np.ones((2, 1), np.float32), "slope")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "slope"], ["forecast"])],
        "line",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("forecast", TensorProto.FLOAT, ["rows", 1])],
        [slope],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "model.onnx"
    )
    return TrainedModel(
        name=f"red-{tmp_path.name.lower()}"[:60],
        team="red",
        ticker="AAPL",
        branch="red",
        fingerprint="ab" * 32,
        params={"trainer": {"epochs": 2}},
        epochs=[{"train_loss": 2.0}, {"train_loss": 1.0}],
        validation={"mae_ratio": 0.99},
        folder=tmp_path,
    )


def test_it_has_a_name(desk: Desk) -> None:
    assert desk.tracker.name == ("none" if isinstance(desk.tracker, NullTracker) else "mlflow")


def test_a_training_and_its_test_told_again_and_again_are_recorded_once(desk: Desk, model: TrainedModel) -> None:
    for _ in range(2):
        desk.tracker.record_training([model, model], CONTEXT)
        desk.tracker.record_test({model.key: {"mae": 0.5}}, CONTEXT)
    run = desk.only(model)
    if run is not None:
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/mae"] == 0.5
        assert run.data.metrics["validation/mae_ratio"] == 0.99
        assert run.data.tags["mlops.fingerprint"] == model.fingerprint


def test_models_are_stored_where_they_are_asked_for(desk: Desk, model: TrainedModel, tmp_path: Path) -> None:
    desk.tracker.record_training([model], CONTEXT)
    stored = list((tmp_path / "runs").rglob("model.onnx"))
    assert len(stored) == (1 if desk.models else 0)
    assert all(path.read_bytes() == (model.folder / "model.onnx").read_bytes() for path in stored)


def test_it_counts_the_different_trainings_of_models(desk: Desk, model: TrainedModel) -> None:
    other = replace(model, name=f"{model.name}-2")
    for told in (model, replace(model, fingerprint="cd" * 32), other, model):
        desk.tracker.record_training([told], CONTEXT)
    assert desk.tracker.count_trainings([model.name]) == (2 if desk.keeps else 0)
    assert desk.tracker.count_trainings([model.name, other.name, "blue-none"]) == (3 if desk.keeps else 0)
    assert desk.tracker.count_trainings([]) == 0


def test_it_may_be_told_beforehand(desk: Desk, model: TrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    desk.tracker.prepare()
    desk.tracker.prepare()
    desk.tracker.record_training([model], CONTEXT)
    desk.tracker.prepare()
    desk.only(model)
    quiet = desk.keeps or isinstance(desk.tracker, NullTracker)
    assert len(caplog.records) == (0 if quiet else 1), "an outage is told once"


def test_nothing_to_record_is_not_recorded(desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk.tracker.record_training([], CONTEXT)
    desk.tracker.record_test({}, CONTEXT)
    assert desk.runs() == {}
    assert caplog.records == [], "not even an outage is noticed"
    assert not (tmp_path / "runs").exists()


def test_a_run_of_its_own_that_knows_neither_code_nor_data(desk: Desk, model: TrainedModel) -> None:
    desk.tracker.record_training([model], RunContext())
    desk.tracker.record_test({model.key: {"mae": 0.5}}, RunContext())
    run = desk.only(model)
    if run is not None:
        assert (run.data.tags["mlflow.source.git.commit"], run.data.tags["mlops.data_hash"]) == ("", "")
        assert run.data.metrics["test/mae"] == 0.5


def test_a_model_without_epochs_params_or_metrics(desk: Desk, model: TrainedModel) -> None:
    desk.tracker.record_training([replace(model, epochs=[], params={}, validation={})], CONTEXT)
    run = desk.only(model)
    if run is not None:
        assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {}, {})


def test_numbers_that_are_none(desk: Desk, model: TrainedModel) -> None:
    odd = {"mae_ratio": math.nan, "loss": math.inf}
    desk.tracker.record_training([replace(model, epochs=[odd], validation=odd)], CONTEXT)
    desk.tracker.record_test({model.key: odd}, CONTEXT)
    run = desk.only(model)
    if run is not None:
        assert run.info.status == "FINISHED"
        assert math.isnan(run.data.metrics["test/mae_ratio"])
        assert run.data.metrics["test/loss"] > 1e300, "MLflow has no infinity"


def test_odd_keys_and_long_values(desk: Desk, model: TrainedModel) -> None:
    odd = {"../a b": "x" * 10_000, "": 1, "ü/ß": [1, 2], "k" * 400: 1, "p" * 300: {"q": 2}}
    odd_metrics = {"../a": 1.0, "é/ñ?": 2.0, "m" * 300: 3.0}
    desk.tracker.record_training([replace(model, params=odd, epochs=[odd_metrics], validation=odd_metrics)], CONTEXT)
    desk.tracker.record_test({model.key: odd_metrics}, CONTEXT)
    run = desk.only(model)
    if run is not None:
        assert len(run.data.params) == len(odd), "none is lost"
        assert max(len(value) for value in run.data.params.values()) == 6000
        tested = {key: value for key, value in run.data.metrics.items() if key.startswith("test/")}
        assert sorted(tested.values()) == [1.0, 2.0, 3.0]


def test_a_test_of_a_training_it_never_saw_is_not_recorded(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.tracker.record_test({("blue-ibm", "00"): {"mae": 0.5}}, CONTEXT)
    assert desk.runs() == {}
    if desk.keeps:
        (record,) = caplog.records
        assert "blue-ibm" in record.getMessage()


def test_it_says_at_most_one_thing_and_prints_nothing(
    desk: Desk, model: TrainedModel, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        context = replace(CONTEXT, key=f"{CONTEXT.key}-{number}")
        desk.tracker.record_training([model], context)
        desk.tracker.record_test({model.key: {"mae": 0.5}}, context)
    said = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert len(said) <= 1
    assert all(record.name == "mlops.tracking" and record.levelno == logging.WARNING for record in said)
    assert all(len(record.getMessage()) < 1000 for record in said)
    assert capfd.readouterr() == ("", "")
