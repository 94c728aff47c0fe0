"""Running the real git, and commits built without a checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.git import Git

IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository with one commit on main: a.txt and sub/b.txt."""
    git = Git(tmp_path)
    git("init", "-q", "-b", "main")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "sub" / "b.txt").write_text("b\n")
    git("add", "-A")
    git("commit", "-q", "-m", "start")
    return git


def test_only_the_last_newline_goes(git: Git) -> None:
    (git.folder / "a.txt").write_text("a\n\n")
    git("commit", "-qam", "blank line")
    assert git("show", "HEAD:a.txt") == "a\n"
    assert git("log", "--format=%s") == "blank line\nstart"


def test_a_failure_carries_gits_own_words(git: Git) -> None:
    with pytest.raises(ConfigError) as raised:
        git("switch", "nowhere")
    assert raised.value.message.startswith(f"git switch failed in {git.folder}: fatal: invalid reference: nowhere")
    assert raised.value.hint == "see the output of: git status"


def test_a_failure_may_be_looked_at(git: Git) -> None:
    assert git.run("rev-parse", "--verify", "--quiet", "nowhere").returncode != 0


@pytest.mark.parametrize("said", ["empty identity", "config only"])
def test_a_missing_identity_says_how_to_set_it(git: Git, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    for name in IDENTITY:
        monkeypatch.delenv(name)
    git("config", "user.useConfigOnly", "true")
    if said == "empty identity":
        git("config", "user.email", "t@example.org")
        git("config", "user.name", "")
    with pytest.raises(ConfigError) as raised:
        git("commit", "--allow-empty", "-qm", "nobody")
    assert "git config --global user.name" in raised.value.hint


def test_what_is_there_and_what_is_not(git: Git) -> None:
    assert git.exists("HEAD")
    assert git.exists("refs/heads/main")
    assert not git.exists("refs/heads/other")
    assert git.show("HEAD", "sub/b.txt") == "b\n"
    assert git.show("HEAD", "sub/c.txt") is None
    assert git.show("nowhere", "a.txt") is None


def test_a_file_that_is_no_utf8_comes_back_as_it_was(git: Git) -> None:
    raw = b"caf\xe9\n"
    (git.folder / "a.txt").write_bytes(raw)
    git("commit", "-qam", "latin")
    text = git.show("HEAD", "a.txt")
    assert text is not None
    assert text.encode("utf-8", "surrogateescape") == raw
    with git.tree("HEAD") as tree:
        tree.put("copy.txt", text)
        commit = tree.commit("copy", git("rev-parse", "HEAD"))
    assert git("rev-parse", f"{commit}:copy.txt") == git("rev-parse", "HEAD:a.txt")


def test_a_commit_from_a_tree_touches_nothing_that_is_checked_out(git: Git) -> None:
    head = git("rev-parse", "HEAD")
    (git.folder / "new.txt").write_text("untracked\n")
    (git.folder / "a.txt").write_text("staged\n")
    git("add", "a.txt")
    before = git("status", "--porcelain")
    with git.tree("HEAD") as tree:
        tree.put("sub/deep/c.txt", "c\n")
        tree.put("sub/b.txt", None)
        commit = tree.commit("built", head)
    assert git("status", "--porcelain") == before
    assert git("rev-parse", "HEAD") == head
    assert git("ls-tree", "-r", "--name-only", commit).splitlines() == ["a.txt", "sub/deep/c.txt"]
    assert git.show(commit, "a.txt") == "a\n", "what is staged is not in it"
    assert git("rev-parse", f"{commit}^") == head
    assert git("log", "-1", "--format=%s", commit) == "built"


def test_removing_a_file_that_is_not_there_is_no_mistake(git: Git) -> None:
    with git.tree("HEAD") as tree:
        tree.put("never.txt", None)
        commit = tree.commit("same", "HEAD")
    assert git("rev-parse", f"{commit}^{{tree}}") == git("rev-parse", "HEAD^{tree}")


def test_a_commit_may_have_two_parents(git: Git) -> None:
    git("branch", "other")
    git("commit", "--allow-empty", "-qm", "next")
    with git.tree("HEAD") as tree:
        commit = tree.commit("merge", git("rev-parse", "main"), git("rev-parse", "other"))
    assert len(git("rev-list", "--parents", "-1", commit).split()) == 3


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_the_variables_of_a_hook_do_not_lead_astray(
    git: Git, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path_factory.mktemp("elsewhere")))
    assert git("ls-files").splitlines() == ["a.txt", "sub/b.txt"]


def test_messages_are_english_whatever_the_language(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    assert "nothing to commit" in git.run("commit", "-m", "nothing").stdout


def test_git_that_waits_for_input_gets_none(git: Git) -> None:
    assert (
        git("hash-object", "--stdin")
        == subprocess.run(["git", "hash-object", "--stdin"], input=b"", capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git is not installed"):
        Git(tmp_path)
