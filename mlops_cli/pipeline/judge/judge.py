"""Stages `evaluate` (one branch, everything after the scenario's start) and `simulate` (all branches, the scenario)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Scenario
from mlops_cli.errors import MlopsError, ModelError, bounded, error_with
from mlops_cli.evaluation.summary import summarise
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering, champion
from mlops_cli.pipeline.judge.evaluation_files import Version, standing, write_evaluation, write_metrics
from mlops_cli.pipeline.judge.replays import Judged, replay_all
from mlops_cli.pipeline.stages.stage import (
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    failures_of,
    write_failures,
)
from mlops_cli.pipeline.walk.retrain import Retraining, remove_others
from mlops_cli.pipeline.walk.walk_forward import KEY, Frozen, WalkForward, walk_forward
from mlops_cli.simulation.report import write_report
from mlops_cli.tracking.tracker import RunContext, Tracker


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        name: of the scenario.
        scenario: what it says.
        only: models of this name or glob alone; the report is then left as it is, as it is about all of them.
        write: whether the report is written at all.
        retraining: whether and how models are trained anew while the scenario goes on.
    """

    name: str
    scenario: Scenario
    only: str | None = None
    write: bool = True
    retraining: Retraining | None = None


def evaluate(
    project: Project,
    branch: Branch,
    scenario: Scenario,
    tracking: tuple[Tracker, RunContext],
    progress: Progress,
    only: str | None = None,
) -> StageReport:
    """Judge a branch's models on everything from the scenario's start to the end of the data.

    Where a version is pinned it is judged beside the newest. With `only`, the other models stay as they were judged.
    """
    folder = project.evaluation(branch.name)
    report = StageReport("evaluate", branch.name)
    models = chosen(branch.models, only)
    with branch_lock(project, branch.name, progress):
        progress.start(f"evaluate {branch.name}", len(models))
        opened = []
        upstream = failures_of(project.models(branch.name), models)
        for spec in models:
            try:
                model = Model.open(project.models(branch.name) / spec.name)
                opened.append(Judged(model, branch.name, spec.name))
            except ModelError as error:
                report.fail(spec.name, error)
                progress.done()
        period = scenario.start, None
        judged = list(replay_all(project, opened, period, (report, progress)))
        aside = StageReport("evaluate", branch.name)
        pinned = list(replay_all(project, _pinned(project, opened, aside), period, (aside, progress)))
        report.notes += [f"{one.model}: its pinned version cannot be judged: {one.reason}" for one in aside.failures]
        others = {spec.name for spec in branch.models} - {spec.name for spec in models}
        before = standing(folder, others)
        newest = {**before.newest, **_versions(judged)}
        in_order = {spec.name: newest[spec.name] for spec in branch.models if spec.name in newest}
        figures = write_evaluation(folder, in_order, _versions(pinned), before.pinned)
        if judged:
            _track([one for one, _ in judged], figures, tracking)
        report.carry(upstream)
        close_stage(folder, report, branch, only)
    return report


def simulate(
    project: Project, branches: Sequence[Branch], wanted: Simulation, progress: Progress
) -> tuple[dict[str, Any], StageReport]:
    """Replay a scenario over every finished model of these branches, and write its report.

    Args:
        project: where.
        branches: whose models.
        wanted: the scenario, which models, and whether they are retrained.
        progress: shows what is done.

    Returns:
        The summary as written to `summary.json`, and which models could not be replayed (or not be retrained).

    Raises:
        ModelError: there is no finished model at all, or none that the scenario names.
        DataError: no model has a session in the scenario's period.
    """
    report = StageReport("simulate", wanted.name)
    judged = _open_all(project, branches, (wanted.scenario, wanted.only), report)
    progress.start(f"simulate {wanted.name}", len(judged))
    period = wanted.scenario.start, wanted.scenario.end
    frozen = [
        Frozen(one.branch, one.model.manifest.name, one.label, _shrinkage(one.model), forecasts)
        for one, forecasts in replay_all(project, judged, period, (report, progress))
    ]
    if not frozen:
        raise _nothing_replayed(report)
    forecasts = pd.concat([one.forecasts for one in frozen], ignore_index=True)
    progress.doing("tests of significance")
    summary = summarise(forecasts, {one.label: one.shrinkage for one in frozen})
    summary["scenario"] = {"name": wanted.name, **wanted.scenario.model_dump(mode="json")}
    walked = None
    if wanted.retraining is not None and wanted.retraining.every != "never":
        walked = walk_forward(project, branches, wanted.scenario, frozen, wanted.retraining, progress)
        summary[KEY] = walked.summary
        reasons = [*summary["alarm"]["reasons"], *walked.alarm]
        summary["alarm"] = {"sounded": bool(reasons), "reasons": reasons}
    if wanted.write and wanted.only is None:
        progress.doing("plots")
        _write_simulation(project, wanted.name, (forecasts, summary), walked)
    if walked is not None:
        report.failures += walked.failures
    return summary, report


def _write_simulation(
    project: Project, scenario: str, frozen: tuple[pd.DataFrame, dict[str, Any]], walked: WalkForward | None
) -> None:
    folder, (forecasts, summary) = project.report(scenario), frozen
    write_failures(folder, walked.failures if walked else [])  # what the next mlops run tries again
    write_report(folder, forecasts, summary, walked.forecasts if walked else None)
    write_metrics(folder, summary["pooled"])
    if walked:
        remove_others(project, walked.walks)


def _pinned(project: Project, opened: Sequence[Judged], report: StageReport) -> list[Judged]:
    """The versions that answer in place of the newest ones."""
    found = []
    for one in opened:
        try:
            if not champion(project.model_root, one.branch, one.label).pinned:
                continue
            answers = answering(project.model_root, one.branch, one.label)
        except ModelError as error:
            report.fail(one.label, error)
            continue
        if answers.version != one.model.manifest.version:
            found.append(replace(one, model=Model(answers.folder, answers.manifest)))
    return found


def _versions(judged: Iterable[tuple[Judged, pd.DataFrame]]) -> dict[str, Version]:
    return {one.label: Version(one.model.manifest.version, _shrinkage(one.model), frame) for one, frame in judged}


def _track(judged: Sequence[Judged], figures: Mapping[str, Any], tracking: tuple[Tracker, RunContext]) -> None:
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
                if spec.name in upstream:  # its first cause
                    report.failures.append(replace(upstream[spec.name], model=label))
                else:
                    report.fail(label, error)
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
