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
from mlops_cli.config.schemas.project import ModelSpec, Scenario
from mlops_cli.errors import MlopsError, ModelError, bounded, error_with
from mlops_cli.evaluation.summary import summarise
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version, champion
from mlops_cli.pipeline.judge.evaluation_files import (
    JudgedVersion,
    numbers_of,
    read_evaluation,
    write_evaluation,
    write_metrics,
)
from mlops_cli.pipeline.judge.replays import ReportModel, replay_all
from mlops_cli.pipeline.stages.stage import (
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    failures_of,
    write_failures,
)
from mlops_cli.pipeline.walk.retrain import RetrainTools, remove_unused
from mlops_cli.pipeline.walk.walk_forward import SUMMARY_KEY, FrozenModel, WalkForward, walk_forward
from mlops_cli.prices.cleaning.counts import read_repairs
from mlops_cli.simulation.coverage import coverage
from mlops_cli.simulation.remarks import remarks
from mlops_cli.simulation.report import write_report
from mlops_cli.tracking.tracker import Tracking


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    With `only` (a name or glob) only these models are replayed, and the report on disk, which is about all models, does
    not change. `retraining` says how models are retrained while the scenario goes on; None: they are not.
    """

    name: str
    scenario: Scenario
    only: str | None = None
    write: bool = True
    retraining: RetrainTools | None = None

    def includes(self, model: str) -> bool:
        """Whether to replay a model: the scenario names it, and so does `only`."""
        named = any(fnmatchcase(model, pattern) for pattern in self.scenario.models)
        return named and (self.only is None or fnmatchcase(model, self.only))


def evaluate(
    project: Project,
    branch: Branch,
    scenario: Scenario,
    tracking: Tracking,
    progress: Progress,
    only: str | None = None,
) -> StageReport:
    """Judge a branch's models on everything from the scenario's start to the end of the data.

    A pinned version is judged too, beside the newest one. With `only`, the figures of the other models stay unchanged.
    """
    folder = project.evaluation(branch.name)
    report = StageReport("evaluate", branch.name)
    models = chosen(branch.models, only)
    with branch_lock(project, branch.name, progress):
        progress.start(f"evaluate {branch.name}", len(models))
        opened = _open_branch(project, branch, models, report, progress)
        judged = list(replay_all(project, opened, scenario.start, None, report, progress))
        pinned_report = StageReport("evaluate", branch.name)
        to_pin = _pinned(project, opened, pinned_report)
        pinned = list(replay_all(project, to_pin, scenario.start, None, pinned_report, progress))
        report.notes += [
            f"{failure.model}: its pinned version cannot be judged: {failure.reason}"
            for failure in pinned_report.failures
        ]
        before = read_evaluation(folder, {spec.name for spec in branch.models} - {spec.name for spec in models})
        newest = {**before.newest, **_versions(judged)}
        in_order = {spec.name: newest[spec.name] for spec in branch.models if spec.name in newest}
        figures = write_evaluation(folder, in_order, _versions(pinned), before.pinned)
        if judged:
            _track([model for model, _ in judged], figures, tracking)
        report.carry(failures_of(project.models(branch.name), models))
        close_stage(folder, report, branch, only)
    return report


def simulate(
    project: Project, branches: Sequence[Branch], simulation: Simulation, progress: Progress
) -> tuple[dict[str, Any], StageReport]:
    """Replay a scenario over every finished model of these branches, and write its report.

    Returns:
        The summary as written to `summary.json`, and which models could not be replayed (or not be retrained).

    Raises:
        ModelError: there is no finished model at all, or none that the scenario names.
        DataError: no model has a session in the scenario's period.
    """
    report = StageReport("simulate", simulation.name)
    scenario = simulation.scenario
    models = _open_all(project, branches, simulation, report)
    progress.start(f"simulate {simulation.name}", len(models))
    frozen = [
        FrozenModel(model.branch, model.manifest.name, model.label, model.shrinkage, forecasts)
        for model, forecasts in replay_all(project, models, scenario.start, scenario.end, report, progress)
    ]
    if not frozen:
        raise _nothing_replayed(report)
    forecasts = pd.concat([model.forecasts for model in frozen], ignore_index=True)
    progress.doing("tests of significance")
    summary = summarise(forecasts, {model.label: model.shrinkage for model in frozen})
    exchanges = _exchanges(branches, frozen)
    filled = coverage(forecasts, exchanges, scenario.start, scenario.end)
    summary["scenario"] = {"name": simulation.name, **scenario.model_dump(mode="json"), **filled}
    summary["repaired_prices"] = _repaired_prices(project, branches, frozen)
    walk = None
    if simulation.retraining is not None and simulation.retraining.every != "never":
        walk = walk_forward(project, branches, scenario, frozen, simulation.retraining, progress)
        summary[SUMMARY_KEY] = walk.summary
        reasons = [*summary["alarm"]["reasons"], *walk.alarm]
        summary["alarm"] = {"sounded": bool(reasons), "reasons": reasons}
    summary["remarks"] = remarks(summary)
    if simulation.write and simulation.only is None:
        progress.doing("plots")
        _write_simulation(project, simulation.name, forecasts, summary, walk)
    if walk is not None:
        report.failures += walk.failures
    return summary, report


def _exchanges(branches: Sequence[Branch], replayed: Sequence[FrozenModel]) -> dict[str, str]:
    """The exchange of each replayed model, by the name that it has in the report."""
    exchanges = {(branch.name, spec.name): spec.exchange for branch in branches for spec in branch.models}
    return {model.label: exchanges[model.branch, model.name] for model in replayed}


def _repaired_prices(project: Project, branches: Sequence[Branch], replayed: Sequence[FrozenModel]) -> dict[str, str]:
    """By branch/ticker, in words, the repairs of prices of which more than 5 % of the rows were repaired or dropped."""
    names = {(model.branch, model.name) for model in replayed}
    repaired = {}
    for branch in branches:
        tickers = {spec.ticker for spec in branch.models if (branch.name, spec.name) in names}
        for repairs in read_repairs(project.prices(branch.name), tickers):
            if repairs.much:
                repaired[f"{branch.name}/{repairs.ticker}"] = repairs.words
    return repaired


def _write_simulation(
    project: Project, scenario: str, forecasts: pd.DataFrame, summary: dict[str, Any], walk: WalkForward | None
) -> None:
    folder = project.report(scenario)
    write_failures(folder, walk.failures if walk else [])  # the next mlops run tries these again
    write_report(folder, forecasts, summary, walk.forecasts if walk else None)
    write_metrics(folder, summary["pooled"])
    if walk:
        remove_unused(project, walk.folders)


def _open_branch(
    project: Project, branch: Branch, specs: Sequence[ModelSpec], report: StageReport, progress: Progress
) -> list[ReportModel]:
    """The newest versions of a branch's models; those that cannot be opened are reported."""
    opened = []
    for spec in specs:
        try:
            opened.append(ReportModel(Model.open(project.models(branch.name) / spec.name), branch.name, spec.name))
        except ModelError as error:
            report.fail(spec.name, error)
            progress.done()
    return opened


