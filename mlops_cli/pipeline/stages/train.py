"""Stage `train`: trains models on feature tables, and stores each in a model folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec, Scenario, TrainerKind
from mlops_cli.errors import ConfigError, MlopsError, ModelError, bounded
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.models.base import wrap_graph
from mlops_cli.models.manifest import GRAPH, Manifest, Validation, file_hashes, read_manifest
from mlops_cli.models.store import check_files, install, model_folders
from mlops_cli.models.versions import archives
from mlops_cli.pipeline.stages.shrink import shrink_branch, validation_forecasts
from mlops_cli.pipeline.stages.stage import (
    ItemFailure,
    Progress,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    failures_of,
)
from mlops_cli.pipeline.stages.train_plan import (
    Plan,
    group_of,
    job_of,
    model_rows,
    plan_model,
    trained_together,
    versions,
    with_pool_marks,
)
from mlops_cli.tracking.tracker import Tracking, TrainedModel
from mlops_cli.training.shrinkage import ValidationForecasts
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob, fit_each


@dataclass(frozen=True)
class TrainTools:
    """The adapters that training needs: a trainer for each kind, and the tracker, which hears of every new model."""

    trainer: Callable[[TrainerKind], Trainer]
    tracking: Tracking


def train(
    project: Project, branch: Branch, scenario: Scenario, tools: TrainTools, progress: Progress, only: str | None = None
) -> StageReport:
    """Train the models of a branch that are not trained yet, then choose the shrinkage of each group.

    A model is trained again only when its rows before the scenario's start, its settings, the seed or the libraries
    changed. Each model is stored as soon as it is trained, so that nothing is lost when the process is killed.
    """
    run = _Training(project, branch, scenario, tools, progress)
    models = chosen(branch.models, only)
    with branch_lock(project, branch.name, progress):
        if only is None:
            run.prune()
        run.fit(run.plan(models))
        progress.doing("choosing the shrinkage")
        shrink_branch(project, branch, scenario.start)
        clear_staging(run.staging)
        run.track()
        run.report.carry(failures_of(project.features(branch.name), models))
        close_stage(run.folder, run.report, branch, only)
    return run.report


class _Training:
    """One execution of the stage."""

    def __init__(
        self, project: Project, branch: Branch, scenario: Scenario, tools: TrainTools, progress: Progress
    ) -> None:
        self.branch = branch
        self.folder = project.models(branch.name)
        self.report = StageReport("train", branch.name)
        self._features = project.features(branch.name)
        self.staging = project.staging(branch.name)
        self._untracked = project.state / "untracked" / branch.name
        self._start = scenario.start
        self._alone: dict[str, list[str]] = {}  # models that could not train in a fleet, by reason
        self._tools = tools
        self._progress = progress

    def prune(self) -> None:
        """Remove models that are no longer in the branch, with their earlier versions."""
        names = {spec.name for spec in self.branch.models}
        for path in (*model_folders(self.folder), *archives(self.folder)):
            if path.name not in names:
                shutil.rmtree(path)

    def plan(self, models: list[ModelSpec]) -> list[Plan]:
        """The trainings that are needed; models that cannot be trained are reported."""
        upstream = failures_of(self._features, self.branch.models)
        asked = {spec.name for spec in models}
        todo = []
        for specs in trained_together(models, self.branch.models):
            plans = self._plans(specs, upstream, asked)
            missing = [name for plan in plans if not is_trained(self.folder / (name := plan.spec.name), plan.mark)]
            if not asked.intersection(missing):
                self.report.unchanged += [plan.spec.name for plan in plans if plan.spec.name in asked]
            elif all(plan.spec.name in asked for plan in plans):
                todo += plans  # all members of a pool, even if only some are missing: one training gives them all
            else:
                self._refuse_part(plans, asked)
        return todo

    def _plans(self, specs: list[ModelSpec], upstream: dict[str, ItemFailure], asked: set[str]) -> list[Plan]:
        """Plans of models that are trained together; those asked for that cannot be trained are reported."""
        plans = []
        for spec in specs:
            try:
                plans.append(plan_model(self._features, self.branch, self._start, spec, upstream.get(spec.name)))
            except MlopsError as error:
                if spec.name in asked:
                    self.report.fail(spec.name, error)
        return with_pool_marks(plans) if specs[0].pool else plans

    def _refuse_part(self, plans: list[Plan], asked: set[str]) -> None:
        """Report that a part of a pool cannot be trained alone."""
        names = [plan.spec.name for plan in plans]
        for name in asked.intersection(names):
            text = f"{name}: must be trained together with the others of its pool: {bounded(names)}"
            self.report.fail(name, ConfigError(text, "leave --only out, or give a glob that fits them all"))

    def fit(self, todo: list[Plan]) -> None:
        """Train these models; each result is stored, or reported as a failure."""
        self._progress.start(f"train {self.branch.name}", len(todo))
        shutil.rmtree(self.staging, ignore_errors=True)  # left by a killed process; the lock is ours
        plans = {plan.spec.name: plan for plan in todo}
        # Ludwig last: the other models are trained even if it does not start
        for kind in sorted({plan.spec.trainer for plan in todo}, key=lambda kind: kind == "ludwig"):
            self._fit_kind(kind, {name: plan for name, plan in plans.items() if plan.spec.trainer == kind})

    def _fit_kind(self, kind: TrainerKind, plans: dict[str, Plan]) -> None:
        if kind == "ludwig":  # this process has nothing else to do while Ludwig starts
            self._tools.tracking.tracker.prepare()
        jobs = [self._job(plan) for plan in plans.values()]
        for result in fit_each(lambda: self._tools.trainer(kind), jobs, self._progress.doing):
            name = result.job.spec.name
            if isinstance(result, FailedJob):
                self.report.refuse(name, result.reason, result.exit_code)
            else:
                self._install(plans[name], result)
                self._note(name, result)
            self._progress.done()
        for reason, names in self._alone.items():
            self.report.notes.append(f"trained one after another, not in a fleet: {bounded(names)}: {reason}")
        self._alone.clear()

    def _note(self, name: str, result: Fitted) -> None:
        reason = result.facts.get("not_in_fleet")
        if reason:
            self._alone.setdefault(str(reason), []).append(name)

    def track(self) -> None:
        """Tell the tracker about every new model, including those that a killed run has trained."""
        names = sorted(path.name for path in self._untracked.glob("*"))
        models = [tracked for name in names if (tracked := self._tracked(name))]
        if models:
            self._progress.doing(f"tracking {len(models)} models")
            self._tools.tracking.tracker.record_training(models, self._tools.tracking.context)
        shutil.rmtree(self._untracked, ignore_errors=True)

    def _job(self, plan: Plan) -> TrainJob:
        folder = self.staging / plan.spec.name
        folder.mkdir(parents=True)
        return job_of(plan, self._features, self._start, self.branch.seed, folder)

    def _install(self, plan: Plan, result: Fitted) -> None:
        spec, folder = plan.spec, result.job.folder
        try:
            complete(plan, self._features, self.branch, self._start, result)
            self._untracked.mkdir(parents=True, exist_ok=True)
            (self._untracked / spec.name).touch()
            install(folder, self.folder / spec.name, self.branch.keep_versions)
        except MlopsError as error:
            self.report.fail(spec.name, error)
        else:
            self.report.done.append(spec.name)

    def _tracked(self, name: str) -> TrainedModel | None:
        folder = self.folder / name
        specs = {spec.name: spec for spec in self.branch.models}
        if name not in specs or not folder.is_dir():
            return None
        manifest = read_manifest(folder)
        spec = specs[name]
        params = {
            "trainer": spec.trainer,
            "target": spec.target,
            "seed": manifest.seed,
            "features": spec.features.model_dump(mode="json", exclude_defaults=True),
            "ludwig": spec.ludwig,
            "shrinkage": manifest.shrinkage,
            "train": f"{manifest.train.first} to {manifest.train.last}",
            "validation": f"{manifest.validation_rows.first} to {manifest.validation_rows.last}",
        }
        return TrainedModel(
            name=name,
            team=manifest.team,
            ticker=manifest.ticker,
            branch=self.branch.name,
            fingerprint=manifest.fingerprint,
            params=params,
            epochs=manifest.epochs,
            validation={key: value for key, value in manifest.validation.model_dump().items() if value is not None},
            folder=folder,
        )


def clear_staging(folder: Path) -> None:
    """Remove the folder in which a branch's models were trained; its parent stays while another branch is training."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def complete(plan: Plan, features: Path, branch: Branch, day: date, result: Fitted) -> ValidationForecasts:
    """Build base and intervals into a model that was just trained, and write its manifest.

    Returns:
        Its forecasts of the rows that choose the shrinkage.
    """
    folder = result.job.folder
    split, inputs = model_rows(features, branch, day, plan.spec)
    wrap_graph(folder / GRAPH, len(plan.network_inputs), len(plan.levels), ANNOUNCED in plan.inputs)
    validation = validation_forecasts(folder, split, inputs)
    _manifest_of(plan, branch, result, validation.mae_ratio(1.0)).write(folder)
    return validation


