"""Versions of a model: the newest in its folder, earlier ones in the archive, and which of them is the champion.

`<root>/<branch>/<model>/` holds the newest version, maybe unfinished. The archive `<root>/.versions/<branch>/<model>/`
holds whole folders of earlier finished versions, named by version, and `champion.json`. The archive belongs to this
machine: DVC does not see it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError, bounded
from mlops_cli.models.manifest import GRAPH, Manifest, file_hashes, read_manifest
from mlops_cli.system.files import write_text

ARCHIVE = ".versions"
CHAMPION = "champion.json"


@dataclass(frozen=True)
class VersionFolder:
    """A finished version of a model and its folder."""

    version: str
    folder: Path
    manifest: Manifest


@dataclass(frozen=True)
class Champion:
    """The accepted version of a model.

    Attributes:
        pinned: if there is no route, the champion answers, even if a newer version exists.
        history: earlier champions, the latest last.
    """

    version: str | None = None
    pinned: bool = False
    history: tuple[str, ...] = ()

    def followed_by(self, version: str, pinned: bool) -> Champion:
        """A record with `version` as the champion and the current one in its history."""
        if version == self.version or self.version is None:
            return Champion(version, pinned, self.history)
        return Champion(version, pinned, (*self.history, self.version))


class _Record(BaseModel):
    """The content of `champion.json`."""

    champion: str | None
    pinned: bool
    history: tuple[str, ...]


def archive(root: Path, branch: str, name: str) -> Path:
    """The folder of a model's earlier versions and its `champion.json`; it need not exist."""
    return root / ARCHIVE / branch / name


def archives(models: Path) -> list[Path]:
    """The archives of all models of a branch; `models` is the branch's folder, `<root>/<branch>`."""
    return sorted((models.parent / ARCHIVE / models.name).glob("*"))


def model_versions(root: Path, branch: str, name: str) -> list[VersionFolder]:
    """The finished, readable versions of a model, newest first; each version once. `root` holds all model folders."""
    versions: dict[str, VersionFolder] = {}
    for folder in (root / branch / name, *_archived(archive(root, branch, name))):
        finished = _finished(folder)
        if finished is not None:
            versions.setdefault(finished.version, finished)
    return list(versions.values())


def champion(root: Path, branch: str, name: str) -> Champion:
    """The recorded champion, whose folder may no longer exist; a `ModelError` if the record is damaged."""
    path = archive(root, branch, name) / CHAMPION
    try:
        if path.exists() and not path.is_file():
            raise OSError  # reading a pipe or a device might never end
        record = _Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Champion()
    except (ValidationError, OSError):
        raise ModelError(f"{path}: damaged", f"remove it; the newest version of {name} then answers") from None
    return Champion(record.champion, record.pinned, record.history)


def answering_version(root: Path, branch: str, name: str) -> VersionFolder:
    """The version that answers without a route: a pinned champion, else the newest; a `ModelError` if none exists."""
    versions = model_versions(root, branch, name)
    if not versions:
        raise ModelError(f"{name}: not trained", "run: mlops run")
    record = champion(root, branch, name)
    return next((folder for folder in versions if record.pinned and folder.version == record.version), versions[0])


def write_champion(root: Path, branch: str, name: str, record: Champion) -> None:
    """Record a champion. The file is replaced by rename, so readers see either the old or the new record."""
    path = archive(root, branch, name) / CHAMPION
    text = _Record(champion=record.version, pinned=record.pinned, history=record.history).model_dump_json(indent=2)
    write_text(path, text + "\n")


def move_to_archive(destination: Path) -> bool:
    """Move a finished, undamaged model at `<root>/<branch>/<model>` to the archive; returns whether it was moved."""
    finished = _finished(destination)
    if finished is None or file_hashes(destination) != finished.manifest.files:
        return False
    place = archive(destination.parents[1], destination.parent.name, destination.name) / finished.version
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove(place)  # an earlier copy of the same version
    # the archive is ordered by this time; it is set before the rename, so that no reader sees the folder without it
    os.utime(destination)
    os.rename(destination, place)
    return True


