"""Tasks, the units of work of training processes: how jobs are cut into them, and how they travel as JSON.

Nothing in this JSON outlives a run, so it may change freely.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow
import pyarrow.parquet
from pydantic import TypeAdapter

from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

TRIES = 2  # of a task whose process dies; after that its jobs fail
FLEET_TASK = 32  # models per task on the CPU: a process that dies loses at most this much work
LUDWIG_EPOCHS = 100  # Ludwig's default
# seconds of training per row and epoch, measured on 2 cores
FLEET_SECONDS_PER_ROW = 2e-6
ALONE_SECONDS_PER_ROW = 2e-5


@dataclass(frozen=True)
class FleetSettings:
    """How a process trains the jobs of a task.

    Attributes:
        together: as a fleet; False: one after another with Ludwig's own trainer.
        device: "cpu" or "cuda".
        bf16: multiply in bfloat16 (fleets on CUDA only).
        median_stopping: evaluations after which a model worse than the median of its fleet may stop; None: never.
    """

    together: bool = True
    device: str = "cpu"
    bf16: bool = False
    median_stopping: int | None = None


@dataclass(frozen=True)
class Task:
    """Jobs that one process trains in one go.

    Attributes:
        jobs: the jobs of one architecture, all jobs of one pool, or a single job.
        seconds: estimated training time.
    """

    jobs: tuple[TrainJob, ...]
    settings: FleetSettings
    seconds: float

    def alone(self) -> list[Task]:
        """Split the task into one task per job. The jobs of a pool stay together: they are one model."""
        if self.jobs[0].spec.pool:
            return [self]
        return [Task((job,), self.settings, self.seconds / len(self.jobs)) for job in self.jobs]


def split_into_tasks(jobs: Sequence[TrainJob], settings: FleetSettings, devices: int) -> list[Task]:
    """Cut jobs into tasks, the longest first, so that processes finish at about the same time.

    The jobs of one architecture are spread over `devices` GPUs; on the CPU a task has at most `FLEET_TASK` jobs.
    """
    row_epochs = {id(job): _row_epochs(job) for job in jobs}
    tasks = []
    for group in _groups(jobs, settings.together):
        ordered = sorted(group, key=lambda job: (-row_epochs[id(job)], job.spec.name))
        size = -(-len(ordered) // devices) if settings.device == "cuda" else FLEET_TASK
        if ordered[0].spec.pool:
            size = len(ordered)
        for first in range(0, len(ordered), size):
            piece = tuple(ordered[first : first + size])
            seconds_per_row = FLEET_SECONDS_PER_ROW if len(piece) > 1 else ALONE_SECONDS_PER_ROW
            seconds = sum(row_epochs[id(job)] for job in piece) * seconds_per_row
            tasks.append(Task(piece, settings, seconds))
    return sorted(tasks, key=lambda task: -task.seconds)


def group_tasks(jobs: Sequence[TrainJob]) -> list[list[TrainJob]]:
    """Group jobs by the model that they train: the jobs of a pool together, every other job alone.

    Groups are in the order of their first jobs, and the jobs of a pool keep their order.
    """
    groups: dict[Any, list[TrainJob]] = {}
    for position, job in enumerate(jobs):
        groups.setdefault(_pool_key(job) if job.spec.pool else position, []).append(job)
    return list(groups.values())


def empty_folders(jobs: Sequence[TrainJob]) -> None:
    """Remove the files that a process left in the jobs' folders."""
    for job in jobs:
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True, exist_ok=True)


def _pool_key(job: TrainJob) -> tuple[str, ...]:
    """Equal for jobs of one pool: the spec without name and ticker, the end of the data and the seed."""
    spec = job.spec.model_dump_json(exclude={"name", "ticker"})
    return (spec, job.end.isoformat(), str(job.seed))


def _groups(jobs: Sequence[TrainJob], together: bool) -> list[list[TrainJob]]:
    groups: dict[Any, list[TrainJob]] = {}
    for position, task in enumerate(group_tasks(jobs)):
        key = _architecture(task[0]) if together and len(task) == 1 and not task[0].spec.pool else position
        groups.setdefault(key, []).extend(task)
    return list(groups.values())


def _architecture(job: TrainJob) -> tuple[Any, ...]:
    """Equal for jobs that one process may train as a fleet."""
    architecture = (job.spec.ludwig, job.inputs, job.spec.target, job.seed)
    return (json.dumps(architecture, sort_keys=True, default=str),)


def _row_epochs(job: TrainJob) -> int:
    """Rows times epochs; 0 for a table that cannot be read, as its job fails at once."""
    try:
        rows = int(pyarrow.parquet.read_metadata(job.features).num_rows)
    except (OSError, pyarrow.ArrowInvalid):
        return 0
    trainer = job.spec.ludwig.get("trainer")
    epochs = trainer.get("epochs", LUDWIG_EPOCHS) if isinstance(trainer, dict) else LUDWIG_EPOCHS
    return rows * (epochs if isinstance(epochs, int) else LUDWIG_EPOCHS)


_TASK = TypeAdapter(Task)


def task_to_json(task: Task) -> str:
    """Write a task as one line of ASCII JSON. Dates in a Ludwig config become text; infinity and NaN are kept."""
    # json.dumps and not pydantic's own JSON, which would turn infinity and NaN into null
    return json.dumps(_TASK.dump_python(task), default=str)


def task_from_json(line: str) -> Task:
    """Read a line that `task_to_json` wrote.

    Raises:
        ValueError: the line is not JSON, or not a task.
    """
    return _TASK.validate_python(json.loads(line))


def result_to_json(result: Fitted | FailedJob) -> dict[str, Any]:
    """The fields of a result; the folder stands for the job, because two jobs may have the same name."""
    folder = {"folder": str(result.job.folder)}
    if isinstance(result, FailedJob):
        return {**folder, "reason": result.reason, "exit_code": result.exit_code}
    return {**folder, "epochs": result.epochs, "facts": result.facts}


def result_from_json(job: TrainJob, data: dict[str, Any]) -> Fitted | FailedJob:
    """Read what `result_to_json` gave; `job` is the job that the folder identifies."""
    if "reason" in data:
        return FailedJob(job, data["reason"], data["exit_code"])
    return Fitted(job, data["epochs"], data["facts"])
