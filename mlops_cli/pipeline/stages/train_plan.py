"""Plans of trainings: a model's rows, and a fingerprint of everything that decides the result.

A model is trained again only when its fingerprint changes. One training gives all models of a pool (`pool: true` in
their config), so a pooled model's fingerprint depends on the rows and settings of all members that can be trained: when
the rows of one member change, or a member joins, leaves, or has too few rows, the whole pool is trained again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.schemas.project import Base, ModelSpec, TrainerKind, Training
from mlops_cli.errors import DataError
from mlops_cli.features.column_names import ANNOUNCED, width_columns
from mlops_cli.models.base import WRAP_VERSION
from mlops_cli.models.manifest import Span, fingerprint
from mlops_cli.pipeline.stages.stage import ItemFailure, read_note
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.table import content_hash
from mlops_cli.training.rows import RowSplit, split_rows
from mlops_cli.training.trainer import TrainJob

GRAPH_VERSION = 1  # raised when the code exports another graph for the same weights
LUDWIG_VERSIONS = ("ludwig", "torch")
ROLES = ("small", "small_of")  # settings of serving, which do not change what a model learns


@dataclass(frozen=True)
class Plan:
    """The training of one model.

    `inputs` are the columns of its graph's input, `mark` is the fingerprint of its rows, settings, seed and libraries,
    `trained_until` the last target session of these rows, `drift` the mean log return of the training rows, `base` the
    base that its forecasts are shrunk to, `levels` those of its prediction intervals. The trainer gets only rows whose
    target session is before `fit_before`; None: all rows before the held-out time. `settings` is the hash
    of all parts of `mark` but the rows, and `rows` tells whether rows have other values later; see `values_hash`.
    """

    spec: ModelSpec
    inputs: tuple[str, ...]
    mark: str
    train: Span
    validation: Span
    trained_until: date
    drift: float
    base: Base = "none"
    levels: tuple[float, ...] = ()
    fit_before: date | None = None
    settings: str = ""
    rows: str = ""

    @property
    def graph_inputs(self) -> Inputs:
        """The columns of the graph's input, and what the graph does with them."""
        return Inputs(self.inputs, self.base, self.levels)

    @property
    def network_inputs(self) -> tuple[str, ...]:
        """The columns that the network itself gets."""
        return self.graph_inputs.network


class Inputs(NamedTuple):
    """The columns of a graph's input, the base of its model, and the levels of its prediction intervals."""

    columns: tuple[str, ...]
    base: Base = "none"
    levels: tuple[float, ...] = ()

    @property
    def without_widths(self) -> tuple[str, ...]:
        """The columns that decide the forecasts: all but the widths of the intervals."""
        widths = width_columns(self.levels)
        return tuple(name for name in self.columns if name not in widths)

    @property
    def network(self) -> tuple[str, ...]:
        """The columns that the network itself gets: all but the announced dividend and the widths."""
        return tuple(name for name in self.without_widths if name != ANNOUNCED)


def plan_model(folder: Path, branch: Branch, start: date, spec: ModelSpec, upstream: ItemFailure | None) -> Plan:
    """Read a model's feature table and plan its training on the rows before `start`.

    `upstream` is an earlier stage's failure, which explains a missing table.

    Raises:
        DataError: there is no table, or too few rows.
    """
    return plan_rows(*model_rows(folder, branch, start, spec, upstream), branch, spec)


def plan_rows(split: RowSplit, inputs: Inputs, branch: Branch, spec: ModelSpec) -> Plan:
    """Plan the training of a model whose rows were read with `model_rows`."""
    mark, settings = training_mark(split, inputs, branch, spec), settings_mark(inputs, branch, spec)
    rows = values_hash(split, inputs)
    returns = np.log(split.train["next_close"] / split.train["last_close"])
    spans = _span(split.train), _span(split.validation)
    until, drift, unseen = split.trained_until, float(returns.mean()), split.unseen_validation
    fit_before = None
    if inputs.base != "none" and len(unseen) < len(split.validation):
        fit_before = unseen["target_session"].iloc[0].date()
    return Plan(
        spec, inputs.columns, mark, *spans, until, drift, inputs.base, inputs.levels, fit_before, settings, rows
    )


def job_of(plan: Plan, features: Path, day: date, seed: int, folder: Path) -> TrainJob:
    """The job of a plan, which uses no row whose target session is `day` or later, and writes into `folder`."""
    table = features / f"{plan.spec.name}.parquet"
    end = plan.fit_before or day
    return TrainJob(plan.spec, table, plan.network_inputs, plan.validation.first, end, seed, folder)


def training_mark(split: RowSplit, inputs: Inputs, branch: Branch, spec: ModelSpec) -> str:
    """Fingerprint of everything that decides a training: rows, settings, seed, libraries.

    The values of the widths are not part of it: the graph only adds them, and those of a fleet change with every stock.
    """
    rows, validation = rows_hash(split, inputs), len(split.validation)
    return fingerprint({"rows": rows, "validation": validation, **_settings(inputs, branch, spec)})


def rows_hash(split: RowSplit, inputs: Inputs) -> str:
    """Hash of the rows of a training, as far as they decide what is learnt; see `training_mark`."""
    columns = list(dict.fromkeys((*inputs.without_widths, "target", "last_close", "next_close")))
    return content_hash(split.used[columns])


