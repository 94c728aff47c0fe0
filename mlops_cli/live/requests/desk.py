"""The desk at which a server takes requests for training: an adapter of `JobDesk` over the queue."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.live.jobs.job import Job, NoSuchJob, QueueFull
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.serving.contract.job_desk import (
    JobsAwayError,
    JobsFullError,
    JobState,
    JobStateError,
    JobView,
    SubmittedJobs,
    UnknownJobError,
)

if TYPE_CHECKING:
    from mlops_cli.live.requests.intake import Intake


class QueueDesk:
    """See `JobDesk`.

    The first request opens the queue, so that a server starts while its database is away; the first submission makes
    the intake, which loads pandas and the calendars: a server that is never asked for a training needs neither.
    """

    def __init__(self, open_queue: Callable[[], JobQueue], make_intake: Callable[[], Intake]) -> None:
        self._open_queue, self._make_intake = open_queue, make_intake
        self._lock = threading.Lock()
        self._opened: JobQueue | None = None
        self._intake: Intake | None = None

    def submit(self, team: str | None, body: Any) -> SubmittedJobs:
        """See `JobDesk`."""
        with self._lock:
            self._intake = self._intake or self._make_intake()
        requests = self._intake.requests(team, body)
        with _explained():
            submitted = self._queue().submit(requests)
        return SubmittedJobs(
            [view_of(each.job) for each in submitted], [each.job.number for each in submitted if each.new]
        )

    def jobs(self, team: str | None, states: Sequence[JobState], limit: int) -> list[JobView]:
        """See `JobDesk`."""
        with _explained():
            return [view_of(job) for job in self._queue().jobs(team, states, limit)]

    def job(self, number: int, team: str | None) -> JobView:
        """See `JobDesk`."""
        with _explained():
            return view_of(self._queue().show(number, team))

    def cancel(self, number: int, team: str | None) -> JobView:
        """See `JobDesk`."""
        with _explained():
            return view_of(self._queue().cancel(number, team))

    def retry(self, number: int, team: str | None) -> JobView:
        """See `JobDesk`."""
        with _explained():
            return view_of(self._queue().retry(number, team))

    def close(self) -> None:
        """See `JobDesk`."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _queue(self) -> JobQueue:
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open_queue()
                except ConfigError as error:  # psycopg is missing, or the address is wrong
                    raise JobsAwayError(error.message, error.hint) from error
            return self._opened


def view_of(job: Job) -> JobView:
    """A job as callers see it."""
    ticker = ""
    with suppress(ValueError, KeyError, TypeError):  # a later version of mlops may have written it
        ticker = str(json.loads(job.spec)["ticker"])
    return JobView(
        job=job.number,
        team=job.team,
        model=job.model,
        ticker=ticker,
        state=job.state,
        data=job.data,
        submitted_at=job.submitted_at,
        due_at=job.due_at,
        taken_at=job.taken_at,
        ended_at=job.ended_at,
        tries=job.token,
        failures=job.failures,
        progress=job.progress,
        reason=job.reason,
        version=job.version,
    )


@contextmanager
def _explained() -> Iterator[None]:
    """Raise the errors of the queue as those of the port."""
    try:
        yield
    except QueueFull as error:
        raise JobsFullError(error.message, error.retry_after) from error
    except NoSuchJob as error:
        raise UnknownJobError(error.message, "GET /jobs lists them") from error
    except JobsAwayError:
        raise
    except (ServiceError, DataError) as error:
        raise JobsAwayError(error.message, error.hint) from error
    except ConfigError as error:
        raise JobStateError(error.message) from error
