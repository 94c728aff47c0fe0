"""The end of stage `train`: shrinkage, drift and width of intervals are chosen and written into the models."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import DataError, ModelError
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.models.base import forecast_constants
from mlops_cli.models.graph import set_constants
from mlops_cli.models.manifest import GRAPH, Manifest, Validation, file_hashes, read_manifest
from mlops_cli.models.predict import load_session, run_session
from mlops_cli.models.store import install, staging_folder
from mlops_cli.pipeline.stages.train_plan import Inputs, by_group, member_mark, model_rows, pool_mark, training_mark
from mlops_cli.system.parallel import each
from mlops_cli.training.rows import RowSplit
from mlops_cli.training.shrinkage import (
    MeanReturns,
    ValidationForecasts,
    choose_cautiously,
    choose_shrinkage,
    pooled_drifts,
)


def shrink_branch(project: Project, branch: Branch, start: date) -> None:
    """Choose the shrinkage of every group of a branch, and write it into the models in which it changes.

    Models whose training is out of date have no influence. A model that joins or leaves a group may change the group's
    shrinkage: the other models then get the new constant, without training. Baselines are not shrunk.
    """
    for specs in by_group(branch.models).values():
        pool = _pool_mark(project, branch, start, specs) if specs[0].pool else None
        # the branch is sent to other processes again and again: without its models it is small
        results = each(partial(_forecasts, project, replace(branch, models=()), start, pool), specs)
        forecasts = {
            spec.name: result
            for spec, result in zip(specs, results, strict=True)
            if isinstance(result, ValidationForecasts)
        }
        if not forecasts:
            continue
        constants = group_constants(branch, specs[0], list(forecasts.values()))
        for name, choice in zip(forecasts, constants, strict=True):
            folder = project.models(branch.name) / name
            # in the branch's staging folder, because the next training removes what a killed process leaves there
            finish(folder, project.staging(branch.name), choice, branch.keep_versions)
            _note_small(folder, next(spec.small for spec in specs if spec.name == name))


def validation_forecasts(folder: Path, split: RowSplit, inputs: Inputs) -> ValidationForecasts:
    """A model folder's unshrunk forecasts of the rows that choose its shrinkage.

    These are the validation rows; of a model with a base, those of them that its training did not see.
    """
    rows = split.validation if inputs.base == "none" else split.unseen_validation
    raw = run_session(load_session(folder / GRAPH), rows, inputs.columns, folder.name).raw_log_return
    # copies: a view of a column keeps the whole table in memory, and a walk holds the forecasts of thousands of models
    last, actual = rows["last_close"].to_numpy(copy=True), rows["next_close"].to_numpy(copy=True)
    dividend = None
    if ANNOUNCED in inputs.columns:
        share = rows[ANNOUNCED].to_numpy(np.float32).astype(np.float64)
        raw, dividend = np.log(np.exp(raw) + share), share * last
    means = None
    if inputs.base in ("drift", "drift_dividend"):
        before = split.used.iloc[: -len(rows)]
        means = MeanReturns(_mean_total_return(before), _mean_total_return(split.used))
    sessions = rows["target_session"].to_numpy(copy=True)
    return ValidationForecasts(last, actual, raw, sessions, dividend, means)


def _mean_total_return(rows: pd.DataFrame) -> float:
    """Mean daily log return of close and dividend together."""
    paid = rows["paid_dividend"].to_numpy() if "paid_dividend" in rows.columns else 0.0
    return float(np.log((rows["next_close"].to_numpy() + paid) / rows["last_close"].to_numpy()).mean())


@dataclass(frozen=True)
class Constants:
    """What the end of training writes into a model's graph, and what it makes of the validation rows."""

    shrinkage: float
    drift: float
    width_factor: float
    validation: Validation

    @property
    def in_manifest(self) -> dict[str, Any]:
        """The values of the manifest in which they are noted."""
        return {
            "shrinkage": self.shrinkage,
            "base_drift": self.drift,
            "width_factor": self.width_factor,
            "validation": self.validation,
        }


