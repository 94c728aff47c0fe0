"""The walk-forward part of a report: models that are trained anew as time goes on, beside the frozen ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Scenario
from mlops_cli.evaluation.paired import compare
from mlops_cli.evaluation.summary import summarise
from mlops_cli.pipeline.stages.stage import ItemFailure, Progress
from mlops_cli.pipeline.walk.retrain import Retraining, Walk, retrain_branch
from mlops_cli.simulation.retrain import stitch

if TYPE_CHECKING:
    import pandas as pd

KEY = "walk_forward"


@dataclass(frozen=True)
class Frozen:
    """A model as stage `train` left it, and its forecasts of the whole period.

    Attributes:
        branch: where it was trained.
        name: of the model.
        label: its name in the report.
        shrinkage: lambda of all its forecasts.
        forecasts: as `evaluation.frame` says, under its label.
    """

    branch: str
    name: str
    label: str
    shrinkage: float
    forecasts: pd.DataFrame


@dataclass(frozen=True)
class WalkForward:
    """What came of a scenario with retraining.

    Attributes:
        walks: one per branch.
        forecasts: of the models that could be trained at every date: the frozen ones' up to the first retraining,
            then those of the retrained ones. None without such a model.
        summary: as it stands in `summary.json`, key `walk_forward`.
        alarm: reasons for the look-ahead alarm.
        failures: the models that are left out.
    """

    walks: list[Walk]
    forecasts: pd.DataFrame | None
    summary: dict[str, Any]
    alarm: list[str]
    failures: list[ItemFailure]


def walk_forward(
    project: Project,
    branches: Sequence[Branch],
    scenario: Scenario,
    frozen: Sequence[Frozen],
    retraining: Retraining,
    progress: Progress,
) -> WalkForward:
    """Train the models of `frozen` anew as the scenario goes on, and judge them as the frozen ones were.

    Args:
        project: where.
        branches: of these models.
        scenario: its period.
        frozen: every model that was replayed.
        retraining: how often, and with what.
        progress: shows what is done.
    """
    walks = {}
    for branch in branches:
        names = {one.name for one in frozen if one.branch == branch.name}
        if names:
            walks[branch.name] = retrain_branch(project, branch, scenario, names, retraining, progress)
    progress.doing("tests of significance")
    failures = [
        ItemFailure(one.label, "simulate", *walks[one.branch].failures[one.name])
        for one in frozen
        if one.name in walks[one.branch].failures
    ]
    left_out = {failure.model: failure.reason for failure in failures}
    summary: dict[str, Any] = {
        "retrain": retraining.every,
        "dates": sorted({str(day) for walk in walks.values() for day in walk.dates}),
        "left_out": [{"model": model, "reason": reason} for model, reason in sorted(left_out.items())],
    }
    stitched = _stitched([one for one in frozen if one.label not in left_out], walks)
    if stitched is None:
        empty: dict[str, Any] = {"models": [], "teams": [], "pooled": None, "comparison": None}
        return WalkForward(list(walks.values()), None, summary | empty, [], failures)
    forecasts, retrained = stitched
    means = forecasts.groupby("model")["shrinkage"].mean().round(12)  # the mean of equal ones is that one
    judged = summarise(forecasts.drop(columns="shrinkage"), {str(model): float(mean) for model, mean in means.items()})
    alarm = [f"walk-forward: {reason}" for reason in judged.pop("alarm")["reasons"]]
    summary |= judged
    summary["comparison"] = _comparison(retrained, frozen)
    return WalkForward(list(walks.values()), forecasts.drop(columns="shrinkage"), summary, alarm, failures)


def _stitched(frozen: Sequence[Frozen], walks: Mapping[str, Walk]) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """All forecasts, and those of the retrained models alone; with a column `shrinkage`."""
    import pandas as pd

    if not frozen:
        return None
    before = {one.label: one.forecasts.assign(shrinkage=one.shrinkage) for one in frozen}
    after = {one.label: walks[one.branch].forecasts[one.name].assign(model=one.label) for one in frozen}
    first: dict[str, date] = {
        one.label: walks[one.branch].dates[1] for one in frozen if len(walks[one.branch].dates) > 1
    }
    retrained = [frame for frame in after.values() if len(frame)]
    return stitch(before, after, first), pd.concat(retrained, ignore_index=True) if retrained else pd.DataFrame()


def _comparison(retrained: pd.DataFrame, frozen: Sequence[Frozen]) -> dict[str, Any] | None:
    """The retrained models against the frozen ones, on the sessions where they are not the same by construction."""
    import pandas as pd

    if retrained.empty:
        return None
    others = pd.concat([one.forecasts for one in frozen], ignore_index=True)
    return compare(retrained.drop(columns="shrinkage"), others)
