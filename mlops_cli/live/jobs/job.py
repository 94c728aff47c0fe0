"""Records of the queue: a request, the job that it becomes, a batch of jobs that one worker has taken, and errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import ConfigError, DataError, ServiceError

JobState = Literal["waiting", "running", "done", "dead", "cancelled"]
ENDED: tuple[JobState, ...] = ("done", "dead", "cancelled")


@dataclass(frozen=True)
class JobRequest:
    """A checked request for the training of one model; `job_requests.job_request` makes it.

    Attributes:
        fingerprint: hash of `spec` and `data`. Requests with equal team, model and fingerprint are the same job.
        architecture: equal for models that can be trained together as a fleet.
        spec: the `ModelSpec` as JSON.
        data: names the data to train on, for example the last session; newer data makes another job.
    """

    team: str
    model: str
    fingerprint: str
    architecture: str
    spec: str
    data: str


@dataclass(frozen=True)
class Job:
    """One training job, as the database holds it. Times are UTC, by the clock of the database.

    Attributes:
        due_at: a waiting job is not taken before this time.
        token: the fencing token: how often the job was taken. Only the worker with the newest one may install.
        failures: failed tries that were certainly the job's own fault; a job with too many is dead.
        lost: how often its worker disappeared while it trained several jobs, of which any may have been the cause.
        batch: id of the batch in which it was taken last, of `batch_size` jobs.
        reason: why the last try failed, or why the job was cancelled.
        progress: the last line that the training reported.
        version: the version of the model that the job installed.
        ended_at: when it was done, dead or cancelled.
    """

    number: int
    team: str
    model: str
    fingerprint: str
    architecture: str
    spec: str
    data: str
    state: JobState
    submitted_at: datetime
    due_at: datetime
    token: int
    failures: int
    lost: int
    worker: str | None
    batch: str | None
    batch_size: int
    taken_at: datetime | None
    lease_until: datetime | None
    progress: str
    reason: str
    version: str | None
    ended_at: datetime | None

    def model_spec(self) -> ModelSpec:
        """The model to train; a `DataError` if another version of mlops wrote a spec that this one cannot read."""
        try:
            return ModelSpec.model_validate_json(self.spec)
        except ValidationError:
            hint = "submit it again"
            raise DataError(f"job {self.number}: its model was written by another version of mlops", hint) from None


@dataclass(frozen=True)
class Submitted:
    """The job of a request; `new` is False if an earlier request made the same job."""

    job: Job
    new: bool


@dataclass(frozen=True)
class Batch:
    """Jobs of one architecture that a worker took together, under one lease."""

    id: str
    jobs: tuple[Job, ...]


class QueueFull(ServiceError):  # noqa: N818 - nothing failed
    """Too many jobs are waiting. Nothing of the submission was stored.

    Args:
        retry_after: seconds after which there is probably room again (the header `Retry-After` of status 429).
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, f"submit again in {retry_after} s, or start more workers: mlops jobs work")
        self.retry_after = retry_after


class NoSuchJob(ConfigError):  # noqa: N818 - a name as in NoSuchTable
    """There is no job of this number, or it belongs to another team."""

    def __init__(self, number: int) -> None:
        super().__init__(f"there is no job {number}", "list the jobs with: mlops jobs list")


class LeaseLost(ServiceError):  # noqa: N818 - a fact, not a failure
    """The job is no longer this worker's: it was cancelled, or another worker has taken it with a newer token."""

    def __init__(self, number: int) -> None:
        super().__init__(f"job {number} is no longer this worker's", "nothing to do: its result is dropped")
