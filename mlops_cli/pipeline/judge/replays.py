"""Replays of many models at once. Imports no statistics: each of its processes would load them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from mlops_cli.config.paths import Project
from mlops_cli.errors import DataError, MlopsError
from mlops_cli.models.predict import Model
from mlops_cli.pipeline.stages.stage import Progress, StageReport
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.simulation.replay import replay
from mlops_cli.system.parallel import each

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judged:
    """A model that was replayed, under the name it has in the report."""

    model: Model
    branch: str
    label: str


def replay_all(
    project: Project, judged: list[Judged], period: tuple[date, date | None], watch: tuple[StageReport, Progress]
) -> Iterator[tuple[Judged, pd.DataFrame]]:
    """Replay models over a period.

    Args:
        project: where.
        judged: the models.
        period: first target session, and the day after the last one or None for all there is.
        watch: what is told which models were replayed and which were not and why, and what shows it.

    Yields:
        Each model that could be replayed, in order, with its forecasts (`evaluation.frame`) under its label.
    """
    report, progress = watch
    for one, forecasts in zip(judged, each(partial(_replay, project, period), judged), strict=True):
        if isinstance(forecasts, MlopsError):
            report.fail(one.label, forecasts)
        else:
            report.done.append(one.label)
            yield one, forecasts
        progress.doing(one.label)
        progress.done()


def _replay(project: Project, period: tuple[date, date | None], one: Judged) -> pd.DataFrame:
    name = one.model.manifest.name
    table = read_table(project.features(one.branch), name)
    if table is None:
        raise DataError(f"{name}: no features in {project.features(one.branch)}", "run: mlops featurize")
    return replay([one.model], lambda _: table, *period).assign(model=one.label)
