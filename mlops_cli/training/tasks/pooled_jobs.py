"""Pools: jobs whose rows train one model together, each ticker a category of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mlops_cli.training.tasks.job_json import job_from_json, job_to_json
from mlops_cli.training.trainer import TrainJob


def group_tasks(jobs: Sequence[TrainJob]) -> list[list[TrainJob]]:
    """What a trainer has to do, one training each: the jobs of a pool together, every other job alone.

    Tasks come in the order of their first jobs, and so do the jobs of a pool.
    """
    tasks: dict[Any, list[TrainJob]] = {}
    for position, job in enumerate(jobs):
        tasks.setdefault(_pool_key(job) if job.spec.pool else position, []).append(job)
    return list(tasks.values())


def task_to_json(task: Sequence[TrainJob]) -> str:
    """One line: the jobs of a task, for worker processes."""
    return json.dumps([job_to_json(job) for job in task])


def task_from_json(line: str) -> list[TrainJob]:
    """The inverse of `task_to_json`."""
    return [job_from_json(job) for job in json.loads(line)]


def _pool_key(job: TrainJob) -> tuple[str, ...]:
    """Equal for jobs of one pool: all but the ticker, and the time up to which they may know."""
    spec = job.spec.model_dump_json(exclude={"name", "ticker"})
    return (spec, job.end.isoformat(), str(job.seed))
