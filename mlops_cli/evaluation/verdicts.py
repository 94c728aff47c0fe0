"""Verdicts of stage `evaluate`. A verdict is on one version of a model, and says nothing about other versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODELS = "models.json"


def verdicts(folder: Path) -> dict[tuple[str, str], str]:
    """The verdict on skill by model and version, from a branch's evaluation; empty where there is none to read."""
    try:
        entries: Any = json.loads((folder / MODELS).read_bytes())
        return {(str(entry["model"]), str(entry["version"])): str(entry["verdict"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
