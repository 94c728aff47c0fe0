"""`mlops init`: what it prints for each template, and that the shown commands work in the new project."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.scaffold.init import Template, template_files

IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def init(*words: object):
    environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **IDENTITY}
    return CliRunner().invoke(app, ["init", *map(str, words)], env=environment)


@pytest.mark.parametrize("template", list(Template))
def test_what_is_said_and_what_is_to_be_typed(tmp_path: Path, template: Template) -> None:
    folder = tmp_path / "new"
    done = init(folder, "--template", template)
    assert done.exit_code == 0
    assert done.stderr == f"{folder}: {len(template_files(template))} files from template {template}, committed\n"
    first, *_, last = done.stdout.splitlines()
    assert (first, last) == (f"cd {folder}", "mlops run")


def test_the_step_for_a_blank_project_works(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    (step,) = init(folder, "--template", "blank").stdout.splitlines()[1:-1]
    program, *words = shlex.split(step)
    assert program == "mlops"
    assert CliRunner().invoke(app, [*words, "--project", str(folder)]).exit_code == 0
    checked = CliRunner().invoke(app, ["config", "check", "--project", str(folder)])
    assert checked.stdout.splitlines()[-1] == "1 branch, 1 model, no mistakes"


def test_a_folder_that_is_a_repository_gets_a_remark(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    done = init(tmp_path)
    assert done.exit_code == 0
    assert "committed" not in done.stderr.splitlines()[0]
    assert "the folder is a git repository already" in done.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("mine\n")
    done = init(tmp_path)
    assert done.exit_code == 3
    assert "already has files that would be overwritten: params.yaml" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("template", list(Template))
def test_a_later_layer_wins_and_dots_are_restored(template: Template) -> None:
    files = template_files(template)
    assert list(files) == sorted(files)
    assert {".gitignore", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".env.example"} <= set(files)
    assert not [name for name in files if "dot-" in name]
    assert ("configs/many/models.yaml" in files) == (template is Template.DEMO)
    scenarios = {Template.DEMO: "demo", Template.RED_VS_BLUE: "red-vs-blue", Template.BLANK: "holdout"}
    assert f"scenario: {scenarios[template]}\n" in files["params.yaml"]


def test_every_params_shows_the_same_way_to_add_a_model() -> None:
    for template in Template:
        assert "with: mlops models add " in template_files(template)["params.yaml"]