def _manifest_of(plan: Plan, branch: Branch, result: Fitted, mae_ratio_raw: float) -> Manifest:
    """Manifest of a model that was just trained in its job's folder; its shrinkage is not chosen yet."""
    spec = plan.spec
    return Manifest(
        **spec.model_dump(include={"name", "team", "ticker", "exchange", "trainer", "target"}),
        features=spec.features,
        inputs=plan.inputs,
        fingerprint=plan.mark,
        group=group_of(spec),
        seed=branch.seed,
        train=plan.train,
        validation_rows=plan.validation,
        trained_until=plan.trained_until,
        drift=plan.drift,
        base=plan.base,
        levels=plan.levels,
        validation=Validation(mae_ratio_raw=mae_ratio_raw),
        branch=branch.name,
        small=spec.small,
        epochs=result.epochs,
        facts=result.facts,
        versions=versions(spec.trainer),
        files=file_hashes(result.job.folder),
        settings=plan.settings,
        rows=plan.rows,
    )


def is_trained(folder: Path, mark: str) -> bool:
    """Whether the folder holds an undamaged model of this fingerprint; its shrinkage may not be chosen yet."""
    try:
        manifest = read_manifest(folder)
        if manifest.fingerprint != mark:
            return False
        check_files(folder, manifest)
    except ModelError:
        return False
    return True
