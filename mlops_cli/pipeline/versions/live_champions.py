"""Who answers after a live version was installed: the two policies of `live.promotion`."""

from __future__ import annotations

from pathlib import Path

from mlops_cli.models.versions import Champion, champion, model_versions, write_champion


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
    versions = model_versions(root, branch, name)
    if not versions or not versions[0].manifest.live:
        return False
    newest, record = versions[0].version, champion(root, branch, name)
    if record.pinned_by_hand or record.refused == newest or (record.version == newest and not record.pinned):
        return False
    if record.version is None and len(versions) > 1:  # nobody has chosen one yet: the newest of the others answered
        record = Champion(versions[1].version)
    write_champion(root, branch, name, record.followed_by(newest, False, "live", f"fresher: {why}"))
    return True
