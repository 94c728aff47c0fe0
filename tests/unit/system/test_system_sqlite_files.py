"""SQLite files: durable, written in whole transactions, and errors that say what to do."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlops_cli.errors import DataError, ServiceError
from mlops_cli.system import sqlite_files
from mlops_cli.system.sqlite_files import IN_MEMORY, SqliteFile, insert, transaction

MISSING = DataError("there is none yet", "make one")


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path / "folder" / "a.db", "the shelf", "build another shelf")


@pytest.fixture
def books(file: SqliteFile) -> Iterator[sqlite3.Connection]:
    with file.writing() as connection:
        connection.execute("CREATE TABLE books(title TEXT PRIMARY KEY, pages INTEGER)")
        yield connection


def pages(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT title, pages FROM books").fetchall())


def test_it_is_written_durably_and_for_its_owner_alone(file: SqliteFile, books: sqlite3.Connection) -> None:
    assert books.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert books.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    insert(books, "books", [{"title": "a", "pages": 1}])
    names = sorted(path.name for path in file.path.parent.iterdir())
    assert names == ["a.db", "a.db-shm", "a.db-wal"]
    assert {path.stat().st_mode & 0o777 for path in file.path.parent.iterdir()} == {0o600}


def test_readers_see_what_is_committed_and_nothing_else(file: SqliteFile, books: sqlite3.Connection) -> None:
    with transaction(books):
        insert(books, "books", [{"title": "a", "pages": 1}])
        with file.reading(MISSING) as reader:
            assert pages(reader) == {}
    with file.reading(MISSING) as reader:
        assert pages(reader) == {"a": 1}


def test_a_failed_transaction_leaves_nothing(books: sqlite3.Connection) -> None:
    def fail() -> None:
        with transaction(books):
            insert(books, "books", [{"title": "a", "pages": 1}])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert pages(books) == {}
    assert not books.in_transaction


@pytest.mark.parametrize(("on_conflict", "expected"), [("IGNORE", 1), ("REPLACE", 2)])
def test_rows_of_a_key_that_exists(books: sqlite3.Connection, on_conflict: str, expected: int) -> None:
    insert(books, "books", [{"title": "a", "pages": 1}])
    insert(books, "books", [{"title": "a", "pages": 2}], on_conflict=on_conflict)
    assert pages(books) == {"a": expected}


def test_no_rows_are_no_statement(books: sqlite3.Connection) -> None:
    insert(books, "no_such_table", [])


def test_a_database_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SqliteFile(IN_MEMORY, "the shelf", "").writing() as connection:
        connection.execute("CREATE TABLE books(title TEXT)")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_made_by_reading(file: SqliteFile) -> None:
    with pytest.raises(DataError, match="there is none yet"), file.reading(MISSING):
        pass
    assert not file.path.exists()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file(file: SqliteFile, content: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    with pytest.raises(DataError, match="the shelf cannot be used") as refusal, file.writing():
        pass
    assert refusal.value.hint == "build another shelf"
    with pytest.raises(DataError, match="the shelf cannot be used"), file.reading(MISSING) as connection:
        pages(connection)


def test_a_locked_file_is_not_called_damaged(file: SqliteFile, books: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def write() -> None:
            with file.writing() as connection:
                connection.execute("PRAGMA busy_timeout = 10")
                with transaction(connection):
                    pass

        with pytest.raises(ServiceError, match="another program has locked the shelf") as refusal:
            write()
        assert "nothing is lost" in refusal.value.hint
        other.execute("ROLLBACK")
        write()
        assert pages(books) == {}


def test_a_new_file_that_another_process_is_just_making(file: SqliteFile) -> None:
    """SQLite itself does not wait when the log is started."""
    file.path.parent.mkdir()
    other = sqlite3.connect(file.path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE books(title TEXT)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.1, other.execute, ["COMMIT"])
    release.start()
    with file.writing() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    release.join()
    other.close()


def test_a_new_file_that_stays_locked(file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_files, "WAIT_SECONDS", 0.05)
    file.path.parent.mkdir()
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ServiceError, match="another program has locked the shelf"), file.writing():
            pass


def test_a_full_disk_loses_nothing_that_was_committed(file: SqliteFile, books: sqlite3.Connection) -> None:
    insert(books, "books", [{"title": "a", "pages": 1}])

    def fill() -> None:
        with file.writing() as connection:
            connection.execute("PRAGMA max_page_count = 5")
            with transaction(connection):
                insert(connection, "books", [{"title": "x" * 5000 + str(n), "pages": n} for n in range(100)])

    with pytest.raises(DataError, match="full") as refusal:
        fill()
    assert "free some space" in refusal.value.hint
    assert pages(books) == {"a": 1}
