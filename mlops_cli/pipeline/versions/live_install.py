"""Installing a trained live version: one rename into the archive, and the policy that says whether it answers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.versions import install_live_version, model_versions, remove_old_versions, versions_lock
from mlops_cli.pipeline.stages.tables import table_columns
from mlops_cli.pipeline.versions.live_champions import accept_fresh, hold_champion, release_unable


@dataclass(frozen=True)
class StagedVersion:
    """A live version that is trained, with its shrinkage chosen, and not installed yet."""

    name: str
    folder: Path
    manifest: Manifest


def install_live(
    project: Project, branch: Branch, staged: StagedVersion, promotion: Literal["always", "tested"], why: str
) -> str:
    """Put a trained live version into the archive by one rename, and let the policy say whether it answers.

    Args:
        project: whose models.
        branch: of the model.
        staged: of `train_live`. If another process has installed the same training, nothing is done.
        promotion: `always`: it answers at once, unless a person has pinned the champion. `tested`: the version that
            answers now stays until `mlops live` has found the new one better, unless it cannot forecast from the
            features of now.
        why: why it was trained, for the record of the champion.

    Returns:
        The version.

    Raises:
        ModelError: the staged version is gone, or the record of the champion is damaged.
        ServiceError: another process has been installing a version of the model for too long.
    """
    root, place = project.model_root, (branch.name, staged.name)
    with versions_lock(project, *place):
        if not staged.folder.is_dir():
            return _installed_already(root, branch.name, staged)
        columns = table_columns(project.features(branch.name), staged.name)
        if promotion == "tested":
            hold_champion(root, *place, columns)
        version = install_live_version(staged.folder, root, *place)
        shutil.rmtree(trained_folder(staged.folder.parent, staged.name, staged.manifest.fingerprint), True)
        if promotion == "always":
            accept_fresh(root, *place, why)
        else:
            release_unable(root, *place, columns)
        remove_old_versions(root, *place, branch.keep_versions)
    return version


def _installed_already(root: Path, branch: str, staged: StagedVersion) -> str:
    for version in model_versions(root, branch, staged.name):
        if version.manifest.live and version.manifest.fingerprint == staged.manifest.fingerprint:
            return version.version
    raise ModelError(f"{staged.folder}: this trained version is gone", "train it again: mlops live")


def trained_folder(staging: Path, name: str, mark: str) -> Path:
    """Where a training of this fingerprint is stored until it is installed."""
    return staging / f"{name}@{mark[:16]}"
