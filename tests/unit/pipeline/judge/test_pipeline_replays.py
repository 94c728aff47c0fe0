"""Replays of many models: in order, under their labels, and one that fails does not stop the others."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.evaluation.frame import check_forecasts
from mlops_cli.models.predict import Model
from mlops_cli.pipeline.judge.replays import ReportModel, replay_all
from mlops_cli.pipeline.stages.stage import StageReport
from tests.fakes.branches import Progress
from tests.fakes.train_jobs import model_spec
from tests.fakes.trained_models import START, trained_branch

SPECS = [model_spec(f"red-{name}", ticker=name.upper()) for name in "abc"]
END = date(2016, 2, 1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    trained_branch(made, *SPECS, shrinkage=0.5)
    return made


def opened(project: Project) -> list[ReportModel]:
    return [ReportModel(Model.open(project.models("main") / spec.name), "main", f"main/{spec.name}") for spec in SPECS]


def run(
    project: Project, models: list[ReportModel], start: date = START, end: date | None = END
) -> tuple[dict[str, pd.DataFrame], StageReport, Progress]:
    report, progress = StageReport("simulate", "mine"), Progress()
    frames = {model.label: frame for model, frame in replay_all(project, models, start, end, report, progress)}
    return frames, report, progress


def test_forecasts_come_in_order_under_the_labels_and_within_the_period(project: Project) -> None:
    frames, report, progress = run(project, opened(project))
    assert list(frames) == report.done == ["main/red-a", "main/red-b", "main/red-c"]
    for label, frame in frames.items():
        assert set(check_forecasts(frame)["model"]) == {label}
        assert frame["target_session"].min() == pd.Timestamp(START)
        assert frame["target_session"].max() < pd.Timestamp(END)
    assert progress.count == 3


def test_without_an_end_all_known_closes_are_forecast(project: Project) -> None:
    frames, _, _ = run(project, opened(project), end=None)
    table = pd.read_parquet(project.features("main") / "red-a.parquet")
    known = table.loc[(table["target_session"] >= pd.Timestamp(START)) & table["next_close"].notna()]
    assert list(frames["main/red-a"]["session"]) == list(known.index)


def test_a_model_that_cannot_be_replayed_is_reported_and_passed_over(project: Project) -> None:
    (project.features("main") / "red-b.parquet").unlink()
    frames, report, progress = run(project, opened(project))
    assert list(frames) == report.done == ["main/red-a", "main/red-c"]
    (failure,) = report.failures
    assert (failure.model, failure.exit_code) == ("main/red-b", 4)
    assert "red-b: no features in" in failure.reason
    assert "mlops featurize" in failure.reason
    assert progress.count == 3, "the bar reaches its end"


def test_a_model_trained_on_the_period_is_refused(project: Project) -> None:
    frames, report, _ = run(project, opened(project), start=date(2015, 12, 1))
    assert frames == {}
    assert all("was trained on closes up to" in failure.reason for failure in report.failures)
    assert {failure.exit_code for failure in report.failures} == {6}


def test_no_models_give_nothing(project: Project) -> None:
    frames, report, progress = run(project, [])
    assert (frames, report.done, report.failures, progress.count) == ({}, [], [], 0)


def test_a_report_model_knows_its_manifest_and_shrinkage(project: Project) -> None:
    model = opened(project)[0]
    assert model.manifest is model.model.manifest
    assert model.shrinkage == 0.5
