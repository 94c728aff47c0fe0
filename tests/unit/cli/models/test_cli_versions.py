"""`mlops models promote` and `rollback`: usage, what they print, and promotion by skill as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_cli.cli.models.versions import _print_judgements
from mlops_cli.config.paths import Project
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.versions import Champion, archive, champion, write_champion
from mlops_cli.pipeline.versions.challenge import Judgement
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import INTERCEPT, WEIGHTS, model_folder
from tests.fakes.team_project import commands_on, team_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return team_project(tmp_path)


@pytest.fixture
def mlops(project: Project) -> Callable:
    return commands_on(project)


def two_versions(project: Project, name: str = "red-aaa") -> tuple[str, str]:
    """The newest version in the model's folder and an older one, recorded as champion, in the archive."""
    newest = read_manifest(model_folder(project.models("main"), name)).version
    folder = model_folder(archive(project.model_root, "main", name), "old", linear_graph(2 * WEIGHTS, INTERCEPT))
    older = read_manifest(folder).version
    folder.rename(folder.with_name(older))
    write_champion(project.model_root, "main", name, Champion(older))
    assert newest != older
    return newest, older


@pytest.mark.parametrize(
    "words",
    [(), ("red-aaa", "--by-skill"), ("red-aaa", "--only", "red-*"), ("--only", "red-*")],
)
def test_either_a_model_or_by_skill(mlops: Callable, words: tuple[str, ...]) -> None:
    done = mlops("models", "promote", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "give either a MODEL, or --by-skill" in done.stderr


def test_promote_the_newest(project: Project, mlops: Callable) -> None:
    newest, older = two_versions(project)
    done = mlops("models", "promote", "red-aaa")
    assert done.stdout == f"red-aaa: {newest} is champion, in place of {older}\n"
    assert done.stderr == "newly trained versions answer as soon as they are finished\n"
    assert champion(project.model_root, "main", "red-aaa") == Champion(
        newest, pinned=False, history=(older,), by="hand"
    )


def test_promote_a_version_by_its_first_letters(project: Project, mlops: Callable) -> None:
    _, older = two_versions(project)
    done = mlops("models", "promote", "red-aaa", older[:6])
    assert done.stdout == f"red-aaa: {older} is champion, as before\n"
    assert done.stderr == "it answers until another is promoted; judge it with: mlops evaluate\n"
    assert champion(project.model_root, "main", "red-aaa").pinned


def test_promote_as_json(project: Project, mlops: Callable) -> None:
    newest, older = two_versions(project)
    change = json.loads(mlops("models", "promote", "red-aaa", "--json").stdout)
    assert change == {"branch": "main", "model": "red-aaa", "before": older, "after": newest, "pinned": False}


def test_a_version_that_is_not_kept(project: Project, mlops: Callable) -> None:
    two_versions(project)
    done = mlops("models", "promote", "red-aaa", "zzz")
    assert (done.exit_code, done.stdout) == (6, "")


def test_the_first_champion_takes_nobodys_place(project: Project, mlops: Callable) -> None:
    version = read_manifest(model_folder(project.models("main"), "red-aaa")).version
    assert mlops("models", "promote", "red-aaa").stdout == f"red-aaa: {version} is champion, in place of none\n"


def test_rollback_to_the_version_before(project: Project, mlops: Callable) -> None:
    newest, older = two_versions(project)
    done = mlops("models", "rollback", "red-aaa")
    assert done.stdout == f"red-aaa: {older} is champion, in place of {newest}\n"
    assert champion(project.model_root, "main", "red-aaa").pinned


def test_rollback_of_an_untrained_model(mlops: Callable) -> None:
    assert mlops("models", "rollback", "red-aaa").exit_code == 6
    assert mlops("models", "rollback", "red-zzz").exit_code == 3


def test_by_skill_without_versions_promotes_nothing(mlops: Callable) -> None:
    done = mlops("models", "promote", "--by-skill")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "0 of 0 challengers promoted, 0 rolled back, 4 models\n"
    assert mlops("models", "promote", "--by-skill", "--json").stdout == "[]\n"


def test_by_skill_of_no_model(mlops: Callable) -> None:
    done = mlops("models", "promote", "--by-skill", "--only", "green-*")
    assert done.exit_code == 3
    assert "--only green-*: no model of that name" in done.stderr


def test_the_table_of_judgements(capsys: pytest.CaptureFixture[str]) -> None:
    _print_judgements(
        [
            Judgement("main", "a", "c1", "n1", 250, 1.23456, 1.1, 0.00321, promoted=True, reason="better"),
            Judgement("main", "b", "c2", "n2", 250, 1.0, 2.0, None, rolled_back=True, reason="worse"),
            Judgement("main", "c", "c3", "n3", reason="no prices", exit_code=4),
        ],
        models=7,
    )
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(("a ", "b ", "c "))]
    assert rows[0] == ["a", "main", "c1", "n1", "250", "1.235", "1.1", "0.00321", "promoted", "better"]
    assert rows[1] == ["b", "main", "c2", "n2", "250", "1", "2", "-", "rolled", "back", "worse"]
    assert rows[2] == ["c", "main", "c3", "n3", "0", "-", "-", "-", "-", "no", "prices"]
    assert err == "1 of 3 challengers promoted, 1 rolled back, 7 models\n"
