"""The code and data used by a training: the git commit, and DVC's hash of the data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml


def git_commit(root: Path) -> str:
    """Full hash of the commit checked out at `root`, followed by `+dirty` if a tracked file was changed.

    `dvc.lock` does not count: DVC rewrites it after every stage, and `data_hash` records its content.

    It is "" if there is no git, no repository or no commit yet.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return ""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)dvc.lock")
    return f"{head}+dirty" if changed else head


def _git(root: Path, *arguments: str) -> str:
    """Output of git, stripped; "" when git is not installed or fails."""
    # with optional locks, git status could make a `git commit` fail at the same time
    command = ["git", "-C", str(root), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def data_hash(lock: Path, stage: str) -> str:
    """MD5 of the first output of `stage` (for example `featurize@red-aapl`) in `dvc.lock`.

    It is `<md5>` of a file, `<md5>.dir` of a folder, and "" when the file or the stage is missing.
    """
    try:
        content = yaml.safe_load(lock.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError):
        return ""
    try:
        return str(content["stages"][stage]["outs"][0]["md5"])
    except (KeyError, IndexError, TypeError):
        return ""
