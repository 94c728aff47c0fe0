"""Keeps the lease of a batch while it is trained: a thread that renews it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Self

from mlops_cli.errors import ServiceError
from mlops_cli.live.jobs.job import Batch, Job, LeaseLost
from mlops_cli.live.jobs.queue import JobQueue

_RENEWALS = 4
"""Renewals per lease, so that some may fail before the lease runs out."""
_TOLD_WITHIN = 2.0
"""Seconds within which a new line about the progress is stored, for those who follow the job."""


class LeaseKeeper:
    """A context in which a batch's lease is renewed, by a thread that ends with the process.

    While the database is away the training goes on: if the lease runs out meanwhile, the fencing token decides.
    """

    def __init__(self, queue: JobQueue, batch: Batch) -> None:
        self._queue, self._batch = queue, batch
        self._held = frozenset(job.number for job in batch.jobs)
        self._settled: set[int] = set()
        self._progress = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="job lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def report(self, line: str) -> None:
        """Note a line about the progress of the training; it is stored within seconds.

        Raises:
            LeaseLost: none of the unfinished jobs is this worker's any more, so the training may stop.
        """
        self._progress = line
        left = self.unfinished()
        if left and not self._held & {job.number for job in left}:
            raise LeaseLost(left[0].number)

    def settle(self, number: int) -> None:
        """Note that the outcome of a job is recorded, or dropped."""
        self._settled.add(number)

    def unfinished(self) -> Sequence[Job]:
        """The jobs whose outcome is not recorded yet."""
        return [job for job in self._batch.jobs if job.number not in self._settled]

    def _renew(self) -> None:
        pause = self._queue.times.lease / _RENEWALS
        told, due = "", time.monotonic() + pause
        while not self._stop.wait(min(pause, _TOLD_WITHIN)):
            progress = self._progress
            if progress == told and time.monotonic() < due:
                continue
            try:
                self._held = self._queue.renew(self._batch, progress)
            except ServiceError:
                continue  # the next renewal may succeed
            told, due = progress, time.monotonic() + pause
