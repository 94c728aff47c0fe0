"""A project of two teams with configs but no results, and commands run on it in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.paths import Project
from tests.fakes.config_projects import make_project

FILES = {
    "configs/red/models.yaml": "team: red\ntickers: [AAA, BBB]\ntrainer: drift\n",
    "configs/blue/models.yaml": "team: blue\ntickers: [AAA, BBB]\ntrainer: naive\n",
}
PARAMS = (
    "# two teams\n"
    "branches:\n"
    "  main:\n"
    "    collection: [configs/red, configs/blue]\n"
    "source: {kind: csv, folder: data/incoming}\n"
    "simulation: {scenario: mine}\n"
)
ALL = ("red-aaa", "red-bbb", "blue-aaa", "blue-bbb")


def team_project(root: Path, files: Mapping[str, str] | None = None, params: str = PARAMS) -> Project:
    """Make it: branch `main` with red and blue on AAA and BBB; `files` come on top."""
    return make_project(root, {**FILES, **(files or {})}, params)


def commands_on(project: Project) -> Callable[..., Any]:
    """Run `mlops WORDS... --project DIR`; an exception that no exit code stands for is raised."""

    def mlops(*words: str) -> Any:
        done = CliRunner().invoke(app, [*words, "--project", str(project.root)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return mlops
