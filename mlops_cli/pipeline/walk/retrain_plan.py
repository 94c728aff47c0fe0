"""Which models of a branch are to be trained for which dates of a scenario, and which of them are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.config.load import Branch
from mlops_cli.config.schemas.project import ModelSpec, Retrain, Scenario
from mlops_cli.errors import MlopsError
from mlops_cli.pipeline.stages.pools import with_pool_marks
from mlops_cli.pipeline.stages.shrink import validation_forecasts
from mlops_cli.pipeline.stages.train import is_trained
from mlops_cli.pipeline.stages.train_plan import Plan, group_of, model_rows, model_table, plan_rows
from mlops_cli.simulation.retrain import retraining_dates, segments, target_sessions
from mlops_cli.training.shrinkage import ValidationForecasts
from mlops_cli.training.split import split_rows

if TYPE_CHECKING:
    import pandas as pd

    from mlops_cli.training.split import Split


@dataclass(frozen=True)
class Step:
    """One model at one date.

    Attributes:
        plan: what decides its training.
        day: it knows nothing of this day and later.
        until: the day after the last target session that it forecasts.
        folder: where it is kept.
    """

    plan: Plan
    day: date
    until: date
    folder: Path

    @property
    def model(self) -> str:
        """Its model's name."""
        return self.plan.spec.name


class RetrainPlan:
    """The steps of a branch.

    Attributes:
        dates: of the scenario; the first is that of the frozen models, of which there are no steps.
        steps: all, by model and date.
        todo: those that must be trained.
        validations: forecasts of the validation rows of those that are there, by folder.
    """

    def __init__(
        self, branch: Branch, features: Path, kept: Path, fail: Callable[[str, date | None, MlopsError], None]
    ) -> None:
        self.dates: list[date] = []
        self.steps: list[Step] = []
        self.todo: list[Step] = []
        self.validations: dict[Path, ValidationForecasts] = {}
        self._branch = branch
        self._features = features
        self._kept = kept
        self._fail = fail

    def make(self, specs: Sequence[ModelSpec], scenario: Scenario, every: Retrain) -> None:
        """Find the dates of all models together, and what is to be trained for each."""
        sessions: set[pd.Timestamp] = set()
        readable = []
        for spec in specs:
            try:
                sessions.update(target_sessions(model_table(self._features, spec)[0], scenario.start, scenario.end))
                readable.append(spec)
            except MlopsError as error:
                self._fail(spec.name, None, error)
        self.dates = retraining_dates(sessions, every)
        pools: dict[tuple[date, str], list[Step]] = {}
        for spec in readable:
            for step, split in self._steps_of(spec, segments(self.dates, scenario.end)[1:]):
                if spec.pool:
                    pools.setdefault((step.day, group_of(spec)), []).append(step)
                else:
                    self._add([step], {spec.name: split})
        for steps in pools.values():
            plans = with_pool_marks([step.plan for step in steps])
            self._add([replace(step, plan=plan) for step, plan in zip(steps, plans, strict=True)], {})

    def _steps_of(self, spec: ModelSpec, times: list[tuple[date, date]]) -> list[tuple[Step, Split]]:
        table, inputs = model_table(self._features, spec)
        found = []
        for day, until in times:
            if not spec.pool and target_sessions(table, day, until).empty:
                continue  # nothing to forecast; in a pool its earlier rows still help the others
            try:
                split = split_rows(table, day, self._branch.training, spec.ticker)
                plan = plan_rows(split, inputs, self._branch, spec)
                found.append((Step(plan, day, until, self._kept / spec.name / str(day)), split))
            except MlopsError as error:
                self._fail(spec.name, day, error)
        return found

    def _add(self, steps: list[Step], splits: dict[str, Split]) -> None:
        """Add what is one training: it is there as a whole, or done as a whole."""
        self.steps += steps
        if not all(is_trained(step.folder, step.plan.mark) for step in steps):
            self.todo += steps
            return
        for step in steps:
            try:
                split = splits.get(step.model) or model_rows(self._features, self._branch, step.day, step.plan.spec)[0]
                self.validations[step.folder] = validation_forecasts(step.folder, split, step.plan.inputs)
            except MlopsError as error:
                self._fail(step.model, step.day, error)
