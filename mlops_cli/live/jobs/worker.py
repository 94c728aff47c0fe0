"""The loop of a worker: take jobs, train them, install what was trained. It may be killed at any point."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from mlops_cli.errors import MlopsError, ServiceError, bounded
from mlops_cli.live.jobs.installer import Installer
from mlops_cli.live.jobs.job import Batch, Job, LeaseLost
from mlops_cli.live.jobs.lease_keeper import LeaseKeeper
from mlops_cli.live.jobs.queue import JobQueue


@dataclass(frozen=True)
class Trained[T]:
    """A job whose training succeeded, and what it gave."""

    job: Job
    model: T


@dataclass(frozen=True)
class NotTrained:
    """A job whose training failed.

    Attributes:
        final: another try would fail too, for example because there are too few rows.
        blamed: the failure counts against the job; not if a service is away.
    """

    job: Job
    reason: str
    final: bool = False
    blamed: bool = True


type Training[T] = Callable[[Sequence[Job], Callable[[str], None]], Iterable[Trained[T] | NotTrained]]
"""Trains jobs of one architecture, and gives one outcome for each as they finish.

Its second argument takes lines about the progress. It raises a `LeaseLost` once the jobs are no longer this worker's:
let it pass. A `ServiceError` says that nothing can be trained now, any other `MlopsError` that the training as a whole
failed.
"""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker works.

    Attributes:
        at_once: most jobs that it takes at once.
        poll: seconds between two looks at a queue in which no job is due.
        longest_pause: most seconds that it waits while a service is away; the pauses double up to it.
        until_empty: end when no job is waiting or running; otherwise go on until `stop` is set.
        stop: ends the worker after the jobs that it has.
        tell: gets a line about every batch.
    """

    at_once: int = 500
    poll: float = 1.0
    longest_pause: float = 60.0
    until_empty: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    tell: Callable[[str], None] = lambda line: None


@dataclass
class WorkDone:
    """What a worker has done: numbers of jobs."""

    installed: int = 0
    failed: int = 0
    dropped: int = 0


def work[T](
    queue: JobQueue, train: Training[T], installer: Installer[T], settings: WorkerSettings | None = None
) -> WorkDone:
    """Take and train jobs until told to stop; see `WorkerSettings`.

    What a job needs is written before and after each step, so that a killed worker loses nothing: its jobs are trained
    again by another one, unless they are installed already. While a service is away it waits. On Ctrl-C or SystemExit
    the unfinished jobs go back to the queue at once. On a bug they go back as if the worker had disappeared, and the
    error is raised.

    Raises:
        DataError: the queue is damaged.
    """
    return _Worker(queue, train, installer, settings or WorkerSettings()).run()


class _Worker[T]:
    def __init__(self, queue: JobQueue, train: Training[T], installer: Installer[T], settings: WorkerSettings) -> None:
        self._queue, self._train, self._installer, self._settings = queue, train, installer, settings
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._pause = 0.0
        self._done = WorkDone()

    def run(self) -> WorkDone:
        stop = self._settings.stop
        while not stop.is_set():
            try:
                batch = self._queue.take(self._name, self._settings.at_once)
                if batch is not None:
                    self._train_batch(batch)
                elif self._settings.until_empty and not {"waiting", "running"} & self._queue.counts().keys():
                    break
                else:
                    stop.wait(self._settings.poll)
            except ServiceError as error:
                self._wait(error)
            else:
                self._pause = 0.0
        return self._done

    def _wait(self, error: ServiceError) -> None:
        if not self._pause:
            self._settings.tell(f"waiting: {error.message}")
        self._pause = min(max(2 * self._pause, self._settings.poll), self._settings.longest_pause)
        self._settings.stop.wait(self._pause)

    def _train_batch(self, batch: Batch) -> None:
        """Train a batch, and record every outcome; a `ServiceError` if a service is away."""
        self._settings.tell(f"training {bounded([job.model for job in batch.jobs])}")
        crashed, delayed, reason = True, False, ""
        with LeaseKeeper(self._queue, batch) as keeper:
            try:
                self._settle_all(keeper)
                return
            except LeaseLost as error:
                crashed, reason = False, error.message
            except ServiceError as error:
                crashed, delayed, reason = False, True, error.message
                raise
            except MlopsError as error:
                reason = error.message
            except (KeyboardInterrupt, SystemExit):
                crashed, reason = False, "its worker was stopped"
                raise
            except BaseException as error:
                reason = f"{type(error).__name__}: {error}"
                raise
            finally:
                self._give_back(batch, keeper, reason, crashed=crashed, delayed=delayed)

    def _give_back(self, batch: Batch, keeper: LeaseKeeper, reason: str, *, crashed: bool, delayed: bool) -> None:
        """Put the unfinished jobs of a batch back. If that fails too, they come back when the lease has run out."""
        left = keeper.unfinished()
        if not left:
            return
        self._done.dropped += len(left)
        self._settings.tell(f"given back: {bounded([job.model for job in left])}: {reason}")
        with suppress(ServiceError):
            self._queue.give_back(batch, reason, crashed=crashed, delayed=delayed)

    def _settle_all(self, keeper: LeaseKeeper) -> None:
        for job in keeper.unfinished():
            version = self._installer.installed(job) if job.token > 1 else None
            if version is not None:  # an earlier try was killed after its installation
                self._record(keeper, job, partial(self._queue.finish, job, version))
        jobs = keeper.unfinished()
        if not jobs:
            return
        for outcome in self._train(jobs, keeper.report):
            self._settle(keeper, outcome)
        for job in keeper.unfinished():
            self._fail(keeper, NotTrained(job, "the training gave no result for it"))

    def _settle(self, keeper: LeaseKeeper, outcome: Trained[T] | NotTrained) -> None:
        if isinstance(outcome, NotTrained):
            self._fail(keeper, outcome)
            return
        job = outcome.job
        try:
            version = self._installer.install(job, job.token, outcome.model)
        except LeaseLost:
            self._done.dropped += 1
            keeper.settle(job.number)
        except ServiceError as error:
            self._record(keeper, job, partial(self._queue.fail, job, error.message, blamed=False))
            raise
        except MlopsError as error:
            self._fail(keeper, NotTrained(job, error.message))
        else:
            self._done.installed += self._record(keeper, job, partial(self._queue.finish, job, version))

    def _fail(self, keeper: LeaseKeeper, outcome: NotTrained) -> None:
        job = outcome.job
        record = partial(self._queue.fail, job, outcome.reason, final=outcome.final, blamed=outcome.blamed)
        self._done.failed += self._record(keeper, job, record)

    def _record(self, keeper: LeaseKeeper, job: Job, record: Callable[[], None]) -> bool:
        """Write down what became of a job, and wait for the database for as long as a lease; returns whether it is.

        If it cannot be written, the job comes back when its lease has run out, and an installed version is seen then.
        """
        keeper.settle(job.number)
        until = time.monotonic() + self._queue.times.lease
        while True:
            try:
                record()
            except LeaseLost:
                break
            except ServiceError:
                if time.monotonic() > until or self._settings.stop.wait(self._settings.poll):
                    break
            else:
                return True
        self._done.dropped += 1
        return False
