"""Commands that only read configs: what they print on stdout, and how they refuse."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.paths import Project
from tests.fakes.config_projects import make_project

FILES = {
    "configs/mine/red.yaml": "team: red\ntickers: [AAPL, IBM]\n",
    "configs/mine/blue.yaml": "team: blue\nticker: AAPL\n",
}
NAMES = {"red-aapl", "red-ibm", "blue-aapl"}


@pytest.fixture
def project(tmp_path) -> Project:
    return make_project(tmp_path, FILES)


def mlops(project: Project, *arguments: str):
    return CliRunner().invoke(app, [*arguments, "--project", str(project.root)])


def printed(project: Project, *arguments: str):
    result = mlops(project, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_check_counts(project):
    result = mlops(project, "config", "check")
    assert result.exit_code == 0
    assert result.stdout.endswith("1 branch, 3 models, no mistakes\n")


def test_check_as_json_names_the_models(project):
    branches = printed(project, "config", "check")["branches"]
    assert set(branches) == {"main"}
    assert set(branches["main"]) == NAMES


def test_check_lists_every_mistake(project):
    for name in FILES:
        path = project.root / name
        path.write_text(path.read_text() + "trainr: ludwig\n")
    result = mlops(project, "config", "check")
    assert result.exit_code == 3
    assert all(name in result.stderr for name in FILES)
    assert result.stdout == ""


def test_set_is_written_and_told_on_stderr(project):
    result = mlops(project, "config", "check", "--set", "seed=11", "--json")
    assert result.exit_code == 0
    assert "seed" in result.stderr
    assert "seed: 11" in project.params.read_text()
    json.loads(result.stdout)


def test_a_wrong_set_changes_nothing(project):
    before = project.params.read_bytes()
    assert mlops(project, "config", "check", "--set", "sede=11").exit_code == 3
    assert project.params.read_bytes() == before


@pytest.mark.parametrize("kind", ["model", "base", "params", "scenario"])
def test_schema_of_one_kind(kind):
    result = CliRunner().invoke(app, ["config", "schema", kind, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["type"] == "object"


def test_schema_of_all_kinds_is_by_kind():
    result = CliRunner().invoke(app, ["config", "schema", "--json"])
    assert set(json.loads(result.stdout)) == {"model", "base", "params", "scenario"}


def test_list_says_what_is_not_known_yet(project):
    models = printed(project, "models", "list")
    assert {model["name"] for model in models} == NAMES
    for key in ("trained_until", "shrinkage", "mae_ratio", "verdict", "fingerprint"):
        assert {model[key] for model in models} == {None}
    result = mlops(project, "models", "list")
    assert "3 of 3 not trained yet: mlops run" in result.stderr


@pytest.mark.parametrize(("glob", "count"), [("red-*", 2), ("*-aapl", 2), ("red-ibm", 1)])
def test_list_only(project, glob, count):
    assert len(printed(project, "models", "list", "--only", glob)) == count


def test_list_reads_what_an_unfinished_manifest_has(project):
    folder = project.models("main") / "red-ibm"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"trained_until": "2020-01-03"}')
    (model,) = printed(project, "models", "list", "--only", "red-ibm")
    assert model["trained_until"] == "2020-01-03"
    assert model["verdict"] is None


def test_a_manifest_that_is_no_json_is_an_error_of_its_model(project):
    folder = project.models("main") / "red-ibm"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    result = mlops(project, "models", "list")
    assert result.exit_code == 6
    assert "manifest.json" in result.stderr


def test_show_fills_in_defaults(project):
    (model,) = printed(project, "models", "show", "red-ibm")
    assert model["branch"] == "main"
    assert model["config"]["ticker"] == "IBM"
    assert model["manifest"] is None
    assert model["versions"] == []


def test_show_of_a_misspelt_model_suggests_the_right_one(project):
    result = mlops(project, "models", "show", "red-imb")
    assert result.exit_code == 3
    assert "red-ibm" in result.stderr


@pytest.mark.parametrize("arguments", [("models", "list"), ("models", "show", "red-ibm"), ("train",)])
def test_a_branch_that_is_not_there(project, arguments):
    result = mlops(project, *arguments, "--branch", "other")
    assert result.exit_code == 3
    assert "other" in result.stderr


@pytest.mark.parametrize("stage", ["ingest", "featurize", "train", "evaluate"])
def test_a_stage_refuses_an_only_without_a_match(project, stage):
    result = mlops(project, stage, "--only", "green-*")
    assert result.exit_code == 3
    assert "green-*" in result.stderr
    assert "red-ibm" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("red-ibm", "--by-skill"), ("red-ibm", "--only", "red-*")])
def test_promote_wants_either_a_model_or_by_skill(project, arguments):
    assert mlops(project, "models", "promote", *arguments).exit_code == 2


def test_a_folder_without_a_project(tmp_path):
    result = CliRunner().invoke(app, ["models", "list", "--project", str(tmp_path)])
    assert result.exit_code == 3
    assert "hint: " in result.stderr
