"""Run git commands in a folder, and build commits without a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlops_cli.errors import ConfigError

# set inside git hooks; with them git would use the hook's repository instead of `folder`
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


class Git:
    """git, run in one folder.

    Raises:
        ConfigError: git is not installed.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("git")
        if program is None:
            raise ConfigError("git is not installed, or not on the PATH", "install it, e.g. from git-scm.com")
        self.program = program
        self.folder = folder

    def __call__(self, *arguments: str, text: str | None = None, index: Path | None = None) -> str:
        """Run git with `text` on its standard input; return what it printed, without the last newline.

        `index` is used instead of the repository's own index.

        Raises:
            ConfigError: git failed; the message contains git's own.
        """
        done = self.run(*arguments, text=text, index=index)
        if done.returncode != 0:
            output = (done.stderr or done.stdout).strip()
            raise ConfigError(f"git {arguments[0]} failed in {self.folder}: {output}", _hint(output))
        return done.stdout.removesuffix("\n")

    def run(
        self, *arguments: str, text: str | None = None, index: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run git and return its output and exit status, without raising if it fails."""
        return subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=_environment(index),
            check=False,
        )

    def exists(self, revision: str) -> bool:
        """Whether a revision or an object exists."""
        return self.run("rev-parse", "--verify", "--quiet", revision).returncode == 0

    def show(self, revision: str, path: str) -> str | None:
        """A file's text as of a revision; None if it is not there. `path` starts at the repository's root."""
        done = self.run("show", f"{revision}:{path}")
        return done.stdout if done.returncode == 0 else None

    @contextmanager
    def tree(self, start: str) -> Iterator[Tree]:
        """Build a tree from the files of revision `start` in a temporary index.

        The repository's index and the working tree do not change.
        """
        with tempfile.TemporaryDirectory() as folder:
            index = Path(folder) / "index"
            self("read-tree", start, index=index)
            yield Tree(self, index)


class Tree:
    """A tree of files under construction; made by `Git.tree`."""

    def __init__(self, git: Git, index: Path) -> None:
        self.git = git
        self.index = index

    def put(self, path: str, text: str | None) -> None:
        """Write a file, or remove it if `text` is None. `path` starts at the repository's root."""
        if text is None:
            self.git("update-index", "--force-remove", "--", path, index=self.index)
            return
        blob = self.git("hash-object", "-w", "--stdin", text=text)
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", index=self.index)

    def commit(self, message: str, *parents: str) -> str:
        """Commit the tree and return the commit's hash. No branch changes."""
        tree = self.git("write-tree", index=self.index)
        return self.git("commit-tree", tree, *(word for parent in parents for word in ("-p", parent)), "-m", message)


def _environment(index: Path | None) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _HOOK_VARIABLES}
    return {**inherited, "LC_ALL": "C", **({"GIT_INDEX_FILE": str(index)} if index else {})}


def _hint(output: str) -> str:
    if "tell me who you are" in output or "empty ident" in output:
        return 'tell git who you are: git config --global user.name "..." and user.email "..."'
    return "see the output of: git status"
