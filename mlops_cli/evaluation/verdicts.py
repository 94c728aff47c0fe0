"""Verdicts of stage `evaluate`. A verdict is on one version of a model, and says nothing about other versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODELS = "models.json"


def verdicts(folder: Path) -> dict[tuple[str, str], str]:
    """The verdict on skill by model and version.

    Args:
        folder: folder of a branch's evaluation.

    Returns:
        Empty where nothing was evaluated, or the file cannot be read.
    """
    try:
        entries: Any = json.loads((folder / MODELS).read_bytes())
        return {(str(entry["model"]), str(entry["version"])): str(entry["verdict"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