def values_hash(split: RowSplit, inputs: Inputs) -> str:
    """Hash of the inputs and targets of a training, to six decimals, by which corrected prices are noticed.

    A later split divides all closes and changes neither, but for the last digits. Where the target is a close, it does.
    """
    columns = list(dict.fromkeys((*inputs.without_widths, "target")))
    return content_hash(split.used[columns].round(6))


def settings_mark(inputs: Inputs, branch: Branch, spec: ModelSpec) -> str:
    """Fingerprint of everything but the rows that decides a training: settings, seed, libraries."""
    return fingerprint({"sessions": branch.training.validation_sessions, **_settings(inputs, branch, spec)})


def _settings(inputs: Inputs, branch: Branch, spec: ModelSpec) -> dict[str, Any]:
    return {
        "inputs": inputs.columns,
        "spec": spec.model_dump(exclude={"file", "base", *ROLES}),
        "seed": branch.seed,
        **_learning_settings(branch.training),
        "versions": versions(spec.trainer),
        "graph": GRAPH_VERSION,
        "wrap": [WRAP_VERSION, inputs.base, inputs.levels],
    }


def model_rows(
    folder: Path, branch: Branch, start: date, spec: ModelSpec, upstream: ItemFailure | None = None
) -> tuple[RowSplit, Inputs]:
    """A model's rows before `start`, split into training and validation, and its input columns; see `plan_model`."""
    table, inputs = model_table(folder, spec, upstream)
    return split_rows(table, start, branch.training, spec.ticker), inputs


def model_table(folder: Path, spec: ModelSpec, upstream: ItemFailure | None = None) -> tuple[pd.DataFrame, Inputs]:
    """A model's whole feature table and its input columns; see `plan_model`."""
    table, inputs = read_table(folder, spec.name), noted_inputs(folder, spec.name)
    if table is None or inputs is None:
        reason = upstream.reason if upstream else f"{spec.name}: no features in {folder}"
        raise DataError(reason, "" if upstream else "run: mlops featurize")
    return table, inputs


def noted_inputs(folder: Path, model: str) -> Inputs | None:
    """The input columns of a model's feature table, as noted beside it; None without a note."""
    note = read_note(folder / f"{model}.json")
    if note is None:
        return None
    return Inputs(tuple(note["inputs"]), note.get("base", "none"), tuple(note.get("levels", ())))


def _learning_settings(training: Training) -> dict[str, float]:
    """The branch's settings that change what is learnt, where they are switched on.

    Left out where they are off, so that models trained before these settings existed keep their fingerprints.
    """
    settings = {"median_stopping": training.median_stopping, "bf16": training.bf16}
    return {key: value for key, value in settings.items() if value}


def versions(kind: TrainerKind) -> dict[str, str]:
    """Versions of the libraries on which a trainer's result depends."""
    return {name: _version(name) for name in LUDWIG_VERSIONS} if kind == "ludwig" else {}


@cache
def _version(library: str) -> str:
    return version(library)  # takes 2 ms, and is asked for twice for every model


def group_of(spec: ModelSpec) -> str:
    """Id of a model's group. The models of a group differ in nothing but the ticker, and share their shrinkage."""
    values = spec.model_dump(exclude={"name", "ticker", "file", *ROLES})
    if spec.base == "auto":  # left out, so that models trained before there were bases keep their group
        del values["base"]
    return fingerprint(values)[:12]


def by_group(specs: Sequence[ModelSpec]) -> dict[str, list[ModelSpec]]:
    """The models by group."""
    groups: dict[str, list[ModelSpec]] = {}
    for spec in specs:
        groups.setdefault(group_of(spec), []).append(spec)
    return groups


def trained_together(models: Sequence[ModelSpec], branch: Sequence[ModelSpec]) -> list[list[ModelSpec]]:
    """Group the models asked for by training: a pool with all of its members in `branch`, every other model alone."""
    tasks: dict[str, list[ModelSpec]] = {}
    for spec in models:
        if not spec.pool:
            tasks[spec.name] = [spec]
        elif (pool := f"pool {group_of(spec)}") not in tasks:
            tasks[pool] = [other for other in branch if other.pool and group_of(other) == group_of(spec)]
    return list(tasks.values())


def pool_mark(marks: Iterable[str]) -> str:
    """Fingerprint of a pool: a hash of its members' own fingerprints, in any order."""
    return fingerprint(sorted(marks))


def member_mark(own: str, pool: str) -> str:
    """Fingerprint of a member: a hash of its own fingerprint and that of the pool."""
    return fingerprint([own, pool])


def with_pool_marks(plans: Sequence[Plan]) -> list[Plan]:
    """The plans with members' fingerprints; `plans` are of all members of one pool that can be trained."""
    pool = pool_mark(plan.mark for plan in plans)
    return [replace(plan, mark=member_mark(plan.mark, pool)) for plan in plans]


def _span(rows: pd.DataFrame) -> Span:
    first, last = pd.Timestamp(rows.index[0]), pd.Timestamp(rows.index[-1])
    return Span(first=first.date(), last=last.date(), sessions=len(rows))