def group_constants(branch: Branch, spec: ModelSpec, forecasts: list[ValidationForecasts]) -> list[Constants]:
    """The constants of each model of `spec`'s group.

    The shrinkage is fixed by training.shrinkage, or chosen on the validation rows; 1 for baselines. The figures of the
    validation rows come from the drift of earlier rows, because the final drift has seen the validation rows.
    `forecasts` are those of all its models, at least one.
    """
    earlier = pooled_drifts([model.means.train if model.means else None for model in forecasts])
    drifts = pooled_drifts([model.means.used if model.means else None for model in forecasts])
    factors = _shrinkages(branch, spec, forecasts, earlier)
    return [
        Constants(
            shrinkage,
            drift,
            own.width_factor(shrinkage, mu),
            Validation(mae_ratio_raw=own.mae_ratio(1.0), mae_ratio=own.mae_ratio(shrinkage, mu)),
        )
        for own, shrinkage, mu, drift in zip(forecasts, factors, earlier, drifts, strict=True)
    ]


def _shrinkages(
    branch: Branch, spec: ModelSpec, forecasts: list[ValidationForecasts], drifts: list[float]
) -> list[float]:
    """The shrinkage of each model: one for those of the group that have a base, and one for the others.

    So a stock whose dividends become known changes nothing for stocks without a base.
    """
    fixed = branch.training.shrinkage
    if spec.trainer != "ludwig":
        return [1.0] * len(forecasts)
    if fixed != "pooled":
        return [fixed] * len(forecasts)
    chosen = {}
    for based, choose in ((True, choose_cautiously), (False, choose_shrinkage)):
        members = [(model, mu) for model, mu in zip(forecasts, drifts, strict=True) if model.has_base == based]
        if members:
            chosen[based] = choose([model for model, _ in members], [mu for _, mu in members])
    return [chosen[model.has_base] for model in forecasts]


def _pool_mark(project: Project, branch: Branch, start: date, specs: list[ModelSpec]) -> str:
    marks = []
    for spec in specs:
        with contextlib.suppress(DataError):  # cannot be trained: the others were trained without it
            split, inputs = model_rows(project.features(branch.name), branch, start, spec)
            marks.append(training_mark(split, inputs, branch, spec))
    return pool_mark(marks)


def _forecasts(
    project: Project, branch: Branch, start: date, pool: str | None, spec: ModelSpec
) -> ValidationForecasts | None:
    folder = project.models(branch.name) / spec.name
    try:
        split, inputs = model_rows(project.features(branch.name), branch, start, spec)
        mark = training_mark(split, inputs, branch, spec)
        if read_manifest(folder).fingerprint != (mark if pool is None else member_mark(mark, pool)):
            return None  # of an earlier training, which may have used rows that validate now
        return validation_forecasts(folder, split, inputs)
    except (ModelError, DataError):
        return None  # not trained: the stage has reported the failure already


def finish(folder: Path, scratch: Path, choice: Constants, keep: int | None = None) -> None:
    """Write the constants into graph and manifest of the model in `folder`, unless they are there already.

    The model folder is rebuilt in `scratch`, which must be on the same disk. For `keep` see `models.store.install`.
    """
    before = read_manifest(folder)
    if all(getattr(before, name) == value for name, value in choice.in_manifest.items()):
        return
    with staging_folder(scratch, folder.name) as staged:
        finished_copy(folder, staged, choice)
        install(staged, folder, keep)


def finished_copy(folder: Path, copy: Path, choice: Constants, **changes: Any) -> Manifest:
    """Write a copy of the model in `folder` with these constants in its graph and its manifest.

    `copy` is an existing empty folder; `changes` are other values of its manifest.

    Returns:
        The manifest of the copy.
    """
    before = read_manifest(folder)
    constants = forecast_constants(choice.shrinkage, choice.drift, len(before.levels), choice.width_factor)
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    set_constants(folder / GRAPH, copy / GRAPH, constants)
    finished: Manifest = before.model_copy(
        update={**choice.in_manifest, **changes, "files": file_hashes(copy)},
    )
    finished.write(copy)
    return finished


def _note_small(folder: Path, small: str | None) -> None:
    """Write the name of the model's small variant into the manifest, as the config says now; this is no training."""
    manifest = read_manifest(folder)
    if manifest.small != small:
        manifest.model_copy(update={"small": small}).write(folder)
