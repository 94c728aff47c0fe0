"""The end of stage `train`: each group's shrinkage is chosen and written into its models."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schema import ModelSpec
from mlops_cli.errors import DataError, ModelError
from mlops_cli.pipeline.plan import by_group, model_rows, training_mark
from mlops_cli.registry.manifest import GRAPH, Manifest, Validation, file_hashes, read_manifest
from mlops_cli.registry.predict import load_session, run_session
from mlops_cli.registry.store import install, staging_folder
from mlops_cli.training.onnx_graph import set_shrinkage
from mlops_cli.training.shrinkage import ValidationForecasts, choose_shrinkage
from mlops_cli.training.split import Split


def shrink_branch(project: Project, branch: Branch, start: date) -> None:
    """Choose the shrinkage of every group of a branch over all its models trained as planned; finish those it changes.

    A model that joins or leaves a group may change the group's choice: the others then get the new constant, which
    is no training. Baselines are what they are: their shrinkage is 1.
    """
    for specs in by_group(branch.models).values():
        forecasts = {spec.name: found for spec in specs if (found := _forecasts(project, branch, start, spec))}
        if not forecasts:
            continue
        choice = _choice(branch, specs[0], list(forecasts.values()))
        for name, found in forecasts.items():
            _finish(project, project.models(branch.name) / name, choice, found)


def validation_forecasts(folder: Path, split: Split, inputs: tuple[str, ...]) -> ValidationForecasts:
    """A model folder's unshrunk forecasts of its validation rows."""
    rows = split.validation
    _, raw = run_session(load_session(folder / GRAPH), rows, inputs, folder.name)
    return ValidationForecasts(rows["last_close"].to_numpy(), rows["next_close"].to_numpy(), raw)


def _choice(branch: Branch, spec: ModelSpec, forecasts: list[ValidationForecasts]) -> float:
    if spec.trainer != "ludwig":
        return 1.0
    if branch.training.shrinkage == "pooled":
        return choose_shrinkage(forecasts)
    return branch.training.shrinkage


def _forecasts(project: Project, branch: Branch, start: date, spec: ModelSpec) -> ValidationForecasts | None:
    folder = project.models(branch.name) / spec.name
    try:
        split, inputs = model_rows(project.features(branch.name), branch, start, spec)
        if read_manifest(folder).fingerprint != training_mark(split, inputs, branch, spec):
            return None  # of an earlier training, which may have seen what validates now
        return validation_forecasts(folder, split, inputs)
    except (ModelError, DataError):
        return None  # not trained, or not any more: already listed among the stage's failures


def _finish(project: Project, folder: Path, choice: float, forecasts: ValidationForecasts) -> None:
    before = read_manifest(folder)
    validation = Validation(mae_ratio_raw=forecasts.mae_ratio(1.0), mae_ratio=forecasts.mae_ratio(choice))
    if before.shrinkage == choice and before.validation == validation:
        return
    # in the branch's staging folder: what a killed process leaves there, the next training removes
    with staging_folder(project.staging(folder.parent.name), folder.name) as staged:
        shutil.copytree(folder, staged, dirs_exist_ok=True)
        set_shrinkage(folder / GRAPH, staged / GRAPH, choice)
        finished: Manifest = before.model_copy(
            update={"shrinkage": choice, "validation": validation, "files": file_hashes(staged)}
        )
        finished.write(staged)
        install(staged, folder)
