"""MLflow is away while models are trained and back at the next run: nothing is missing, nothing is doubled."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from mlops_cli.tracking.mlflow_tracker import MlflowTracker
from mlops_cli.tracking.queued_tracker import QueuedTracker
from mlops_cli.tracking.tracker import RunContext, TrainedModel
from tests.fakes.model_folders import model_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
CONTEXT = RunContext("2026-01-05T07.00", "main", "0123abc", "4567.dir", "mlops train --branch main")
names = (f"red-{number}" for number in itertools.count())


def training(root: Path) -> TrainedModel:
    name = next(names)
    folder = model_folder(root / "models" / "main", name, fingerprint=name.encode().hex().rjust(64, "0"))
    values = {"params": {"seed": 7}, "epochs": [{"loss": 2.0}, {"loss": 1.0}], "validation": {"mae_ratio": 0.99}}
    return TrainedModel(name, "red", "AAPL", "main", name.encode().hex().rjust(64, "0"), folder=folder, **values)


def runs(uri: str) -> list:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("mlops")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def check_recorded(uri: str, models: list[TrainedModel]) -> None:
    children = [run for run in runs(uri) if "mlflow.parentRunId" in run.data.tags]
    assert sorted(run.info.run_name for run in children) == sorted(model.name for model in models)
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in children}
    for run in children:
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/mae"] == 0.5
        assert run.data.tags["mlflow.source.git.commit"] == "0123abc"
    (found,) = [run for run in runs(uri) if run.info.run_id == parent]
    assert found.data.tags["mlops.run"] == CONTEXT.key


def test_a_database_that_comes_back(tmp_path: Path) -> None:
    database, queue = tmp_path / "mlruns.db", tmp_path / "unlogged"
    uri = f"sqlite:///{database}"
    database.write_bytes(b"this is no database" * 100)
    models = [training(tmp_path), training(tmp_path)]

    def tracker() -> QueuedTracker:
        return QueuedTracker(MlflowTracker(uri, tmp_path / "runs"), queue)

    down = tracker()
    assert not down.record_training(models, CONTEXT)
    assert not down.record_test({model.key: {"mae": 0.5} for model in models}, CONTEXT)
    database.unlink()
    assert tracker().catch_up() == 2
    assert tracker().catch_up() == 0
    check_recorded(uri, models)
    assert database.stat().st_mode & 0o777 == 0o600, "it was made by us"
    assert len(list((tmp_path / "runs").rglob("model.onnx"))) == 2


def test_a_server_that_goes_away_between_two_models_and_comes_back(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri, queue = f"http://127.0.0.1:{port}", tmp_path / "unlogged"
    models = [training(tmp_path), training(tmp_path)]
    server = serve(tmp_path, port)
    try:
        assert QueuedTracker(MlflowTracker(uri, tmp_path, log_models=False), queue).record_training(models[:1], CONTEXT)
    finally:
        stop(server)
    down = QueuedTracker(MlflowTracker(uri, tmp_path, log_models=False), queue)
    assert not down.record_training(models, CONTEXT), "the first is recorded already"
    assert not down.record_test({model.key: {"mae": 0.5} for model in models}, CONTEXT)
    server = serve(tmp_path, port)
    try:
        assert QueuedTracker(MlflowTracker(uri, tmp_path, log_models=False), queue).catch_up() == 2
        check_recorded(uri, models)
    finally:
        stop(server)


def serve(folder: Path, port: int) -> subprocess.Popen:
    store = f"sqlite:///{folder}/server.db"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--default-artifact-root", str(folder / "artifacts")]
    log = (folder / "server.log").open("ab")
    with log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "1"},
                                  start_new_session=True)  # fmt: skip
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=2).ok:
                return server
        except requests.ConnectionError:
            time.sleep(0.3)
    stop(server)
    raise AssertionError((folder / "server.log").read_text())


def stop(server: subprocess.Popen) -> None:
    os.killpg(server.pid, 15)
    server.wait(30)
