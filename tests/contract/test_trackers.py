"""What every tracker promises: it takes what stages tell it, any number of times, and never stops a run."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.tracking.mlflow_tracker import MlflowTracker
from mlops_cli.tracking.tracker import NullTracker, RunContext, Tracker, TrainedModel

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


@pytest.fixture(params=["none", "sqlite", "sqlite without models", "server down", "no database", "wrong address"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path, database: Path, closed_port: int) -> Tracker:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    match request.param:
        case "none":
            return NullTracker()
        case "sqlite":
            return MlflowTracker(f"sqlite:///{database}", tmp_path / "runs", experiment=tmp_path.name)
        case "sqlite without models":
            return MlflowTracker(f"sqlite:///{database}", tmp_path / "runs", tmp_path.name, log_models=False)
        case "server down":
            return MlflowTracker(f"http://127.0.0.1:{closed_port}", tmp_path / "runs")
        case "no database":
            return MlflowTracker(f"sqlite:///{tmp_path}/broken.db", tmp_path / "runs")
        case _:
            return MlflowTracker("carrier-pigeon://roof", tmp_path / "runs")


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


def test_it_has_a_name(tracker: Tracker) -> None:
    assert tracker.name


def test_it_takes_a_training_and_its_test_again_and_again(tracker: Tracker, model: TrainedModel) -> None:
    for _ in range(2):
        tracker.trained([model, model], CONTEXT)
        tracker.tested({model.key: {"mae": 0.5}}, CONTEXT)


def test_it_counts_the_different_trainings_of_models(
    tracker: Tracker, model: TrainedModel, request: pytest.FixtureRequest
) -> None:
    other = replace(model, name=f"{model.name}-2")
    for one in (model, replace(model, fingerprint="cd" * 32), other, model):
        tracker.trained([one], CONTEXT)
    keeps = request.node.callspec.params["tracker"].startswith("sqlite")
    assert tracker.trials([model.name]) == (2 if keeps else 0)
    assert tracker.trials([model.name, other.name, "blue-none"]) == (3 if keeps else 0)
    assert tracker.trials([]) == 0


def test_it_may_be_told_beforehand(tracker: Tracker, model: TrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    tracker.prepare()
    tracker.prepare()
    tracker.trained([model], CONTEXT)
    tracker.prepare()
    assert len(caplog.records) <= 1, "an outage is told once"


def test_it_takes_nothing(tracker: Tracker) -> None:
    tracker.trained([], CONTEXT)
    tracker.tested({}, CONTEXT)


def test_it_takes_a_run_of_its_own_that_knows_neither_code_nor_data(tracker: Tracker, model: TrainedModel) -> None:
    tracker.trained([model], RunContext())
    tracker.tested({model.key: {"mae": 0.5}}, RunContext())


def test_it_takes_a_model_without_epochs_params_or_metrics(tracker: Tracker, model: TrainedModel) -> None:
    tracker.trained([replace(model, epochs=[], params={}, validation={})], CONTEXT)


def test_it_takes_numbers_that_are_none(tracker: Tracker, model: TrainedModel) -> None:
    odd = {"mae_ratio": math.nan, "loss": math.inf}
    tracker.trained([replace(model, epochs=[odd], validation=odd)], CONTEXT)
    tracker.tested({model.key: odd}, CONTEXT)


def test_it_takes_odd_keys_and_long_values(tracker: Tracker, model: TrainedModel) -> None:
    odd = {"../a b": "x" * 10_000, "": 1, "ü/ß": [1, 2], "k" * 400: 1, "p" * 300: {"q": 2}}
    odd_metrics = {"../a": 1.0, "é/ñ?": 2.0, "m" * 300: 3.0}
    tracker.trained([replace(model, params=odd, epochs=[odd_metrics], validation=odd_metrics)], CONTEXT)
    tracker.tested({model.key: odd_metrics}, CONTEXT)


def test_it_takes_a_test_of_a_training_it_never_saw(tracker: Tracker) -> None:
    tracker.tested({("blue-ibm", "00"): {"mae": 0.5}}, CONTEXT)


def test_it_says_at_most_one_thing_and_prints_nothing(
    tracker: Tracker, model: TrainedModel, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        context = replace(CONTEXT, key=f"{CONTEXT.key}-{number}")
        tracker.trained([model], context)
        tracker.tested({model.key: {"mae": 0.5}}, context)
    said = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert len(said) <= 1
    assert all(record.name == "mlops.tracking" and record.levelno == logging.WARNING for record in said)
    assert all(len(record.getMessage()) < 1000 for record in said)
    assert capfd.readouterr() == ("", "")
