from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.live.jobs.installer import FencedInstaller
from mlops_cli.live.jobs.job import Job, LeaseLost
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from tests.fakes.job_queues import LEASE, POLICY, QueueInTest, RenamedVersions, job_request, queue_in_test


@pytest.fixture
def made(tmp_path: Path) -> Iterator[QueueInTest]:
    made = queue_in_test(SqliteDatabase(tmp_path / "jobs.db"))
    made.queue.submit([job_request("aapl")])
    yield made
    made.queue.close()


@pytest.fixture
def store(tmp_path: Path) -> RenamedVersions:
    return RenamedVersions(tmp_path / "versions")


@pytest.fixture
def installer(made: QueueInTest, store: RenamedVersions, tmp_path: Path) -> FencedInstaller[str]:
    return FencedInstaller(made.queue, tmp_path / "locks", store)


def take(made: QueueInTest) -> Job:
    batch = made.queue.take("w", 1)
    assert batch is not None
    return batch.jobs[0]


def take_from_a_lost_worker(made: QueueInTest) -> Job:
    made.wait(LEASE + 1)
    made.queue.take("w", 1)
    made.wait(POLICY.longest_delay)
    return take(made)


def test_the_newest_token_installs(made: QueueInTest, installer: FencedInstaller[str], store: RenamedVersions) -> None:
    job = take(made)
    assert installer.installed(job) is None
    version = installer.install(job, job.token, "weights")
    assert installer.installed(job) == version
    assert (store.folder / version).read_text() == "weights"


def test_an_old_token_is_refused_before_anything_is_put(
    made: QueueInTest, installer: FencedInstaller[str], store: RenamedVersions
) -> None:
    old = take(made)
    new = take_from_a_lost_worker(made)
    with pytest.raises(LeaseLost):
        installer.install(old, old.token, "old")
    assert store.puts == []
    installer.install(new, new.token, "new")
    assert store.puts == [new.number]


def test_a_cancelled_job_is_not_installed(
    made: QueueInTest, installer: FencedInstaller[str], store: RenamedVersions
) -> None:
    job = take(made)
    made.queue.cancel(job.number)
    with pytest.raises(LeaseLost):
        installer.install(job, job.token, "weights")
    assert store.puts == []


def test_a_second_installation_gives_the_first_version(
    made: QueueInTest, installer: FencedInstaller[str], store: RenamedVersions
) -> None:
    old = take(made)
    version = installer.install(old, old.token, "first")  # and then its worker is killed
    new = take_from_a_lost_worker(made)
    assert installer.install(new, new.token, "second") == version
    assert store.puts == [old.number]


def test_a_worker_that_stood_still_in_the_middle_of_installing_does_not_install_twice(
    made: QueueInTest, store: RenamedVersions, tmp_path: Path
) -> None:
    """It has passed the check of its token, stands still for longer than its lease, and goes on."""
    going_on, checked = threading.Event(), threading.Event()

    class Slow(RenamedVersions):
        def put(self, job: Job, trained: str) -> str:
            checked.set()
            going_on.wait(10)
            return super().put(job, trained)

    slow = Slow(store.folder)
    old = take(made)
    versions: list[str] = []
    locks = tmp_path / "locks"

    def install_old() -> None:
        versions.append(FencedInstaller(made.queue, locks, slow).install(old, old.token, "old"))

    standing = threading.Thread(target=install_old)
    standing.start()
    assert checked.wait(10)
    new = take_from_a_lost_worker(made)
    second = threading.Thread(
        target=lambda: versions.append(FencedInstaller(made.queue, locks, store).install(new, new.token, "new"))
    )
    second.start()
    time.sleep(0.05)
    assert versions == []
    going_on.set()
    standing.join()
    second.join()
    assert len(set(versions)) == 1
    assert (slow.puts, store.puts) == ([old.number], [])


def test_a_full_disk_is_nobodys_fault(made: QueueInTest, tmp_path: Path) -> None:
    class Full(RenamedVersions):
        def put(self, job: Job, trained: str) -> str:
            raise OSError(28, "No space left on device")

    job = take(made)
    installer = FencedInstaller(made.queue, tmp_path / "locks", Full(tmp_path / "versions"))
    with pytest.raises(ServiceError, match="aapl: cannot be installed now: No space left on device") as error:
        installer.install(job, job.token, "weights")
    assert "free some space" in error.value.hint
