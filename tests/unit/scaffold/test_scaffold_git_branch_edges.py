"""git branches of one part of the project, where the project is not at the root of its repository or git says no."""

from __future__ import annotations

import pytest
import yaml

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.git import Git
from mlops_cli.scaffold.git_branches import create_git_branch, git_branches, main_branch, sync
from tests.fakes.config_projects import make_project

FILES = {
    "configs/mine/red.yaml": "team: red\ntickers: [AAPL, IBM]\n",
    "configs/mine/blue.yaml": "team: blue\nticker: AAPL\n",
}


@pytest.fixture(autouse=True)
def git_identity(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("git") / "config"
    path.write_text("[user]\n\tname = Tester\n\temail = tester@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def git(tmp_path) -> Git:
    """A repository whose folder `forecasts` is the project."""
    git = Git(tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    make_project(tmp_path / "forecasts", FILES)
    commit(git)
    return git


@pytest.fixture
def project(git) -> Project:
    return Project.at(git.folder / "forecasts")


def commit(git: Git) -> None:
    git("add", "-A")
    git("commit", "--quiet", "-m", "change")


def params(git: Git, revision: str):
    return yaml.safe_load(git.show(revision, "forecasts/params.yaml"))


def test_a_project_in_a_subfolder_gets_its_branch(git, project):
    made = create_git_branch(project, "red/ibm")
    assert (made.title, made.name, made.current) == ("red/IBM", "red-ibm", False)
    assert set(params(git, "red/IBM")["branches"]) == {"red-ibm"}
    assert set(params(git, "main")["branches"]) == {"main"}
    assert git("diff", "--name-only", "main", "red/IBM") == "forecasts/params.yaml"
    assert git("status", "--porcelain") == ""
    assert git_branches(project) == [made]


def test_changes_of_main_are_merged_into_a_branch_that_is_not_checked_out(git, project):
    create_git_branch(project, "red")
    assert [synced.status for synced in sync(project, "main")] == ["up to date"]
    project.params.write_text(project.params.read_text() + "seed: 11\n")
    commit(git)
    assert [synced.status for synced in sync(project, "main")] == ["merged"]
    assert params(git, "red")["seed"] == 11
    assert set(params(git, "red")["branches"]) == {"red"}
    assert git("symbolic-ref", "--short", "HEAD") == "main"
    assert [synced.status for synced in sync(project, "main")] == ["up to date"]


def test_a_conflict_names_the_file_and_moves_nothing(git, project):
    create_git_branch(project, "red")
    config = project.root / "configs/mine/red.yaml"
    git("switch", "--quiet", "red")
    config.write_text("team: red\ntickers: [IBM]\n")
    commit(git)
    before = git("rev-parse", "red")
    git("switch", "--quiet", "main")
    config.write_text("team: red\ntickers: [MSFT]\n")
    commit(git)
    (synced,) = sync(project, "main")
    assert (synced.status, synced.conflicts) == ("conflict", ("configs/mine/red.yaml",))
    assert git("rev-parse", "red") == before


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock"])
def test_results_and_branches_of_either_side_are_no_conflict_in_a_subfolder(git, project, name):
    lock = project.root / "dvc.lock"
    create_git_branch(project, "red")
    for title, number in (("red", 1), ("main", 2)):
        git("switch", "--quiet", title)
        if name == "dvc.lock":
            lock.write_text(f"schema: '2.0'\nstages: {{train@{title}: {{cmd: run {number}}}}}\n")
        else:
            text = project.params.read_text()
            project.params.write_text(text.replace("configs/mine", f"configs/mine, configs/mine/{title}.yaml"))
            make_project(
                project.root, {"configs/mine/main.yaml": "team: main\nticker: IBM\n"}, project.params.read_text()
            )
        commit(git)
    assert [synced.status for synced in sync(project, "main")] == ["merged"]


def test_uncommitted_configs_are_refused_by_name(git, project):
    (project.root / "configs/mine/red.yaml").write_text("team: red\nticker: IBM\n")
    with pytest.raises(ConfigError, match=r"not committed: .*red\.yaml"):
        create_git_branch(project, "red")
    assert git_branches(project) == []


def test_results_that_git_does_not_track_do_not_matter(git, project):
    (project.root / "notes.txt").write_text("mine")
    create_git_branch(project, "red")
    assert (project.root / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("first", "second"), [("red", "red/IBM"), ("red/IBM", "red")])
def test_a_team_and_its_ticker_cannot_both_be_git_branches(git, project, first, second):
    create_git_branch(project, first)
    with pytest.raises(ConfigError, match=f"git cannot hold {second} beside {first}"):
        create_git_branch(project, second)


def test_the_same_branch_twice(git, project):
    create_git_branch(project, "red")
    with pytest.raises(ConfigError, match="git has a branch red already") as caught:
        create_git_branch(project, "red")
    assert caught.value.hint == "go there with: git switch red"


def test_other_git_branches_are_none_of_ours(git, project):
    git("branch", "feature")
    git("branch", "blue")  # its params.yaml holds main
    assert git_branches(project) == []
    assert sync(project, "main") == []


def test_no_repository(tmp_path):
    project = make_project(tmp_path, FILES)
    assert git_branches(project) == []
    with pytest.raises(ConfigError, match="no git repository with a commit"):
        create_git_branch(project, "red")


def test_main_may_be_called_master_but_not_otherwise(git, project):
    assert main_branch(project) == "main"
    git("branch", "--move", "main", "master")
    assert main_branch(project) == "master"
    git("branch", "--move", "master", "trunk")
    with pytest.raises(ConfigError):
        main_branch(project)
