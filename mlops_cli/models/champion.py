"""Which version of a model is its champion, as a person decides."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError, bounded
from mlops_cli.models.versions import Champion, VersionFolder, champion, model_versions, write_champion


@dataclass(frozen=True)
class Change:
    """Another champion.

    Attributes:
        before: the champion before; of a rollback, the version that answered; None if none was recorded.
        after: the version that is champion now.
        pinned: it answers even where a newer one is there.
    """

    branch: str
    model: str
    before: str | None
    after: str
    pinned: bool


def promote(project: Project, branch: str, model: str, version: str | None = None) -> Change:
    """Make a version the champion.

    Args:
        project: where.
        branch: of params.yaml.
        model: name.
        version: the first letters of it, or all: it is pinned and answers until another is promoted. None: the
            newest, not pinned: what is trained later answers as soon as it is finished.

    Raises:
        ModelError: no such version is kept.
    """
    kept = _kept(project, branch, model)
    chosen = kept[0].version if version is None else _one(model, version, kept)
    record = champion(project.model_root, branch, model)
    write_champion(project.model_root, branch, model, record.followed_by(chosen, pinned=version is not None))
    return Change(branch, model, record.version, chosen, pinned=version is not None)


def rollback(project: Project, branch: str, model: str, routed: bool) -> Change:
    """Pin the version before the one that answers now.

    That is the champion before, where a champion answers because it is pinned or has a route, and else the version
    that was trained before the newest.

    Args:
        project: where.
        branch: of params.yaml.
        model: name.
        routed: whether serving.routes splits the model's requests between champion and challenger.

    Raises:
        ModelError: no earlier version is kept.
    """
    kept = [one.version for one in _kept(project, branch, model)]
    record = champion(project.model_root, branch, model)
    now, earlier = kept[0], kept[1:]
    if record.version in kept and (record.pinned or routed):
        now = record.version
        accepted = [version for version in reversed(record.history) if version in kept and version != now]
        earlier = [*accepted, *kept[kept.index(now) + 1 :]]
    if not earlier:
        raise ModelError(
            f"{model}: no version before {now} is kept", f"see its versions with: mlops models show {model}"
        )
    history = record.history
    if earlier[0] in history:  # so that the next rollback goes one further back, not forth again
        history = history[: len(history) - 1 - history[::-1].index(earlier[0])]
    write_champion(project.model_root, branch, model, Champion(earlier[0], True, history))
    return Change(branch, model, now, earlier[0], pinned=True)


def _kept(project: Project, branch: str, model: str) -> list[VersionFolder]:
    kept = model_versions(project.model_root, branch, model)
    if not kept:
        raise ModelError(f"{model}: no finished version of it in branch {branch}", "train it: mlops run")
    return kept


def _one(model: str, version: str, kept: list[VersionFolder]) -> str:
    found = [one.version for one in kept if version and one.version.startswith(version)]
    if len(found) == 1:
        return found[0]
    known = bounded([f"{one.version} (trained until {one.manifest.trained_until})" for one in kept], 10)
    what = "fits more than one of its versions" if found else "is no version of it that is kept"
    raise ModelError(f"{model}: {version!r} {what}", f"newest first: {known}")
