"""SQLite files that survive a killed process and a power cut, and errors that say what to do about them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_cli.errors import DataError, ServiceError
from mlops_cli.system.files import create_private

IN_MEMORY = Path(":memory:")
WAIT_SECONDS = 5.0
"""How long a statement waits for another process that writes."""
_LOCKED = ("BUSY", "LOCKED")
_NOT_DAMAGE = ("READONLY", "CANTOPEN", "PERM", "FULL", "IOERR")  # SQLITE_... errors of an undamaged file


@dataclass(frozen=True)
class SqliteFile:
    """A database file, and the words for it in error messages.

    Attributes:
        path: the file, or IN_MEMORY.
        name: what it is, such as `the ledger`.
        if_damaged: hint of the error that says that the file is damaged.
    """

    path: Path
    name: str
    if_damaged: str

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open it for writing; it is created if it is missing, for its owner alone.

        Write-ahead log and `synchronous=FULL`: what was committed survives a killed process and a power cut, and
        others can read meanwhile. Transactions are begun by hand (`transaction`).

        Raises:
            ServiceError: another program has locked it, in the block too.
            DataError: it is damaged, cannot be created, or the disk is full, in the block too.
        """
        with self._explained():
            if self.path != IN_MEMORY:
                create_private(self.path)
            with closing(sqlite3.connect(self.path, WAIT_SECONDS, isolation_level=None)) as connection:
                _start_log(connection)
                connection.execute("PRAGMA synchronous = FULL")
                yield connection

    @contextmanager
    def reading(self, missing: DataError) -> Iterator[sqlite3.Connection]:
        """Open it for reading, while others may be writing to it.

        Raises:
            DataError: `missing` if there is no file; or it is damaged, in the block too.
            ServiceError: another program has locked it, in the block too.
        """
        if not self.path.is_file():
            raise missing
        with self._explained(), closing(sqlite3.connect(self.path, WAIT_SECONDS, isolation_level=None)) as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._fault(error) from error

    def _fault(self, error: sqlite3.DatabaseError) -> DataError | ServiceError:
        name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
        if name.startswith(_LOCKED):
            hint = "close the program that has it open (a sqlite3 shell, a backup), then run again: nothing is lost"
            return ServiceError(f"{self.path}: another program has locked {self.name}", hint)
        hint = self.if_damaged
        if name.startswith(_NOT_DAMAGE):
            hint = "nothing is lost: correct the permissions of its folder, or free some space, and run again"
        return DataError(f"{self.path}: {self.name} cannot be used: {error}", hint)


def _start_log(connection: sqlite3.Connection) -> None:
    """Use a write-ahead log. Here alone SQLite does not wait for other processes, which open a new file too."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all that the block writes, or roll it back on any exception. Nobody else can write meanwhile."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def insert(
    connection: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]], *, on_conflict: str = "ABORT"
) -> None:
    """Insert rows of the same columns; `on_conflict` (ABORT, IGNORE, REPLACE): for a key that exists already."""
    values = list(rows)
    if values:
        columns = list(values[0])
        named = ", ".join(f":{column}" for column in columns)
        connection.executemany(f"INSERT OR {on_conflict} INTO {table}({', '.join(columns)}) VALUES ({named})", values)
