"""The paths of a project: what is a project, and that no two kinds of files share a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project


def test_a_project_is_a_folder_with_params_yaml(tmp_path):
    project = make_project(tmp_path)
    assert Project.at(tmp_path) == project
    assert project.root.is_absolute()


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    make_project(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert Project.at(Path("mine")).root == tmp_path / "mine"


def test_a_link_to_a_project_is_that_project(tmp_path):
    project = make_project(tmp_path / "mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    assert Project.at(tmp_path / "link") == project


@pytest.mark.parametrize("make", [lambda path: None, lambda path: (path / "params.yaml").mkdir(parents=True)])
def test_other_folders_are_refused_with_the_ways_on(tmp_path, make):
    folder = tmp_path / "elsewhere"
    make(folder)
    with pytest.raises(ConfigError) as raised:
        Project.at(folder)
    assert raised.value.message == f"{folder} is not an mlops project: it has no params.yaml"
    assert "--project DIR" in raised.value.hint
    assert "mlops init DIR" in raised.value.hint


def folders_of(project: Project, branch: str) -> list[Path]:
    by_branch = (project.prices, project.features, project.models, project.staging, project.evaluation)
    return [path(branch) for path in by_branch]


def test_everything_lies_inside_the_project(tmp_path):
    project = make_project(tmp_path)
    paths = [
        *folders_of(project, "main"), project.params, project.pipeline, project.lock, project.base, project.env_file,
        project.ledger("red"), project.tracking_database, project.walk_forward, project.scenario("demo"),
        project.report("demo"),
    ]  # fmt: skip
    assert all(path.is_relative_to(project.root) for path in paths)
    assert len(set(paths)) == len(paths)


def test_two_branches_share_no_folder(tmp_path):
    project = make_project(tmp_path)
    main, other = folders_of(project, "main"), folders_of(project, "other")
    assert not set(main) & set(other)
    assert all(folder.name in ("main", "other") for folder in (*main, *other))


def test_models_are_built_on_the_disk_that_holds_them(tmp_path):
    project = make_project(tmp_path)
    assert project.staging("main").is_relative_to(project.model_root)
    assert not project.staging("main").is_relative_to(project.models("main"))


def test_ledgers_are_kept_with_the_state_that_git_ignores(tmp_path):
    project = make_project(tmp_path)
    assert project.ledger("red") == project.ledgers / "red.db"
    assert project.ledgers.is_relative_to(project.state)


def test_files_with_secrets_that_others_may_read_are_named(tmp_path):
    project = make_project(tmp_path)
    project.ledgers.mkdir(parents=True)
    secret = [project.env_file, project.ledger("red"), project.ledgers / "red.db-wal", project.tracking_database]
    for file in secret:
        file.touch(0o600)
        file.chmod(0o600)
    (project.root / "notes.txt").touch(0o644)
    assert project.exposed_files() == []
    for mode in (0o644, 0o640, 0o602, 0o666):
        for file in secret:
            file.chmod(mode)
            assert project.exposed_files() == [file.relative_to(project.root)]
            file.chmod(0o600)


def test_a_project_without_such_files_exposes_none(tmp_path):
    assert make_project(tmp_path).exposed_files() == []
