"""Tasks and results as JSON: the one format in which they go to training processes and come back.

Nothing in this format outlives a run, so it may change freely.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from mlops_cli.training.tasks.tasks import Task
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

_TASK = TypeAdapter(Task)


def task_to_json(task: Task) -> str:
    """Write a task as one line of ASCII JSON.

    Dates inside a Ludwig config (YAML makes them) become text. Infinity and NaN are kept.
    """
    # json.dumps and not pydantic's own JSON, which would turn infinity and NaN into null
    return json.dumps(_TASK.dump_python(task), default=str)


def task_from_json(line: str) -> Task:
    """Read a line that `task_to_json` wrote.

    Raises:
        ValueError: the line is not JSON, or not a task.
    """
    return _TASK.validate_python(json.loads(line))


def result_to_json(result: Fitted | FailedJob) -> dict[str, Any]:
    """The fields of a result, with the job's folder in place of the job.

    The folder identifies the job; two jobs may have the same name.
    """
    folder = {"folder": str(result.job.folder)}
    if isinstance(result, FailedJob):
        return {**folder, "reason": result.reason, "exit_code": result.exit_code}
    return {**folder, "epochs": result.epochs, "facts": result.facts}


def result_from_json(job: TrainJob, data: dict[str, Any]) -> Fitted | FailedJob:
    """Read what `result_to_json` gave; `job` is the job that the folder identifies."""
    if "reason" in data:
        return FailedJob(job, data["reason"], data["exit_code"])
    return Fitted(job, data["epochs"], data["facts"])
