"""The queue of training jobs behaves alike in SQLite and in Postgres.

Postgres: a real server, which the tests start. They are skipped, with the reason, where there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.live.jobs.database import Database
from mlops_cli.live.jobs.job import Batch, Job, LeaseLost, NoSuchJob, QueueFull
from mlops_cli.live.jobs.postgres_database import PostgresDatabase
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.jobs.submissions import Limits
from tests.fakes.job_queues import LEASE, POLICY, TRIES, QueueInTest, job_request, job_requests_of, queue_in_test
from tests.fakes.postgres_server import PostgresServer, missing_for_postgres, postgres_server

Connect = Callable[[], Database]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    missing = missing_for_postgres()
    if missing is not None:
        pytest.skip(missing)
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    """Opens another connection to the same, at first empty, database."""
    opened: list[Database] = []
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").url
        first = PostgresDatabase(url)
        with first.writing() as transaction:
            transaction.run("DROP TABLE IF EXISTS jobs, job_settings")
        opened.append(first)

    def another() -> Database:
        database = PostgresDatabase(url) if request.param == "postgres" else SqliteDatabase(tmp_path / "jobs.db")
        opened.append(database)
        return database

    yield another
    for database in opened:
        database.close()


@pytest.fixture
def made(connect: Connect) -> QueueInTest:
    return queue_in_test(connect())


@pytest.fixture
def queue(made: QueueInTest) -> JobQueue:
    return made.queue


def take(queue: JobQueue, limit: int = 1, worker: str = "w") -> Batch:
    batch = queue.take(worker, limit)
    assert batch is not None
    return batch


def submit(queue: JobQueue, *models: str, team: str = "red", architecture: str = "small") -> list[Job]:
    return [item.job for item in queue.submit([job_request(model, team, architecture) for model in models])]


def models(batch: Batch | None) -> list[str]:
    return [] if batch is None else [job.model for job in batch.jobs]


# -- submitting


def test_a_new_job_waits_and_holds_what_was_asked_for(queue: JobQueue) -> None:
    (submitted,) = queue.submit([job_request("aapl")])
    job = queue.show(submitted.job.number)
    assert submitted.new
    assert job == submitted.job
    assert (job.team, job.model, job.state, job.token, job.data) == ("red", "aapl", "waiting", 0, "2024-01-05")
    assert job.model_spec().ticker == "AAPL"
    assert (job.worker, job.version, job.ended_at, job.reason) == (None, None, None, "")


def test_the_same_key_is_the_same_job_whatever_became_of_it(queue: JobQueue) -> None:
    (job,) = submit(queue, "aapl")
    for state in ("waiting", "running", "done"):
        (again,) = queue.submit([job_request("aapl")])
        assert (again.job.number, again.new, again.job.state) == (job.number, False, state)
        if state == "waiting":
            taken = take(queue).jobs[0]
        elif state == "running":
            queue.finish(taken, "v1")
    assert len(queue.jobs()) == 1


def test_a_request_that_is_repeated_in_one_submission_is_one_job(queue: JobQueue) -> None:
    twice = queue.submit([job_request("aapl"), job_request("aapl")])
    assert [item.new for item in twice] == [True, False]
    assert twice[0].job == twice[1].job


def test_another_team_model_or_newer_data_is_another_job(queue: JobQueue) -> None:
    requests = [job_request("aapl"), job_request("aapl", "blue"), job_request("msft")]
    assert [item.new for item in queue.submit(requests)] == [True] * 3
    (newer,) = queue.submit([job_request("aapl", data="2024-01-08")])
    assert newer.new


def test_a_newer_job_replaces_unfinished_older_ones_of_its_model(queue: JobQueue) -> None:
    waiting, other = submit(queue, "aapl", "msft")
    (newer,) = queue.submit([job_request("aapl", data="2024-01-08")])
    old = queue.show(waiting.number)
    assert (old.state, old.reason) == ("cancelled", f"replaced by job {newer.job.number}")
    assert queue.show(other.number).state == "waiting"


def test_of_two_configs_of_one_model_in_one_submission_the_last_counts(queue: JobQueue) -> None:
    queue.submit([job_request("aapl", data="2024-01-05"), job_request("aapl", data="2024-01-08")])
    assert [(job.data, job.state) for job in queue.jobs()] == [("2024-01-08", "waiting"), ("2024-01-05", "cancelled")]


def test_a_replaced_running_job_can_no_longer_install(queue: JobQueue) -> None:
    submit(queue, "aapl")
    running = take(queue).jobs[0]
    queue.submit([job_request("aapl", data="2024-01-08")])
    with pytest.raises(LeaseLost):
        queue.check(running.number, running.token)


def test_a_full_queue_refuses_whole_submissions_and_says_when_to_come_back(connect: Connect) -> None:
    queue = queue_in_test(connect(), Limits(waiting=10, waiting_of_team=10)).queue
    queue.submit(job_requests_of("red", 8))
    with pytest.raises(QueueFull, match=r"12 jobs would wait, the queue holds 10") as full:
        queue.submit(job_requests_of("blue", 4))
    assert full.value.retry_after == 60  # nothing is known of the workers' speed
    assert "submit again in 60 s" in full.value.hint
    assert queue.counts("blue") == {}
    queue.submit(job_requests_of("blue", 2))


def test_a_full_queue_answers_a_repeated_request(connect: Connect) -> None:
    queue = queue_in_test(connect(), Limits(waiting=5, waiting_of_team=5)).queue
    requests = job_requests_of("red", 5)
    queue.submit(requests)
    assert [item.new for item in queue.submit(requests)] == [False] * 5


def test_the_wait_of_a_full_queue_follows_the_workers(connect: Connect) -> None:
    made = queue_in_test(connect(), Limits(waiting=100, waiting_of_team=100))
    queue = made.queue
    queue.submit(job_requests_of("red", 100))
    for job in take(queue, 50).jobs:
        queue.finish(job, "v")
    queue.submit(job_requests_of("blue", 50))
    with pytest.raises(QueueFull) as full:
        queue.submit([job_request("one-more")])
    assert full.value.retry_after == 120  # 50 jobs in ten minutes; room for 10 is needed
    made.wait(601)
    with pytest.raises(QueueFull) as full:
        queue.submit([job_request("one-more")])
    assert full.value.retry_after == 60


def test_a_flood_of_one_team_leaves_room_for_the_others(connect: Connect) -> None:
    queue = queue_in_test(connect(), Limits(waiting=20, waiting_of_team=10)).queue
    with pytest.raises(QueueFull, match="11 jobs of team red would wait, it may have 10"):
        queue.submit(job_requests_of("red", 11))
    queue.submit(job_requests_of("red", 10))
    queue.submit(job_requests_of("blue", 10))


def test_many_clients_at_once_make_one_job_of_one_key(connect: Connect) -> None:
    queues = [queue_in_test(connect()).queue for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda queue: queue.submit([job_request("aapl")])[0], queues * 3))
    assert Counter(answer.new for answer in answers) == {True: 1, False: 17}
    assert len({answer.job.number for answer in answers}) == 1


def test_many_clients_at_once_do_not_overfill_the_queue(connect: Connect) -> None:
    queues = [queue_in_test(connect(), Limits(waiting=7, waiting_of_team=7)).queue for _ in range(4)]

    def flood(number: int) -> bool:
        try:
            queues[number % 4].submit([job_request(f"model-{number}")])
        except QueueFull:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(flood, range(20))) == 7


# -- looking


def test_jobs_are_listed_newest_first_by_team_and_state(queue: JobQueue) -> None:
    submit(queue, "a", "b", "c")
    submit(queue, "d", team="blue")
    queue.cancel(take(queue).jobs[0].number)
    assert [job.model for job in queue.jobs()] == ["d", "c", "b", "a"]
    assert [job.model for job in queue.jobs(limit=2)] == ["d", "c"]
    assert [job.model for job in queue.jobs("red", ["waiting"])] == ["c", "b"]
    assert [job.model for job in queue.jobs(states=["cancelled", "done"])] == ["a"]
    assert queue.counts() == {"waiting": 3, "cancelled": 1}
    assert queue.counts("blue") == {"waiting": 1}


@pytest.mark.parametrize("number", [0, -1, 99, 2**80])
def test_a_number_without_a_job_is_told(queue: JobQueue, number: int) -> None:
    with pytest.raises(NoSuchJob, match=f"there is no job {number}"):
        queue.show(number)


def test_jobs_of_another_team_do_not_exist(queue: JobQueue) -> None:
    (job,) = submit(queue, "aapl")
    for act in (queue.show, queue.cancel, queue.retry):
        with pytest.raises(NoSuchJob):
            act(job.number, "blue")
    assert queue.show(job.number, "red").state == "waiting"


# -- taking


def test_the_oldest_job_is_taken_first_with_a_lease_and_a_token(made: QueueInTest) -> None:
    submit(made.queue, "a", "b")
    batch = take(made.queue, worker="host:1")
    (job,) = batch.jobs
    assert (job.model, job.state, job.token, job.worker, job.batch, job.batch_size) == (
        "a", "running", 1, "host:1", batch.id, 1,
    )  # fmt: skip
    assert job.lease_until is not None
    assert job.taken_at is not None
    assert (job.lease_until - job.taken_at).total_seconds() == pytest.approx(LEASE)


def test_nothing_is_taken_from_an_empty_queue(queue: JobQueue) -> None:
    assert queue.take("w", 10) is None


def test_waiting_jobs_of_one_architecture_are_taken_together(queue: JobQueue) -> None:
    submit(queue, "a", "b")
    submit(queue, "big-1", architecture="big")
    submit(queue, "c", "d", architecture="small")
    assert models(take(queue, 3)) == ["a", "b", "c"]
    assert models(take(queue, 3)) == ["big-1"]
    assert models(take(queue, 3)) == ["d"]


def test_five_hundred_requests_are_one_batch(queue: JobQueue) -> None:
    queue.submit(job_requests_of("red", 500))
    assert len(take(queue, 500).jobs) == 500


def test_each_team_gets_an_equal_share(queue: JobQueue) -> None:
    queue.submit(job_requests_of("red", 50))
    queue.submit(job_requests_of("blue", 3))
    queue.submit(job_requests_of("green", 10))
    teams = Counter(job.team for job in take(queue, 12).jobs)
    assert teams == {"red": 5, "blue": 3, "green": 4}


def test_a_team_with_running_jobs_comes_after_one_without(queue: JobQueue) -> None:
    queue.submit(job_requests_of("red", 6))
    take(queue, 3)
    queue.submit(job_requests_of("blue", 5))
    assert [take(queue).jobs[0].team for _ in range(5)] == ["blue", "blue", "blue", "red", "blue"]


def test_two_workers_at_once_never_take_the_same_job(connect: Connect) -> None:
    queues = [queue_in_test(connect()).queue for _ in range(5)]
    queues[0].submit(job_requests_of("red", 120))

    def take_all(queue: JobQueue) -> list[int]:
        numbers: list[int] = []
        while (batch := queue.take("w", 4)) is not None:
            numbers += [job.number for job in batch.jobs]
        return numbers

    with ThreadPoolExecutor(5) as pool:
        taken = [number for numbers in pool.map(take_all, queues) for number in numbers]
    assert len(taken) >= 116  # a worker sees nothing due while the others hold the rest
    assert len(taken) == len(set(taken))


# -- leases


def test_a_lease_that_runs_out_gives_the_job_to_another_worker(made: QueueInTest) -> None:
    queue = made.queue
    submit(queue, "aapl")
    old = take(queue)
    made.wait(LEASE - 1)
    assert queue.take("other", 1) is None
    made.wait(2)
    assert queue.take("other", 1) is None  # it waits, as after a failure
    job = queue.show(old.jobs[0].number)
    assert (job.state, job.failures, job.reason) == ("waiting", 1, "its worker w ended without an answer")
    made.wait(POLICY.longest_delay)
    assert take(queue, worker="other").jobs[0].token == 2


def test_a_worker_that_lost_its_lease_can_do_nothing_more(made: QueueInTest) -> None:
    queue = made.queue
    submit(queue, "aapl")
    old = take(queue)
    made.wait(LEASE + 1)
    queue.take("other", 1)
    made.wait(POLICY.longest_delay)
    new = take(queue)
    (job,) = old.jobs
    assert queue.renew(old) == frozenset()
    for act in (
        lambda: queue.check(job.number, job.token),
        lambda: queue.finish(job, "v"),
        lambda: queue.fail(job, "x"),
    ):
        with pytest.raises(LeaseLost, match=f"job {job.number} is no longer this worker's"):
            act()
    queue.give_back(old, "x", crashed=True)
    assert queue.show(job.number) == new.jobs[0]
    queue.check(job.number, new.jobs[0].token)


def test_a_renewed_lease_lasts(made: QueueInTest) -> None:
    queue = made.queue
    submit(queue, "a", "b")
    batch = take(queue, 2)
    for _ in range(5):
        made.wait(LEASE * 0.9)
        assert queue.renew(batch, "epoch 3 of 20") == {job.number for job in batch.jobs}
        assert queue.take("other", 2) is None
    assert queue.show(batch.jobs[0].number).progress == "epoch 3 of 20"


def test_a_worker_that_was_away_keeps_what_nobody_else_has_taken(made: QueueInTest) -> None:
    """A clock that jumps ahead by a day, for example: the first to come decides."""
    submit(made.queue, "aapl")
    batch = take(made.queue)
    made.wait(86_400)
    assert made.queue.renew(batch) == frozenset()  # longer than any training may take
    made.wait(-86_400 + LEASE + 1)
    assert made.queue.renew(batch) == {batch.jobs[0].number}


def test_a_training_that_never_ends_loses_its_lease(connect: Connect) -> None:
    made = queue_in_test(connect(), longest=300.0)
    submit(made.queue, "aapl")
    batch = take(made.queue)
    for _ in range(3):
        made.wait(90)
        assert made.queue.renew(batch)
    made.wait(90)
    assert made.queue.renew(batch) == frozenset()
    made.wait(LEASE)
    made.queue.take("other", 1)
    assert made.queue.show(batch.jobs[0].number).failures == 1


def test_a_clock_that_is_set_back_delays_a_lost_job_by_no_more_than_a_lease(made: QueueInTest) -> None:
    submit(made.queue, "aapl")
    take(made.queue)
    made.wait(-86_400)
    assert made.queue.take("other", 1) is None
    made.wait(LEASE + 1)
    made.queue.take("other", 1)
    assert made.queue.show(1).state == "waiting"


def test_a_clock_that_is_set_back_delays_a_retry_by_no_more_than_the_longest_wait(made: QueueInTest) -> None:
    submit(made.queue, "aapl")
    made.queue.fail(take(made.queue).jobs[0], "no")
    made.wait(-86_400)
    assert made.queue.take("other", 1) is None
    made.wait(POLICY.longest_delay + 1)
    assert made.queue.take("other", 1) is not None


# -- outcomes


def test_a_finished_job_is_done(queue: JobQueue) -> None:
    submit(queue, "aapl")
    job = take(queue).jobs[0]
    queue.finish(job, "v1")
    done = queue.show(job.number)
    assert (done.state, done.version, done.lease_until, done.reason) == ("done", "v1", None, "")
    assert done.ended_at is not None
    assert queue.take("w", 1) is None


def test_finishing_twice_changes_nothing(queue: JobQueue) -> None:
    """The answer of the first call may have been lost with the connection."""
    submit(queue, "aapl")
    job = take(queue).jobs[0]
    queue.finish(job, "v1")
    done = queue.show(job.number)
    queue.finish(job, "v1")
    assert queue.show(job.number) == done
    with pytest.raises(LeaseLost):
        queue.finish(job, "v2")


def test_waits_after_failures_double_and_vary(made: QueueInTest) -> None:
    queue = made.queue
    submit(queue, "aapl")
    for mean in (10, 20):
        job = take(queue).jobs[0]
        queue.fail(job, f"no rows\x1b[31m {mean}")
        failed = queue.show(job.number)
        assert failed.reason == f"no rows\\x1b[31m {mean}"
        made.wait(mean * 0.5 - 1)
        assert queue.take("w", 1) is None
        made.wait(mean + 1)


def test_a_job_that_fails_too_often_is_dead_with_the_last_reason(made: QueueInTest) -> None:
    queue = made.queue
    submit(queue, "aapl")
    for number in range(TRIES):
        job = take(queue).jobs[0]
        queue.fail(job, f"reason {number}")
        made.wait(POLICY.longest_delay)
    dead = queue.show(job.number)
    assert (dead.state, dead.reason) == ("dead", "failed 3 times, the last time: reason 2")
    assert dead.ended_at is not None
    assert queue.take("w", 1) is None


def test_a_final_failure_is_not_tried_again(queue: JobQueue) -> None:
    submit(queue, "aapl")
    job = take(queue).jobs[0]
    queue.fail(job, "too few rows", final=True)
    assert (queue.show(job.number).state, queue.show(job.number).reason) == ("dead", "too few rows")


def test_what_a_job_could_not_help_does_not_count(made: QueueInTest) -> None:
    submit(made.queue, "aapl")
    for _ in range(2 * TRIES):
        made.queue.fail(take(made.queue).jobs[0], "the disk is full", blamed=False)
        made.wait(POLICY.longest_delay)
    job = take(made.queue).jobs[0]
    assert (job.failures, job.token, job.reason) == (0, 2 * TRIES + 1, "the disk is full")


def test_jobs_of_a_stopped_worker_are_due_at_once_and_uncounted(queue: JobQueue) -> None:
    submit(queue, "a", "b", "c")
    batch = take(queue, 3)
    queue.finish(batch.jobs[1], "v")
    queue.give_back(batch, "its worker was stopped", crashed=False)
    again = take(queue, 3)
    assert [(job.model, job.failures, job.lost) for job in again.jobs] == [("a", 0, 0), ("c", 0, 0)]


def test_jobs_whose_service_is_away_let_others_come_first_and_are_uncounted(queue: JobQueue, made: QueueInTest) -> None:
    submit(queue, "away")
    for number in range(2 * TRIES):
        queue.give_back(take(queue), "the source does not answer", crashed=False, delayed=True)
        submit(queue, f"other{number}")
        others = take(queue)
        assert models(others) == [f"other{number}"]
        queue.cancel(others.jobs[0].number)
        made.wait(POLICY.longest_delay)
    job = take(queue).jobs[0]
    assert (job.model, job.failures, job.lost) == ("away", 0, 0)


def test_a_crash_in_a_fleet_is_blamed_on_no_job(queue: JobQueue, made: QueueInTest) -> None:
    submit(queue, "a", "b")
    queue.give_back(take(queue, 2), "RuntimeError: no", crashed=True)
    made.wait(POLICY.longest_delay)
    submit(queue, "new")
    assert models(take(queue, 500)) == ["a", "b"]  # no job joins the suspects
    assert [job.failures for job in queue.jobs()] == [0, 0, 0]
    assert models(take(queue, 500)) == ["new"]


@pytest.mark.parametrize("count", [20, 100])
def test_a_job_that_kills_its_worker_ends_alone_as_a_dead_letter(made: QueueInTest, count: int) -> None:
    queue = made.queue
    queue.submit(job_requests_of("red", count))
    poison = 7
    trained = 0
    for _ in range(200):
        batch = queue.take("w", 500)
        if batch is None:
            if not {"waiting", "running"} & queue.counts().keys():
                break
            made.wait(LEASE + 1)
        elif poison not in [job.number for job in batch.jobs]:
            trained += len(batch.jobs)
            for job in batch.jobs:
                queue.finish(job, "v")
    assert queue.counts() == {"done": count - 1, "dead": 1}
    dead = queue.show(poison)
    assert dead.reason == "failed 3 times, the last time: its worker w ended without an answer"
    assert dead.token <= 3 + TRIES
    assert trained == count - 1  # no other job was trained twice to the end
    assert max(job.failures for job in queue.jobs(states=["done"], limit=count)) == 0


# -- people


def test_a_waiting_job_is_cancelled(queue: JobQueue) -> None:
    (job,) = submit(queue, "aapl")
    for _ in range(2):
        cancelled = queue.cancel(job.number, "red")
        assert (cancelled.state, cancelled.reason) == ("cancelled", "cancelled by hand")
    assert queue.take("w", 1) is None


def test_a_cancelled_running_job_is_lost_to_its_worker(queue: JobQueue) -> None:
    submit(queue, "a", "b")
    batch = take(queue, 2)
    first, second = batch.jobs
    queue.cancel(first.number)
    assert queue.renew(batch) == {second.number}
    with pytest.raises(LeaseLost):
        queue.check(first.number, first.token)
    queue.finish(second, "v")


def test_what_has_ended_cannot_be_cancelled(queue: JobQueue) -> None:
    submit(queue, "a", "b")
    first, second = take(queue, 2).jobs
    queue.finish(first, "v")
    queue.fail(second, "no", final=True)
    with pytest.raises(ConfigError, match="is done: there is nothing to cancel"):
        queue.cancel(first.number)
    with pytest.raises(ConfigError, match="is dead") as error:
        queue.cancel(second.number)
    assert error.value.hint == f"try it again with: mlops jobs retry {second.number}"


def test_a_dead_job_is_tried_again_with_all_its_tries(made: QueueInTest) -> None:
    queue = made.queue
    submit(queue, "aapl")
    for _ in range(TRIES):
        job = take(queue).jobs[0]
        queue.fail(job, "no")
        made.wait(POLICY.longest_delay)
    again = queue.retry(job.number)
    assert (again.state, again.failures, again.ended_at) == ("waiting", 0, None)
    assert take(queue).jobs[0].token == TRIES + 1


def test_a_retry_makes_a_waiting_job_due_at_once(queue: JobQueue) -> None:
    submit(queue, "aapl")
    job = take(queue).jobs[0]
    queue.fail(job, "no")
    assert queue.take("w", 1) is None
    queue.retry(job.number)
    assert queue.take("w", 1) is not None


def test_a_running_job_is_not_tried_again_and_a_done_one_is(queue: JobQueue) -> None:
    submit(queue, "aapl")
    job = take(queue).jobs[0]
    with pytest.raises(ConfigError, match="is running: it cannot be tried again"):
        queue.retry(job.number)
    queue.finish(job, "v")
    again = queue.retry(job.number)
    assert (again.state, again.version) == ("waiting", None)


def test_a_retry_needs_room_too(connect: Connect) -> None:
    made = queue_in_test(connect())
    queue = JobQueue(made.clock, Limits(waiting=1))
    submit(queue, "a")
    queue.cancel(1)
    submit(queue, "b")
    with pytest.raises(QueueFull, match="2 jobs would wait"):
        queue.retry(1)
    assert queue.show(1).state == "cancelled"


def test_old_ended_jobs_are_pruned_and_their_keys_forgotten(made: QueueInTest) -> None:
    queue = made.queue
    submit(queue, "a", "b")
    queue.finish(take(queue).jobs[0], "v")
    made.wait(86_400 * 29)
    assert queue.prune(30) == 0
    made.wait(86_400 * 2)
    assert queue.prune(30) == 1
    (again,) = queue.submit([job_request("a")])
    assert again.new
    assert again.job.number == 3  # no number is used twice


# -- all of it


class Steps:
    """Random steps of two workers and of people; each checks what it sees."""

    def __init__(self, made: QueueInTest, seed: int) -> None:
        self.chance, self.made, self.queue = Random(seed), made, made.queue
        requests = job_requests_of("red", 8) + job_requests_of("blue", 8)
        self.tokens = {item.job.number: 0 for item in self.queue.submit(requests)}
        self.batches: list[Batch] = []

    def run(self, count: int) -> None:
        steps = [
            self.take,
            self.take,
            self.finish,
            self.fail,
            self.renew,
            self.give,
            self.wait,
            self.cancel,
            self.retry,
        ]
        self.take()
        for _ in range(count):
            with suppress(LeaseLost, ConfigError):
                self.chance.choice(steps)()

    def job(self) -> Job:
        return self.chance.choice(self.chance.choice(self.batches).jobs)

    def take(self) -> None:
        batch = self.queue.take("w", self.chance.randint(1, 6))
        for job in batch.jobs if batch else ():
            assert job.token == self.tokens[job.number] + 1
            self.tokens[job.number] = job.token
        self.batches += [batch] if batch else []

    def finish(self) -> None:
        job = self.job()
        self.queue.finish(job, f"v{job.token}")
        assert job.token == self.tokens[job.number]

    def fail(self) -> None:
        job = self.job()
        self.queue.fail(job, "no")
        assert job.token == self.tokens[job.number]

    def renew(self) -> None:
        batch = self.chance.choice(self.batches)
        held = self.queue.renew(batch)
        assert all(job.token == self.tokens[job.number] for job in batch.jobs if job.number in held)

    def give(self) -> None:
        self.queue.give_back(self.chance.choice(self.batches), "x", crashed=self.chance.random() < 0.5)

    def wait(self) -> None:
        self.made.wait(self.chance.choice([5, LEASE / 2, LEASE, -LEASE / 2, 500]))

    def cancel(self) -> None:
        self.queue.cancel(self.chance.choice(list(self.tokens)))

    def retry(self) -> None:
        self.queue.retry(self.chance.choice(list(self.tokens)))


@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_of_steps_loses_a_job_or_lets_two_workers_have_it(connect: Connect, seed: int) -> None:
    made = queue_in_test(connect(), seed=seed)
    steps = Steps(made, seed)
    steps.run(80)
    jobs = made.queue.jobs(limit=100)
    assert {job.number: job.token for job in jobs} == steps.tokens
    assert all((job.version is not None) == (job.state == "done") for job in jobs)
