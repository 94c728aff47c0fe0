"""Ports of installing a trained model, and the installer that lets each job install once."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from mlops_cli.errors import ServiceError
from mlops_cli.live.jobs.job import Job
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.system.locks import file_lock

_WAIT = 60.0  # seconds for another worker that installs a version of the same model


class Installer[T](Protocol):
    """Makes trained models answer. `T` is what a training gives."""

    def installed(self, job: Job) -> str | None:
        """The version that an earlier try of this job has installed; None if none has."""
        ...

    def install(self, job: Job, token: int, trained: T) -> str:
        """Install a trained model, and return its version; one that the job installed before is returned as it is.

        Raises:
            LeaseLost: `token` is no longer the job's newest one, or the job was cancelled. Nothing was installed.
            ServiceError: it cannot be installed now (the disk is full); a later try may succeed.
            MlopsError: the model is unusable.
        """
        ...


class VersionStore[T](Protocol):
    """Where versions of models are kept."""

    def version_of(self, job: Job) -> str | None:
        """The version that this job has put into the store; None if it has put none there.

        It must be seen in what `put` leaves behind in one atomic step, so that it holds after a kill at any point.
        """
        ...

    def put(self, job: Job, trained: T) -> str:
        """Put a trained model into the store in one atomic step (a rename), and return its version."""
        ...


class FencedInstaller[T]:
    """Installs each job once, and only for the worker with the newest fencing token.

    A lock per model keeps other workers out, from the check of the token to the end of the installation. A worker that
    was stopped for hours between the two still holds the lock; the next one waits, and then finds the version.

    Args:
        locks: a folder that the workers of all machines share, as they share the models.
    """

    def __init__(self, queue: JobQueue, locks: Path, store: VersionStore[T]) -> None:
        self._queue, self._locks, self._store = queue, locks, store

    def installed(self, job: Job) -> str | None:
        """See `Installer`."""
        return self._store.version_of(job)

    def install(self, job: Job, token: int, trained: T) -> str:
        """See `Installer`."""
        busy = ServiceError(f"{job.model}: another worker is installing a version of it", "it is tried again later")
        try:
            with file_lock(self._locks / f"{job.team}--{job.model}.lock", busy, _WAIT):
                version = self._store.version_of(job)
                if version is None:
                    self._queue.check(job.number, token)
                    version = self._store.put(job, trained)
                return version
        except OSError as error:
            hint = "free some space, or correct the permissions of the models' folder"
            raise ServiceError(f"{job.model}: cannot be installed now: {error.strerror or error}", hint) from error
