"""git branches of a small project: names, refusals and merges at their edges."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.git import Git
from mlops_cli.scaffold.git_branches import (
    GitBranch,
    Synced,
    create_git_branch,
    git_branches,
    main_branch,
    sync,
)
from tests.fakes.team_project import commands_on, team_project

IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The two teams' project, committed on main."""
    project = team_project(tmp_path / "p")
    git = Git(project.root)
    git("init", "-q", "-b", "main")
    commit(project)
    return project


def commit(project: Project) -> str:
    git = Git(project.root)
    git("add", "-A")
    git("commit", "-q", "-m", "change")
    return git("rev-parse", "HEAD")


def params_of(project: Project, title: str) -> dict:
    return yaml.safe_load(Git(project.root).show(title, "params.yaml") or "")


def on(project: Project, title: str, change: Callable[[], object]) -> None:
    """Commit a change on a branch, and come back to main."""
    git = Git(project.root)
    git("switch", "-q", title)
    change()
    commit(project)
    git("switch", "-q", "main")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("status", "unmerged"), [("merged", False), ("up to date", False), ("conflict", True), ("checked out", True)]
)
def test_which_results_are_left_to_the_user(status: str, unmerged: bool) -> None:
    assert Synced("red", status).unmerged is unmerged  # type: ignore[arg-type]


def test_a_branch_has_only_its_models(project: Project) -> None:
    assert create_git_branch(project, "red/aaa") == GitBranch("red/AAA", "red-aaa", current=False)
    assert params_of(project, "red/AAA")["branches"] == {
        "red-aaa": {"collection": ["configs/red/models.yaml"], "only": ["red-aaa"]}
    }
    assert Git(project.root)("log", "-1", "--format=%s", "red/AAA") == "Branch red/AAA: red-aaa alone in params.yaml"


def test_a_branch_that_params_has_already_is_taken_over(project: Project) -> None:
    replace(project.params, "source:", "  red:\n    collection: [configs/red]\n    seed: 5\nsource:")
    replace(project.params, "[configs/red, configs/blue]", "[configs/blue]")
    commit(project)
    create_git_branch(project, "red")
    assert params_of(project, "red")["branches"] == {"red": {"collection": ["configs/red"], "seed": 5}}


@pytest.mark.parametrize("path", ["configs/red/models.yaml", "params.yaml", "simulation/mine.yaml"])
def test_what_is_not_committed_is_named(project: Project, path: str) -> None:
    file = project.root / path
    file.write_text(file.read_text() + "# more\n")
    with pytest.raises(ConfigError, match=f"not committed: {path}"):
        create_git_branch(project, "red")


def test_what_does_not_concern_a_branch_may_be_uncommitted(project: Project) -> None:
    (project.root / "notes.txt").write_text("mine")
    assert create_git_branch(project, "red").title == "red"


def test_main_or_master_is_the_branch_to_take_from(project: Project) -> None:
    git = Git(project.root)
    assert main_branch(project) == "main"
    git("branch", "master")
    assert main_branch(project) == "main"
    git("branch", "-m", "main", "trunk")
    assert main_branch(project) == "master"
    git("branch", "-D", "master")
    with pytest.raises(ConfigError, match="git has no branch main or master"):
        main_branch(project)


def test_a_branch_of_another_name_is_not_ours(project: Project) -> None:
    create_git_branch(project, "red/AAA")
    git = Git(project.root)
    git("branch", "-m", "red/AAA", "red/BBB")
    assert git_branches(project) == []
    git("branch", "-m", "red/BBB", "red-aaa")
    assert git_branches(project) == [GitBranch("red-aaa", "red-aaa", current=False)]


def test_a_params_that_is_no_yaml_makes_a_branch_a_strangers(project: Project) -> None:
    create_git_branch(project, "red")
    on(project, "red", lambda: project.params.write_text("branches: ["))
    assert git_branches(project) == []
    assert sync(project, "main") == []


def test_sync_without_branches_does_nothing(project: Project) -> None:
    assert sync(project, "main") == []


def test_the_branch_taken_from_is_not_merged_into_itself(project: Project) -> None:
    create_git_branch(project, "red")
    create_git_branch(project, "blue")
    on(project, "red", lambda: (project.root / "notes.txt").write_text("x"))
    assert sync(project, "red") == [Synced("blue", "merged")]
    assert list(params_of(project, "blue")["branches"]) == ["blue"]


def test_a_merge_keeps_the_branchs_own_parameters_and_takes_mains_others(project: Project) -> None:
    create_git_branch(project, "red")
    on(project, "red", lambda: replace(project.params, "{scenario: mine}", "{scenario: mine, retrain: monthly}"))
    replace(project.params, "# two teams", "# two teams\nseed: 9")
    replace(project.params, "[configs/red, configs/blue]", "[configs/blue]")
    commit(project)
    assert sync(project, "main") == [Synced("red", "merged")]
    merged = params_of(project, "red")
    assert (merged["seed"], merged["simulation"]["retrain"]) == (9, "monthly")
    assert list(merged["branches"]) == ["red"]


def test_a_file_deleted_here_and_changed_there_is_a_conflict(project: Project) -> None:
    create_git_branch(project, "red")
    blue = project.configs / "blue" / "models.yaml"
    on(project, "red", blue.unlink)
    replace(blue, "naive", "drift")
    commit(project)
    before = Git(project.root)("rev-parse", "red")
    assert sync(project, "main") == [Synced("red", "conflict", ("configs/blue/models.yaml",))]
    assert Git(project.root)("rev-parse", "red") == before


def test_one_branch_in_conflict_keeps_no_other_back(project: Project) -> None:
    create_git_branch(project, "red")
    create_git_branch(project, "blue")
    path = project.configs / "red" / "models.yaml"
    on(project, "red", lambda: replace(path, "drift", "naive"))
    replace(path, "drift", "ludwig")
    commit(project)
    assert {result.title: result.status for result in sync(project, "main")} == {"red": "conflict", "blue": "merged"}


# the command


def test_sync_says_how_to_merge_what_is_left(project: Project) -> None:
    mlops = commands_on(project)
    create_git_branch(project, "red")
    path = project.configs / "red" / "models.yaml"
    on(project, "red", lambda: replace(path, "drift", "naive"))
    replace(path, "drift", "ludwig")
    commit(project)
    done = mlops("branch", "sync")
    assert done.exit_code == 9
    assert done.stderr == "red: not merged, it has conflicts; merge it with: git switch red && git merge main\n"
    Git(project.root)("worktree", "add", "-q", str(project.root.parent / "other"), "red")
    done = mlops("branch", "sync", "--from", "main")
    assert done.exit_code == 9
    assert done.stderr == "red: not merged, it is checked out; merge it with: git switch red && git merge main\n"


def test_sync_from_a_branch_that_is_not_there(project: Project) -> None:
    done = commands_on(project)("branch", "sync", "--from", "mian")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "git has no branch 'mian'" in done.stderr


def test_list_without_git_shows_params_alone(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["branch", "list", "--project", str(team_project(tmp_path).root)])
    assert done.exit_code == 0
    assert "blue, red" in done.stdout
    assert "git branch" not in done.stdout


def test_list_marks_the_branch_that_is_checked_out(project: Project) -> None:
    create_git_branch(project, "red")
    mlops = commands_on(project)
    assert "here" not in mlops("branch", "list").stdout
    Git(project.root)("switch", "-q", "red")
    assert "here" in mlops("branch", "list").stdout
