"""The folder of a project becomes a part of crontabs and units: one whose name would break their lines is refused."""

from __future__ import annotations

import os

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
    assert _job(project.root, None).root == project.root


def test_files_that_others_may_read_are_named(tmp_path, capsys):
    project = make_project(tmp_path, FILES, PARAMS)
    project.env_file.touch()
    project.env_file.chmod(0o644)
    _job(project.root, None)
    assert "warning: others may read .env: chmod 600 .env" in capsys.readouterr().err


@pytest.fixture
def without_keys(monkeypatch):
    for name in [name for name in os.environ if name.startswith("ALPACA_")]:
        monkeypatch.delenv(name)


TWO = {**FILES, "configs/mine/blue.yaml": "team: blue\ntickers: [SAP]\nexchange: XETR\n"}


def test_only_teams_with_an_account_have_a_pass_in_the_morning(tmp_path, without_keys, capsys):
    project = make_project(tmp_path, TWO, PARAMS)
    project.env_file.write_text("ALPACA_API_KEY_RED=a-key\nALPACA_SECRET_KEY_RED=a-secret\n")
    assert _job(project.root, None).teams == ("red",)
    said = capsys.readouterr().err
    assert "no keys of an account in .env: blue" in said
    assert "models on XETR: the same passes, at New York time" in said


def test_chosen_teams_need_no_account_yet(tmp_path, without_keys):
    project = make_project(tmp_path, TWO, PARAMS)
    assert _job(project.root, None).teams == ()
    assert _job(project.root, ["blue", "blue"]).teams == ("blue",)
    with pytest.raises(ConfigError, match="no model belongs to that team"):
        _job(project.root, ["green"])
