"""Promotion and rollback by hand: a person chooses which version of a model is its champion."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError, bounded
from mlops_cli.models.versions import Champion, VersionFolder, champion, model_versions, versions_lock, write_champion


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
        ServiceError: another process has been changing its versions for too long.
    """
    with versions_lock(project, branch, model):
        versions = _versions(project, branch, model)
        chosen = versions[0].version if version is None else _version_named(model, version, versions)
        record = champion(project.model_root, branch, model)
        write_champion(project.model_root, branch, model, record.followed_by(chosen, version is not None, "hand"))
    return Change(branch, model, record.version, chosen, pinned=version is not None)


def rollback(project: Project, branch: str, model: str, routed: bool) -> Change:
    """Pin the version before the one that answers now.

    If the champion answers (it is pinned, or the model is `routed` by serving.routes), pin the previous champion.
    Otherwise pin the version that was trained before the newest.

    Raises:
        ModelError: no earlier version is kept.
        ServiceError: another process has been changing its versions for too long.
    """
    with versions_lock(project, branch, model):
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
        write_champion(project.model_root, branch, model, Champion(earlier[0], True, history, "hand"))
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
