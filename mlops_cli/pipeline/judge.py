"""Stages `evaluate` (one branch, everything after the scenario's start) and `simulate` (all branches, the scenario)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schema import Scenario
from mlops_cli.errors import DataError, MlopsError, ModelError, bounded, error_with
from mlops_cli.evaluation.frame import FORECAST_COLUMNS
from mlops_cli.evaluation.summary import summarise
from mlops_cli.pipeline.stage import (
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    failures_of,
    write_text,
)
from mlops_cli.pipeline.tables import read_table, write_table
from mlops_cli.registry.predict import Model
from mlops_cli.simulation.replay import replay
from mlops_cli.simulation.report import write_report
from mlops_cli.tracking.tracker import RunContext, Tracker

METRICS = "metrics.json"  # a few pooled figures, flat: `dvc metrics show` makes a column of each
METRIC_KEYS = ("n_models", "n_days", "mae", "mae_raw", "mae_naive", "mae_drift", "skill", "direction_accuracy", "dm_p")
MODELS = "models.json"
FORECASTS = "forecasts"


@dataclass(frozen=True)
class Judged:
    """A model that was replayed, under the name it has in the report."""

    model: Model
    branch: str
    label: str


def evaluate(
    project: Project,
    branch: Branch,
    scenario: Scenario,
    tracking: tuple[Tracker, RunContext],
    progress: Progress,
    only: str | None = None,
) -> StageReport:
    """Judge a branch's models on everything from the scenario's start to the end of the data."""
    folder = project.evaluation(branch.name)
    report = StageReport("evaluate", branch.name)
    models = chosen(branch.models, only)
    with branch_lock(project, branch.name, progress):
        progress.start(f"evaluate {branch.name}", len(models))
        judged, frames = [], []
        upstream = failures_of(project.models(branch.name), models)
        for spec in models:
            progress.doing(spec.name)
            try:
                model = Model.open(project.models(branch.name) / spec.name)
                one = Judged(model, branch.name, spec.name)
                frames.append(_replay(project, one, scenario.start, None))
                judged.append(one)
                report.done.append(spec.name)
            except MlopsError as error:
                report.fail(spec.name, error)
            progress.done()
        _write_evaluation(folder, judged, frames, tracking)
        report.carry(upstream)
        close_stage(folder, report, branch, only)
    return report


def simulate(
    project: Project,
    branches: Sequence[Branch],
    named_scenario: tuple[str, Scenario],
    progress: Progress,
    only: str | None = None,
    write: bool = True,
) -> tuple[dict[str, Any], StageReport]:
    """Replay a scenario over every finished model of these branches, and write its report.

    Args:
        project: where.
        branches: whose models.
        named_scenario: the scenario's name and what it says.
        progress: shows what is done.
        only: models of this name or glob alone; the report is then left as it is, as it is about all of them.
        write: whether the report is written at all.

    Returns:
        The summary as written to `summary.json`, and which models could not be replayed.

    Raises:
        ModelError: there is no finished model at all, or none that the scenario names.
        DataError: no model has a session in the scenario's period.
    """
    scenario_name, scenario = named_scenario
    report = StageReport("simulate", scenario_name)
    judged = _open_all(project, branches, (scenario, only), report)
    progress.start(f"simulate {scenario_name}", len(judged))
    frames, shrinkage = [], {}
    for one in judged:
        progress.doing(one.label)
        try:
            frames.append(_replay(project, one, scenario.start, scenario.end))
            shrinkage[one.label] = _shrinkage(one.model)
            report.done.append(one.label)
        except MlopsError as error:
            report.fail(one.label, error)
        progress.done()
    if not frames:
        raise _nothing_replayed(report)
    forecasts = pd.concat(frames, ignore_index=True)
    progress.doing("tests of significance")
    summary = summarise(forecasts, shrinkage)
    summary["scenario"] = {"name": scenario_name, **scenario.model_dump(mode="json")}
    if write and only is None:
        progress.doing("plots")
        write_report(project.report(scenario_name), forecasts, summary)
        _write_metrics(project.report(scenario_name), summary["pooled"])
    return summary, report


def _replay(project: Project, one: Judged, start: date, end: date | None) -> pd.DataFrame:
    name = one.model.manifest.name
    table = read_table(project.features(one.branch), name)
    if table is None:
        raise DataError(f"{name}: no features in {project.features(one.branch)}", "run: mlops featurize")
    return replay([one.model], lambda _: table, start, end).assign(model=one.label)


def _write_evaluation(
    folder: Path, judged: list[Judged], frames: list[pd.DataFrame], tracking: tuple[Tracker, RunContext]
) -> None:
    if not frames:
        # DVC asks for a stage's files even where no model of the branch came this far
        write_table(folder, FORECASTS, pd.DataFrame(columns=list(FORECAST_COLUMNS)))
        write_text(folder / MODELS, "[]\n")
        _write_metrics(folder, {})
        return
    forecasts = pd.concat(frames, ignore_index=True)
    summary = summarise(forecasts, {one.label: _shrinkage(one.model) for one in judged})
    write_table(folder, FORECASTS, forecasts)
    figures = {entry["model"]: entry for entry in summary["models"]}
    write_text(folder / MODELS, json.dumps(summary["models"], indent=2) + "\n")
    _write_metrics(folder, summary["pooled"])
    tracker, context = tracking
    tracker.tested(
        {
            (one.label, one.model.manifest.fingerprint): {
                key: float(value)
                for key, value in figures[one.label].items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            for one in judged
        },
        context,
    )


def _write_metrics(folder: Path, pooled: dict[str, Any]) -> None:
    write_text(folder / METRICS, json.dumps({key: pooled.get(key) for key in METRIC_KEYS}, indent=2) + "\n")


def _open_all(
    project: Project, branches: Sequence[Branch], choice: tuple[Scenario, str | None], report: StageReport
) -> list[Judged]:
    scenario, only = choice
    names = Counter(spec.name for branch in branches for spec in branch.models)
    judged = []
    for branch in branches:
        upstream = failures_of(project.models(branch.name), branch.models)
        for spec in branch.models:
            # the same model may be trained in two branches, with other data or seeds
            label = spec.name if names[spec.name] == 1 else f"{branch.name}/{spec.name}"
            wanted = any(fnmatchcase(spec.name, pattern) for pattern in scenario.models)
            if not wanted or (only is not None and not fnmatchcase(spec.name, only)):
                continue
            try:
                judged.append(Judged(Model.open(project.models(branch.name) / spec.name), branch.name, label))
            except ModelError as error:
                report.fail(label, error)
        report.failures = [
            replace(upstream[failure.model], model=failure.model) if failure.model in upstream else failure
            for failure in report.failures
        ]
    return judged


def _shrinkage(model: Model) -> float:
    assert model.manifest.shrinkage is not None  # Model.open refuses unfinished models
    return model.manifest.shrinkage


def _nothing_replayed(report: StageReport) -> MlopsError:
    reasons = sorted({failure.reason for failure in report.failures})
    if not reasons:
        return ModelError(
            f"simulate {report.branch}: the scenario names none of the collection's models",
            f"see models: in simulation/{report.branch}.yaml, and: mlops models list",
        )
    message = f"simulate {report.branch}: no model could be replayed: {bounded(reasons, 3)}"
    return error_with(report.failures[0].exit_code, message, "run: mlops run")
