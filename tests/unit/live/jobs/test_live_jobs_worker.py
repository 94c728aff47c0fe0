from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlops_cli.errors import DataError, ModelError, ServiceError, TrainingError
from mlops_cli.live.jobs import lease_keeper
from mlops_cli.live.jobs.database import Database, Dialect, Transaction
from mlops_cli.live.jobs.installer import FencedInstaller
from mlops_cli.live.jobs.job import Job, LeaseLost
from mlops_cli.live.jobs.lease_keeper import LeaseKeeper
from mlops_cli.live.jobs.leases import LeaseTimes
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.jobs.worker import NotTrained, Trained, WorkDone, WorkerSettings, work
from tests.fakes.job_queues import (
    LEASE,
    POLICY,
    QueueInTest,
    RenamedVersions,
    job_request,
    job_requests_of,
    queue_in_test,
)

Outcomes = Iterable[Trained[str] | NotTrained]
Report = Callable[[str], None]


@dataclass
class Place:
    """A queue with a store, and what the worker has told."""

    made: QueueInTest
    store: RenamedVersions
    locks: Path
    told: list[str] = field(default_factory=list)
    trained: list[list[str]] = field(default_factory=list)

    @property
    def queue(self) -> JobQueue:
        return self.made.queue

    def submit(self, *models: str) -> None:
        self.queue.submit([job_request(model) for model in models])

    def train(self, jobs: Sequence[Job], report: Report) -> Outcomes:
        self.trained.append([job.model for job in jobs])
        report("at it")
        for job in jobs:
            yield Trained(job, f"weights of {job.model}")

    def work(self, train: Callable[[Sequence[Job], Report], Outcomes] | None = None, passes: int = 1) -> WorkDone:
        """Work until nothing is due, this often; time enough for a retry passes in between."""
        done = WorkDone()
        for number in range(passes):
            if number:
                self.made.wait(POLICY.longest_delay)
            settings = WorkerSettings(poll=0.001, longest_pause=0.01, stop=StopWhenIdle(), tell=self.told.append)
            some = work(self.queue, train or self.train, FencedInstaller(self.queue, self.locks, self.store), settings)
            done.installed, done.failed = done.installed + some.installed, done.failed + some.failed
            done.dropped += some.dropped
        return done

    def states(self) -> dict[str, str]:
        return {job.model: job.state for job in self.queue.jobs()}

    def job(self, model: str) -> Job:
        return next(job for job in self.queue.jobs() if job.model == model)


