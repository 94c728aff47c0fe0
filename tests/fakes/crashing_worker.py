"""A worker of a project's job queue whose process ends at once, as after a fault in C code, when it trains some models.

`python -m tests.fakes.crashing_worker FOLDER MODEL...`: the models whose training ends the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mlops_cli.config.paths import Project
from mlops_cli.live.jobs.installer import FencedInstaller
from mlops_cli.live.jobs.leases import LeaseTimes
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.retries import RetryPolicy
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.jobs.worker import WorkerSettings, work
from mlops_cli.live.requests.job_versions import JobVersions
from mlops_cli.live.requests.training import RequestTools, RequestTraining
from mlops_cli.pipeline.stages.ingest import IngestSources
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.training.baseline_trainer import BaselineTrainer
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.projects import Silent

CRASHED = 9
TRIES = 2


class Crashing(BaselineTrainer):
    """A drift that ends the process at some models."""

    def __init__(self, fatal: Sequence[str]) -> None:
        super().__init__("drift")
        self.fatal = fatal

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        if any(job.spec.name in self.fatal for job in jobs):
            os._exit(CRASHED)
        return super().fit(jobs, progress)


def queue_of(project: Project) -> JobQueue:
    policy = RetryPolicy(tries=TRIES, first_seconds=0.05, longest_seconds=0.1)
    return JobQueue(SqliteDatabase(project.jobs_database), policy=policy, times=LeaseTimes(lease=1.0))


def main() -> None:
    project = Project.at(Path(sys.argv[1]))
    source = CsvSource(project.root / "data" / "incoming")
    tools = RequestTools(lambda _: IngestSources(source), lambda *_: Crashing(sys.argv[2:]))
    with closing(queue_of(project)) as queue:
        installer = FencedInstaller(queue, project.model_root / ".locks", JobVersions(project, "always"))
        settings = WorkerSettings(at_once=8, poll=0.05, until_empty=True)
        work(queue, RequestTraining(project, tools, Silent()), installer, settings)


if __name__ == "__main__":
    main()
