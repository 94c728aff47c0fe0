"""The steps of a walk: which models are retrained at which dates, and which of them are trained already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.config.load import Branch
from mlops_cli.config.schemas.project import ModelSpec, Retrain, Scenario
from mlops_cli.errors import MlopsError
from mlops_cli.pipeline.stages.shrink import validation_forecasts
from mlops_cli.pipeline.stages.train import is_trained
from mlops_cli.pipeline.stages.train_plan import (
    Plan,
    group_of,
    model_rows,
    model_table,
    plan_rows,
    with_pool_marks,
)
from mlops_cli.simulation.walk_dates import retraining_dates, segments, target_sessions
from mlops_cli.training.rows import split_rows
from mlops_cli.training.shrinkage import ValidationForecasts

if TYPE_CHECKING:
    import pandas as pd

    from mlops_cli.training.rows import RowSplit


@dataclass(frozen=True)
class Step:
    """One model retrained at one date.

    The training uses no row whose target session is `day` or later. The retrained model, which is stored in `folder`,
    forecasts the target sessions before `until`.
    """

    plan: Plan
    day: date
    until: date
    folder: Path

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.plan.spec.name


class StepPlan:
    """All steps of one branch, and which of them still have to be trained.

    `fail` is told about a model that cannot be retrained: its name, the date (None: at no date) and the error.

    Attributes:
        dates: retraining dates, rising. The first one is that of the frozen models and has no steps.
        steps: all steps.
        todo: the steps that must be trained.
        validations: by folder, forecasts of the validation rows of the steps that are trained already.
    """

    def __init__(
        self, branch: Branch, features: Path, store: Path, fail: Callable[[str, date | None, MlopsError], None]
    ) -> None:
        self.dates: list[date] = []
        self.steps: list[Step] = []
        self.todo: list[Step] = []
        self.validations: dict[Path, ValidationForecasts] = {}
        self._branch = branch
        self._features = features
        self._store = store
        self._fail = fail

    def make(self, specs: Sequence[ModelSpec], scenario: Scenario, every: Retrain) -> None:
        """Find the dates, which are the same for all models, and plan each model's training at each of them."""
        sessions, readable = self._target_sessions(specs, scenario)
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

    def _target_sessions(
        self, specs: Sequence[ModelSpec], scenario: Scenario
    ) -> tuple[set[pd.Timestamp], list[ModelSpec]]:
        """Target sessions of all models in the scenario, and the models whose feature table can be read."""
        sessions: set[pd.Timestamp] = set()
        readable = []
        for spec in specs:
            try:
                sessions.update(target_sessions(model_table(self._features, spec)[0], scenario.start, scenario.end))
                readable.append(spec)
            except MlopsError as error:
                self._fail(spec.name, None, error)
        return sessions, readable

    def _steps_of(self, spec: ModelSpec, times: Iterable[tuple[date, date]]) -> list[tuple[Step, RowSplit]]:
        """The steps of one model, each with its rows. A date at which it cannot be trained is reported."""
        table, inputs = model_table(self._features, spec)
        steps = []
        for day, until in times:
            if not spec.pool and target_sessions(table, day, until).empty:
                continue  # nothing to forecast; in a pool its earlier rows still help the others
            try:
                split = split_rows(table, day, self._branch.training, spec.ticker)
                plan = plan_rows(split, inputs, self._branch, spec)
                steps.append((Step(plan, day, until, self._store / spec.name / str(day)), split))
            except MlopsError as error:
                self._fail(spec.name, day, error)
        return steps

    def _add(self, steps: list[Step], splits: Mapping[str, RowSplit]) -> None:
        """Add the steps of one training: if one of them is not trained, all of them are trained."""
        self.steps += steps
        if not all(is_trained(step.folder, step.plan.mark) for step in steps):
            self.todo += steps
            return
        for step in steps:
            try:
                split = splits.get(step.model) or model_rows(self._features, self._branch, step.day, step.plan.spec)[0]
                self.validations[step.folder] = validation_forecasts(step.folder, split, step.plan.graph_inputs)
            except MlopsError as error:
                self._fail(step.model, step.day, error)
