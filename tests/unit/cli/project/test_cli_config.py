"""`mlops config check` and `schema`: what is counted, and the keys that are shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.paths import Project
from tests.fakes.team_project import commands_on, team_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return team_project(tmp_path)


@pytest.fixture
def mlops(project: Project) -> Callable:
    return commands_on(project)


def schema(*words: str):
    return CliRunner().invoke(app, ["config", "schema", *words])


@pytest.mark.parametrize(
    ("branches", "said"),
    [
        ("{}", "0 branches, 0 models, no mistakes"),
        ("{main: {collection: [configs/red], only: [red-aaa]}}", "1 branch, 1 model, no mistakes"),
        ("{a: {collection: [configs/red]}, b: {collection: [configs/blue]}}", "2 branches, 4 models, no mistakes"),
    ],
)
def test_the_count_is_singular_or_plural(tmp_path: Path, branches: str, said: str) -> None:
    params = f"branches: {branches}\nsimulation: {{scenario: mine}}\n"
    done = commands_on(team_project(tmp_path, params=params))("config", "check")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, said)


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    files = {"configs/red/models.yaml": "teem: red\n", "configs/blue/models.yaml": "team: blue\ntickers: 7\n"}
    done = commands_on(team_project(tmp_path, files))("config", "check")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "configs/red/models.yaml: teem: unknown key, did you mean team?" in done.stderr
    assert "configs/blue/models.yaml: tickers" in done.stderr


def test_the_models_as_json(mlops: Callable) -> None:
    assert json.loads(mlops("config", "check", "--json").stdout) == {
        "branches": {"main": ["red-aaa", "red-bbb", "blue-aaa", "blue-bbb"]}
    }


def test_a_set_that_leaves_a_mistake_is_not_written(project: Project, mlops: Callable) -> None:
    before = project.params.read_text()
    assert mlops("config", "check", "--set", "source.kind=fax").exit_code == 3
    assert project.params.read_text() == before


@pytest.mark.parametrize("kind", ["model", "base", "params", "scenario"])
def test_each_kind_of_file_has_its_schema(kind: str) -> None:
    described = json.loads(schema(kind, "--json").stdout)
    assert described["additionalProperties"] is False
    shown = schema(kind).stdout
    assert all(f"{key}" in shown for key in described["properties"])
    assert described == json.loads(schema("--json").stdout)[kind]


def test_an_unknown_kind_is_a_usage_error() -> None:
    assert schema("secrets").exit_code == 2


def test_the_schema_needs_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert schema().exit_code == 0
