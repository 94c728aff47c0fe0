"""DVC's own note of who works on which path, freed of processes that are gone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil

from mlops_cli.system.files import write_text

RWLOCK = Path(".dvc") / "tmp" / "rwlock"
WRITTEN_WITHIN_SECONDS = 1.0  # DVC writes it in place: for a moment it may be half there


def release_dead_holders(root: Path) -> None:
    """Take killed processes out of DVC's lock file, as DVC itself does for numbers that no process has.

    It goes by the number alone: a killed process that nobody has asked for its exit code yet (in a container without an
    init process nobody ever does), or another one that has its number by now, would block every run.

    A file that a process was killed over while it wrote is removed: DVC would refuse every run over it.

    Args:
        root: of the project.
    """
    path = root / RWLOCK
    _remove_half_written(path)
    try:
        noted: dict[str, dict[str, Any]] = json.loads(path.read_text())
        writers = {one: holder for one, holder in noted.get("write", {}).items() if _is_dvc(holder["pid"])}
        readers = {
            one: [holder for holder in holders if _is_dvc(holder["pid"])]
            for one, holders in noted.get("read", {}).items()
        }
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return  # there is none, or DVC is to say what is wrong with it
    kept = {"write": writers, "read": {one: holders for one, holders in readers.items() if holders}}
    if kept != noted:
        write_text(path, json.dumps(kept))


def _remove_half_written(path: Path) -> None:
    until = time.monotonic() + WRITTEN_WITHIN_SECONDS
    while True:
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            if time.monotonic() > until:
                path.unlink(missing_ok=True)
                return
            time.sleep(WRITTEN_WITHIN_SECONDS / 20)
        else:
            return


def _is_dvc(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any("dvc" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
