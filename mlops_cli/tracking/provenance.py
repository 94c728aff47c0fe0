"""Which code and which data a training came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml


def git_commit(root: Path) -> str:
    """Full hash of the commit checked out at `root`, with `+dirty` behind it when a tracked file was changed.

    `dvc.lock` does not count: DVC itself rewrites it after every stage, and what it says is kept as the data hash.

    Returns:
        The hash, or "" where there is no git, no repository or no commit yet.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return ""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)dvc.lock")
    return f"{head}+dirty" if changed else head


def _git(root: Path, *arguments: str) -> str:
    """What git prints, stripped; "" when it is not installed or says no."""
    # status would otherwise take the index lock and make a `git commit` that runs meanwhile fail
    command = ["git", "-C", str(root), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def data_hash(lock: Path, stage: str) -> str:
    """MD5 of the first out of `stage` (e.g. `featurize@red-aapl`) as `dvc.lock` has it.

    Returns:
        DVC's hash (`<md5>` of a file, `<md5>.dir` of a folder), or "" when the lock or the stage is not there yet.
    """
    try:
        content = yaml.safe_load(lock.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError):
        return ""
    try:
        return str(content["stages"][stage]["outs"][0]["md5"])
    except (KeyError, IndexError, TypeError):
        return ""
