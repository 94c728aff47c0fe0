"""Branches: cut in params.yaml, and kept in git with the real git and the real dvc."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.editing.params import set_values
from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.branches import create_branch
from mlops_cli.scaffold.git_branches import GitBranch, create_git_branch, git_branches, main_branch, sync
from mlops_cli.scaffold.init import Template, start_project
from tests.fakes.stub_mlops import stub_environment
from tests.fakes.warm_dvc import WarmDvc, warm_dvc


@pytest.fixture(autouse=True)
def git_identity(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("git") / "config"
    path.write_text("[user]\n\tname = Tester\n\temail = tester@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return path


@pytest.fixture
def demo(tmp_path) -> Project:
    start_project(tmp_path / "demo", Template.DEMO)
    return Project.at(tmp_path / "demo")


def git(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=project.root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


def commit(project: Project, message: str = "change") -> None:
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", message)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def names(project: Project) -> dict[str, list[str]]:
    branches = load_branches(project, load_params(project))
    return {name: [m.name for m in branch.models] for name, branch in branches.items()}


def mlops(project: Project, *arguments: str):
    return CliRunner().invoke(app, [*arguments, "--project", str(project.root)])


# in params.yaml

REST = ["blue-aapl", "blue-goog", "blue-ibm", "blue-msft", "red-goog", "red-ibm", "red-msft"]


def test_one_stock_of_one_team_is_cut_out(demo):
    before = demo.params.read_text()
    assert create_branch(demo, "red/aapl") == [
        "params.yaml: branches.red-aapl: added, 1 model",
        "params.yaml: branches.main: 1 model taken out",
    ]
    assert names(demo) == {"main": REST, "red-aapl": ["red-aapl"]}
    assert demo.params.read_text() == before.replace(
        "    collection: [configs/demo]\n",
        "    collection: [configs/demo]\n    exclude: [red-aapl]\n"
        "  red-aapl:\n    collection: [configs/demo/red.yaml]\n    only: [red-aapl]\n",
    )


def test_a_teams_next_stock_comes_along(demo):
    create_branch(demo, "red")
    assert load_params(demo).branches["red"].only == ("red-*",)
    rewrite(demo.configs / "demo" / "red.yaml", "MSFT]", "MSFT, FB]")
    assert names(demo)["red"] == ["red-aapl", "red-goog", "red-ibm", "red-msft", "red-fb"]
    assert "red-fb" not in names(demo)["main"]


def test_a_team_whose_name_begins_anothers_is_cut_by_name(demo):
    (demo.configs / "demo" / "hot.yaml").write_text("team: red-hot\nticker: IBM\n")
    create_branch(demo, "red")
    assert load_params(demo).branches["red"].only == ("red-aapl", "red-goog", "red-ibm", "red-msft")
    assert "red-hot-ibm" in names(demo)["main"]


def test_a_branch_that_is_left_empty_goes(demo):
    create_branch(demo, "red")
    assert create_branch(demo, "blue")[1] == "params.yaml: branches.main: removed, it is empty now"
    assert sorted(names(demo)) == ["blue", "red"]
    assert "# Where prices come from" in demo.params.read_text()


def test_many_models_on_one_ticker_go_together(demo):
    (demo.configs / "demo" / "more.yaml").write_text("team: red\nticker: BRK.B\n")
    (demo.configs / "demo" / "deep.yaml").write_text("team: red\nticker: BRK.B\nsuffix: deep\n")
    create_branch(demo, "red/brk.b")
    assert names(demo)["red-brk-b"] == ["red-brk.b-deep", "red-brk.b"]
    assert load_params(demo).branches["red-brk-b"].collection == ("configs/demo/deep.yaml", "configs/demo/more.yaml")


def test_what_the_old_branch_overrides_holds_in_the_new_one(demo):
    set_values(demo, ["branches.main.training.shrinkage=0.5", "branches.main.period.start=2001-01-01"])
    create_branch(demo, "red/IBM")
    spec = load_params(demo).branches["red-ibm"]
    assert (spec.training, spec.period, spec.source) == ({"shrinkage": 0.5}, {"start": "2001-01-01"}, {})
    create_branch(demo, "red/AAPL")
    set_values(demo, ["branches.red-ibm.seed=3"])
    with pytest.raises(ConfigError, match="branches main, red-ibm, red-aapl hold these models and differ in"):
        create_branch(demo, "red")


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ("red/APPL", "no model of 'red/APPL' in any branch of params.yaml, did you mean red/AAPL?"),
        ("green", "no model of 'green'"),
        ("", "no model of ''"),
        ("blue/IBM", "branches.blue-ibm exists already"),
    ],
)
def test_what_cannot_be_cut_changes_nothing(demo, selection, said):
    create_branch(demo, "blue/IBM")
    before = demo.params.read_text()
    with pytest.raises(ConfigError) as raised:
        create_branch(demo, selection)
    assert said in raised.value.message
    assert demo.params.read_text() == before


# in git


def test_a_git_branch_holds_its_models_alone_and_nothing_changes_here(demo):
    before = demo.params.read_text()
    assert create_git_branch(demo, "red/aapl") == GitBranch("red/AAPL", "red-aapl", current=False)
    assert demo.params.read_text() == before
    assert git(demo, "status", "--porcelain") == ""
    assert git(demo, "symbolic-ref", "--short", "HEAD") == "main"
    text = git(demo, "show", "red/AAPL:params.yaml") + "\n"
    assert text == before.replace(
        "  main:\n    collection: [configs/demo]\n",
        "  red-aapl:\n    collection: [configs/demo/red.yaml]\n    only: [red-aapl]\n",
    )
    assert git(demo, "diff", "--name-only", "main", "red/AAPL") == "params.yaml"
    assert git(demo, "rev-parse", "red/AAPL^") == git(demo, "rev-parse", "main")
    git(demo, "switch", "-q", "red/AAPL")
    assert names(demo) == {"red-aapl": ["red-aapl"]}


def test_the_lock_keeps_the_branchs_own_stages(demo):
    create_branch(demo, "red/AAPL")
    lock = {
        "schema": "2.0",
        "stages": {
            stage: {"cmd": "x", "outs": [{"path": "y", "md5": "12345678901234567890123456789012"}]}
            for stage in ("train@main", "train@red-aapl", "train@x-red-aapl", "simulate")
        },
    }
    demo.lock.write_text(yaml.safe_dump(lock, sort_keys=False))
    commit(demo)
    create_git_branch(demo, "red/AAPL")
    create_git_branch(demo, "blue")
    kept = yaml.safe_load(git(demo, "show", "red/AAPL:dvc.lock"))
    assert kept == {"schema": "2.0", "stages": {"train@red-aapl": lock["stages"]["train@red-aapl"]}}
    assert "dvc.lock" not in git(demo, "ls-tree", "--name-only", "blue").splitlines()
    assert yaml.safe_load(git(demo, "show", "red/AAPL:params.yaml"))["branches"] == {
        "red-aapl": {"collection": ["configs/demo/red.yaml"], "only": ["red-aapl"]}
    }


def test_signs_that_git_forbids(demo):
    rewrite(demo.configs / "demo" / "red.yaml", "MSFT]", "MSFT, ^GSPC, BRK.B]")
    commit(demo)
    assert create_git_branch(demo, "red/^gspc") == GitBranch("red/GSPC", "red-gspc", current=False)
    assert create_git_branch(demo, "red/brk.b") == GitBranch("red/BRK.B", "red-brk-b", current=False)
    assert [branch.title for branch in git_branches(demo)] == ["red/BRK.B", "red/GSPC"]


def test_refusals(demo, tmp_path, git_identity):
    create_git_branch(demo, "red/AAPL")
    for selection, said in (
        ("red/AAPL", "git has a branch red/AAPL already"),
        ("red", "git cannot hold red beside red/AAPL"),
        ("red/APPL", "did you mean red/AAPL?"),
    ):
        with pytest.raises(ConfigError) as raised:
            create_git_branch(demo, selection)
        assert said in raised.value.message
    create_git_branch(demo, "blue")
    with pytest.raises(ConfigError, match="git cannot hold blue/IBM beside blue"):
        create_git_branch(demo, "blue/IBM")
    rewrite(demo.base, "epochs: 20", "epochs: 21")
    with pytest.raises(ConfigError, match=r"not committed: configs/base\.yaml"):
        create_git_branch(demo, "red/IBM")
    commit(demo)
    git_identity.write_text("[user]\n\tuseConfigOnly = true\n")
    with pytest.raises(ConfigError) as raised:
        create_git_branch(demo, "red/IBM")
    assert "git config --global user.name" in raised.value.hint
    assert [branch.title for branch in git_branches(demo)] == ["blue", "red/AAPL"]


def test_without_a_repository(tmp_path):
    (tmp_path / "params.yaml").write_text("branches: {}\n")
    project = Project.at(tmp_path)
    with pytest.raises(ConfigError, match="no git repository with a commit"):
        create_git_branch(project, "red")
    assert git_branches(project) == []
    git(project, "init", "-q", "-b", "trunk")
    with pytest.raises(ConfigError, match="no git repository with a commit"):
        create_git_branch(project, "red")
    commit(project)
    with pytest.raises(ConfigError, match="git has no branch main or master"):
        main_branch(project)


def test_only_branches_of_ours_are_listed(demo):
    create_git_branch(demo, "red/AAPL")
    git(demo, "branch", "fix-red", "red/AAPL")
    git(demo, "branch", "feature")
    git(demo, "switch", "-q", "--orphan", "notes")
    (demo.root / "notes.txt").write_text("no params.yaml here")
    commit(demo)
    git(demo, "switch", "-q", "red/AAPL")
    assert git_branches(demo) == [GitBranch("red/AAPL", "red-aapl", current=True)]


def test_sync_carries_mains_code_and_keeps_each_branchs_own(demo):
    create_git_branch(demo, "red/AAPL")
    create_git_branch(demo, "blue")
    git(demo, "switch", "-q", "red/AAPL")
    rewrite(demo.params, "shrinkage: pooled", "shrinkage: 0.5")
    demo.lock.write_text("schema: '2.0'\nstages: {}\n")
    commit(demo, "own")
    git(demo, "switch", "-q", "main")
    rewrite(demo.base, "epochs: 20", "epochs: 30")
    rewrite(demo.params, "seed: 7", "seed: 8")
    rewrite(demo.params, "[configs/demo]", "[configs/demo, configs/many]")
    demo.lock.write_text("schema: '2.0'\nstages: {x: {cmd: y}}\n")
    commit(demo, "more epochs")
    done = sync(demo, "main")
    assert [(one.title, one.status) for one in done] == [("blue", "merged"), ("red/AAPL", "merged")]
    assert git(demo, "status", "--porcelain") == ""
    assert git(demo, "diff", "--name-only", "main", "red/AAPL").splitlines() == ["dvc.lock", "params.yaml"]
    red = yaml.safe_load(git(demo, "show", "red/AAPL:params.yaml"))
    assert (red["seed"], red["training"]["shrinkage"]) == (8, 0.5)
    assert list(red["branches"]) == ["red-aapl"]
    assert git(demo, "show", "red/AAPL:dvc.lock") == "schema: '2.0'\nstages: {}"
    assert "dvc.lock" not in git(demo, "ls-tree", "--name-only", "blue").splitlines()
    parents = git(demo, "rev-list", "--parents", "-1", "red/AAPL").split()[1:]
    assert parents[1] == git(demo, "rev-parse", "main")
    assert [one.status for one in sync(demo, "main")] == ["up to date", "up to date"]
    git(demo, "fsck", "--strict")


def test_a_conflict_is_reported_and_leaves_the_branch(demo):
    for title in ("red/AAPL", "red/IBM", "red/GOOG"):
        create_git_branch(demo, title)
    for title, path, old, new in (
        ("red/AAPL", demo.base, "epochs: 20", "epochs: 99"),
        ("red/IBM", demo.params, "seed: 7", "seed: 9"),
    ):
        git(demo, "switch", "-q", title)
        rewrite(path, old, new)
        commit(demo, "own")
    git(demo, "switch", "-q", "main")
    rewrite(demo.base, "epochs: 20", "epochs: 30")
    rewrite(demo.params, "seed: 7", "seed: 8")
    commit(demo)
    before = git(demo, "rev-parse", "red/AAPL", "red/IBM")
    done = {one.title: (one.status, one.conflicts) for one in sync(demo, "main")}
    assert done == {
        "red/AAPL": ("conflict", ("configs/base.yaml",)),
        "red/IBM": ("conflict", ("params.yaml",)),
        "red/GOOG": ("merged", ()),
    }
    assert git(demo, "rev-parse", "red/AAPL", "red/IBM") == before
    assert git(demo, "status", "--porcelain") == ""


def test_a_branch_that_is_checked_out_is_left(demo):
    create_git_branch(demo, "red/AAPL")
    (demo.root / "new.txt").write_text("x")
    commit(demo)
    git(demo, "worktree", "add", "-q", str(demo.root.parent / "other"), "red/AAPL")
    assert [one.status for one in sync(demo, "main")] == ["checked out"]
    with pytest.raises(ConfigError, match="no branch 'mian'"):
        sync(demo, "mian")


def test_a_merge_that_makes_no_valid_params_is_refused(demo):
    create_git_branch(demo, "red/AAPL")
    git(demo, "switch", "-q", "red/AAPL")
    rewrite(demo.params, "  end: null", '  end: "2005-01-01"')
    commit(demo)
    git(demo, "switch", "-q", "main")
    rewrite(demo.params, "  shrinkage: pooled", "  shrinkage: pooled\nsede: 1")
    commit(demo)
    (one,) = sync(demo, "main")
    assert one.status == "conflict"
    assert "sede: unknown key" in one.conflicts[0]


def test_a_project_in_a_folder_of_a_repository(tmp_path):
    outer = tmp_path / "outer"
    start_project(outer / "stocks", Template.DEMO)
    (outer / "stocks" / ".git").rename(tmp_path / "unused")
    project = Project.at(outer / "stocks")
    (outer / "params.yaml").write_text("somebody: else\n")
    subprocess.run(["git", "init", "-q", "-b", "main", str(outer)], check=True)
    git(project, "add", "-A", "..")
    git(project, "commit", "-q", "-m", "all")
    create_git_branch(project, "red/AAPL")
    assert git(project, "diff", "--name-only", "main", "red/AAPL") == "stocks/params.yaml"
    rewrite(project.base, "epochs: 20", "epochs: 30")
    commit(project)
    assert [one.status for one in sync(project, "main")] == ["merged"]
    assert git(project, "diff", "--name-only", "main", "red/AAPL") == "stocks/params.yaml"


def test_the_commands(demo):
    done = mlops(demo, "branch", "create", "red/AAPL", "--git")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "git switch red/AAPL",
        "dvc checkout --allow-missing",
        "mlops run",
        "git add dvc.lock",
        'git commit -m "Run red-aapl"',
    ]
    done = mlops(demo, "branch", "create", "blue")
    assert (done.stdout, done.exit_code) == ("mlops run\n", 0)
    listed = json.loads(mlops(demo, "branch", "list", "--json").stdout)
    assert {name: len(models) for name, models in listed["branches"].items()} == {"main": 4, "blue": 4}
    assert listed["git"] == [{"title": "red/AAPL", "name": "red-aapl", "current": False}]
    assert "red/AAPL" in mlops(demo, "branch", "list").stdout
    commit(demo)
    done = mlops(demo, "branch", "sync")
    assert (done.exit_code, "merged" in done.stdout) == (0, True)
    git(demo, "switch", "-q", "red/AAPL")
    rewrite(demo.base, "epochs: 20", "epochs: 99")
    commit(demo)
    git(demo, "switch", "-q", "main")
    rewrite(demo.base, "epochs: 20", "epochs: 30")
    commit(demo)
    done = mlops(demo, "branch", "sync", "--json")
    assert done.exit_code == 9
    assert json.loads(done.stdout) == [{"title": "red/AAPL", "status": "conflict", "conflicts": ["configs/base.yaml"]}]
    assert "git switch red/AAPL && git merge main" in done.stderr
    assert mlops(demo, "branch", "create", "green").exit_code == 3


@pytest.fixture
def running() -> Iterator[WarmDvc]:
    with warm_dvc() as running:
        yield running


@pytest.mark.slow
def test_switching_git_branches_brings_each_ones_models_back(demo, tmp_path, running):
    environment = stub_environment(tmp_path / "bin")

    def dvc(*arguments: str) -> str:
        done = running(demo.root, environment, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state() -> dict[str, str]:
        found = {path.parent.parent.name: path.read_text() for path in demo.root.glob("models/*/m/weights")}
        return {**found, "report": (demo.report("demo") / "forecasts.parquet").read_text()}

    dvc("repro")
    commit(demo, "run")
    on_main = state()
    create_git_branch(demo, "red/AAPL")
    git(demo, "switch", "-q", "red/AAPL")
    dvc("checkout", "--allow-missing")
    assert not (demo.root / "models" / "main").exists(), "results of the other branch are out of the way"
    dvc("repro")
    assert git(demo, "status", "--porcelain") == "?? dvc.lock"
    commit(demo, "run")
    on_red = state()
    assert set(on_red) == {"red-aapl", "report"}
    assert on_red["report"] != on_main["report"]
    for title, expected in (("main", on_main), ("red/AAPL", on_red)):
        git(demo, "switch", "-q", title)
        dvc("checkout")
        assert state() == expected
        assert "up to date" in dvc("status")
        assert git(demo, "status", "--porcelain") == ""
    # code moves on in main; the branch gets it, and knows that it must run again
    git(demo, "switch", "-q", "main")
    rewrite(demo.base, "epochs: 20", "epochs: 30")
    commit(demo)
    assert [one.status for one in sync(demo, "main")] == ["merged"]
    git(demo, "switch", "-q", "red/AAPL")
    dvc("checkout")
    assert state() == on_red
    assert "train@red-aapl" in dvc("status")
