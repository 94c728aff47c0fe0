"""`mlops export`: which models it writes, and what it says of those it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_cli.config.paths import Project
from tests.fakes.model_folders import model_folder
from tests.fakes.team_project import commands_on, team_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return team_project(tmp_path / "p")


@pytest.fixture
def mlops(project: Project) -> Callable:
    return commands_on(project)


def test_a_trained_model_is_written_and_the_others_are_named(project: Project, mlops: Callable, tmp_path: Path) -> None:
    model_folder(project.models("main"), "red-aaa")
    target = tmp_path / "out"
    done = mlops("export", str(target), "--format", "triton", "--only", "red-*")
    assert done.exit_code == 9
    assert done.stdout == f"{target}: 1 models, 1 versions\n"
    assert done.stderr.startswith("left out: red-bbb: ")
    assert any(target.rglob("model.onnx"))


def test_all_well_ends_with_0(project: Project, mlops: Callable, tmp_path: Path) -> None:
    model_folder(project.models("main"), "red-aaa")
    done = mlops("export", str(tmp_path / "out"), "--format", "kserve", "--only", "red-aaa")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_glob_without_a_match_writes_nothing(mlops: Callable, tmp_path: Path) -> None:
    done = mlops("export", str(tmp_path / "out"), "--format", "triton", "--only", "green-*")
    assert done.exit_code == 3
    assert "hint: models: red-aaa, red-bbb" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_project_without_models(tmp_path: Path) -> None:
    project = team_project(tmp_path / "p", params="branches: {}\nsimulation: {scenario: mine}\n")
    done = commands_on(project)("export", str(tmp_path / "out"), "--format", "triton")
    assert done.exit_code == 3
    assert "no models to export" in done.stderr


def test_the_format_must_be_named(mlops: Callable, tmp_path: Path) -> None:
    assert mlops("export", str(tmp_path / "out")).exit_code == 2
    assert mlops("export", str(tmp_path / "out"), "--format", "zip").exit_code == 2
