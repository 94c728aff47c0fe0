"""What people do with the queue: submit, look, cancel, retry."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

from mlops_cli.errors import ConfigError
from mlops_cli.live.jobs.database import Columns, Transaction
from mlops_cli.live.jobs.job import ENDED, Job, JobRequest, JobState, QueueFull, Submitted
from mlops_cli.live.jobs.tables import JobTable, insert, job_by_number, marks, select, update

_RECENT = 600.0
"""Seconds over which the speed of the workers is measured, to estimate when a full queue has room again."""
_SHORTEST_WAIT, _USUAL_WAIT, _LONGEST_WAIT = 5, 60, 3600
_DAY = 86_400


@dataclass(frozen=True)
class Limits:
    """Bounds on the jobs that wait.

    Attributes:
        waiting: of all teams together.
        waiting_of_team: of one team, so that a flood from one team leaves room for the others.
    """

    waiting: int = 10_000
    waiting_of_team: int = 5_000


class Submissions(JobTable):
    """The part of the queue that people and HTTP clients use."""

    _limits: Limits

    def submit(self, requests: Sequence[JobRequest]) -> list[Submitted]:
        """Store the jobs of all requests, or none; returns one job per request, in their order.

        A request whose team, model and fingerprint are those of an earlier job returns that job, whatever became of
        it. A new job replaces the unfinished older jobs of the same model: they are cancelled.

        Raises:
            QueueFull: there would be too many waiting jobs. Nothing was stored.
        """
        with self._database.writing(alone=True) as transaction:
            now = transaction.now()
            models = {(request.team, request.model) for request in requests}
            earlier = {model: select(transaction, "team = ? AND model = ?", model) for model in models}
            jobs = {request: _same_job(request, earlier[request.team, request.model]) for request in requests}
            new = [request for request, job in jobs.items() if job is None]
            self._check_room(transaction, new, now)
            for request in new:
                row: Columns = {**asdict(request), "state": "waiting", "submitted_at": now, "due_at": now}
                job = jobs[request] = insert(transaction, row)
                _replace(transaction, earlier[job.team, job.model], job, now)
                earlier[job.team, job.model].append(job)
        first = set(new)
        submitted = []
        for request in requests:
            submitted.append(Submitted(cast(Job, jobs[request]), request in first))
            first.discard(request)
        return submitted

    def show(self, number: int, team: str | None = None) -> Job:
        """A job by its number; a `NoSuchJob` if there is none, or it is not of `team` (None: any team)."""
        with self._database.reading() as transaction:
            return job_by_number(transaction, number, team)

    def jobs(self, team: str | None = None, states: Sequence[JobState] = (), limit: int = 100) -> list[Job]:
        """The newest jobs, newest first; of one team and in some states only, if these are given."""
        conditions = [f"state IN ({marks(len(states))})"] if states else []
        conditions += ["team = ?"] if team is not None else []
        where = f"{' AND '.join(conditions) or '1 = 1'} ORDER BY number DESC LIMIT ?"
        with self._database.reading() as transaction:
            return select(transaction, where, (*states, *([] if team is None else [team]), limit))

    def counts(self, team: str | None = None) -> dict[JobState, int]:
        """Number of jobs by state; states without a job are left out."""
        with self._database.reading() as transaction:
            rows = transaction.run("SELECT team, state, COUNT(*) FROM jobs GROUP BY team, state")
        counts: Counter[JobState] = Counter()
        for owner, state, count in rows:
            counts[state] += count if team in (None, owner) else 0
        return dict(+counts)

    def cancel(self, number: int, team: str | None = None) -> Job:
        """Cancel a waiting or running job. The worker of a running job drops its result.

        Raises:
            NoSuchJob: there is none, or it is not of `team` (None: any team).
            ConfigError: it is done or dead.
        """
        with self._database.writing() as transaction:
            job = job_by_number(transaction, number, team)
            changes: Columns = {"state": "cancelled", "reason": "cancelled by hand", "ended_at": transaction.now()}
            cancelled = update(transaction, changes, "number = ? AND state IN ('waiting', 'running')", (number,))
            if not cancelled:
                # a worker may have ended it between the two statements
                job = job_by_number(transaction, number, team)
        if not cancelled and job.state != "cancelled":
            raise ConfigError(f"job {number} is {job.state}: there is nothing to cancel", _next_step(job))
        return cancelled[0] if cancelled else job

    def retry(self, number: int, team: str | None = None) -> Job:
        """Let a job that has ended wait again, with all its tries; a job that waits after a failure is due at once.

        A job that is done is only trained if its version has been removed: otherwise it is done again at once.
        A job that was suspected of killing its workers is still tried in small fleets.

        Raises:
            NoSuchJob: there is none, or it is not of `team` (None: any team).
            ConfigError: it is running.
            QueueFull: it has ended, and there would be too many waiting jobs.
        """
        with self._database.writing(alone=True) as transaction:
            now = transaction.now()
            job = job_by_number(transaction, number, team)
            if job.state in ENDED:
                self._check_room(transaction, [job], now)
            changes: Columns = {
                "state": "waiting", "failures": 0, "due_at": now, "ended_at": None, "worker": None, "version": None,
            }  # fmt: skip
            waiting = update(transaction, changes, "number = ? AND state <> 'running'", (number,))
        if not waiting:
            raise ConfigError(f"job {number} is {job.state}: it cannot be tried again", _next_step(job))
        return waiting[0]

    def prune(self, days: float) -> int:
        """Remove jobs that ended more than `days` ago, and forget their keys; returns how many."""
        with self._database.writing() as transaction:
            ended = f"state IN ({marks(len(ENDED))}) AND ended_at < ?"
            values = (*ENDED, transaction.now() - days * _DAY)
            return len(transaction.run(f"DELETE FROM jobs WHERE {ended} RETURNING number", values))

    def _check_room(self, transaction: Transaction, new: Sequence[JobRequest | Job], now: float) -> None:
        if not new:
            return
        rows = transaction.run("SELECT team, COUNT(*) FROM jobs WHERE state = 'waiting' GROUP BY team")
        waiting: Counter[str] = Counter(dict(rows))
        waiting.update(request.team for request in new)
        if waiting.total() > self._limits.waiting:
            self._refuse(transaction, now, f"{waiting.total()} jobs would wait, the queue holds {self._limits.waiting}")
        for team in sorted({request.team for request in new}):
            if waiting[team] > self._limits.waiting_of_team:
                most = self._limits.waiting_of_team
                self._refuse(transaction, now, f"{waiting[team]} jobs of team {team} would wait, it may have {most}")

    def _refuse(self, transaction: Transaction, now: float, message: str) -> None:
        """Raise a `QueueFull`. Room for a tenth of the queue is needed, at the speed of the last ten minutes."""
        sql = "SELECT COUNT(*) FROM jobs WHERE state = 'done' AND ended_at > ?"
        ((done,),) = transaction.run(sql, (now - _RECENT,))
        seconds = math.ceil(self._limits.waiting / 10 * _RECENT / done) if done else _USUAL_WAIT
        raise QueueFull(message, min(max(seconds, _SHORTEST_WAIT), _LONGEST_WAIT))


def _same_job(request: JobRequest, jobs: Sequence[Job]) -> Job | None:
    return next((job for job in jobs if job.fingerprint == request.fingerprint), None)


def _replace(transaction: Transaction, earlier: Sequence[Job], job: Job, now: float) -> None:
    """Cancel the unfinished jobs among the earlier ones of the same model."""
    changes: Columns = {"state": "cancelled", "reason": f"replaced by job {job.number}", "ended_at": now}
    for old in earlier:
        if old.state not in ENDED:
            update(transaction, changes, "number = ? AND state IN ('waiting', 'running')", (old.number,))


def _next_step(job: Job) -> str:
    return {
        "done": f"if its version was removed, train it again with: mlops jobs retry {job.number}",
        "running": f"stop it first with: mlops jobs cancel {job.number}",
        "dead": f"try it again with: mlops jobs retry {job.number}",
    }.get(job.state, f"look at it with: mlops jobs show {job.number}")
