"""The queue in a SQLite file: the default, for any number of processes on one machine."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_cli.errors import DataError, MlopsError, ServiceError
from mlops_cli.live.jobs.database import Dialect, Value
from mlops_cli.system.files import create_private

_LOCKED = ("BUSY", "LOCKED")
_NOT_DAMAGE = ("READONLY", "CANTOPEN", "PERM", "FULL", "IOERR")  # SQLITE_... errors of an undamaged file
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "lustre")
_MOUNTS = Path("/proc/self/mounts")
_DAYS_TO_1970 = 2440587.5  # Julian days; SQLite before 3.42 has no seconds with a fraction


class SqliteDatabase:
    """A database file, made if it is missing; only its owner may read it.

    With a write-ahead log and `synchronous=FULL`, what was committed survives a killed process and a power cut.

    Args:
        busy_seconds: how long to wait for another process that is writing.

    Raises:
        ServiceError: the file cannot be opened now, or lies on a network file system, where SQLite cannot lock.
        DataError: it is damaged, or no database.
    """

    dialect = Dialect(key="INTEGER PRIMARY KEY AUTOINCREMENT", skip_locked="")

    def __init__(self, path: Path, busy_seconds: float = 10.0) -> None:
        self._path = path
        self._lock = threading.Lock()  # one connection for all threads
        kind = network_file_system(path)
        if kind is not None:
            hint = "put the project on a local disk, or keep the jobs in Postgres"
            raise ServiceError(f"{path}: lies on a network file system ({kind}), where SQLite cannot lock files", hint)
        try:
            create_private(path)
        except OSError as error:
            hint = "free some space, or correct the permissions of its folder"
            raise ServiceError(f"{path}: cannot be made: {error.strerror}", hint) from error
        with self._explained():
            self._db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
            self._start_log(busy_seconds)
            self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def reading(self) -> Iterator[SqliteDatabase]:
        """See `Database`."""
        with self._transaction("BEGIN"):
            yield self

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[SqliteDatabase]:
        """See `Database`. SQLite lets only one transaction write at a time, so each is `alone`."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield self

    def run(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """See `Transaction`."""
        return self._db.execute(sql, tuple(values)).fetchall()

    def now(self) -> float:
        """See `Transaction`. It is the clock of this machine, which all processes of a SQLite queue share."""
        ((days,),) = self.run("SELECT julianday('now')")
        return (float(days) - _DAYS_TO_1970) * 86400.0

    def close(self) -> None:
        """See `Database`."""
        self._db.close()

    def _start_log(self, seconds: float) -> None:
        """Use a write-ahead log. Here alone SQLite does not wait for other processes that open a new file too."""
        until = time.monotonic() + seconds
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                    raise
                time.sleep(0.01)
            else:
                return

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock, self._explained(), self._db:  # commits, or rolls back on any exception
            self._db.execute(begin)
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _explanation(self._path, error) from error


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of the network file system that holds a path; None on a local disk, or where this cannot be seen."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    # fields: device, mount point with blanks as \040, type
    points = [(Path(fields[1].replace("\\040", " ")), fields[2]) for fields in map(str.split, lines)]
    around = [(len(point.parts), kind) for point, kind in points if path.absolute().is_relative_to(point)]
    kind = max(around, default=(0, ""))[1]
    return kind if kind.startswith(_NETWORK) else None


def _explanation(path: Path, error: sqlite3.DatabaseError) -> MlopsError:
    name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
    if name.startswith(_LOCKED):
        hint = "close the program that has it open (a sqlite3 shell, a backup), then run again: no job is lost"
        return ServiceError(f"{path}: another program has locked the queue", hint)
    if name.startswith(_NOT_DAMAGE):
        hint = "no job is lost: free some space, or correct the permissions of its folder, and run again"
        return ServiceError(f"{path}: the queue cannot be used now: {error}", hint)
    hint = "move the file away: a new queue is empty, and models that were installed stay"
    return DataError(f"{path}: the queue is damaged, or the file is another program's: {error}", hint)
