"""Pools: jobs whose rows train one model together. The ticker is one of its inputs, a category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops_cli.training.trainer import TrainJob


def group_tasks(jobs: Sequence[TrainJob]) -> list[list[TrainJob]]:
    """Group jobs by the model that they train: the jobs of a pool together, every other job alone.

    Groups are in the order of their first jobs, and the jobs of a pool keep their order.
    """
    groups: dict[Any, list[TrainJob]] = {}
    for position, job in enumerate(jobs):
        groups.setdefault(_pool_key(job) if job.spec.pool else position, []).append(job)
    return list(groups.values())


def _pool_key(job: TrainJob) -> tuple[str, ...]:
    """Equal for jobs of one pool: the spec without name and ticker, the end of the data and the seed."""
    spec = job.spec.model_dump_json(exclude={"name", "ticker"})
    return (spec, job.end.isoformat(), str(job.seed))
