"""Verdicts of stage `evaluate`. A verdict is on one version of a model, and says nothing about other versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def _rows(folder: Path) -> Any:
    return json.loads((folder / MODELS).read_bytes())


def _version(row: Any) -> tuple[str, str]:
    return str(row["model"]), str(row["version"])
