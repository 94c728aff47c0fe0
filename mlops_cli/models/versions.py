"""Versions of a model: the pipeline's in its folder, others in the archive, and which of them is the champion.

`<root>/<branch>/<model>/` holds the newest version of the pipeline, maybe unfinished. The archive
`<root>/.versions/<branch>/<model>/` holds whole folders of other finished versions, named by version, and
`champion.json`: earlier versions of the pipeline, and live versions, which `mlops live` and jobs train on everything
that is known. The archive belongs to this machine: DVC does not see it.

Order, newest first: the live versions that are ahead of the pipeline's version (`_is_ahead`), the later trained first;
the pipeline's version; the rest, the last archived first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError, ServiceError
from mlops_cli.models.manifest import GRAPH, Manifest, file_hashes, read_manifest
from mlops_cli.system.files import write_text
from mlops_cli.system.locks import file_lock

ARCHIVE = ".versions"
CHAMPION = "champion.json"
_LOCK_WAIT = 60.0


@dataclass(frozen=True)
class VersionFolder:
    """A finished version of a model and its folder."""

    version: str
    folder: Path
    manifest: Manifest


Chooser = Literal["hand", "skill", "live"]
"""Who chose a champion: a person, `mlops models promote --by-skill`, or `mlops live`."""


@dataclass(frozen=True)
class Champion:
    """The accepted version of a model.

    Attributes:
        pinned: if there is no route, the champion answers, even if a newer version exists.
        history: earlier champions, the latest last.
        by: who chose it; None: nobody, it was the first, or it was chosen before this was noted.
        why: one sentence.
        refused: the version that last proved worse than the champion.
    """

    version: str | None = None
    pinned: bool = False
    history: tuple[str, ...] = ()
    by: Chooser | None = None
    why: str = ""
    refused: str | None = None

    def followed_by(self, version: str, pinned: bool, by: Chooser | None = None, why: str = "") -> Champion:
        """A record with `version` as the champion and the current one in its history."""
        if version == self.version or self.version is None:
            return Champion(version, pinned, self.history, by, why)
        return Champion(version, pinned, (*self.history, self.version), by, why)

    @property
    def pinned_by_hand(self) -> bool:
        """Whether only a person may replace it; that is also assumed where nobody noted who pinned it."""
        return self.pinned and self.by in ("hand", None)


class _Record(BaseModel):
    """The content of `champion.json`."""

    champion: str | None
    pinned: bool
    history: tuple[str, ...]
    by: Chooser | None = None
    why: str = ""
    refused: str | None = None


def archive(root: Path, branch: str, name: str) -> Path:
    """The folder of a model's earlier versions and its `champion.json`; it need not exist."""
    return root / ARCHIVE / branch / name


def archives(models: Path) -> list[Path]:
    """The archives of all models of a branch; `models` is the branch's folder, `<root>/<branch>`."""
    return sorted((models.parent / ARCHIVE / models.name).glob("*"))


def model_versions(root: Path, branch: str, name: str, live: bool = True) -> list[VersionFolder]:
    """The finished, readable versions of a model, newest first; each version once. `root` holds all model folders.

    Without `live` there are no live versions among them.
    """
    own = _finished(root / branch / name)
    archived = [finished for folder in _archived(archive(root, branch, name)) if (finished := _finished(folder))]
    if not live:
        archived = [version for version in archived if not version.manifest.live]
    ahead = [version for version in archived if _is_ahead(version, own)]
    ahead.sort(key=lambda version: version.manifest.trained_until, reverse=True)  # stable: the last installed first
    versions: dict[str, VersionFolder] = {}
    for version in (*ahead, *([own] if own else []), *archived):
        versions.setdefault(version.version, version)
    return list(versions.values())


def _is_ahead(version: VersionFolder, own: VersionFolder | None) -> bool:
    """Whether a version is a live one that comes before the pipeline's version.

    It was trained on later closes, and has the config of the pipeline's version or was installed beside that very
    version. So a pipeline that trains another config comes first until a live version of that config is installed.
    """
    live = version.manifest
    if not live.live or own is None:
        return live.live
    same = live.recipe == own.manifest.recipe or live.over == own.version
    return same and live.trained_until > own.manifest.trained_until


