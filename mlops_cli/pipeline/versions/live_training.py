"""Training of live versions: models trained at a date on everything known by then, and put into the archive.

A training is stored as soon as it is finished, so that a killed process loses at most what it was training. The next
call, of any process, uses what is there already.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec, TrainerKind
from mlops_cli.errors import ConfigError, MlopsError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.pipeline.stages.shrink import finished_copy, group_constants, validation_forecasts
from mlops_cli.pipeline.stages.stage import ItemFailure, Progress
from mlops_cli.pipeline.stages.train import complete, is_trained
from mlops_cli.pipeline.stages.train_plan import (
    Plan,
    group_of,
    job_of,
    model_rows,
    plan_model,
    trained_together,
    with_pool_marks,
)
from mlops_cli.pipeline.versions.group_forecasts import forecasts_of_other
from mlops_cli.pipeline.versions.live_install import StagedVersion, trained_folder
from mlops_cli.system.parallel import each
from mlops_cli.system.scratch_folders import scratch_folder
from mlops_cli.training.shrinkage import ValidationForecasts
from mlops_cli.training.trainer import FailedJob, Trainer, fit_each

STAGE = "retrain"
_UNUSED = 2 * 86_400.0  # seconds after which a training that nobody installed is removed


@dataclass(frozen=True)
class LiveTraining:
    """What live versions are trained on, and with.

    Attributes:
        day: first target session that no training may see.
        trainer: a branch's trainer of a kind.
    """

    project: Project
    branch: Branch
    day: date
    trainer: Callable[[Branch, TrainerKind], Trainer]
    progress: Progress


def train_live(
    training: LiveTraining, names: Collection[str], facts: Mapping[str, Mapping[str, Any]] = {}
) -> Iterator[StagedVersion | ItemFailure]:
    """Train models of a branch on their rows before `training.day`; those of a pool with all of its other members.

    The shrinkage and the drift of a group are chosen on all of its models: those that are not trained now contribute
    the version that answers. Only the trained ones get a new version.

    Args:
        training: see `LiveTraining`. The feature tables must be there.
        names: models of the branch.
        facts: by model, what to note in its manifest besides the trainer's facts.

    Yields:
        For each model that was to be trained, a version for `live_install.install_live`, or why there is none.
    """
    staging = training.project.live_staging(training.branch.name)
    staging.mkdir(parents=True, exist_ok=True)
    _remove_unused(staging)
    run = _LiveRun(training, staging)
    run.plan(names)
    run.fit()
    for plans in run.groups():
        yield from run.finish(plans, facts)
    yield from run.failures


@dataclass
class _LiveRun:
    """One call of `train_live`.

    Attributes:
        plans: of the models to train, by name.
        validations: by name, forecasts of the validation rows of those that are trained.
        failures: of the others.
    """

    training: LiveTraining
    staging: Path
    plans: dict[str, Plan] = field(default_factory=dict)
    validations: dict[str, ValidationForecasts] = field(default_factory=dict)
    failures: list[ItemFailure] = field(default_factory=list)

    @property
    def _branch(self) -> Branch:
        """The branch without its models: it is sent to other processes again and again."""
        return replace(self.training.branch, models=())

    @property
    def _features(self) -> Path:
        return self.training.project.features(self.training.branch.name)

    def plan(self, names: Collection[str]) -> None:
        """Plan the trainings of these models and of their pools."""
        models = self.training.branch.models
        asked = [spec for spec in models if spec.name in names]
        for name in sorted(set(names) - {spec.name for spec in asked}):
            self._fail(name, ConfigError(f"{name}: no model of branch {self._branch.name}", "see: mlops models list"))
        tasks = trained_together(asked, models)  # a pool whole: its members' fingerprints depend on each other
        self.training.progress.doing(f"planning the training of {sum(map(len, tasks))} models")
        work = partial(_plan, self._features, self._branch, self.training.day)
        results = each(work, [spec for specs in tasks for spec in specs])
        for specs in tasks:
            plans = self._planned(specs, results)
            self.plans |= {plan.spec.name: plan for plan in (with_pool_marks(plans) if specs[0].pool else plans)}

    def _planned(self, specs: Sequence[ModelSpec], results: Iterator[Plan | MlopsError]) -> list[Plan]:
        """The next results, one per model, without those that are failures."""
        plans = []
        for spec, result in zip(specs, results, strict=False):  # the other results are of other models
            if isinstance(result, MlopsError):
                self._fail(spec.name, result)
            else:
                plans.append(result)
        return plans

    def fit(self) -> None:
        """Train what is not stored yet. If a member of a pool is missing, all of them are trained."""
        missing = self._missing()
        self.training.progress.start(f"{STAGE} {self._branch.name}", len(missing))
        for kind in sorted({plan.spec.trainer for plan in missing}, key=lambda kind: kind == "ludwig"):
            with scratch_folder("fit-", self.staging) as scratch:
                self._fit_kind(kind, [plan for plan in missing if plan.spec.trainer == kind], scratch)

    def _missing(self) -> list[Plan]:
        """The plans that are to be trained; what the others forecast is read."""
        missing: list[Plan] = []
        specs = [plan.spec for plan in self.plans.values()]
        for together in trained_together(specs, specs):
            plans = [self.plans[spec.name] for spec in together]
            if all(is_trained(self._folder(plan), plan.mark) for plan in plans):
                for plan in plans:
                    self._reuse(plan)
            else:
                missing += plans
        return missing

    def _folder(self, plan: Plan) -> Path:
        return trained_folder(self.staging, plan.spec.name, plan.mark)

    def _reuse(self, plan: Plan) -> None:
        try:
            split, inputs = model_rows(self._features, self._branch, self.training.day, plan.spec)
            self.validations[plan.spec.name] = validation_forecasts(self._folder(plan), split, inputs)
        except MlopsError as error:
            self._fail(plan.spec.name, error)

    def _fit_kind(self, kind: TrainerKind, plans: list[Plan], scratch: Path) -> None:
        training, by_name = self.training, {plan.spec.name: plan for plan in plans}
        jobs = []
        for plan in plans:
            folder = scratch / plan.spec.name
            folder.mkdir()
            jobs.append(job_of(plan, self._features, training.day, training.branch.seed, folder))
        for result in fit_each(lambda: training.trainer(training.branch, kind), jobs, training.progress.doing):
            name = result.job.spec.name
            if isinstance(result, FailedJob):
                self.failures.append(ItemFailure(name, STAGE, result.reason, result.exit_code))
            else:
                try:
                    self.validations[name] = complete(by_name[name], self._features, self._branch, training.day, result)
                    with contextlib.suppress(OSError):  # another process has stored the same training meanwhile
                        os.rename(result.job.folder, self._folder(by_name[name]))
                except MlopsError as error:
                    self.validations.pop(name, None)
                    self._fail(name, error)
            training.progress.done()

    def groups(self) -> list[list[Plan]]:
        """The trained models by group."""
        groups: dict[str, list[Plan]] = {}
        for name in self.validations:
            groups.setdefault(group_of(self.plans[name].spec), []).append(self.plans[name])
        return list(groups.values())

    def finish(self, plans: list[Plan], facts: Mapping[str, Mapping[str, Any]]) -> Iterator[StagedVersion]:
        """Choose the constants of a group, and write a finished version of each of these models."""
        spec = plans[0].spec
        self.training.progress.doing("choosing the shrinkage")
        members = self._others(spec) | {plan.spec.name: self.validations[plan.spec.name] for plan in plans}
        names = sorted(members)  # sums depend on the order, which must not depend on what a killed process had done
        choices = group_constants(self._branch, spec, [members[name] for name in names])
        constants = dict(zip(names, choices, strict=True))
        for plan in plans:
            name, trained = plan.spec.name, self._folder(plan)
            folder = self.staging / f"{name}-{uuid4().hex[:8]}"
            try:
                folder.mkdir()
                more = {**read_manifest(trained).facts, **facts.get(name, {})}
                manifest = finished_copy(trained, folder, constants[name], facts=more, live=True)
            except MlopsError as error:
                shutil.rmtree(folder, ignore_errors=True)
                self._fail(name, error)
            else:
                yield StagedVersion(name, folder, manifest)

    def _others(self, spec: ModelSpec) -> dict[str, ValidationForecasts]:
        """Validation forecasts of the models of `spec`'s group that are not trained now; baselines need none."""
        if spec.trainer != "ludwig":
            return {}
        group, trained = group_of(spec), self.validations.keys()
        others = [other for other in self.training.branch.models if other.name not in trained]
        others = [other for other in others if group_of(other) == group]
        results = each(partial(forecasts_of_other, self.training.project, self._branch, self.training.day), others)
        return {
            other.name: result
            for other, result in zip(others, results, strict=True)
            if isinstance(result, ValidationForecasts)
        }

    def _fail(self, name: str, error: MlopsError) -> None:
        self.failures.append(ItemFailure(name, STAGE, str(error), error.exit_code))


def _plan(features: Path, branch: Branch, day: date, spec: ModelSpec) -> Plan:
    return plan_model(features, branch, day, spec, None)


def _remove_unused(staging: Path) -> None:
    """Remove trainings that were not installed, such as those of a killed process, once they are old."""
    for folder in staging.glob("*"):
        with contextlib.suppress(OSError):  # installed or removed meanwhile
            if time.time() - folder.stat().st_mtime > _UNUSED and not folder.name.startswith("fit-"):
                shutil.rmtree(folder)
