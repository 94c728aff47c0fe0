"""What training processes are given: jobs cut into tasks, the biggest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from mlops_cli.training.tasks.job_json import job_from_json, job_to_json
from mlops_cli.training.tasks.pooled_jobs import group_tasks
from mlops_cli.training.trainer import TrainJob

FLEET_TASK = 32  # models: their results come in together, and a process that dies loses no more work than that
LUDWIG_EPOCHS = 100  # where a config does not say
SECONDS_PER_VISIT = {True: 2e-6, False: 2e-5}  # of one row in one epoch, in a fleet or alone; measured, 2 cores


@dataclass(frozen=True)
class FleetSettings:
    """How a process trains the models of a task together; `together` False: one after another."""

    together: bool = True
    device: str = "cpu"
    bf16: bool = False
    median_stopping: int | None = None


@dataclass(frozen=True)
class Task:
    """Jobs that one process takes at once.

    Attributes:
        jobs: of one architecture, or of one pool, or a single one.
        settings: how they train.
        seconds: about how long it takes.
    """

    jobs: tuple[TrainJob, ...]
    settings: FleetSettings
    seconds: float

    def alone(self) -> list[Task]:
        """The same jobs in tasks of their own; a pool stays one."""
        if self.jobs[0].spec.pool:
            return [self]
        return [Task((job,), self.settings, self.seconds / len(self.jobs)) for job in self.jobs]


def cut(jobs: Sequence[TrainJob], settings: FleetSettings, devices: int) -> list[Task]:
    """Cut jobs into tasks, biggest first.

    Args:
        jobs: any.
        settings: how they train.
        devices: GPUs that share the fleets; on the CPU fleets are cut into pieces of `FLEET_TASK`.
    """
    visits = {id(job): _row_visits(job) for job in jobs}
    tasks = []
    for group in _groups(jobs, settings.together):
        ordered = sorted(group, key=lambda job: (-visits[id(job)], job.spec.name))
        size = -(-len(ordered) // devices) if settings.device == "cuda" else FLEET_TASK
        if ordered[0].spec.pool:
            size = len(ordered)
        for first in range(0, len(ordered), size):
            piece = tuple(ordered[first : first + size])
            seconds = sum(visits[id(job)] for job in piece) * SECONDS_PER_VISIT[len(piece) > 1]
            tasks.append(Task(piece, settings, seconds))
    return sorted(tasks, key=lambda task: -task.seconds)


def task_to_json(task: Task) -> str:
    """One line."""
    settings = {name: getattr(task.settings, name) for name in FleetSettings.__dataclass_fields__}
    return json.dumps({"settings": settings, "jobs": [job_to_json(job) for job in task.jobs]})


def task_from_json(line: str) -> Task:
    """The inverse of `task_to_json`, but for the seconds."""
    data = json.loads(line)
    return Task(tuple(job_from_json(job) for job in data["jobs"]), FleetSettings(**data["settings"]), 0.0)


def _groups(jobs: Sequence[TrainJob], together: bool) -> list[list[TrainJob]]:
    groups: dict[Any, list[TrainJob]] = {}
    for position, task in enumerate(group_tasks(jobs)):
        key = _architecture(task[0]) if together and len(task) == 1 and not task[0].spec.pool else position
        groups.setdefault(key, []).extend(task)
    return list(groups.values())


def _architecture(job: TrainJob) -> tuple[Any, ...]:
    """Equal for jobs that are worth handing to one process together."""
    known = (job.spec.ludwig, job.inputs, job.spec.target, job.seed)
    return (json.dumps(known, sort_keys=True, default=str),)


def _row_visits(job: TrainJob) -> int:
    """Rows times epochs; a table that cannot be read counts as nothing, its job fails soon enough."""
    trainer = job.spec.ludwig.get("trainer")
    epochs = trainer.get("epochs", LUDWIG_EPOCHS) if isinstance(trainer, dict) else LUDWIG_EPOCHS
    return _rows(job.features) * (epochs if isinstance(epochs, int) else LUDWIG_EPOCHS)


def _rows(table: Path) -> int:
    try:
        return int(pyarrow.parquet.read_metadata(table).num_rows)
    except (OSError, pyarrow.ArrowInvalid):
        return 0
