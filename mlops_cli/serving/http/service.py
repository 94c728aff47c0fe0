"""What all endpoints share: the data plane, the counters, and threads for work that would block the event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from fastapi import Response
from pydantic import BaseModel

from mlops_cli.serving.contract.messages import RUNGS, OverloadedError, Rung, UnknownModelError
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.serving.http.counters import Counters
from mlops_cli.serving.http.worker_files import WorkerFiles

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63})?")
_THREADS = 2
_MAX_THREAD_JOBS = 16


class ErrorBody(BaseModel):
    """The body of every answer whose status is not 2xx."""

    error: str
    hint: str | None = None


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Wrong input; says what was expected"},
    401: {"model": ErrorBody, "description": "No valid token"},
    403: {"model": ErrorBody, "description": "The request comes from a page of another site, and no token is set"},
    404: {"model": ErrorBody, "description": "No such model or version"},
    408: {"model": ErrorBody, "description": "The body did not arrive in time"},
    413: {"model": ErrorBody, "description": "Body too large"},
    415: {"model": ErrorBody, "description": "Unknown Content-Encoding"},
    422: {"model": ErrorBody, "description": "Wrong parameter"},
    503: {"model": ErrorBody, "description": "Overloaded (with Retry-After), unloaded, or quarantined"},
}


class Service:
    """What all endpoints share. Tables are forecast in chunks of `chunk_rows`; bodies have at most `max_body` bytes."""

    def __init__(
        self, plane: DataPlane, counters: Counters, worker_files: WorkerFiles, chunk_rows: int, max_body: int
    ) -> None:
        self.plane = plane
        self.counters = counters
        self.worker_files = worker_files
        self.chunk_rows = chunk_rows
        self.max_body = max_body
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="features")
        self._waiting = 0

    async def run_in_thread[T](self, work: Callable[..., T], *arguments: Any) -> T:
        """Run slow work (milliseconds or more) in a thread; an `OverloadedError` if too many requests already do so."""
        if self._waiting >= _MAX_THREAD_JOBS:
            raise OverloadedError(f"{self._waiting} requests with bars or tables are already in progress", 1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1

    def count(self, rungs: Iterable[Rung]) -> Rung:
        """Count forecasts by rung (kind of answer), and return the most degraded rung; `full` if there are none."""
        lowest = 0
        for rung in rungs:
            self.counters.answers[rung] += 1
            lowest = max(lowest, RUNGS.index(rung))
        return RUNGS[lowest]

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def checked(name: str) -> str:
    """The name; an `UnknownModelError` unless it is NAME or BRANCH/NAME, so that no path leaves the models' folder."""
    if not _NAME.fullmatch(name):
        raise UnknownModelError(f"no model {name[:80]!r}", "GET /v2/repository/index lists them")
    return name


def json_answer(data: Any, headers: dict[str, str] | None = None) -> Response:
    """A 200 answer."""
    return Response(
        orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json", headers=headers
    )
