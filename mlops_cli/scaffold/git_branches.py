"""git branches that each have one branch of params.yaml, and merging main into them.

Nothing is checked out: commits are made from trees, so the working tree with its untracked results does not change.
A git branch is ours if its params.yaml has exactly one branch, named like it (`red-aapl` in `red/AAPL`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops_cli.config.editing.params import open_params, validated
from mlops_cli.config.editing.yaml_document import YamlDocument, ruamel_value
from mlops_cli.config.load import load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import branch_slug
from mlops_cli.errors import ConfigError, bounded
from mlops_cli.scaffold.branches import plan_cut, title_of
from mlops_cli.scaffold.git import Git

_SOURCES = ("configs", "simulation", "dvc.yaml", "params.yaml", "dvc.lock")
_MAIN = ("main", "master")


@dataclass(frozen=True)
class GitBranch:
    """A git branch (`title`, such as `red/AAPL`) with one branch of params.yaml (`name`, such as `red-aapl`)."""

    title: str
    name: str
    current: bool


@dataclass(frozen=True)
class Synced:
    """What `sync` did with a git branch; one in conflict or checked out was not changed.

    `conflicts` are the files in conflict, or the reason why the merged params.yaml is not valid.
    """

    title: str
    status: Literal["merged", "up to date", "conflict", "checked out"]
    conflicts: tuple[str, ...] = ()

    @property
    def unmerged(self) -> bool:
        """Whether the user must merge this branch by hand."""
        return self.status in ("conflict", "checked out")


def create_git_branch(project: Project, selection: str) -> GitBranch:
    """Make a git branch from HEAD whose params.yaml has only the models of a selection (`red` or `red/AAPL`).

    Neither the project's params.yaml nor its checked-out branch changes.

    Raises:
        ConfigError: there is no git repository or no commit, configs are not committed, no model is selected, or the
            git branch exists.
    """
    git = Git(project.root)
    _needs_commit(git)
    params = load_params(project)
    title = title_of(selection).replace("^", "")  # the one character of tickers that git forbids in names
    name = branch_slug(title)
    _needs_free_name(git, title)
    document = open_params(project)
    spec = document.get(["branches", name]) if name in params.branches else plan_cut(project, params, selection).spec
    document.change("branches", lambda block: block.update(ruamel_value({"branches": {name: spec}})))
    validated(document)
    inside = git("rev-parse", "--show-prefix")
    with git.tree("HEAD") as tree:
        tree.put(f"{inside}params.yaml", document.text)
        tree.put(f"{inside}dvc.lock", _lock_of(git.show("HEAD", f"{inside}dvc.lock"), name))
        commit = tree.commit(f"Branch {title}: {name} alone in params.yaml", git("rev-parse", "HEAD"))
    git("branch", "--no-track", title, commit)
    return GitBranch(title, name, current=False)


def git_branches(project: Project) -> list[GitBranch]:
    """List the git branches that are ours; empty without a git repository."""
    git = Git(project.root)
    inside = git.run("rev-parse", "--show-prefix")
    if inside.returncode != 0:
        return []
    current = git.run("symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    titles = git("for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
    path = f"{inside.stdout.strip()}params.yaml"
    return [
        GitBranch(title, branch_slug(title), title == current)
        for title in titles
        if title not in _MAIN and _sole_branch(git.show(title, path)) == branch_slug(title)
    ]


def main_branch(project: Project) -> str:
    """The git branch that the others take their code from: `main`, or `master`.

    Raises:
        ConfigError: there is neither.
    """
    git = Git(project.root)
    for title in _MAIN:
        if git.exists(f"refs/heads/{title}"):
            return title
    raise ConfigError(f"git has no branch {' or '.join(_MAIN)}", "name the branch to take from: --from BRANCH")


def sync(project: Project, source: str) -> list[Synced]:
    """Merge a git branch into every git branch of ours; each keeps its `branches:` and its dvc.lock.

    A branch that has conflicts or is checked out somewhere does not change; the result says so.

    Raises:
        ConfigError: there is no git repository, or no such branch.
    """
    git = Git(project.root)
    if not git.exists(f"refs/heads/{source}"):
        raise ConfigError(f"git has no branch {source!r}", "see them with: git branch")
    inside = git("rev-parse", "--show-prefix")
    busy = [line.removeprefix("branch refs/heads/") for line in git("worktree", "list", "--porcelain").splitlines()]
    return [
        _sync_one(git, inside, source, branch.title, busy) for branch in git_branches(project) if branch.title != source
    ]


def _sync_one(git: Git, inside: str, source: str, title: str, busy: list[str]) -> Synced:
    if git.run("merge-base", "--is-ancestor", source, title).returncode == 0:
        return Synced(title, "up to date")
    if title in busy:
        return Synced(title, "checked out")
    ours, theirs = git("rev-parse", f"refs/heads/{title}"), git("rev-parse", f"refs/heads/{source}")
    done = git.run("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs)
    if done.returncode not in (0, 1):
        raise ConfigError(f"git merge-tree failed: {done.stderr.strip()}", "git 2.38 or newer is needed")
    tree_id, *files = done.stdout.rstrip("\0").split("\0")
    params, lock = f"{inside}params.yaml", f"{inside}dvc.lock"
    # merge-tree names files relative to the project folder, even where that is not the repository's root
    conflicts = [file for file in files if file not in ("", "params.yaml", "dvc.lock")]
    text, mistake = _merged_params(git, ours, theirs, params)
    if mistake:
        conflicts.append(mistake)
    if conflicts:
        return Synced(title, "conflict", tuple(conflicts))
    with git.tree(tree_id) as tree:
        tree.put(params, text)
        tree.put(lock, git.show(ours, lock))
        commit = tree.commit(f"Merge {source} into {title}\n\nby mlops branch sync", ours, theirs)
    # the old hash guards against a branch that moved meanwhile
    git("update-ref", "-m", f"mlops branch sync from {source}", f"refs/heads/{title}", commit, ours)
    return Synced(title, "merged")


def _merged_params(git: Git, ours: str, theirs: str, path: str) -> tuple[str, str]:
    """Merge params.yaml line by line, with our `branches:` in all three versions.

    Returns:
        The merged text and an empty reason, or an empty text and the reason why there is none.
    """
    try:
        base = git("merge-base", ours, theirs)
        own = YamlDocument(git.show(ours, path) or "", path)
        versions = [_with_branches(git.show(revision, path) or "", path, own) for revision in (ours, base, theirs)]
        text = _merge_file(git, versions)
        if text is None:
            return "", path
        validated(YamlDocument(text, path))
    except ConfigError as error:
        return "", error.message
    return text, ""


def _with_branches(text: str, path: str, own: YamlDocument) -> str:
    document = YamlDocument(text, path)
    document.replace("branches", own.block("branches"))
    return document.text


def _merge_file(git: Git, versions: list[str]) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("ours", "base", "theirs")]
        for file, text in zip(files, versions, strict=True):
            file.write_text(text, encoding="utf-8")
        done = git.run("merge-file", "-p", *map(str, files))
    return done.stdout if done.returncode == 0 else None


def _sole_branch(text: str | None) -> str | None:
    try:
        branches = YamlDocument(text or "", "params.yaml").get(["branches"])
    except ConfigError:
        return None
    return str(next(iter(branches))) if isinstance(branches, dict) and len(branches) == 1 else None


def _lock_of(text: str | None, branch: str) -> str | None:
    """dvc.lock with only the stages of one branch; None if it has none."""
    if text is None:
        return None
    document = YamlDocument(text, "dvc.lock")
    others = [stage for stage in document.get(["stages"]) or {} if not stage.endswith(f"@{branch}")]
    if len(others) == len(document.get(["stages"]) or {}):
        return None

    def edit(block: dict[str, dict[str, object]]) -> None:
        for stage in others:
            del block["stages"][stage]

    document.change("stages", edit)
    return document.text


def _needs_commit(git: Git) -> None:
    if not git.exists("HEAD"):
        raise ConfigError(
            f"{git.folder} is no git repository with a commit",
            "start it with: git init && git add -A && git commit -m start",
        )
    sources = [name for name in _SOURCES if (git.folder / name).exists()]
    changed = [line[3:] for line in git("status", "--porcelain", "--", *sources).splitlines()]
    if changed:
        raise ConfigError(
            f"not committed: {bounded(changed)}; a git branch starts from the last commit",
            'commit first: git add configs simulation params.yaml dvc.yaml dvc.lock && git commit -m "..."',
        )


def _needs_free_name(git: Git, title: str) -> None:
    # git keeps branches as files in folders: `red` and `red/AAPL` cannot stand side by side
    team = title.partition("/")[0]
    near = git("for-each-ref", "--format=%(refname:short)", f"refs/heads/{team}", f"refs/heads/{title}").splitlines()
    if title in near:
        raise ConfigError(f"git has a branch {title} already", f"go there with: git switch {title}")
    in_the_way = [other for other in near if team in (other, title)]
    if in_the_way:
        raise ConfigError(f"git cannot hold {title} beside {bounded(in_the_way)}", "rename one with: git branch -m")
