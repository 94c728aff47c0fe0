"""The walk of one branch: its models are retrained at each date on what was known by then, and forecast.

The retrained models are stored as model folders in the project's state folder. The next `simulate`, also after a kill,
trains only those that are missing or changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec, Retrain, Scenario, TrainerKind
from mlops_cli.errors import MlopsError, ModelError
from mlops_cli.models.predict import Model
from mlops_cli.models.store import install
from mlops_cli.pipeline.stages.shrink import finish, group_constants
from mlops_cli.pipeline.stages.stage import ItemFailure, Progress, branch_lock
from mlops_cli.pipeline.stages.train import clear_staging, complete
from mlops_cli.pipeline.stages.train_plan import by_group, group_of, job_of, model_table
from mlops_cli.pipeline.walk.steps import Step, StepPlan
from mlops_cli.simulation.replay import replay
from mlops_cli.simulation.walk_dates import target_sessions
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob, fit_each

if TYPE_CHECKING:
    import pandas as pd

STAGING = ".staging"


@dataclass(frozen=True)
class RetrainTools:
    """How often models are retrained, and a branch's trainer for each kind."""

    every: Retrain
    trainer: Callable[[Branch, TrainerKind], Trainer]


@dataclass
class Walk:
    """The result for one branch.

    Attributes:
        dates: retraining dates, rising; the first one is that of the frozen models.
        forecasts: by model, from the second date on: columns of `evaluation.frame` and `shrinkage`.
        failures: by model, the first thing that went wrong.
        folders: of all retrained models that were asked for, or that share their shrinkage.
    """

    dates: list[date] = field(default_factory=list)
    forecasts: dict[str, pd.DataFrame] = field(default_factory=dict)
    failures: dict[str, ItemFailure] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)


def retrain_branch(
    project: Project,
    branch: Branch,
    scenario: Scenario,
    names: Collection[str],
    tools: RetrainTools,
    progress: Progress,
) -> Walk:
    """Retrain the models of a branch at every date of the scenario, and forecast up to the next date with them.

    Only the models of `names` forecast. The others of their groups are trained too, as they share their shrinkage.
    """
    run = _WalkRun(project, branch, tools, progress)
    specs = run.partners(names)
    with branch_lock(project, branch.name, progress):
        run.plan(specs, scenario)
        run.fit()
        progress.doing("choosing the shrinkage")
        run.shrink()
        clear_staging(run.staging)
        run.forecast([spec for spec in specs if spec.name in names])
    return run.walk


def remove_unused(project: Project, needed: Collection[Path]) -> None:
    """Remove the folders of retrained models, of all branches, that are not among `needed`."""
    for branch in _folders(project.walk_forward):
        for model in _folders(branch):
            for folder in _folders(model):
                if folder not in needed:
                    shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(model)
        _remove_empty(branch)


