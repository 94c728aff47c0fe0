"""DVC's lock file, from which processes that no longer run are removed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil

from mlops_cli.system.files import write_text

RWLOCK = Path(".dvc") / "tmp" / "rwlock"
WRITTEN_WITHIN_SECONDS = 1.0  # DVC writes the file in place, so that a reader may see half of it


def release_dead_holders(root: Path) -> None:
    """Remove killed processes from DVC's lock file.

    DVC itself removes process ids that do not exist. A zombie (in a container without an init process zombies stay) and
    another program that has the id by now would block every run. A half-written file, left by a process that was killed
    while it wrote, is removed: DVC would refuse every run.
    """
    path = root / RWLOCK
    _remove_half_written(path)
    try:
        before: dict[str, dict[str, Any]] = json.loads(path.read_text())
        writers = {locked: holder for locked, holder in before.get("write", {}).items() if _is_dvc(holder["pid"])}
        readers = {
            locked: [holder for holder in holders if _is_dvc(holder["pid"])]
            for locked, holders in before.get("read", {}).items()
        }
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return  # there is no file, or it has another format, which DVC will complain about
    after = {"write": writers, "read": {locked: holders for locked, holders in readers.items() if holders}}
    if after != before:
        write_text(path, json.dumps(after))


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
