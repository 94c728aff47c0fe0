"""What the models of a group that are not trained now say about the shrinkage of those that are."""

from __future__ import annotations

from datetime import date

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.models.versions import answering_version, model_versions
from mlops_cli.pipeline.stages.shrink import validation_forecasts
from mlops_cli.pipeline.stages.train_plan import group_of, model_rows
from mlops_cli.training.shrinkage import ValidationForecasts


def forecasts_of_other(project: Project, branch: Branch, day: date, spec: ModelSpec) -> ValidationForecasts | None:
    """Forecasts of the validation rows before `day` by the version that answers; None where it has seen them.

    If the newest version was trained for this day already, as before a kill, it counts instead, even if it does not
    answer: it would have been trained now.
    """
    version = answering_version(project.model_root, branch.name, spec.name)
    newest = model_versions(project.model_root, branch.name, spec.name)[0]
    split, inputs = model_rows(project.features(branch.name), branch, day, spec)
    if newest.manifest.live and newest.manifest.trained_until == split.trained_until:
        version = newest
    rows = split.validation if inputs.base == "none" else split.unseen_validation
    manifest = version.manifest
    first_unseen = manifest.validation_rows.first
    if inputs.base != "none":  # its training stopped on the first half of its own validation rows
        own = split.used.loc[str(first_unseen) : str(manifest.validation_rows.last)]
        first_unseen = own.index[len(own) // 2].date() if len(own) else first_unseen
    if manifest.recipe != (group_of(spec), inputs.columns) or rows.index[0].date() < first_unseen:
        return None
    return validation_forecasts(version.folder, split, inputs)
