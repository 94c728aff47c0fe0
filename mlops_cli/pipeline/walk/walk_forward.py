"""The walk-forward part of a report: judge retrained models like frozen (not retrained) ones, and compare both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Scenario
from mlops_cli.evaluation.paired import compare
from mlops_cli.evaluation.summary import summarise
from mlops_cli.pipeline.stages.stage import ItemFailure, Progress
from mlops_cli.pipeline.walk.retrain import RetrainTools, Walk, retrain_branch
from mlops_cli.simulation.walk_dates import join_forecasts

if TYPE_CHECKING:
    import pandas as pd

SUMMARY_KEY = "walk_forward"


@dataclass(frozen=True)
class FrozenModel:
    """A model from stage `train`, with its forecasts of the whole period under its label in the report."""

    branch: str
    name: str
    label: str
    shrinkage: float
    forecasts: pd.DataFrame


@dataclass(frozen=True)
class WalkForward:
    """The result of a scenario with retraining.

    Attributes:
        folders: of all retrained models that the result needs.
        forecasts: of the models that could be retrained at every date: from the frozen model up to the first
            retraining, then from the retrained ones. None if there is no such model.
        summary: the content of `summary.json` under the key `walk_forward`.
        alarm: reasons for the look-ahead alarm.
        failures: the models that are left out.
    """

    folders: frozenset[Path]
    forecasts: pd.DataFrame | None
    summary: dict[str, Any]
    alarm: list[str]
    failures: list[ItemFailure]


def walk_forward(
    project: Project,
    branches: Sequence[Branch],
    scenario: Scenario,
    frozen: Sequence[FrozenModel],
    tools: RetrainTools,
    progress: Progress,
) -> WalkForward:
    """Retrain the models of `frozen` during the scenario, and judge the retrained ones in the same way."""
    names: dict[str, set[str]] = {}
    for model in frozen:
        names.setdefault(model.branch, set()).add(model.name)
    walks: dict[str, Walk] = {
        branch.name: retrain_branch(project, branch, scenario, names[branch.name], tools, progress)
        for branch in branches
        if branch.name in names
    }
    progress.doing("tests of significance")
    failures = _failures(frozen, walks)
    summary: dict[str, Any] = {"retrain": tools.every, "dates": _dates(walks), "left_out": _left_out(failures)}
    folders = _folders(walks)
    failed = {failure.model for failure in failures}
    complete = [model for model in frozen if model.label not in failed]
    if not complete:
        summary |= {"models": [], "teams": [], "pooled": None, "comparison": None}
        return WalkForward(folders, None, summary, [], failures)
    retrained = {model.label: walks[model.branch].forecasts[model.name].assign(model=model.label) for model in complete}
    joined = _joined(complete, retrained, walks)
    judged = _judged(joined)
    alarm = [f"walk-forward: {reason}" for reason in judged.pop("alarm")["reasons"]]
    summary |= judged | {"comparison": _comparison(retrained, frozen)}
    return WalkForward(folders, joined.drop(columns="shrinkage"), summary, alarm, failures)


def _dates(walks: Mapping[str, Walk]) -> list[str]:
    return sorted({str(day) for walk in walks.values() for day in walk.dates})


def _folders(walks: Mapping[str, Walk]) -> frozenset[Path]:
    return frozenset(folder for walk in walks.values() for folder in walk.folders)


def _failures(frozen: Sequence[FrozenModel], walks: Mapping[str, Walk]) -> list[ItemFailure]:
    """The failures of the walks, under the models' labels."""
    failed = [(model.label, walks[model.branch].failures.get(model.name)) for model in frozen]
    return [replace(failure, model=label) for label, failure in failed if failure is not None]


def _left_out(failures: Sequence[ItemFailure]) -> list[dict[str, str]]:
    reasons = {failure.model: failure.reason for failure in failures}
    return [{"model": model, "reason": reason} for model, reason in sorted(reasons.items())]


def _joined(
    frozen: Sequence[FrozenModel], retrained: Mapping[str, pd.DataFrame], walks: Mapping[str, Walk]
) -> pd.DataFrame:
    """Forecasts of the frozen models up to the first retraining, then those of the retrained ones.

    Returns:
        Columns of `evaluation.frame`, and `shrinkage`.
    """
    before = {model.label: model.forecasts.assign(shrinkage=model.shrinkage) for model in frozen}
    dates = {model.label: walks[model.branch].dates for model in frozen}
    return join_forecasts(before, retrained, {label: days[1] for label, days in dates.items() if len(days) > 1})


def _judged(forecasts: pd.DataFrame) -> dict[str, Any]:
    """The summary of joined forecasts, in which a model's shrinkage is the mean over its sessions."""
    means = forecasts.groupby("model")["shrinkage"].mean().round(12)  # removes the rounding error of the mean
    return summarise(forecasts.drop(columns="shrinkage"), {str(model): float(mean) for model, mean in means.items()})


def _comparison(retrained: Mapping[str, pd.DataFrame], frozen: Sequence[FrozenModel]) -> dict[str, Any] | None:
    """The retrained models against the frozen ones, on the sessions that retrained models forecast."""
    import pandas as pd

    frames = [frame for frame in retrained.values() if len(frame)]
    if not frames:
        return None
    others = pd.concat([model.forecasts for model in frozen], ignore_index=True)
    return compare(pd.concat(frames, ignore_index=True).drop(columns="shrinkage"), others)