class _WalkRun:
    """One execution of the walk of one branch."""

    def __init__(self, project: Project, branch: Branch, tools: RetrainTools, progress: Progress) -> None:
        self.walk = Walk()
        self.staging = project.walk_forward / STAGING / branch.name
        self._branch = branch
        self._features = project.features(branch.name)
        self._frozen = project.models(branch.name)
        self._tools = tools
        self._progress = progress
        self._plan = StepPlan(branch, self._features, project.walk_forward / branch.name, self._fail)

    def partners(self, names: Collection[str]) -> list[ModelSpec]:
        """The models of these names, and the models of their groups that stage `train` could finish."""
        groups = [specs for specs in by_group(self._branch.models).values() if any(s.name in names for s in specs)]
        return [spec for specs in groups for spec in specs if spec.name in names or self._is_finished(spec)]

    def plan(self, specs: list[ModelSpec], scenario: Scenario) -> None:
        """Find the dates, and the steps of each date."""
        self._progress.doing(f"planning the retraining of {len(specs)} models")
        self._plan.make(specs, scenario, self._tools.every)
        self.walk.dates = self._plan.dates
        self.walk.folders = {step.folder for step in self._plan.steps}

    def fit(self) -> None:
        """Train the missing steps; each trainer gets all of its steps in one call. Every result is stored at once."""
        shutil.rmtree(self.staging, ignore_errors=True)  # left by a killed process; the lock is ours
        self._progress.start(f"walk-forward {self._branch.name}", len(self._plan.todo))
        for kind in sorted({step.plan.spec.trainer for step in self._plan.todo}, key=lambda kind: kind == "ludwig"):
            self._fit_kind(kind, [step for step in self._plan.todo if step.plan.spec.trainer == kind])

    def shrink(self) -> None:
        """Choose the shrinkage of each group and date on its validation rows, and write it into the models."""
        groups: dict[tuple[date, str], list[Step]] = {}
        for step in self._plan.steps:
            if step.folder in self._plan.validations:
                groups.setdefault((step.day, group_of(step.plan.spec)), []).append(step)
        for steps in groups.values():
            validations = [self._plan.validations[step.folder] for step in steps]
            constants = group_constants(self._branch, steps[0].plan.spec, validations)
            for step, choice in zip(steps, constants, strict=True):
                try:
                    finish(step.folder, self.staging, choice)
                except MlopsError as error:
                    self._fail(step.model, step.day, error)

    def forecast(self, specs: list[ModelSpec]) -> None:
        """Forecast with the models of each date, up to the next date."""
        import pandas as pd

        for spec in specs:
            if spec.name in self.walk.failures:
                continue
            steps = [step for step in self._plan.steps if step.model == spec.name]
            try:
                table, _ = model_table(self._features, spec)
                frames = [
                    self._forecasts(step, table)
                    for step in steps
                    if not target_sessions(table, step.day, step.until).empty
                ]
            except MlopsError as error:
                self._fail(spec.name, None, error)
            else:
                self.walk.forecasts[spec.name] = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _is_finished(self, spec: ModelSpec) -> bool:
        try:
            Model.open(self._frozen / spec.name)
        except ModelError:
            return False
        return True

    def _fit_kind(self, kind: TrainerKind, steps: list[Step]) -> None:
        jobs = [self._job(step) for step in steps]
        # by folder: a model's name has a job at every date
        by_folder = {job.folder: step for job, step in zip(jobs, steps, strict=True)}
        for result in fit_each(lambda: self._tools.trainer(self._branch, kind), jobs, self._progress.doing):
            step = by_folder[result.job.folder]
            if isinstance(result, FailedJob):
                self._refuse(step.model, step.day, result.reason, result.exit_code)
            else:
                self._install(step, result)
            self._progress.done()

    def _job(self, step: Step) -> TrainJob:
        folder = self.staging / f"{step.model}@{step.day}"
        folder.mkdir(parents=True)
        return job_of(step.plan, self._features, step.day, self._branch.seed, folder)

    def _install(self, step: Step, result: Fitted) -> None:
        try:
            validation = complete(step.plan, self._features, self._branch, step.day, result)
            install(result.job.folder, step.folder)
        except MlopsError as error:
            self._fail(step.model, step.day, error)
        else:
            self._plan.validations[step.folder] = validation

    def _forecasts(self, step: Step, table: pd.DataFrame) -> pd.DataFrame:
        model = Model.open(step.folder)
        return replay(model, table, step.day, step.until).assign(shrinkage=model.manifest.shrinkage)

    def _fail(self, model: str, day: date | None, error: MlopsError) -> None:
        self._refuse(model, day, str(error), error.exit_code)

    def _refuse(self, model: str, day: date | None, reason: str, exit_code: int) -> None:
        text = f"left out of the walk-forward part: {f'retraining of {day}: ' if day else ''}{reason}"
        self.walk.failures.setdefault(model, ItemFailure(model, "simulate", text, exit_code))


def _folders(root: Path) -> list[Path]:
    return [path for path in root.glob("*") if path.is_dir() and path.name != STAGING]


def _remove_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
