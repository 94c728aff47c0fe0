"""Which code and which data: real git repositories and real lock files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlops_cli.tracking.provenance import data_hash, git_commit

LOCK = """\
schema: '2.0'
stages:
  ingest@red-aapl:
    cmd: mlops ingest --branch red-aapl
    outs:
    - path: data/prices/red-aapl
      hash: md5
      md5: 0123.dir
  featurize@red-aapl:
    cmd: mlops featurize --branch red-aapl
    deps:
    - path: data/prices/red-aapl
      hash: md5
      md5: 0123.dir
      size: 100
      nfiles: 2
    outs:
    - path: data/features/red-aapl
      hash: md5
      md5: 4567.dir
      size: 200
      nfiles: 2
    - path: second.csv
      md5: '89'
  check:
    cmd: mlops check
"""


def git(folder: Path, *arguments: str) -> str:
    nobody = {
        "GIT_AUTHOR_NAME": "n",
        "GIT_AUTHOR_EMAIL": "n@x",
        "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "n@x",
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **nobody},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of params.yaml and dvc.lock; the machine's own repositories are out of sight."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "params.yaml").write_text("seed: 1\n")
    (folder / "dvc.lock").write_text(LOCK)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_a_clean_tree_gives_the_full_hash(repository: Path) -> None:
    assert git_commit(repository) == git(repository, "rev-parse", "HEAD")
    assert len(git_commit(repository)) == 40


def test_a_changed_tracked_file_makes_it_dirty(repository: Path) -> None:
    (repository / "params.yaml").write_text("seed: 2\n")
    assert git_commit(repository) == git(repository, "rev-parse", "HEAD") + "+dirty"


def test_a_staged_change_makes_it_dirty(repository: Path) -> None:
    (repository / "params.yaml").write_text("seed: 2\n")
    git(repository, "add", "params.yaml")
    assert git_commit(repository).endswith("+dirty")


def test_what_a_run_itself_changes_does_not(repository: Path) -> None:
    (repository / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (repository / "untracked.txt").write_text("x")
    assert git_commit(repository) == git(repository, "rev-parse", "HEAD")


def test_a_project_inside_a_repository_sees_changes_beside_it(repository: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    assert not git_commit(inner).endswith("+dirty")
    (repository / "params.yaml").write_text("seed: 2\n")
    assert git_commit(inner).endswith("+dirty")


def test_outside_git_there_is_no_commit(repository: Path) -> None:
    outside = repository.parent / "outside"
    outside.mkdir()
    assert git_commit(outside) == ""
    assert git_commit(repository.parent / "nowhere") == ""


def test_before_the_first_commit_there_is_none(repository: Path) -> None:
    fresh = repository.parent / "fresh"
    fresh.mkdir()
    git(fresh, "init", "--quiet")
    assert git_commit(fresh) == ""


def test_without_git_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository.parent / "empty"))
    assert git_commit(repository) == ""


def test_the_data_hash_is_that_of_the_first_out(repository: Path) -> None:
    assert data_hash(repository / "dvc.lock", "featurize@red-aapl") == "4567.dir"
    assert data_hash(repository / "dvc.lock", "ingest@red-aapl") == "0123.dir"


@pytest.mark.parametrize("stage", ["featurize@blue-ibm", "check", ""])
def test_an_unknown_stage_has_no_hash(repository: Path, stage: str) -> None:
    assert data_hash(repository / "dvc.lock", stage) == ""


@pytest.mark.parametrize(
    "content", ["", "[]", "stages:", "stages: {train: {outs: []}}", "stages: {train: {outs: [{path: x}]}}", "a: [b"]
)
def test_a_lock_that_does_not_know_gives_no_hash(tmp_path: Path, content: str) -> None:
    lock = tmp_path / "dvc.lock"
    assert data_hash(lock, "train") == ""
    lock.write_text(content)
    assert data_hash(lock, "train") == ""
