"""Runs workers of a job queue in processes that kill themselves, without warning, at the line they are told to.

A process of its own, without threads, that forks: `python -m tests.fakes.job_runner` reads one JSON object a line and
answers each with one. An order says where (folder, url of a Postgres server or null), how long leases last, and how
many jobs, workers and kills; the answer says what became of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import filelock  # noqa: F401 - once here, not in every child

from mlops_cli.live.jobs.database import Database
from mlops_cli.live.jobs.installer import FencedInstaller
from mlops_cli.live.jobs.job import Job
from mlops_cli.live.jobs.leases import LeaseTimes
from mlops_cli.live.jobs.postgres_database import PostgresDatabase
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.retries import RetryPolicy
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.jobs.worker import Trained, WorkerSettings, work
from tests.fakes.job_queues import RenamedVersions, job_requests_of

with contextlib.suppress(ImportError):
    import psycopg  # noqa: F401 - the same; without it there is no test of Postgres

COUNTED = (f"{os.sep}live{os.sep}jobs{os.sep}", "job_queues.py")
AT_ONCE = 6
LINES = 1300
"""About as many as a worker runs for two batches."""
POLICY = RetryPolicy(tries=1000, first_seconds=0.02, longest_seconds=0.1)  # the kills are nobody's fault
LONGEST = 120.0


class Fuse:
    """Counts the lines that are run in the queue, the worker and the store, and kills the process at one of them."""

    def __init__(self, kill_at: int) -> None:
        self._lines, self._kill_at = 0, kill_at

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not any(part in frame.f_code.co_filename for part in COUNTED):
            return None
        if event == "line":
            self._lines += 1
            if self._lines == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def train(jobs: Sequence[Job], report: Callable[[str], None]) -> Iterator[Trained[str]]:
    for job in jobs:
        time.sleep(0.001)
        report(job.model)
        yield Trained(job, job.model)


def open_queue(order: dict[str, Any]) -> JobQueue:
    url = order["url"]
    database: Database = PostgresDatabase(url) if url else SqliteDatabase(Path(order["folder"]) / "jobs.db")
    return JobQueue(database, policy=POLICY, times=LeaseTimes(lease=order["lease"]))


def start_worker(order: dict[str, Any], kill_at: int | None) -> int:
    """Fork a worker; returns its process id."""
    worker = os.fork()
    if worker:
        return worker
    status = 1
    try:
        if kill_at is not None:
            sys.settrace(Fuse(kill_at))
        folder = Path(order["folder"])
        queue = open_queue(order)
        installer = FencedInstaller(queue, folder / "locks", RenamedVersions(folder / "versions"))
        work(queue, train, installer, WorkerSettings(at_once=AT_ONCE, poll=0.02, until_empty=True))
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)  # never back into the loop of the parent


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Submit jobs, and keep workers at it until all jobs have ended."""
    chance = Random(order["seed"])
    queue = open_queue(order)
    half = order["jobs"] // 2
    queue.submit(job_requests_of("red", half) + job_requests_of("blue", order["jobs"] - half, "big"))
    queue.close()
    kills, crashes, left = 0, 0, order["kills"]
    workers: set[int] = set()
    until = time.monotonic() + LONGEST
    while True:
        while len(workers) < order["workers"]:
            workers.add(start_worker(order, chance.randint(1, LINES) if left > 0 else None))
            left -= 1
        ended, status = os.wait()
        workers.remove(ended)
        if os.WIFEXITED(status) or time.monotonic() > until:
            crashes += os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
            break
        kills += 1
    for worker in workers:
        os.waitpid(worker, 0)
    return {"kills": kills, "crashes": crashes, **outcome(order)}


def outcome(order: dict[str, Any]) -> dict[str, Any]:
    """States of the jobs; jobs installed twice, and jobs that are done without their version."""
    queue = open_queue(order)
    jobs = queue.jobs(limit=10_000)
    queue.close()
    files = [path.name for path in (Path(order["folder"]) / "versions").glob("[!.]*")]
    times = Counter(name.split("-")[0] for name in files)
    return {
        "states": dict(Counter(job.state for job in jobs)),
        "twice": [number for number, count in times.items() if count > 1],
        "without_version": [job.number for job in jobs if job.state == "done" and job.version not in files],
        "killed_after_installing": sum(f"-{job.token}-" not in (job.version or "") for job in jobs),
        "taken_again": sum(job.token > 1 for job in jobs),
    }


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
