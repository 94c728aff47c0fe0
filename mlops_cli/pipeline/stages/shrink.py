"""The end of stage `train`: each group's shrinkage is chosen and written into its models."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import DataError, ModelError
from mlops_cli.models.graph import set_shrinkage
from mlops_cli.models.manifest import GRAPH, Manifest, Validation, file_hashes, read_manifest
from mlops_cli.models.predict import load_session, run_session
from mlops_cli.models.store import install, staging_folder
from mlops_cli.pipeline.stages.pools import member_mark, pool_mark
from mlops_cli.pipeline.stages.train_plan import by_group, model_rows, training_mark
from mlops_cli.system.parallel import each
from mlops_cli.training.shrinkage import ValidationForecasts, choose_shrinkage
from mlops_cli.training.split import Split


def shrink_branch(project: Project, branch: Branch, start: date) -> None:
    """Choose the shrinkage of every group of a branch over all its models trained as planned; finish those it changes.

    A model that joins or leaves a group may change the group's choice: the others then get the new constant, which
    is no training. Baselines are what they are: their shrinkage is 1.
    """
    for specs in by_group(branch.models).values():
        pool = _pool_mark(project, branch, start, specs) if specs[0].pool else None
        # without the models, which would be sent to the processes with every few of them
        results = each(partial(_forecasts, project, replace(branch, models=()), start, pool), specs)
        forecasts = {
            spec.name: found
            for spec, found in zip(specs, results, strict=True)
            if isinstance(found, ValidationForecasts)
        }
        if not forecasts:
            continue
        choice = group_choice(branch, specs[0], list(forecasts.values()))
        for name, found in forecasts.items():
            # in the branch's staging folder: what a killed process leaves there, the next training removes
            folder = project.models(branch.name) / name
            finish(folder, project.staging(branch.name), choice, found, branch.keep_versions)
            _note_small(folder, next(spec.small for spec in specs if spec.name == name))


def validation_forecasts(folder: Path, split: Split, inputs: tuple[str, ...]) -> ValidationForecasts:
    """A model folder's unshrunk forecasts of its validation rows."""
    rows = split.validation
    _, raw = run_session(load_session(folder / GRAPH), rows, inputs, folder.name)
    return ValidationForecasts(rows["last_close"].to_numpy(), rows["next_close"].to_numpy(), raw)


def group_choice(branch: Branch, spec: ModelSpec, forecasts: list[ValidationForecasts]) -> float:
    """The shrinkage of a group: what training.shrinkage says, 1 for baselines.

    Args:
        branch: for its training settings.
        spec: any model of the group.
        forecasts: of all its models, at least one.
    """
    if spec.trainer != "ludwig":
        return 1.0
    if branch.training.shrinkage == "pooled":
        return choose_shrinkage(forecasts)
    return branch.training.shrinkage


def _pool_mark(project: Project, branch: Branch, start: date, specs: list[ModelSpec]) -> str:
    marks = []
    for spec in specs:
        with contextlib.suppress(DataError):  # cannot be trained: the others were without it
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
            return None  # of an earlier training, which may have seen what validates now
        return validation_forecasts(folder, split, inputs)
    except (ModelError, DataError):
        return None  # not trained, or not any more: already listed among the stage's failures


def finish(folder: Path, scratch: Path, choice: float, forecasts: ValidationForecasts, keep: int | None = None) -> None:
    """Write the shrinkage into a model folder's graph and manifest, unless it stands there.

    Args:
        folder: the model's.
        scratch: where it is rebuilt, on the same disk.
        choice: the shrinkage.
        forecasts: of its validation rows, for the manifest.
        keep: versions kept, see `models.store.install`.
    """
    before = read_manifest(folder)
    validation = Validation(mae_ratio_raw=forecasts.mae_ratio(1.0), mae_ratio=forecasts.mae_ratio(choice))
    if before.shrinkage == choice and before.validation == validation:
        return
    with staging_folder(scratch, folder.name) as staged:
        shutil.copytree(folder, staged, dirs_exist_ok=True)
        set_shrinkage(folder / GRAPH, staged / GRAPH, choice)
        finished: Manifest = before.model_copy(
            update={"shrinkage": choice, "validation": validation, "files": file_hashes(staged)}
        )
        finished.write(staged)
        install(staged, folder, keep)


def _note_small(folder: Path, small: str | None) -> None:
    """Let the manifest name the model's small variant as the config does now; that is no training."""
    manifest = read_manifest(folder)
    if manifest.small != small:
        manifest.model_copy(update={"small": small}).write(folder)
