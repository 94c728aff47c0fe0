"""The folder of a project becomes a part of crontabs and units: one whose name would break their lines is refused."""

from __future__ import annotations

import pytest

from mlops_cli.cli.trading.schedule import _job
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project

FILES = {"configs/mine/red.yaml": "team: red\ntickers: [AAPL]\n"}
PARAMS = "branches: {main: {collection: configs/mine}}\n"


@pytest.mark.parametrize("name", ["a\n* * * * * id", "a\x1b[31m", 'a"b', "a\rb"])
def test_a_folder_whose_name_would_break_a_line_is_refused(tmp_path, name):
    project = make_project(tmp_path / name, FILES, PARAMS)
    with pytest.raises(ConfigError, match="no line of a crontab"):
        _job(project.root, None)


@pytest.mark.parametrize("name", ["plain", "with blanks", "100%", "Zürich", "it's"])
def test_others_are_quoted(tmp_path, name):
    project = make_project(tmp_path / name, FILES, PARAMS)
    assert _job(project.root, None).teams == ("red",)


def test_files_that_others_may_read_are_named(tmp_path, capsys):
    project = make_project(tmp_path, FILES, PARAMS)
    project.env_file.touch()
    project.env_file.chmod(0o644)
    _job(project.root, None)
    assert "warning: others may read .env: chmod 600 .env" in capsys.readouterr().err
