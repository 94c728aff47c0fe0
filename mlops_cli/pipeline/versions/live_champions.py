"""Who answers after a live version was installed: the two policies of `live.promotion`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlops_cli.models.versions import Champion, VersionFolder, champion, model_versions, write_champion


def hold_champion(root: Path, branch: str, name: str) -> None:
    """Policy `tested`: pin the version that answers now, before a new one is installed.

    The new one then is a challenger until `mlops live` has found it better. A model without versions has nothing to
    pin, and a champion that is pinned already stays as it is.
    """
    versions = model_versions(root, branch, name)
    record = champion(root, branch, name)
    if versions and not record.pinned:
        why = "answers until a newer version proves better"
        write_champion(root, branch, name, record.followed_by(versions[0].version, True, "live", why))


def accept_fresh(root: Path, branch: str, name: str, why: str) -> bool:
    """Policy `always`: make the newest version champion, if it is a live one.

    Not if a person has pinned the champion, nor if the newest version has proved worse. It may be called again and
    again, so that an installation that was killed half way is finished later.

    Returns:
        Whether the record changed.
    """
    before = champion(root, branch, name)
    after = with_fresh(before, model_versions(root, branch, name), why)
    if after != before:
        write_champion(root, branch, name, after)
    return after != before


def with_fresh(record: Champion, versions: Sequence[VersionFolder], why: str) -> Champion:
    """The record as `accept_fresh` makes it; `versions` are those of the model, newest first."""
    if not versions or not versions[0].manifest.live:
        return record
    newest = versions[0].version
    if record.pinned_by_hand or record.refused == newest or (record.version == newest and not record.pinned):
        return record
    if record.version is None and len(versions) > 1:  # nobody has chosen one yet: the newest of the others answered
        record = Champion(versions[1].version)
    return record.followed_by(newest, False, "live", f"fresher: {why}")
