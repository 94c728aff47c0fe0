"""Atomic file writes: readers see the old file or the whole new one, even if the writing process is killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

PRIVATE = 0o600
PART = ".part"
"""Suffix of a file that is being written; a process that is killed may leave such a file behind."""


def write_whole(path: Path, write: Callable[[Path], object], mode: int | None = None) -> Path:
    """Let `write` fill a file beside `path`, then rename it to `path`.

    Args:
        path: the file to write; its folder is made if it is not there.
        write: gets the path to write to; if it raises, `path` stays as it was and nothing is left beside it.
        mode: permissions of a file that only some may read, set before it is filled; None: those of the old file, or
            the usual ones.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}{PART}")
    try:
        if mode is not None:
            part.touch(mode)
        write(part)
        if mode is None and path.exists():
            part.chmod(path.stat().st_mode & 0o777)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def create_private(path: Path) -> None:
    """Create an empty file that only its owner may read, for a program that fills it; leave one that exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.touch(PRIVATE, exist_ok=False)


def others_may_read(path: Path) -> bool:
    """Whether somebody besides a file's owner may read or write it, by its permissions; False if there is no file."""
    return path.is_file() and os.name == "posix" and bool(path.stat().st_mode & 0o066)


def write_text(path: Path, text: str, mode: int | None = None) -> Path:
    """Write a text file in UTF-8; see `write_whole`."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"), mode)
