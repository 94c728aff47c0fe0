"""Makes project folders for the tests of this room."""

from __future__ import annotations

from pathlib import Path

from mlops_cli.config.paths import Project

PARAMS = "branches: {main: {collection: [configs/mine]}}\nsimulation: {scenario: mine}\n"
SCENARIO = "start: 2020-01-02\n"


def make_project(root: Path, files: dict[str, str] | None = None, params: str = PARAMS) -> Project:
    """A project of these files (path to text), with a scenario `mine` and an incoming folder."""
    texts = {"params.yaml": params, "simulation/mine.yaml": SCENARIO, "data/incoming/README.md": "", **(files or {})}
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Project.at(root)
