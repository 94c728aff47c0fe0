"""What stage `evaluate` found about models. A verdict is of one version: another one was not judged by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODELS = "models.json"


def verdicts(folder: Path) -> dict[tuple[str, str], str]:
    """The verdict on skill by model and version.

    Args:
        folder: of a branch's evaluation.

    Returns:
        Empty where nothing was evaluated, or is being written just now.
    """
    try:
        entries: Any = json.loads((folder / MODELS).read_bytes())
        return {(str(one["model"]), str(one["version"])): str(one["verdict"]) for one in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