def _pinned(project: Project, opened: Sequence[ReportModel], report: StageReport) -> list[ReportModel]:
    """The pinned versions of these models, where another version of the pipeline than the newest is pinned."""
    pinned = []
    for newest in opened:
        try:
            if not champion(project.model_root, newest.branch, newest.label).pinned:
                continue
            version = answering_version(project.model_root, newest.branch, newest.label, live=False)
        except ModelError as error:
            report.fail(newest.label, error)
            continue
        if version.version != newest.manifest.version:
            pinned.append(replace(newest, model=Model(version.folder, version.manifest)))
    return pinned


def _versions(replayed: Iterable[tuple[ReportModel, pd.DataFrame]]) -> dict[str, JudgedVersion]:
    return {
        model.label: JudgedVersion(model.manifest.version, model.shrinkage, forecasts) for model, forecasts in replayed
    }


def _track(models: Sequence[ReportModel], figures: Mapping[str, Mapping[str, Any]], tracking: Tracking) -> None:
    """Tell the tracker every figure of these models that is a number."""
    metrics = {(model.label, model.manifest.fingerprint): numbers_of(figures[model.label]) for model in models}
    tracking.tracker.record_test(metrics, tracking.context)


def _open_all(
    project: Project, branches: Sequence[Branch], simulation: Simulation, report: StageReport
) -> list[ReportModel]:
    """The models to replay. Those that cannot be opened are reported, with the first cause where a stage noted one."""
    names = Counter(spec.name for branch in branches for spec in branch.models)
    opened = []
    for branch in branches:
        upstream = failures_of(project.models(branch.name), branch.models)
        for spec in branch.models:
            if not simulation.includes(spec.name):
                continue
            # the same model may be trained in two branches, with other data or seeds
            label = spec.name if names[spec.name] == 1 else f"{branch.name}/{spec.name}"
            try:
                opened.append(ReportModel(Model.open(project.models(branch.name) / spec.name), branch.name, label))
            except ModelError as error:
                if spec.name in upstream:
                    report.failures.append(replace(upstream[spec.name], model=label))
                else:
                    report.fail(label, error)
    return opened


def _nothing_replayed(report: StageReport) -> MlopsError:
    reasons = sorted({failure.reason for failure in report.failures})
    if not reasons:
        return ModelError(
            f"simulate {report.branch}: the scenario names none of the collection's models",
            f"see models: in simulation/{report.branch}.yaml, and: mlops models list",
        )
    message = f"simulate {report.branch}: no model could be replayed: {bounded(reasons, 3)}"
    return error_with(report.failures[0].exit_code, message, "run: mlops run")
