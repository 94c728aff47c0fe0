"""Files of the templates, and folders in which a project cannot start."""

from __future__ import annotations

import pytest

from mlops_cli.config.load import check_project
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.init import Template, start_project, template_files


@pytest.fixture(autouse=True)
def git_identity(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("git") / "config"
    path.write_text("[user]\n\tname = Tester\n\temail = tester@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.mark.parametrize("template", Template)
def test_files_have_the_names_that_they_have_in_a_project(template):
    files = template_files(template)
    assert {"params.yaml", "dvc.yaml", "configs/base.yaml", ".gitignore", ".env.example"} <= set(files)
    assert not [name for name in files if "dot-" in name]
    assert list(files) == sorted(files)


@pytest.mark.parametrize("template", Template)
def test_configs_have_no_mistakes(template, tmp_path):
    start_project(tmp_path / "new", template)
    branches = check_project(Project.at(tmp_path / "new"))
    assert bool(branches) == (template is not Template.BLANK)


def test_a_new_project_is_one_commit(tmp_path):
    started = start_project(tmp_path / "new", Template.BLANK)
    assert started.committed
    assert started.remark == ""
    assert started.files == tuple(template_files(Template.BLANK))


def test_a_file_that_is_there_is_not_overwritten_and_nothing_is_written(tmp_path):
    (tmp_path / "params.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        start_project(tmp_path, Template.BLANK)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    assert (tmp_path / "params.yaml").read_text() == "mine"


def test_a_file_in_place_of_a_folder_is_in_the_way(tmp_path):
    (tmp_path / "configs").write_text("a file")
    with pytest.raises(ConfigError, match=r"configs/base\.yaml"):
        start_project(tmp_path, Template.BLANK)
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


def test_a_project_cannot_start_in_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        start_project(tmp_path / "file", Template.BLANK)


def test_other_files_of_the_folder_stay_out_of_the_commit(tmp_path):
    (tmp_path / "secret.txt").write_text("mine")
    started = start_project(tmp_path, Template.BLANK)
    assert started.committed
    assert "secret.txt" not in started.files


def test_in_an_existing_repository_nothing_is_committed(tmp_path):
    (tmp_path / ".git").mkdir()
    started = start_project(tmp_path, Template.BLANK)
    assert not started.committed
    assert "git add" in started.remark
    assert (tmp_path / "params.yaml").is_file()
