"""`--branch @dvc`: a stage gets its branch from DVC, and no text of params.yaml reaches a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlops_cli.cli.stage_calls import chosen_branches
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project

ROOT = Path(__file__).resolve().parents[3]
FILES = {"configs/mine/red.yaml": "team: red\ntickers: [AAPL]\n"}
PARAMS = "branches: {main: {collection: configs/mine}, other: {collection: configs/mine}}\n"


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path, FILES, PARAMS)


@pytest.mark.parametrize("stage", ["train@other", "dvc.yaml:train@other", "../dvc.yaml:train@other"])
def test_the_branch_is_that_of_the_stage(project, monkeypatch, stage):
    monkeypatch.setenv("DVC_STAGE", stage)
    assert [branch.name for branch in chosen_branches(project, "@dvc")] == ["other"]


@pytest.mark.parametrize("stage", ["train@a; id; true", "train@../../x", "train@", "train@main@other", "train@$(id)"])
def test_a_name_that_is_no_branch_is_refused(project, monkeypatch, stage):
    monkeypatch.setenv("DVC_STAGE", stage)
    with pytest.raises(ConfigError, match="there is no branch"):
        chosen_branches(project, "@dvc")


@pytest.mark.parametrize("stage", [None, "", "simulate"])
def test_outside_of_such_a_stage_it_names_nothing(project, monkeypatch, stage):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if stage is not None:
        monkeypatch.setenv("DVC_STAGE", stage)
    with pytest.raises(ConfigError, match=r"only a stage of dvc\.yaml has a branch"):
        chosen_branches(project, "@dvc")


@pytest.mark.parametrize("file", ["dvc.yaml", "mlops_cli/templates/project/dvc.yaml"])
def test_no_command_of_the_pipeline_holds_a_value_of_params_yaml(file):
    stages = yaml.safe_load((ROOT / file).read_text())["stages"]
    commands = [stage.get("do", stage)["cmd"] for stage in stages.values()]
    assert len(commands) == 6
    assert not [command for command in commands if re.search(r"\$|`|;", command)]


KEYS = ["a; touch PWNED; true", "$(touch PWNED)", "`touch PWNED`", "a | touch PWNED", "a && touch PWNED"]


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_dvc_runs_nothing_that_a_branch_is_called(tmp_path, key):
    """The real dvc with the template's dvc.yaml, and a stand-in for mlops that says what it was called with."""
    template = ROOT / "mlops_cli" / "templates" / "project"
    shutil.copyfile(template / "dvc.yaml", tmp_path / "dvc.yaml")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    for folder in ("configs", "data/incoming", "simulation", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "simulation" / "demo.yaml").write_text("start: 2012-09-04\n")
    params = {"branches": {key: {"collection": ["configs"]}}, "source": {"folder": "data/incoming"}, "period": {},
              "simulation": {"scenario": "demo"}, "seed": 1, "training": {}}  # fmt: skip
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    program = tmp_path / "bin" / "mlops"
    program.write_text('#!/bin/sh\necho "$@" >> calls\necho "$DVC_STAGE" >> calls\nexit 3\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", "repro", "--no-commit"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert not (tmp_path / "PWNED").exists(), done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == ["ingest --branch @dvc --keep-going", f"ingest@{key}"]
