"""`mlops init`: a new project from a template."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from mlops_cli.errors import ConfigError, bounded
from mlops_cli.scaffold.git import Git


class Template(StrEnum):
    """The templates that a new project can start with."""

    DEMO = "demo"
    RED_VS_BLUE = "red-vs-blue"
    BLANK = "blank"


# a later layer overwrites an earlier one; the last layer has params.yaml
_LAYERS = {
    Template.DEMO: ("project", "many", "red-vs-blue", "demo"),
    Template.RED_VS_BLUE: ("project", "red-vs-blue"),
    Template.BLANK: ("project", "blank"),
}


@dataclass(frozen=True)
class NewProject:
    """The files that `start_project` wrote, sorted, and the reason if it did not commit them."""

    files: tuple[str, ...]
    committed: bool
    remark: str = ""


def start_project(folder: Path, template: Template) -> NewProject:
    """Write a template's files and put them under git and DVC.

    If the folder is not yet the root of a git repository, it becomes one with a first commit. Otherwise nothing is
    staged.

    Raises:
        ConfigError: git is not installed, or files would be overwritten. Nothing is written then.
    """
    git = Git(folder)
    files = template_files(template)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", "choose another folder")
    paths = {name: folder / name for name in files}
    taken = [name for name, path in paths.items() if _is_taken(path)]
    if taken:
        message = f"{folder} already has files that would be overwritten: {bounded(taken, 20)}"
        raise ConfigError(message, "choose an empty folder, or move these away")
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name], encoding="utf-8")
    return NewProject(tuple(files), *_commit(git, list(files), template))


def template_files(template: Template) -> dict[str, str]:
    """Read the text of each file of a template, by its path in the project, sorted by path."""
    root = resources.files("mlops_cli").joinpath("templates")
    files = {"configs/base.yaml": root.joinpath("base.yaml").read_text(encoding="utf-8")}
    for layer in _LAYERS[template]:
        files.update(_walk(root.joinpath(layer), ""))
    return dict(sorted(files.items()))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        # a .gitignore or .dvc inside the package would affect the package's own repository
        name = prefix + (f".{entry.name.removeprefix('dot-')}" if entry.name.startswith("dot-") else entry.name)
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
        else:
            yield name, entry.read_text(encoding="utf-8")


def _is_taken(path: Path) -> bool:
    return path.exists() or any(parent.exists() and not parent.is_dir() for parent in path.parents)


def _commit(git: Git, files: list[str], template: Template) -> tuple[bool, str]:
    if (git.folder / ".git").exists():
        return False, "the folder is a git repository already: look at the new files, then git add and git commit them"
    git("init", "--quiet", "--initial-branch=main")
    git("add", "--", *files)
    done = git.run("commit", "--quiet", "-m", f"Start from mlops template {template}")
    if done.returncode == 0:
        return True, ""
    reason = next(iter(done.stderr.strip().splitlines()), "git commit failed")
    return False, f"the files are staged but not committed ({reason}): run git commit"
