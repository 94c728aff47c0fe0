"""What workers do with the queue: take jobs under a lease, renew it, and say what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from uuid import uuid4

from mlops_cli.live.jobs.database import Columns, Transaction
from mlops_cli.live.jobs.job import Batch, Job, LeaseLost
from mlops_cli.live.jobs.retries import RetryPolicy
from mlops_cli.live.jobs.tables import JobTable, marks, select, storable, update

# A team's jobs in the order of their age; its first one has turn 1 plus the number of its running jobs. Who has the
# lowest turn is next, so that each team gets an equal share, and within a team the oldest job goes first.
_BY_TURN = """
SELECT j.number, j.architecture, j.lost FROM jobs j JOIN (
    SELECT w.number, COALESCE(r.running, 0) + ROW_NUMBER() OVER (PARTITION BY w.team ORDER BY w.number) AS turn
    FROM jobs w LEFT JOIN (SELECT team, COUNT(*) AS running FROM jobs WHERE state = 'running' GROUP BY team) r
    ON r.team = w.team WHERE w.state = 'waiting' AND w.due_at <= ?) turns ON turns.number = j.number
WHERE j.state = 'waiting'{more} ORDER BY turns.turn, j.number LIMIT ?{lock}
"""
_HELD = "number = ? AND token = ? AND state = 'running'"


@dataclass(frozen=True)
class LeaseTimes:
    """How long a worker may hold jobs, in seconds.

    Attributes:
        lease: a worker that does not renew its lease for so long has lost its jobs. It must be longer than the
            longest pause of a living worker.
        longest: a lease is not renewed beyond this time: a training that never ends counts as a lost worker.
    """

    lease: float = 120.0
    longest: float = 4 * 3600.0


@dataclass(frozen=True)
class _Setback:
    """Why jobs go back to the queue, how it counts, and the wait before the next try, in seconds."""

    reason: str
    failures: int = 0
    lost: int = 0
    delay: float = 0.0
    final: bool = False


class Leases(JobTable):
    """The part of the queue that workers use."""

    times: LeaseTimes
    _policy: RetryPolicy
    _chance: Random

    def take(self, worker: str, limit: int) -> Batch | None:
        """Take up to `limit` waiting jobs of one architecture; None if no job is due.

        The first job is the oldest of the team with the fewest running jobs; the others are those of its architecture
        that are next. Jobs whose worker disappeared are only taken with jobs of the same past, and in smaller batches
        each time, so that a job that kills its workers ends up alone.
        """
        with self._database.writing() as transaction:
            now = transaction.now()
            self._mend_clock(transaction, now)
            self._take_back(transaction, now)
            first = self._next(transaction, now, 1)
            if not first:
                return None
            _, architecture, lost = first[0]
            size = self._policy.fleet_size(limit, lost)
            rows = self._next(transaction, now, size, (architecture, lost))
            numbers = [number for number, _, _ in rows]
            batch = uuid4().hex
            changes: Columns = {
                "state": "running", "worker": storable(worker), "batch": batch, "batch_size": len(numbers),
                "taken_at": now, "lease_until": now + self.times.lease, "progress": "",
            }  # fmt: skip
            # the token rises before any work starts, so that a killed worker cannot hide a try
            transaction.run(f"UPDATE jobs SET token = token + 1 WHERE number IN ({marks(len(numbers))})", numbers)
            jobs = update(transaction, changes, f"number IN ({marks(len(numbers))})", numbers)
        return Batch(batch, tuple(sorted(jobs, key=lambda job: job.number)))

    def renew(self, batch: Batch, progress: str = "") -> frozenset[int]:
        """Renew the lease of a batch, and store a line about its progress; returns the numbers of the jobs still held.

        Jobs that are done, were cancelled, or have been taken by another worker are not among them.
        """
        with self._database.writing() as transaction:
            now = transaction.now()
            held = "batch = ? AND state = 'running' AND taken_at > ?"
            changes: Columns = {"lease_until": now + self.times.lease, "progress": storable(progress)}
            jobs = update(transaction, changes, held, (batch.id, now - self.times.longest))
        return frozenset(job.number for job in jobs)

    def check(self, number: int, token: int) -> None:
        """Raise a `LeaseLost` unless the job is running, and this is its newest token."""
        with self._database.reading() as transaction:
            if not select(transaction, _HELD, (number, token)):
                raise LeaseLost(number)

    def finish(self, job: Job, version: str) -> None:
        """Record that a job has installed a version. A second call with the same version changes nothing.

        Raises:
            LeaseLost: the job is no longer this worker's.
        """
        with self._database.writing() as transaction:
            changes: Columns = {
                "state": "done", "version": version, "ended_at": transaction.now(),
                "reason": "", "progress": "", "lease_until": None,
            }  # fmt: skip
            if update(transaction, changes, _HELD, (job.number, job.token)):
                return
            done = "number = ? AND token = ? AND state = 'done' AND version = ?"
            if not select(transaction, done, (job.number, job.token, version)):
                raise LeaseLost(job.number)

    def fail(self, job: Job, reason: str, *, final: bool = False, blamed: bool = True) -> None:
        """Record a failed try. The job is tried again later; with `final`, or after too many tries, it is dead.

        With `blamed`, the failure counts against the job; a full disk, for example, is not its fault.

        Raises:
            LeaseLost: the job is no longer this worker's.
        """
        attempts = job.failures + job.lost + 1
        delay = self._policy.delay(attempts if blamed else max(attempts, job.token), self._chance)
        with self._database.writing() as transaction:
            held = self._locked(transaction, _HELD, (job.number, job.token))
            self._put_back(transaction, held, _Setback(reason, failures=int(blamed), delay=delay, final=final))
        if not held:
            raise LeaseLost(job.number)

    def give_back(self, batch: Batch, reason: str, *, crashed: bool, delayed: bool = False) -> None:
        """Give back the unfinished jobs of a batch; jobs that are no longer this worker's are left alone.

        With `crashed`, one of them may have made the training fail, and they are treated as if the worker had
        disappeared. Otherwise the try does not count: the worker was stopped, or a service is away. With `delayed`,
        they wait longer with every try, so that a source which has no answer for one job does not keep the others
        from being trained.
        """
        with self._database.writing() as transaction:
            jobs = self._locked(transaction, "batch = ? AND state = 'running'", (batch.id,))
            if crashed:
                self._suspect(transaction, jobs, reason)
            else:
                tries = max((job.token for job in jobs), default=1)
                delay = self._policy.delay(tries, self._chance) if delayed else 0.0
                self._put_back(transaction, jobs, _Setback(reason, delay=delay))

    def _next(
        self, transaction: Transaction, now: float, limit: int, like: tuple[str, int] | None = None
    ) -> list[tuple[int, str, int]]:
        """Number, architecture and `lost` of the next jobs, locked; only those `like` these two, if they are given."""
        more = "" if like is None else " AND j.architecture = ? AND j.lost = ?"
        sql = _BY_TURN.format(more=more, lock=self._database.dialect.skip_locked)
        rows = transaction.run(sql, (now, *(like or ()), limit))
        return [(number, architecture, lost) for number, architecture, lost in rows]

    def _mend_clock(self, transaction: Transaction, now: float) -> None:
        """After a clock was set back, shorten leases and waits that would now be longer than any can be."""
        for state, column, longest in (
            ("running", "lease_until", self.times.lease),
            ("waiting", "due_at", self._policy.longest_delay),
        ):
            jobs = self._locked(transaction, f"state = '{state}' AND {column} > ?", (now + longest,))
            if jobs:
                numbers = [job.number for job in jobs]
                update(transaction, {column: now + longest}, f"number IN ({marks(len(numbers))})", numbers)

    def _take_back(self, transaction: Transaction, now: float) -> None:
        """Put jobs back whose lease has run out."""
        jobs = self._locked(transaction, "state = 'running' AND lease_until <= ?", (now,))
        batches: dict[str | None, list[Job]] = {}
        for job in jobs:
            batches.setdefault(job.batch, []).append(job)
        for batch in batches.values():
            self._suspect(transaction, batch, f"its worker {batch[0].worker} ended without an answer")

    def _suspect(self, transaction: Transaction, jobs: Sequence[Job], reason: str) -> None:
        """Put jobs back, of which one may have crashed the training. They wait equally long, to be taken together."""
        if not jobs:
            return
        delay = self._policy.delay(jobs[0].failures + jobs[0].lost + 1, self._chance)
        alone = jobs[0].batch_size == 1
        setback = _Setback(reason, failures=int(alone), lost=int(not alone), delay=delay)
        self._put_back(transaction, jobs, setback)

    def _put_back(self, transaction: Transaction, jobs: Sequence[Job], setback: _Setback) -> None:
        now = transaction.now() if jobs else 0.0
        reason = storable(setback.reason)
        for job in jobs:
            failures = job.failures + setback.failures
            changes: Columns = {
                "state": "waiting", "failures": failures, "lost": job.lost + setback.lost, "reason": reason,
                "due_at": now + setback.delay, "lease_until": None, "worker": None, "progress": "",
            }  # fmt: skip
            if setback.final or failures >= self._policy.tries:
                changes |= {"state": "dead", "ended_at": now, "reason": _last_words(reason, failures, setback.final)}
            update(transaction, changes, "number = ?", (job.number,))


def _last_words(reason: str, failures: int, final: bool) -> str:
    """The reason of a dead letter."""
    return reason if final else storable(f"failed {failures} times, the last time: {reason}")
