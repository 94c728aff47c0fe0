"""Stage `train` on written features: what is trained, what is told to the tracker, what is removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec, Scenario
from mlops_cli.errors import TrainingError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.store import check_files
from mlops_cli.pipeline.stages.stage import ItemFailure, StageReport, write_failures
from mlops_cli.pipeline.stages.train import TrainTools, is_trained, train
from mlops_cli.pipeline.stages.train_plan import plan_model
from mlops_cli.tracking.tracker import NullTracker, RunContext, Tracking, TrainedModel
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.branches import Progress, branch_of, write_features
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.train_jobs import model_spec
from tests.fakes.trained_models import START

A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
SCENARIO = Scenario(start=START)
CONTEXT = RunContext("key", "main")


@dataclass
class Recorder(NullTracker):
    """Tracker port: remembers what was trained; its record may be out of order for a while."""

    told: list[TrainedModel] = field(default_factory=list)
    interrupt: bool = False
    prepared: int = 0

    def prepare(self) -> None:
        self.prepared += 1

    def record_training(self, models: Sequence[TrainedModel], context: RunContext) -> None:
        assert context == CONTEXT
        if self.interrupt:
            raise KeyboardInterrupt
        self.told += models

    @property
    def names(self) -> list[str]:
        return [model.name for model in self.told]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    for seed, spec in enumerate((A, B)):
        write_features(made.features("main"), spec, seed=seed)
    return made


def run(
    project: Project,
    branch: Branch,
    trainer: LinearTrainer | None = None,
    tracker: Recorder | None = None,
    only: str | None = None,
) -> StageReport:
    tools = TrainTools(lambda _: trainer or LinearTrainer(), Tracking(tracker or Recorder(), CONTEXT))
    return train(project, branch, SCENARIO, tools, Progress(), only)


def test_each_model_is_finished_undamaged_and_tracked(project: Project) -> None:
    tracker = Recorder()
    report = run(project, branch_of(A, B), tracker=tracker)
    assert (report.done, report.failures) == (["red-a", "red-b"], [])
    for name in report.done:
        manifest = read_manifest(project.models("main") / name)
        check_files(project.models("main") / name, manifest)
        assert manifest.shrinkage is not None
    (first, second) = tracker.told
    assert (first.name, second.name) == ("red-a", "red-b")
    assert first.params["shrinkage"] == read_manifest(first.folder).shrinkage, "told when it is finished"
    assert first.validation.keys() == {"mae_ratio", "mae_ratio_raw"}
    assert tracker.prepared == 1
    assert not project.staging("main").exists()


def test_a_second_time_nothing_is_trained_or_told(project: Project) -> None:
    run(project, branch_of(A, B))
    trainer, tracker = LinearTrainer(), Recorder()
    report = run(project, branch_of(A, B), trainer, tracker)
    assert (report.unchanged, trainer.trained, tracker.told) == (["red-a", "red-b"], [], [])


def test_what_a_killed_run_trained_is_told_by_the_next(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(project, branch_of(A, B), tracker=Recorder(interrupt=True))
    tracker = Recorder()
    assert run(project, branch_of(A, B), tracker=tracker).done == []
    assert tracker.names == ["red-a", "red-b"]
    again = Recorder()
    run(project, branch_of(A, B), tracker=again)
    assert again.told == []


def test_what_was_never_told_and_left_the_branch_is_forgotten(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(project, branch_of(A, B), tracker=Recorder(interrupt=True))
    tracker = Recorder()
    run(project, branch_of(A), tracker=tracker)
    assert tracker.names == ["red-a"]


def test_models_that_left_the_branch_are_removed_with_their_versions_but_not_by_a_part(project: Project) -> None:
    run(project, branch_of(A, B))
    archive = project.model_root / ".versions" / "main" / "red-b"
    assert archive.is_dir()
    run(project, branch_of(A), only="red-a")
    assert archive.is_dir()
    run(project, branch_of(A))
    assert not archive.exists()
    assert [path.name for path in project.models("main").iterdir()] == ["red-a"]


def test_a_model_without_features_is_reported_with_the_first_cause(project: Project) -> None:
    lost = model_spec("red-x", ticker="X")
    first = ItemFailure("red-x", "ingest", "X: no such ticker", 4)
    write_failures(project.features("main"), [first])
    report = run(project, branch_of(A, lost))
    assert (report.done, report.failures, report.exit_code) == (["red-a"], [first], 9)


def test_a_trainer_that_gives_no_result_for_a_model_is_caught(project: Project) -> None:
    class Forgetful(LinearTrainer):
        def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
            return super().fit(jobs[:1], progress)

    report = run(project, branch_of(A, B), Forgetful())
    assert report.done == ["red-a"]
    (failure,) = report.failures
    assert (failure.model, failure.exit_code) == ("red-b", 5)
    assert "the trainer gave no result for it" in failure.reason


def test_a_trainer_that_ends_early_keeps_what_it_has_trained(project: Project) -> None:
    class Dies(LinearTrainer):
        def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
            yield from super().fit(jobs[:1], progress)
            raise TrainingError("the process was killed")

    report = run(project, branch_of(A, B), Dies())
    assert (report.done, [failure.model for failure in report.failures]) == (["red-a"], ["red-b"])
    assert run(project, branch_of(A, B)).done == ["red-b"]


def test_a_trainer_that_writes_no_graph_fails_that_model_alone(project: Project) -> None:
    class Empty(LinearTrainer):
        def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
            for result in super().fit(jobs, progress):
                if result.job.spec.name == "red-a":
                    (result.job.folder / "model.onnx").unlink()
                yield result

    report = run(project, branch_of(A, B), Empty())
    assert (report.done, [failure.model for failure in report.failures]) == (["red-b"], ["red-a"])
    assert not (project.models("main") / "red-a").exists()


def test_why_models_could_not_train_in_a_fleet_is_noted_once_per_reason(project: Project) -> None:
    class Alone(LinearTrainer):
        def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
            for result in super().fit(jobs, progress):
                yield Fitted(result.job, result.epochs, {"not_in_fleet": "their combiner is another"})

    (note,) = run(project, branch_of(A, B), Alone()).notes
    assert note == "trained one after another, not in a fleet: red-a, red-b: their combiner is another"


class TestPool:
    POOL = tuple(spec.model_copy(update={"pool": ("A", "B")}) for spec in (A, B))

    def test_a_part_of_a_pool_is_refused_and_nothing_is_trained(self, project: Project) -> None:
        trainer = LinearTrainer()
        report = run(project, branch_of(*self.POOL), trainer, only="red-a")
        assert trainer.trained == []
        (failure,) = report.failures
        assert (failure.model, failure.exit_code) == ("red-a", 3)
        assert "must be trained together with the others of its pool: red-a, red-b" in failure.reason

    def test_a_part_that_is_trained_already_is_unchanged(self, project: Project) -> None:
        run(project, branch_of(*self.POOL))
        assert run(project, branch_of(*self.POOL), only="red-a").unchanged == ["red-a"]

    def test_one_that_is_missing_trains_them_all(self, project: Project) -> None:
        run(project, branch_of(*self.POOL))
        shutil.rmtree(project.models("main") / "red-b")
        trainer = LinearTrainer()
        run(project, branch_of(*self.POOL), trainer)
        assert trainer.trained == ["red-a", "red-b"]

    def test_a_member_that_cannot_be_trained_is_left_out_of_the_pool(self, project: Project) -> None:
        lost = model_spec("red-x", ticker="X", pool=("A", "B", "X"))
        pool = [spec.model_copy(update={"pool": ("A", "B", "X")}) for spec in (A, B)]
        trainer = LinearTrainer()
        report = run(project, branch_of(*pool, lost), trainer)
        assert trainer.trained == ["red-a", "red-b"]
        assert [failure.model for failure in report.failures] == ["red-x"]
        assert run(project, branch_of(*pool, lost)).unchanged == ["red-a", "red-b"]


class TestIsTrained:
    def mark(self, project: Project, spec: ModelSpec = A) -> str:
        return plan_model(project.features("main"), branch_of(spec), START, spec, None).mark

    def test_only_an_undamaged_folder_of_that_fingerprint_is(self, project: Project) -> None:
        folder = project.models("main") / "red-a"
        assert not is_trained(folder, self.mark(project))
        run(project, branch_of(A))
        assert is_trained(folder, self.mark(project))
        assert not is_trained(folder, "0" * 64)
        (folder / "added").write_text("x")
        assert not is_trained(folder, self.mark(project))

    @pytest.mark.parametrize("damage", ["model.onnx", "manifest.json"])
    def test_a_missing_file_means_training_again(self, project: Project, damage: str) -> None:
        run(project, branch_of(A))
        (project.models("main") / "red-a" / damage).unlink()
        assert not is_trained(project.models("main") / "red-a", self.mark(project))
        assert run(project, branch_of(A)).done == ["red-a"]
