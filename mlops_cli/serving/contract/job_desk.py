"""Port `JobDesk`: where a server hands in requests for training, and asks what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from mlops_cli.errors import MlopsError, ServiceError

JobState = Literal["waiting", "running", "done", "dead", "cancelled"]
ENDED: frozenset[JobState] = frozenset({"done", "dead", "cancelled"})


class UnknownJobError(MlopsError):
    """There is no such job, or it belongs to another team. HTTP 404."""

    exit_code = 3


class JobStateError(MlopsError):
    """What is asked for does not fit the state of the job, such as to cancel one that is done. HTTP 409."""

    exit_code = 3


class JobsFullError(ServiceError):
    """Too many jobs are waiting; nothing was stored. HTTP 429 with Retry-After, in seconds >= 1."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, f"try again in {retry_after} s")
        self.retry_after = retry_after


class JobsAwayError(ServiceError):
    """The queue cannot be used now. HTTP 503 with Retry-After, in seconds >= 1."""

    retry_after = 10


@dataclass(frozen=True)
class JobView:
    """A training job, as callers see it. Times are UTC.

    Attributes:
        job: its number.
        data: the last session to train on, as YYYY-MM-DD.
        due_at: a waiting job is not tried before this time.
        tries: how often a worker took it.
        failures: how many tries failed by the job's own fault.
        progress: the last line that its training reported.
        reason: why the last try failed, or why it was cancelled.
        version: the version of the model that it installed.
    """

    job: int
    team: str
    model: str
    ticker: str
    state: JobState
    data: str
    submitted_at: datetime
    due_at: datetime
    taken_at: datetime | None
    ended_at: datetime | None
    tries: int
    failures: int
    progress: str
    reason: str
    version: str | None


@dataclass(frozen=True)
class SubmittedJobs:
    """The jobs of a request, one for each model, and the numbers of those that it made."""

    jobs: list[JobView]
    new: list[int]


class JobDesk(Protocol):
    """The queue of training jobs. `team` None means: of any team.

    Any thread may call it. Besides the errors named below, all methods raise:
        JobsAwayError: the queue cannot be used now.
        UnknownJobError: there is no such job, or it is of another team.
    """

    def submit(self, team: str | None, body: Any) -> SubmittedJobs:
        """Store the jobs of a request, or none. With `team` None the body names the team.

        Raises:
            ConfigError: every mistake in the request.
            JobsFullError: too many jobs are waiting.
        """
        ...

    def jobs(self, team: str | None, states: Sequence[JobState], limit: int) -> list[JobView]:
        """The newest jobs, newest first; in these states only, if any are given."""
        ...

    def job(self, number: int, team: str | None) -> JobView:
        """One job."""
        ...

    def cancel(self, number: int, team: str | None) -> JobView:
        """Cancel a waiting or running job; a `JobStateError` if it has ended otherwise."""
        ...

    def retry(self, number: int, team: str | None) -> JobView:
        """Let a dead or cancelled job wait again; a `JobStateError` if it is running or done."""
        ...

    def close(self) -> None:
        """Close the connection to the database, if there is one."""
        ...
