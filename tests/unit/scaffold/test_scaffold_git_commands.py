"""Running the real git: what it prints, how it fails, and trees that leave index and files alone."""

from __future__ import annotations

import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.git import Git


@pytest.fixture
def git(tmp_path, monkeypatch) -> Git:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Tester\n\temail = tester@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = tmp_path / "repository"
    folder.mkdir()
    git = Git(folder)
    git("init", "--quiet", "--initial-branch=main")
    (folder / "file.txt").write_text("first\n")
    git("add", "file.txt")
    git("commit", "--quiet", "-m", "start")
    return git


def test_output_loses_only_its_last_newline(git):
    assert git("hash-object", "-w", "--stdin", text="a\n\n")
    assert git("show", "HEAD:file.txt") == "first"


def test_a_failure_says_which_command_and_where(git):
    with pytest.raises(ConfigError, match=r"git checkout failed in .*repository") as caught:
        git("checkout", "nowhere")
    assert "nowhere" in caught.value.message


def test_no_name_and_address_has_a_hint_of_its_own(git, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.write_text("[user]\n\tuseConfigOnly = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(empty))
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError) as caught:
        git("commit", "--allow-empty", "-m", "more")
    assert "git config --global user.name" in caught.value.hint


def test_git_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git is not installed"):
        Git(tmp_path)


def test_holds(git):
    assert git.exists("HEAD")
    assert git.exists("refs/heads/main")
    assert not git.exists("refs/heads/other")


def test_show_gives_none_for_what_is_not_there(git):
    assert git.show("HEAD", "file.txt") == "first\n"
    assert git.show("HEAD", "other.txt") is None
    assert git.show("nowhere", "file.txt") is None


def test_the_repository_of_a_hook_is_not_ours(git, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere-index"))
    assert git.show("HEAD", "file.txt") == "first\n"
    assert git("status", "--porcelain") == ""


def test_a_tree_changes_neither_index_nor_files_nor_branch(git):
    before = git("rev-parse", "main")
    with git.tree("HEAD") as tree:
        tree.put("folder/new.txt", "new\n")
        tree.put("file.txt", None)
        made = tree.commit("made", before)
    assert git.show(made, "folder/new.txt") == "new\n"
    assert git.show(made, "file.txt") is None
    assert git("rev-parse", f"{made}^") == before
    assert git("rev-parse", "main") == before
    assert git("status", "--porcelain") == ""
    assert (git.folder / "file.txt").read_text() == "first\n"


def test_a_tree_takes_out_what_it_never_had(git):
    with git.tree("HEAD") as tree:
        tree.put("never.txt", None)
        made = tree.commit("same", "HEAD")
    assert git("diff", "--name-only", "HEAD", made) == ""


def test_a_merge_has_its_parents_in_order(git):
    first = git("rev-parse", "HEAD")
    git("commit", "--quiet", "--allow-empty", "-m", "second")
    second = git("rev-parse", "HEAD")
    with git.tree("HEAD") as tree:
        made = tree.commit("merge", first, second)
    assert git("show", "--no-patch", "--format=%P", made).split() == [first, second]
