"""Who answers after a live version was installed: the two policies of `live.promotion`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from mlops_cli.features.column_names import width_columns
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.versions import Champion, VersionFolder, champion, model_versions, write_champion

UNABLE = "the earlier version cannot forecast from the features of now"


def can_forecast(manifest: Manifest, columns: Collection[str] | None) -> bool:
    """Whether a feature table with these columns has all that a version needs; True where there is no table (None).

    The widths of its intervals may be missing: it then forecasts without intervals.
    """
    needed = set(manifest.inputs) - set(width_columns(manifest.levels))
    return columns is None or needed <= set(columns)


def hold_champion(root: Path, branch: str, name: str, columns: Collection[str] | None = None) -> None:
    """Policy `tested`: pin the version that answers now, before a new one is installed.

    The new one then is a challenger until `mlops live` has found it better. A model without versions has nothing to
    pin, and a champion that is pinned already stays as it is. A version that cannot forecast from a feature table with
    these columns is not pinned.
    """
    versions = model_versions(root, branch, name)
    record = champion(root, branch, name)
    if versions and not record.pinned and can_forecast(versions[0].manifest, columns):
        why = "answers until a newer version proves better"
        write_champion(root, branch, name, record.followed_by(versions[0].version, True, "live", why))


def release_unable(root: Path, branch: str, name: str, columns: Collection[str] | None) -> None:
    """Let the newest version answer where the pinned one cannot forecast; see `with_able`."""
    before = champion(root, branch, name)
    after = with_able(before, model_versions(root, branch, name), columns)
    if after != before:
        write_champion(root, branch, name, after)


def with_able(record: Champion, versions: Sequence[VersionFolder], columns: Collection[str] | None) -> Champion:
    """The record with the newest version as champion, if the pinned one cannot forecast from these columns.

    A pin by hand stays. `versions` are those of the model, newest first.
    """
    pinned = next((version for version in versions if record.pinned and version.version == record.version), None)
    if pinned is None or record.pinned_by_hand or can_forecast(pinned.manifest, columns):
        return record
    newest = versions[0]
    return (
        record.followed_by(newest.version, False, "live", UNABLE) if can_forecast(newest.manifest, columns) else record
    )


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