def after_install(destination: Path, keep: int) -> None:
    """Record the first champion, and keep this many versions, the newest included. The champion always stays.

    Does nothing while the model installed at `<root>/<branch>/<model>` is unfinished: until then the newest version in
    the archive answers.
    """
    root, branch, name = destination.parents[1], destination.parent.name, destination.name
    newest = _finished(destination)
    if newest is None:
        return
    record = champion(root, branch, name)
    if record.version is None:
        record = Champion(newest.version)
        write_champion(root, branch, name, record)
    keeping = {folder.version for folder in model_versions(root, branch, name)[:keep]} | {record.version}
    for folder in _archived(archive(root, branch, name)):
        if folder.name not in keeping or folder.name == newest.version:
            _remove(folder)


def _archived(folder: Path) -> list[Path]:
    """Version folders of an archive, the last archived first, by the time that `move_to_archive` sets."""
    folders = []
    for path in folder.glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):  # removed just now, by another process
            if path.is_dir():
                folders.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(folders, reverse=True)]


def _remove(folder: Path) -> None:
    """Remove a version. It is renamed to a hidden name first, so that no reader opens a half-removed folder."""
    hidden = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, hidden)
    for left in folder.parent.glob(".*"):  # also folders that a killed process left behind
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _finished(folder: Path) -> VersionFolder | None:
    try:
        manifest = read_manifest(folder)
    except ModelError:
        return None
    if manifest.shrinkage is None or not (folder / GRAPH).is_file():
        return None
    return VersionFolder(manifest.version, folder, manifest)


@dataclass(frozen=True)
class Change:
    """A change of a model's champion.

    For a rollback, `before` is the version that answered. A `pinned` champion answers even where a newer one exists.
    """

    branch: str
    model: str
    before: str | None
    after: str
    pinned: bool


def promote(project: Project, branch: str, model: str, version: str | None = None) -> Change:
    """Make a version, given by its number or the first digits of it, the champion.

    It is pinned: it answers until another version is promoted. With None, the newest version becomes the champion and
    is not pinned: a version that is trained later answers as soon as it is finished.

    Raises:
        ModelError: there is no such version, or more than one.
    """
    versions = _versions(project, branch, model)
    chosen = versions[0].version if version is None else _version_named(model, version, versions)
    record = champion(project.model_root, branch, model)
    write_champion(project.model_root, branch, model, record.followed_by(chosen, pinned=version is not None))
    return Change(branch, model, record.version, chosen, pinned=version is not None)


def rollback(project: Project, branch: str, model: str, routed: bool) -> Change:
    """Pin the version before the one that answers now.

    If the champion answers (it is pinned, or the model is `routed` by serving.routes), pin the previous champion.
    Otherwise pin the version that was trained before the newest.

    Raises:
        ModelError: no earlier version is kept.
    """
    numbers = [folder.version for folder in _versions(project, branch, model)]
    record = champion(project.model_root, branch, model)
    now, earlier = numbers[0], numbers[1:]
    if record.version in numbers and (record.pinned or routed):
        now = record.version
        accepted = [number for number in reversed(record.history) if number in numbers and number != now]
        earlier = [*accepted, *numbers[numbers.index(now) + 1 :]]
    if not earlier:
        hint = f"see its versions with: mlops models show {model}"
        raise ModelError(f"{model}: no version before {now} is kept", hint)
    history = record.history
    if earlier[0] in history:  # so that the next rollback goes one version further back
        history = history[: len(history) - 1 - history[::-1].index(earlier[0])]
    write_champion(project.model_root, branch, model, Champion(earlier[0], True, history))
    return Change(branch, model, now, earlier[0], pinned=True)


def _versions(project: Project, branch: str, model: str) -> list[VersionFolder]:
    versions = model_versions(project.model_root, branch, model)
    if not versions:
        raise ModelError(f"{model}: there is no finished version in branch {branch}", "train it: mlops run")
    return versions


def _version_named(model: str, start: str, versions: list[VersionFolder]) -> str:
    """The only version whose number starts with `start`."""
    matches = [folder.version for folder in versions if start and folder.version.startswith(start)]
    if len(matches) == 1:
        return matches[0]
    listed = bounded([f"{folder.version} (trained until {folder.manifest.trained_until})" for folder in versions], 10)
    what = "matches more than one version" if matches else "matches no kept version"
    raise ModelError(f"{model}: {start!r} {what}", f"newest first: {listed}")