class StopWhenIdle(threading.Event):
    """Set as soon as the worker waits, which it does when no job is due."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = queue_in_test(SqliteDatabase(tmp_path / "jobs.db", 0.05))
    yield Place(made, RenamedVersions(tmp_path / "versions"), tmp_path / "locks")
    made.queue.close()


def test_jobs_are_trained_together_and_installed(place: Place) -> None:
    place.submit("a", "b", "c")
    assert place.work() == WorkDone(installed=3)
    assert place.trained == [["a", "b", "c"]]
    assert set(place.states().values()) == {"done"}
    job = place.job("b")
    assert job.version is not None
    assert (place.store.folder / job.version).read_text() == "weights of b"
    assert place.told == ["training a, b, c"]


def test_it_ends_when_the_queue_is_empty(place: Place) -> None:
    place.submit("a")
    settings = WorkerSettings(until_empty=True, poll=0.001)
    installer = FencedInstaller(place.queue, place.locks, place.store)
    assert work(place.queue, place.train, installer, settings) == WorkDone(installed=1)


def test_it_takes_no_more_than_it_may(place: Place) -> None:
    place.queue.submit(job_requests_of("red", 5))
    settings = WorkerSettings(until_empty=True, at_once=2)
    work(place.queue, place.train, FencedInstaller(place.queue, place.locks, place.store), settings)
    assert [len(models) for models in place.trained] == [2, 2, 1]


def test_a_job_that_fails_does_not_hold_up_the_others(place: Place) -> None:
    def train(jobs: Sequence[Job], report: Report) -> Outcomes:
        for job in jobs:
            yield NotTrained(job, "loss is nan") if job.model == "b" else Trained(job, "x")

    place.submit("a", "b", "c")
    assert place.work(train) == WorkDone(installed=2, failed=1)
    assert place.states() == {"a": "done", "b": "waiting", "c": "done"}
    assert (place.job("b").failures, place.job("b").reason) == (1, "loss is nan")
    place.work(train, passes=3)
    assert (place.job("b").state, place.job("b").reason) == ("dead", "failed 3 times, the last time: loss is nan")


def test_a_final_failure_is_dead_at_once(place: Place) -> None:
    place.submit("a")
    place.work(lambda jobs, report: [NotTrained(jobs[0], "too few rows", final=True)])
    assert place.states() == {"a": "dead"}


def test_a_job_without_an_outcome_has_failed(place: Place) -> None:
    place.submit("a", "b")
    place.work(lambda jobs, report: [Trained(jobs[0], "x")])
    assert place.states() == {"a": "done", "b": "waiting"}
    assert place.job("b").reason == "the training gave no result for it"


def test_a_model_that_cannot_be_installed_has_failed(place: Place) -> None:
    class Picky(RenamedVersions):
        def put(self, job: Job, trained: str) -> str:
            if job.model == "a":
                raise ModelError("a: no graph")
            return super().put(job, trained)

    place.store = Picky(place.store.folder)
    place.submit("a", "b")
    assert place.work() == WorkDone(installed=1, failed=1)
    assert (place.job("a").failures, place.job("a").reason) == (1, "a: no graph")


def test_a_training_that_fails_as_a_whole_is_split_until_the_cause_is_alone(place: Place) -> None:
    def train(jobs: Sequence[Job], report: Report) -> Outcomes:
        if any(job.model == "red-0003" for job in jobs):
            raise TrainingError("out of memory")
        return [Trained(job, "x") for job in jobs]

    place.queue.submit(job_requests_of("red", 20))
    place.work(train, passes=9)
    states = place.states()
    assert states.pop("red-0003") == "dead"
    assert set(states.values()) == {"done"}
    assert place.job("red-0003").reason == "failed 3 times, the last time: out of memory"


def test_a_bug_is_raised_and_its_jobs_go_back_as_after_a_crash(place: Place) -> None:
    def train(jobs: Sequence[Job], report: Report) -> Outcomes:
        yield Trained(jobs[0], "x")
        raise KeyError("oops")

    place.submit("a", "b")
    with pytest.raises(KeyError):
        place.work(train)
    assert place.states() == {"a": "done", "b": "waiting"}
    assert (place.job("b").reason, place.job("b").lost, place.job("b").failures) == ("KeyError: 'oops'", 1, 0)


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_a_stopped_worker_gives_its_jobs_back_at_once(place: Place, signal: type[BaseException]) -> None:
    def train(jobs: Sequence[Job], report: Report) -> Outcomes:
        yield Trained(jobs[0], "x")
        raise signal

    place.submit("a", "b")
    with pytest.raises(signal):
        place.work(train)
    waiting = place.job("b")
    assert (waiting.state, waiting.lost, waiting.failures, waiting.reason) == (
        "waiting",
        0,
        0,
        "its worker was stopped",
    )
    assert place.work() == WorkDone(installed=1)


def test_a_service_that_is_away_costs_no_try(place: Place) -> None:
    def train(jobs: Sequence[Job], report: Report) -> Outcomes:
        raise ServiceError("the cluster is away")

    place.submit("a", "b")
    place.work(train, passes=5)
    assert [(job.state, job.failures, job.lost) for job in place.queue.jobs()] == [("waiting", 0, 0)] * 2
    assert place.told[-1] == "waiting: the cluster is away"
    assert place.work(passes=2) == WorkDone(installed=2)


def test_a_full_disk_costs_no_try(place: Place) -> None:
    class Full(RenamedVersions):
        def put(self, job: Job, trained: str) -> str:
            raise OSError(28, "No space left on device")

    versions, place.store = place.store, Full(place.store.folder)
    place.submit("a", "b")
    place.work(passes=5)
    assert [(job.state, job.failures) for job in place.queue.jobs()] == [("waiting", 0)] * 2
    place.store = versions
    assert place.work(passes=2) == WorkDone(installed=2)


def test_what_an_earlier_try_installed_is_not_trained_again(place: Place) -> None:
    place.submit("a", "b")
    killed = place.queue.take("killed", 2)
    assert killed is not None
    version = place.store.put(killed.jobs[0], "x")
    place.made.wait(LEASE + 1)
    place.work(passes=2)
    assert place.trained == [["b"]]
    assert place.job("a").version == version
    assert sorted(place.store.puts) == [1, 2]


def test_a_job_that_was_cancelled_in_training_is_not_installed(place: Place) -> None:
    def train(jobs: Sequence[Job], report: Report) -> Outcomes:
        place.queue.cancel(jobs[0].number)
        return [Trained(job, "x") for job in jobs]

    place.submit("a", "b")
    assert place.work(train) == WorkDone(installed=1, dropped=1)
    assert place.states() == {"a": "cancelled", "b": "done"}
    assert place.store.puts == [2]


def test_a_spec_of_another_version_is_told(place: Place) -> None:
    place.submit("a")
    with place.made.clock.writing() as transaction:
        transaction.run("UPDATE jobs SET spec = '{}'")
    with pytest.raises(DataError, match="another version of mlops") as error:
        place.job("a").model_spec()
    assert error.value.hint == "submit it again"


@dataclass
class Flaky:
    """A database that is away for the next `away` transactions."""

    inner: Database
    away: int = 0

    @property
    def dialect(self) -> Dialect:
        return self.inner.dialect

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        self._answer()
        with self.inner.reading() as transaction:
            yield transaction

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Transaction]:
        self._answer()
        with self.inner.writing(alone=alone) as transaction:
            yield transaction

    def close(self) -> None:
        self.inner.close()

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise ServiceError("the database is away")


def test_an_installed_model_is_recorded_when_the_database_is_back(place: Place, tmp_path: Path) -> None:
    database = Flaky(SqliteDatabase(tmp_path / "jobs.db"))
    queue = JobQueue(database)
    stop = threading.Event()

    class ThenAway(RenamedVersions):
        def put(self, job: Job, trained: str) -> str:
            database.away = 3
            return super().put(job, trained)

    place.submit("a")
    store = ThenAway(place.store.folder)
    settings = WorkerSettings(poll=0.001, until_empty=True, stop=stop)
    assert work(queue, place.train, FencedInstaller(queue, place.locks, store), settings) == WorkDone(installed=1)
    assert place.states() == {"a": "done"}
    assert store.puts == [1]
    queue.close()


def test_while_the_database_is_away_the_worker_waits_and_says_so_once(place: Place, tmp_path: Path) -> None:
    database = Flaky(SqliteDatabase(tmp_path / "jobs.db"))
    queue = JobQueue(database)
    place.submit("a")
    database.away = 4
    settings = WorkerSettings(poll=0.001, longest_pause=0.004, until_empty=True, tell=place.told.append)
    work(queue, place.train, FencedInstaller(queue, place.locks, place.store), settings)
    assert place.told == ["waiting: the database is away", "training a"]
    queue.close()


# -- the lease


def test_the_lease_is_renewed_while_a_job_is_trained(tmp_path: Path) -> None:
    queue = JobQueue(SqliteDatabase(tmp_path / "jobs.db"), times=LeaseTimes(lease=0.2))
    queue.submit([job_request("a")])
    batch = queue.take("w", 1)
    assert batch is not None
    with LeaseKeeper(queue, batch) as keeper:
        keeper.report("epoch 1")
        time.sleep(0.5)
        assert queue.take("other", 1) is None
        job = queue.show(1)
        assert (job.state, job.progress) == ("running", "epoch 1")
    queue.close()


def test_progress_is_stored_long_before_the_lease_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "_TOLD_WITHIN", 0.01)
    queue = JobQueue(SqliteDatabase(tmp_path / "jobs.db"), times=LeaseTimes(lease=600))
    queue.submit([job_request("a")])
    batch = queue.take("w", 1)
    assert batch is not None
    with LeaseKeeper(queue, batch) as keeper:
        for line in ("epoch 1", "epoch 2"):
            keeper.report(line)
            deadline = time.monotonic() + 5
            while queue.show(1).progress != line:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        lease = queue.show(1).lease_until
        time.sleep(0.1)
        assert queue.show(1).lease_until == lease  # without news the database is left alone
    queue.close()


def test_a_training_is_told_when_none_of_its_jobs_is_left(tmp_path: Path) -> None:
    queue = JobQueue(SqliteDatabase(tmp_path / "jobs.db"), times=LeaseTimes(lease=0.04))
    queue.submit([job_request("a"), job_request("b")])
    epochs = 0

    def train(jobs: Sequence[Job], report: Report) -> Outcomes:
        nonlocal epochs
        for job in jobs:
            queue.cancel(job.number)
        for epochs in range(500):
            report(f"epoch {epochs}")
            time.sleep(0.005)
        return [Trained(job, "x") for job in jobs]

    store = RenamedVersions(tmp_path / "versions")
    settings = WorkerSettings(until_empty=True, poll=0.001)
    assert work(queue, train, FencedInstaller(queue, tmp_path, store), settings) == WorkDone(dropped=2)
    assert epochs < 100
    assert store.puts == []
    queue.close()


def test_reports_are_free_while_one_job_is_left(tmp_path: Path) -> None:
    queue = JobQueue(SqliteDatabase(tmp_path / "jobs.db"), times=LeaseTimes(lease=0.04))
    queue.submit([job_request("a"), job_request("b")])
    batch = queue.take("w", 2)
    assert batch is not None
    with LeaseKeeper(queue, batch) as keeper:
        queue.cancel(1)
        time.sleep(0.05)
        keeper.report("epoch 2")
        queue.cancel(2)
        time.sleep(0.05)
        with pytest.raises(LeaseLost):
            keeper.report("epoch 3")
        for job in batch.jobs:
            keeper.settle(job.number)
        keeper.report("nothing is left to lose")
    queue.close()


def test_a_renewal_that_fails_does_not_end_the_training(tmp_path: Path) -> None:
    database = Flaky(SqliteDatabase(tmp_path / "jobs.db"))
    queue = JobQueue(database, times=LeaseTimes(lease=0.08))
    queue.submit([job_request("a")])
    batch = queue.take("w", 1)
    assert batch is not None
    with LeaseKeeper(queue, batch) as keeper:
        database.away = 2
        time.sleep(0.15)
        keeper.report("epoch 2")
        assert database.away == 0
        assert queue.renew(batch) == {1}
    queue.close()
