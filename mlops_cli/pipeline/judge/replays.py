"""Replay many models in several processes. Imports no statistics package, which each process would have to load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from mlops_cli.config.paths import Project
from mlops_cli.errors import DataError, MlopsError
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.predict import Model
from mlops_cli.pipeline.stages.stage import Progress, StageReport
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.simulation.replay import replay
from mlops_cli.system.parallel import each

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReportModel:
    """An opened model of a branch, and the name that it has in a report."""

    model: Model
    branch: str
    label: str

    @property
    def manifest(self) -> Manifest:
        """Manifest of the model."""
        return self.model.manifest

    @property
    def shrinkage(self) -> float:
        """Shrinkage of the model (lambda)."""
        assert self.manifest.shrinkage is not None  # an unfinished model cannot be opened
        return self.manifest.shrinkage


def replay_all(
    project: Project, models: list[ReportModel], start: date, end: date | None, report: StageReport, progress: Progress
) -> Iterator[tuple[ReportModel, pd.DataFrame]]:
    """Replay models over the target sessions from `start` to the day before `end` (None: to the last session).

    Yields:
        Each model that could be replayed, in order, with its forecasts (`evaluation.frame`) under its label. Failures
        are added to `report`.
    """
    for model, forecasts in zip(models, each(partial(_replay, project, start, end), models), strict=True):
        if isinstance(forecasts, MlopsError):
            report.fail(model.label, forecasts)
        else:
            report.done.append(model.label)
            yield model, forecasts
        progress.doing(model.label)
        progress.done()


def _replay(project: Project, start: date, end: date | None, model: ReportModel) -> pd.DataFrame:
    name = model.manifest.name
    features = project.features(model.branch)
    table = read_table(features, name)
    if table is None:
        raise DataError(f"{name}: no features in {features}", "run: mlops featurize")
    return replay(model.model, table, start, end).assign(model=model.label)
