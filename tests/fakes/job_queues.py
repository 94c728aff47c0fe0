"""What the tests of the job queue share: databases with a clock that can be set, requests, a store of versions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from mlops_cli.config.schemas.project import FeatureSpec, ModelSpec
from mlops_cli.live.jobs.database import Database, Dialect, Transaction, Value
from mlops_cli.live.jobs.job import Job, JobRequest
from mlops_cli.live.jobs.leases import LeaseTimes
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.retries import RetryPolicy
from mlops_cli.live.jobs.submissions import Limits

LEASE = 100.0
TRIES = 3
POLICY = RetryPolicy(tries=TRIES, first_seconds=10.0, longest_seconds=40.0, jitter=0.5)


@dataclass
class MovedClock:
    """A database whose clock is that of another one, moved by `seconds`; changes what `now` says and nothing else."""

    inner: Database
    seconds: float = 0.0

    @property
    def dialect(self) -> Dialect:
        return self.inner.dialect

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        with self.inner.reading() as transaction:
            yield _MovedTransaction(transaction, self)

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Transaction]:
        with self.inner.writing(alone=alone) as transaction:
            yield _MovedTransaction(transaction, self)

    def close(self) -> None:
        self.inner.close()


@dataclass
class _MovedTransaction:
    inner: Transaction
    clock: MovedClock

    def run(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self.inner.run(sql, values)

    def now(self) -> float:
        return self.inner.now() + self.clock.seconds


@dataclass
class QueueInTest:
    """A queue over a database, and the clock of this database."""

    queue: JobQueue
    clock: MovedClock

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.seconds += seconds


def queue_in_test(database: Database, limits: Limits | None = None, seed: int = 1, **times: float) -> QueueInTest:
    clock = MovedClock(database)
    queue = JobQueue(clock, limits, POLICY, LeaseTimes(**{"lease": LEASE, **times}), Random(seed))
    return QueueInTest(queue, clock)


def job_request(model: str, team: str = "red", architecture: str = "small", data: str = "2024-01-05") -> JobRequest:
    spec = ModelSpec(
        name=model, team=team, ticker=model[:20].upper(), exchange="XNYS", trainer="ludwig", target="log_return",
        features=FeatureSpec(returns=(1,)), ludwig={"combiner": {"type": architecture}},
    )  # fmt: skip
    return JobRequest(team, model, f"{model}-{data}", architecture, spec.model_dump_json(), data)


def job_requests_of(team: str, count: int, architecture: str = "small") -> list[JobRequest]:
    return [job_request(f"{team}-{number:04d}", team, architecture) for number in range(count)]


@dataclass
class RenamedVersions:
    """A store of versions in a folder: `put` is one rename, and every rename leaves a file of its own.

    A job that was installed twice would have two files.
    """

    folder: Path
    puts: list[int] = field(default_factory=list)

    def version_of(self, job: Job) -> str | None:
        return next((path.name for path in self.folder.glob(f"{job.number}-*")), None)

    def put(self, job: Job, trained: str) -> str:
        staged = self.folder / f".{uuid4().hex}"
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(trained)
        version = f"{job.number}-{job.token}-{uuid4().hex[:8]}"
        os.rename(staged, self.folder / version)
        self.puts.append(job.number)
        return version