def judged_as(version: VersionFolder, versions: Sequence[VersionFolder]) -> str:
    """The version whose verdict counts for `version`: of a live one, the pipeline's newest version of its config.

    A live version saw every known close, so there are none left to judge it on. `versions` are those of the model,
    newest first.
    """
    if not version.manifest.live:
        return version.version
    alike = (
        other for other in versions if not other.manifest.live and other.manifest.recipe == version.manifest.recipe
    )
    return next((other.version for other in alike), version.version)


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
    return Champion(record.champion, record.pinned, record.history, record.by, record.why, record.refused)


def answering_version(root: Path, branch: str, name: str, live: bool = True) -> VersionFolder:
    """The version that answers without a route: a pinned champion, else the newest; a `ModelError` if none exists.

    Without `live` it is the version that would answer without live versions, if the model has another one.
    """
    versions = model_versions(root, branch, name, live) or model_versions(root, branch, name)
    if not versions:
        raise ModelError(f"{name}: not trained", "run: mlops run")
    return the_answering(versions, champion(root, branch, name))


def the_answering(versions: Sequence[VersionFolder], record: Champion) -> VersionFolder:
    """The version that answers without a route, of at least one, newest first."""
    return next((folder for folder in versions if record.pinned and folder.version == record.version), versions[0])


def write_champion(root: Path, branch: str, name: str, record: Champion) -> None:
    """Record a champion. The file is replaced by rename, so readers see either the old or the new record."""
    path = archive(root, branch, name) / CHAMPION
    values = _Record(
        champion=record.version,
        pinned=record.pinned,
        history=record.history,
        by=record.by,
        why=record.why,
        refused=record.refused,
    )
    write_text(path, values.model_dump_json(indent=2, exclude_defaults=True) + "\n")


@contextlib.contextmanager
def versions_lock(project: Project, branch: str, name: str) -> Iterator[None]:
    """Hold the lock for changes of a model's versions and champion; a `ServiceError` if another process keeps it."""
    busy = ServiceError(f"{name}: another mlops is changing its versions", "run it again later")
    with file_lock(project.state / "locks" / "versions" / f"{branch}--{name}.lock", busy, _LOCK_WAIT):
        yield


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


def install_live_version(staged: Path, root: Path, branch: str, name: str) -> str:
    """Move a finished live version into the archive by rename, so that readers see all of it or nothing.

    Both folders must be on one disk. A version that is there already, such as that of a model without weights, only
    gets the new manifest.

    Returns:
        The version.
    """
    own = _finished(root / branch / name)
    manifest = read_manifest(staged).model_copy(update={"live": True, "over": own.version if own else ""})
    manifest.write(staged)
    place = archive(root, branch, name) / manifest.version
    present = _finished(place)
    if present is not None and present.manifest.files == manifest.files:
        facts = {**present.manifest.facts, **manifest.facts}  # such as the job that trained it first
        manifest.model_copy(update={"facts": facts}).write(place)
        shutil.rmtree(staged)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove(place)
        os.utime(staged)  # see move_to_archive
        os.rename(staged, place)
    return manifest.version


def after_install(destination: Path, keep: int) -> None:
    """Record the first champion, and keep this many versions, the newest included. The champion always stays.

    Does nothing while the model installed at `<root>/<branch>/<model>` is unfinished: until then the newest version in
    the archive answers.
    """
    if _finished(destination) is not None:
        remove_old_versions(destination.parents[1], destination.parent.name, destination.name, keep)


def remove_old_versions(root: Path, branch: str, name: str, keep: int) -> None:
    """Record the first champion of a model with versions, and keep this many of these, the newest included.

    The champion stays, as does the pipeline's version, and the champion before one that `mlops live` chose.
    """
    folders = _archived(archive(root, branch, name))  # first: a version that is installed meanwhile is not touched
    versions = model_versions(root, branch, name)
    record = champion(root, branch, name)
    if record.version is None:
        record = Champion(versions[0].version)
        write_champion(root, branch, name, record)
    keeping = {folder.folder for folder in versions[:keep]}
    keeping |= {folder.folder for folder in versions if folder.version in (record.version, _earlier(record, versions))}
    for folder in folders:
        if folder not in keeping:
            _remove(folder)


def _earlier(record: Champion, versions: Sequence[VersionFolder]) -> str | None:
    """The champion before one that `mlops live` chose, of those that are left."""
    if record.by != "live":
        return None
    numbers = {folder.version for folder in versions} - {record.version}
    return next((number for number in reversed(record.history) if number in numbers), None)


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
