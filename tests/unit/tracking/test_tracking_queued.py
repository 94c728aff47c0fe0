"""What a tracker could not record is kept on disk and recorded later, once, with the run that it belongs to."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.models.versions import archive, move_to_archive
from mlops_cli.system.locks import file_lock
from mlops_cli.tracking.queued_tracker import QueuedTracker
from mlops_cli.tracking.tracker import ModelKey, RunContext, TrainedModel
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import WEIGHTS, model_folder

MORNING = RunContext("1", "main", "0123abc", "4567.dir", "mlops train")
EVENING = replace(MORNING, key="2")


@dataclass
class Notebook:
    """A tracker in memory that can be away."""

    away: bool = False
    name: str = "notebook"
    trainings: list[tuple[TrainedModel, RunContext]] = field(default_factory=list)
    tests: list[tuple[ModelKey, Mapping[str, float], RunContext]] = field(default_factory=list)
    prepared: int = 0

    def prepare(self) -> None:
        self.prepared += 1

    def record_training(self, models: Sequence[TrainedModel], context: RunContext) -> bool:
        self.trainings += [] if self.away else [(model, context) for model in models]
        return not self.away

    def record_test(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> bool:
        self.tests += [] if self.away else [(key, values, context) for key, values in metrics.items()]
        return not self.away

    def catch_up(self) -> int:
        return 0

    def count_trainings(self, models: Sequence[str]) -> int:
        return len(models)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook(away=True)


@pytest.fixture
def tracker(notebook: Notebook, tmp_path: Path) -> QueuedTracker:
    return QueuedTracker(notebook, tmp_path / "unlogged")


def training(root: Path, name: str = "red-aapl", fingerprint: str = "ab" * 32) -> TrainedModel:
    """A training whose model lies in `root/models/main/<name>`; an earlier one there is replaced."""
    folder = root / "models" / "main" / name
    if folder.is_dir():
        shutil.rmtree(folder)
    graph = linear_graph(WEIGHTS, int(fingerprint[:2], 16) / 1e5)  # another training, another model
    model_folder(folder.parent, name, graph, fingerprint=fingerprint)
    params = {"seed": 7, "ludwig": {"trainer": {"epochs": 2}}}
    return TrainedModel(name, "red", "AAPL", "main", fingerprint, params, [{"loss": 2.0}], {"mae_ratio": 0.9}, folder)


def waiting(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "unlogged")) for path in (tmp_path / "unlogged").glob("*/*.json"))


def test_what_is_recorded_at_once_does_not_wait(tracker, notebook, tmp_path):
    notebook.away = False
    assert tracker.record_training([training(tmp_path)], MORNING)
    assert tracker.record_test({("red-aapl", "ab" * 32): {"mae": 0.5}}, MORNING)
    assert (len(notebook.trainings), len(notebook.tests), waiting(tmp_path)) == (1, 1, [])
    assert (tracker.name, tracker.count_trainings(["a", "b"]), tracker.catch_up()) == ("notebook", 2, 0)


def test_what_could_not_be_recorded_is_recorded_later_as_it_was(tracker, notebook, tmp_path):
    first, second = training(tmp_path), training(tmp_path, "red-ibm", "cd" * 32)
    assert not tracker.record_training([first, second], MORNING)
    assert not tracker.record_test({first.key: {"mae": 0.5, "odd": float("inf")}}, EVENING)
    notebook.away = False
    later = QueuedTracker(notebook, tmp_path / "unlogged")  # another process
    assert later.catch_up() == 2
    assert sorted(notebook.trainings, key=lambda told: told[0].name) == [(first, MORNING), (second, MORNING)]
    assert notebook.tests == [(first.key, {"mae": 0.5, "odd": float("inf")}, EVENING)]
    assert (later.catch_up(), waiting(tmp_path)) == (0, [])


def test_the_next_training_takes_along_what_waits(tracker, notebook, tmp_path):
    tracker.record_training([training(tmp_path)], MORNING)
    notebook.away = False
    assert tracker.record_training([training(tmp_path, "red-ibm", "cd" * 32)], EVENING)
    assert [(model.name, context.key) for model, context in notebook.trainings] == [("red-aapl", "1"), ("red-ibm", "2")]


def test_it_waits_for_as_long_as_the_tracker_is_away(tracker, notebook, tmp_path):
    tracker.record_training([training(tmp_path)], MORNING)
    for _ in range(3):
        assert tracker.catch_up() == 0
    assert len(waiting(tmp_path)) == 1


def test_one_training_waits_once_and_of_its_metrics_the_newest(tracker, notebook, tmp_path):
    model = training(tmp_path)
    for mae in (0.5, 0.4):
        tracker.record_training([model], MORNING)
        tracker.record_test({model.key: {"mae": mae}}, MORNING)
    notebook.away = False
    assert tracker.catch_up() == 1
    assert [values for _, values, _ in notebook.tests] == [{"mae": 0.4}]


def test_metrics_wait_for_their_training(tracker, notebook, tmp_path, monkeypatch):
    model = training(tmp_path)
    tracker.record_training([model], MORNING)
    tracker.record_test({model.key: {"mae": 0.5}}, MORNING)
    monkeypatch.setattr(notebook, "record_training", lambda models, context: False)
    notebook.away = False
    assert tracker.catch_up() == 0
    assert notebook.tests == []


def test_the_files_are_those_of_that_training_though_the_model_was_trained_again(tracker, notebook, tmp_path):
    model = training(tmp_path)
    tracker.record_training([model], MORNING)
    assert move_to_archive(model.folder)
    (earlier,) = archive(tmp_path / "models", "main", "red-aapl").iterdir()
    training(tmp_path, fingerprint="cd" * 32)
    notebook.away = False
    tracker.catch_up()
    ((recorded, _),) = notebook.trainings
    assert recorded == replace(model, folder=earlier)


def test_a_model_that_is_gone_is_recorded_without_its_files(tracker, notebook, tmp_path):
    model = training(tmp_path)
    tracker.record_training([model], MORNING)
    shutil.rmtree(tmp_path / "models")
    notebook.away = False
    assert tracker.catch_up() == 1
    assert notebook.trainings == [(replace(model, folder=None), MORNING)]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"context": {"x": 1}, "model": {}}', "[" * 20_000])
def test_a_damaged_record_is_named_and_stops_nothing(tracker, notebook, tmp_path, caplog, text):
    tracker.record_training([training(tmp_path)], MORNING)
    damaged = tmp_path / "unlogged" / "trained" / "a.json"
    damaged.write_text(text)
    notebook.away = False
    with caplog.at_level(logging.WARNING):
        assert tracker.catch_up() == 1
    assert "a.json cannot be read and is removed" in caplog.text
    assert waiting(tmp_path) == []


def test_two_processes_do_not_record_the_same_at_once(tracker, notebook, tmp_path):
    tracker.record_training([training(tmp_path)], MORNING)
    notebook.away = False
    with file_lock(tmp_path / "unlogged" / "queue.lock", ServiceError("busy")):
        assert tracker.catch_up() == 0
    assert tracker.catch_up() == 1


def test_records_are_small_and_plain(tracker, tmp_path):
    tracker.record_training([training(tmp_path)], MORNING)
    (file,) = (tmp_path / "unlogged" / "trained").iterdir()
    assert file.stat().st_size < 2000
    assert json.loads(file.read_text())["context"]["git_commit"] == "0123abc"


def test_it_prepares_the_other(tracker, notebook):
    tracker.prepare()
    assert notebook.prepared == 1
