"""Calls the desk of the job queue for the endpoints, and lets callers follow a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlops_cli.serving.contract.job_desk import ENDED, JobDesk, JobsAwayError, JobView, UnknownJobError
from mlops_cli.serving.contract.messages import OverloadedError

POLL_SECONDS = 0.5
BEAT_SECONDS = 15.0  # between two signs of life of a stream, so that no proxy closes it
MOST_LISTENERS = 100  # that follow jobs at one worker process
_THREADS = 2
_MOST_WAITING = 64


class JobOffice:
    """Calls the desk in threads of its own, so that a database that is away delays no other request.

    Args:
        desk: whose methods may block.
        poll: seconds between two looks at a job that is followed.
    """

    def __init__(self, desk: JobDesk, poll: float = POLL_SECONDS) -> None:
        self.desk = desk
        self._poll = poll
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="jobs")
        self._waiting = 0
        self._listeners = 0
        self._closing = asyncio.Event()

    async def ask[T](self, work: Callable[..., T], *arguments: Any) -> T:
        """Call a method of the desk; an `OverloadedError` if too many calls are waiting."""
        if self._waiting >= _MOST_WAITING:
            raise OverloadedError(f"{self._waiting} requests about jobs are already in progress", 1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1

    async def follow(self, number: int, team: str | None) -> AsyncIterator[JobView | None]:
        """A job now, and after each of its changes until it has ended; None as a sign of life.

        Raises:
            UnknownJobError: there is no such job, or it is of another team.
            OverloadedError: too many callers follow jobs already.
        """
        view = await self.ask(self.desk.job, number, team)
        if self._listeners >= MOST_LISTENERS:
            raise OverloadedError(f"{self._listeners} callers already follow jobs here", 5)
        return self._changes(view, team)

    async def _changes(self, view: JobView, team: str | None) -> AsyncIterator[JobView | None]:
        loop = asyncio.get_running_loop()
        self._listeners += 1
        try:
            yield view
            beat = loop.time() + BEAT_SECONDS
            while view.state not in ENDED and not await self._closed_within(self._poll):
                changed = await self._look(view, team)
                if changed is None:
                    return
                if changed != view or loop.time() > beat:
                    yield None if changed == view else changed
                    view, beat = changed, loop.time() + BEAT_SECONDS
        finally:
            self._listeners -= 1

    async def _look(self, view: JobView, team: str | None) -> JobView | None:
        """The job as it is now, or as it was where the queue cannot be asked; None if it is no longer there."""
        try:
            return await self.ask(self.desk.job, view.job, team)
        except UnknownJobError:
            return None
        except (OverloadedError, JobsAwayError):
            return view

    async def _closed_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def end_streams(self) -> None:
        """Let the callers that follow jobs go, because the server ends."""
        self._closing.set()

    def close(self) -> None:
        """End the streams and the threads, and close the desk once no thread uses it any more."""
        self.end_streams()
        self._threads.submit(self.desk.close)
        self._threads.shutdown(wait=False)
