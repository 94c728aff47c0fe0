"""The walk of a branch: what is stored and removed, and how retrained models stand beside the frozen ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Scenario
from mlops_cli.errors import TrainingError
from mlops_cli.models.predict import Model
from mlops_cli.pipeline.walk.retrain import RetrainTools, Walk, remove_unused, retrain_branch
from mlops_cli.pipeline.walk.walk_forward import FrozenModel, walk_forward
from mlops_cli.simulation.replay import replay
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob
from tests.fakes.branches import Progress
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.train_jobs import model_spec
from tests.fakes.trained_models import START, trained_branch

A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
SCENARIO = Scenario(start=START, days=60)
FIRST = date(2016, 2, 1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def branch(project: Project) -> Branch:
    return trained_branch(project, A, B)


def tools(trainer: Trainer | None = None) -> RetrainTools:
    return RetrainTools("monthly", lambda *_: trainer or LinearTrainer())


def walk(project: Project, branch: Branch, *names: str, trainer: Trainer | None = None) -> Walk:
    return retrain_branch(project, branch, SCENARIO, names or ("red-a", "red-b"), tools(trainer), Progress())


def stored(project: Project) -> list[str]:
    return sorted(str(path.relative_to(project.walk_forward)) for path in project.walk_forward.glob("*/*/*"))


class TestWalk:
    def test_the_retrained_models_forecast_from_the_second_date_on(self, project: Project, branch: Branch) -> None:
        result = walk(project, branch)
        assert result.dates == [START, FIRST, date(2016, 3, 1)]
        assert result.failures == {}
        for frame in result.forecasts.values():
            assert frame["target_session"].min() == pd.Timestamp(FIRST)
            assert frame["target_session"].is_monotonic_increasing
            assert frame["shrinkage"].between(0, 1).all()
        assert stored(project) == [f"main/{name}/{day}" for name in ("red-a", "red-b") for day in result.dates[1:]]
        assert {str(folder.relative_to(project.walk_forward)) for folder in result.folders} == set(stored(project))

    def test_the_others_of_the_group_are_trained_along_but_do_not_forecast(
        self, project: Project, branch: Branch
    ) -> None:
        result = walk(project, branch, "red-a")
        assert set(result.forecasts) == {"red-a"}
        assert len(stored(project)) == 4

    def test_an_unfinished_model_of_the_group_is_not_trained_along(self, project: Project, branch: Branch) -> None:
        (project.models("main") / "red-b" / "manifest.json").unlink()
        walk(project, branch, "red-a")
        assert {name.split("/")[1] for name in stored(project)} == {"red-a"}

    def test_a_failure_names_the_date_and_is_noted_once(self, project: Project, branch: Branch) -> None:
        result = walk(project, branch, trainer=LinearTrainer(refuse=("red-b",)))
        failure = result.failures["red-b"]
        assert (failure.model, failure.stage, failure.exit_code) == ("red-b", "simulate", 5)
        assert failure.reason.startswith(f"left out of the walk-forward part: retraining of {FIRST}: ")
        assert set(result.forecasts) == {"red-a"}

    def test_a_trainer_that_does_not_start_fails_what_was_left(self, project: Project, branch: Branch) -> None:
        class Dies(LinearTrainer):
            def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
                yield from super().fit(jobs[:3], progress)
                raise TrainingError("the process was killed")

        result = walk(project, branch, trainer=Dies())
        assert set(result.failures) == {"red-b"}
        assert len(stored(project)) == 3, "what was trained before is kept"

    def test_nothing_is_left_in_the_staging_folder(self, project: Project, branch: Branch) -> None:
        walk(project, branch)
        assert [path.name for path in project.walk_forward.iterdir()] == ["main"]


class TestRemoveUnused:
    def test_only_folders_that_are_needed_stay(self, tmp_path: Path) -> None:
        project = Project(tmp_path)
        names = ("main/a/2016-01-04", "main/a/2016-02-01", "main/b/2016-01-04", "old/c/2016-01-04")
        for name in names:
            (project.walk_forward / name).mkdir(parents=True)
        (project.walk_forward / ".staging" / "main" / "x").mkdir(parents=True)
        remove_unused(project, {project.walk_forward / "main/a/2016-02-01"})
        assert stored(project) == [".staging/main/x", "main/a/2016-02-01"]
        assert not (project.walk_forward / "old").exists()
        assert not (project.walk_forward / "main" / "b").exists()

    def test_where_nothing_was_ever_retrained_there_is_nothing_to_remove(self, tmp_path: Path) -> None:
        remove_unused(Project(tmp_path), set())
        assert list(tmp_path.iterdir()) == []


class TestWalkForward:
    def frozen(self, project: Project, label: str, name: str = "red-a") -> FrozenModel:
        table = pd.read_parquet(project.features("main") / f"{name}.parquet")
        model = Model.open(project.models("main") / name)
        frame = replay(model, table, SCENARIO.start, SCENARIO.end).assign(model=label)
        return FrozenModel("main", name, label, 1.0, frame)

    def test_forecasts_are_the_frozen_ones_up_to_the_first_retraining(self, project: Project, branch: Branch) -> None:
        frozen = self.frozen(project, "main/red-a")
        result = walk_forward(project, [branch], SCENARIO, [frozen], tools(), Progress())
        assert list(result.forecasts.columns) == list(frozen.forecasts.columns)
        early = frozen.forecasts["target_session"] < pd.Timestamp(FIRST)
        same = result.forecasts["predicted_close"] == frozen.forecasts["predicted_close"]
        assert same[early].all()
        assert not same[~early].any()
        assert set(result.forecasts["model"]) == {"main/red-a"}

    def test_the_summary_has_dates_models_and_the_comparison(self, project: Project, branch: Branch) -> None:
        frozen = self.frozen(project, "main/red-a")
        summary = walk_forward(project, [branch], SCENARIO, [frozen], tools(), Progress()).summary
        assert summary["retrain"] == "monthly"
        assert summary["dates"] == ["2016-01-04", "2016-02-01", "2016-03-01"]
        assert [row["model"] for row in summary["models"]] == ["main/red-a"]
        assert 0 <= summary["models"][0]["shrinkage"] <= 1
        assert summary["comparison"]["n"] == (frozen.forecasts["target_session"] >= pd.Timestamp(FIRST)).sum()
        assert summary["left_out"] == []
        assert "alarm" not in summary, "its reasons go to the alarm of the whole report"

    def test_a_model_that_failed_is_left_out_under_its_label(self, project: Project, branch: Branch) -> None:
        models = [self.frozen(project, "main/red-a"), self.frozen(project, "main/red-b", "red-b")]
        trainer = LinearTrainer(refuse=("red-b",))
        result = walk_forward(project, [branch], SCENARIO, models, tools(trainer), Progress())
        assert [failure.model for failure in result.failures] == ["main/red-b"]
        assert [item["model"] for item in result.summary["left_out"]] == ["main/red-b"]
        assert [row["model"] for row in result.summary["models"]] == ["main/red-a"]

    def test_where_all_failed_there_are_no_forecasts(self, project: Project, branch: Branch) -> None:
        trainer = LinearTrainer(refuse=("red-a",))
        frozen = self.frozen(project, "red-a")
        result = walk_forward(project, [branch], SCENARIO, [frozen], tools(trainer), Progress())
        assert result.forecasts is None
        assert (result.summary["models"], result.summary["pooled"], result.summary["comparison"]) == ([], None, None)
        assert result.alarm == []

    def test_branches_without_a_frozen_model_are_not_walked(self, project: Project, branch: Branch) -> None:
        result = walk_forward(project, [branch], SCENARIO, [], tools(), Progress())
        assert (result.summary["dates"], result.folders) == ([], frozenset())
        assert not project.walk_forward.exists()
