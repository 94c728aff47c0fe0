"""Verdicts of stage `evaluate`. A verdict is on one version of a model, and says nothing about other versions.

Live versions are the exception: the pipeline's version of the same config is judged for them (`judged_as`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_cli.models.versions import judged_as, model_versions

MODELS = "models.json"


def verdicts(folder: Path) -> dict[tuple[str, str], str]:
    """The verdict on skill by model and version, from a branch's evaluation; empty where there is none to read."""
    try:
        return {_version(row): str(row["verdict"]) for row in _rows(folder)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def base_verdicts(folder: Path) -> dict[tuple[str, str], str]:
    """What the network adds to the base, by model and version; only models with a base."""
    try:
        return {_version(row): str(row["base_verdict"]) for row in _rows(folder) if row.get("base_verdict")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def verdict_of(judged: Mapping[tuple[str, str], str], root: Path, branch: str, name: str, version: str) -> str | None:
    """The verdict that counts for a version of a model; None if there is none.

    Args:
        judged: of `verdicts` or `base_verdicts`.
        root: folder of all model folders.
        branch: of the model.
        name: of the model.
        version: that answers, or that made a forecast.
    """
    if (name, version) in judged:
        return judged[name, version]
    versions = model_versions(root, branch, name)
    judged_version = next((judged_as(folder, versions) for folder in versions if folder.version == version), version)
    return judged.get((name, judged_version))


def _rows(folder: Path) -> Any:
    return json.loads((folder / MODELS).read_bytes())


def _version(row: Any) -> tuple[str, str]:
    return str(row["model"]), str(row["version"])
