"""Workers of a project's job queue that kill themselves, without warning, at the line they are told to.

`python -m tests.fakes.request_runner FOLDER SEED KILLS`: submits jobs, keeps forked workers at it until all jobs have
ended, and prints how many were killed. The workers train drifts with the program's own code.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import closing
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from mlops_cli.config.paths import Project
from mlops_cli.live.jobs.installer import FencedInstaller
from mlops_cli.live.jobs.leases import LeaseTimes
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.retries import RetryPolicy
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.jobs.worker import WorkerSettings, work
from mlops_cli.live.requests.intake import Intake
from mlops_cli.live.requests.job_versions import JobVersions
from mlops_cli.live.requests.training import RequestTools, RequestTraining
from mlops_cli.pipeline.stages.ingest import IngestSources
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.training.baseline_trainer import BaselineTrainer
from tests.fakes.projects import Silent

COUNTED = tuple(f"{os.sep}{room}{os.sep}" for room in ("requests", "jobs", "versions", "stages", "models"))
LINES = 2_500
"""Fewer than a worker runs until its first batch is installed and taken off the queue."""
DRIFT = {"trainer": "drift", "features": {"returns": [1]}}


class Fuse:
    """Counts the lines that are run in the rooms of `COUNTED`, and kills the process at one of them."""

    def __init__(self, kill_at: int) -> None:
        self._lines, self._kill_at = 0, kill_at

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if "mlops_cli" not in frame.f_code.co_filename or not any(part in frame.f_code.co_filename for part in COUNTED):
            return None
        if event == "line":
            self._lines += 1
            if self._lines == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def queue_of(project: Project) -> JobQueue:
    policy = RetryPolicy(tries=1000, first_seconds=0.02, longest_seconds=0.1)  # the kills are nobody's fault
    return JobQueue(SqliteDatabase(project.jobs_database), policy=policy, times=LeaseTimes(lease=0.5))


def work_until_empty(project: Project) -> None:
    source = CsvSource(project.root / "data" / "incoming")
    tools = RequestTools(lambda _: IngestSources(source), lambda *_: BaselineTrainer("drift"))
    with closing(queue_of(project)) as queue:
        installer = FencedInstaller(queue, project.model_root / ".locks", JobVersions(project, "always"))
        settings = WorkerSettings(at_once=2, poll=0.02, until_empty=True)
        work(queue, RequestTraining(project, tools, Silent()), installer, settings)


def forked(project: Project, kill_at: int | None) -> int:
    """Fork a worker; returns its process id."""
    worker = os.fork()
    if worker:
        return worker
    status = 1
    try:
        if kill_at is not None:
            sys.settrace(Fuse(kill_at))
        work_until_empty(project)
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)  # never back into the loop of the parent


def main() -> None:
    project, seed, kills = Project.at(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    chance = Random(seed)
    with closing(queue_of(project)) as queue:
        tickers = sorted(path.stem for path in (project.root / "data" / "incoming").glob("*.csv"))
        queue.submit(Intake(project).requests("red", {"tickers": tickers, **DRIFT}))
    killed = 0
    while True:
        worker = forked(project, chance.randint(1, LINES) if killed < kills else None)
        _, status = os.waitpid(worker, 0)
        if os.WIFEXITED(status):
            print(killed, os.WEXITSTATUS(status))
            return
        killed += 1


if __name__ == "__main__":
    main()
