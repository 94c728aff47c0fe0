"""The shared options, and opening the project they name."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from mlops_cli.cli.app import app
from mlops_cli.cli.options import open_project
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project

SHARED = ("--project", "--branch", "--only", "--set", "--json", "--keep-going")


def commands(command: object, path: str = "") -> dict[str, object]:
    children = getattr(command, "commands", None)
    if children is None:
        return {path.strip(): command}
    return {name: leaf for word, child in children.items() for name, leaf in commands(child, f"{path} {word}").items()}


@pytest.mark.parametrize("option", SHARED)
def test_a_shared_option_says_the_same_in_every_command(option: str) -> None:
    helps = {
        parameter.help
        for name, command in commands(typer.main.get_command(app)).items()
        for parameter in command.params
        if option in parameter.opts and (name, option) != ("live", "--only")  # names steps, not models
    }
    assert len(helps) == 1, helps


def test_every_command_and_option_has_a_help_text() -> None:
    for name, command in commands(typer.main.get_command(app)).items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.help, f"{name} {parameter.name}"


def test_the_current_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert open_project(None).root == tmp_path.resolve()


def test_no_project_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not an mlops project"):
        open_project(tmp_path)


def test_set_writes_the_value_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path, {"configs/mine/a.yaml": "team: red\nticker: AAA\n"})
    open_project(tmp_path, ["seed=11"])
    assert "seed: 11" in project.params.read_text()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("params.yaml: seed:")


@pytest.mark.parametrize("assignment", ["seed", "sede=1", "seed=many"])
def test_a_wrong_assignment_writes_nothing(tmp_path: Path, assignment: str) -> None:
    project = make_project(tmp_path)
    before = project.params.read_text()
    with pytest.raises(ConfigError):
        open_project(tmp_path, [assignment])
    assert project.params.read_text() == before


def test_without_assignments_params_is_not_touched(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    before = project.params.stat().st_mtime_ns
    open_project(tmp_path, [])
    assert project.params.stat().st_mtime_ns == before
