"""Opening the journal: writers take turns, readers read meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_cli.errors import ConfigError, DataError
from mlops_cli.live.journal.journal import Journal
from mlops_cli.live.journal.tables import FORMAT, KIND
from mlops_cli.system.sqlite_files import SqliteFile

_IF_DAMAGED = "copy it away, and restore it from a backup: what was forecast cannot be made again"


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Open the journal for writing, and create it if it is missing. `path` may be `sqlite_files.IN_MEMORY`.

    Raises:
        ServiceError: another program has locked it.
        ConfigError: it was written by another version of mlops, or is another database.
        DataError: it is damaged, cannot be created, or the disk is full.
    """
    with _file(path).writing() as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        journal = Journal(connection)
        journal.create()
        _check(journal, path)
        yield journal


@contextmanager
def read_journal(path: Path) -> Iterator[Journal]:
    """Open the journal for reading, while a pass may be writing to it.

    Raises:
        DataError: there is none, or it is damaged.
        ConfigError: it was written by another version of mlops, or is another database.
        ServiceError: another program has locked it.
    """
    missing = DataError(f"{path}: there is no journal yet", "the first pass that issues forecasts makes it: mlops live")
    with _file(path).reading(missing) as connection:
        connection.execute("PRAGMA query_only = ON")
        journal = Journal(connection)
        if journal.is_empty():
            raise missing
        _check(journal, path)
        yield journal


def _file(path: Path) -> SqliteFile:
    return SqliteFile(path, "the journal", _IF_DAMAGED)


def _check(journal: Journal, path: Path) -> None:
    if journal.meta("kind") != KIND:
        raise ConfigError(f"{path}: this database is no journal of forecasts", "move it away, or name another file")
    written = journal.meta("format")
    if written != str(FORMAT):
        raise ConfigError(f"{path}: a journal of format {written}; this mlops reads {FORMAT}", "update mlops")
