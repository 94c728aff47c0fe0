"""Temporary folders that do not stay behind, even if the process that made one is killed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_cli.errors import ServiceError
from mlops_cli.system.locks import file_lock

_LOCK = ".in-use"
_SETTLED = 10.0  # seconds after which the process that made a folder has surely locked it


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder for temporary files in `parent` (None: that of the system), removed at the end.

    First removes the folders of the same prefix that killed processes left behind: their locks are free.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_abandoned(parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with file_lock(folder / _LOCK, ServiceError(f"{folder} is in use by another process")):
            yield folder


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError, ServiceError):  # another user's, removed just now, or in use
            if (folder / _LOCK).is_file() and time.time() - folder.stat().st_mtime > _SETTLED:
                with file_lock(folder / _LOCK, ServiceError("in use")):
                    shutil.rmtree(folder)
