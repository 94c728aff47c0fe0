from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase, network_file_system
from tests.fakes.job_queues import job_request, job_requests_of

BUSY = 0.05


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".mlops" / "jobs.db"


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(path, BUSY)
    yield database
    database.close()


def test_the_file_is_private_and_survives_power_cuts(database: SqliteDatabase, path: Path) -> None:
    JobQueue(database)
    with database.reading() as transaction:
        assert transaction.run("PRAGMA journal_mode") == [("wal",)]
        assert transaction.run("PRAGMA synchronous") == [(2,)]
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


def test_jobs_are_there_after_the_process_has_ended(path: Path) -> None:
    for new in (True, False):
        with closing(SqliteDatabase(path)) as database:
            assert [item.new for item in JobQueue(database).submit([job_request("aapl")])] == [new]


def test_the_clock_is_that_of_the_machine_to_the_millisecond(database: SqliteDatabase) -> None:
    with database.reading() as transaction:
        assert transaction.now() == pytest.approx(time.time(), abs=1)
        first = transaction.now()
        time.sleep(0.01)
        assert first < transaction.now() < first + 1


def test_a_failed_block_changes_nothing(database: SqliteDatabase) -> None:
    queue = JobQueue(database)

    def fail() -> None:
        with database.writing() as transaction:
            transaction.run("DELETE FROM job_settings")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    JobQueue(database)
    assert queue.jobs() == []


def test_a_queue_that_another_program_has_locked_is_told(database: SqliteDatabase, path: Path) -> None:
    queue = JobQueue(database)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ServiceError, match="another program has locked the queue") as error:
            queue.submit([job_request("aapl")])
        assert "no job is lost" in error.value.hint
        assert queue.jobs() == []  # reading is still possible
        other.execute("ROLLBACK")
    assert queue.submit([job_request("aapl")])[0].new


def test_workers_that_start_at_the_same_time_wait_for_the_one_that_makes_the_file(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as first:
        first.execute("BEGIN EXCLUSIVE")
        first.execute("CREATE TABLE something(x)")
        release = threading.Timer(0.1, first.execute, ["COMMIT"])
        release.start()
        with closing(SqliteDatabase(path)) as database:
            assert JobQueue(database).jobs() == []
        release.join()


def test_a_new_file_that_stays_locked_is_told(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as first:
        first.execute("BEGIN EXCLUSIVE")
        first.execute("CREATE TABLE something(x)")
        with pytest.raises(ServiceError, match="another program has locked the queue"):
            SqliteDatabase(path, BUSY)


def test_a_full_disk_is_told_and_nothing_is_half_written(database: SqliteDatabase) -> None:
    queue = JobQueue(database)
    queue.submit(job_requests_of("red", 5))
    with database.reading() as transaction:
        ((pages,),) = transaction.run("PRAGMA page_count")
        transaction.run(f"PRAGMA max_page_count = {pages + 2}")  # SQLite then says what it says on a full disk
    with pytest.raises(ServiceError, match="full") as error:
        queue.submit(job_requests_of("blue", 500))
    assert "free some space" in error.value.hint
    assert queue.counts() == {"waiting": 5}
    with database.reading() as transaction:
        transaction.run("PRAGMA max_page_count = 100000")
    assert len(queue.submit(job_requests_of("blue", 500))) == 500


def test_a_damaged_file_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="is damaged") as error:
        SqliteDatabase(path)
    assert "move the file away" in error.value.hint


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="cannot be made"):
        SqliteDatabase(tmp_path / "file" / "jobs.db")


def test_a_queue_of_a_newer_mlops_is_refused(database: SqliteDatabase) -> None:
    JobQueue(database)
    with database.writing() as transaction:
        transaction.run("UPDATE job_settings SET value = '9'")
    with pytest.raises(ConfigError, match="format 9; this mlops reads 1"):
        JobQueue(database)


def test_a_database_of_another_program_is_told(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE jobs(title TEXT)")
    with closing(SqliteDatabase(path)) as database, pytest.raises(DataError, match="is another program's"):
        JobQueue(database)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/me/project/jobs.db", None),
        ("/net/share/project/jobs.db", "nfs4"),
        ("/net/share/fast/jobs.db", None),
        ("/net/with blank/jobs.db", "cifs"),
        ("/network/jobs.db", None),
    ],
)
def test_network_file_systems_are_recognised(tmp_path: Path, place: str, kind: str | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/x /net/share nfs4 rw 0 0\n/dev/sdb /net/share/fast xfs rw 0 0\n"
        "//server/x /net/with\\040blank cifs rw 0 0\n"
    )
    assert network_file_system(Path(place), mounts) == kind


def test_where_mounts_cannot_be_seen_every_path_is_taken(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "nothing") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_told(path: Path) -> None:
    SqliteDatabase(path).close()
    path.chmod(0o400)
    with pytest.raises(ServiceError):
        JobQueue(SqliteDatabase(path))
