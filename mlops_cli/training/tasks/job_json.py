"""Train jobs and their results as JSON, for training processes."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.training.trainer import Failed, Fitted, TrainJob


def job_to_json(job: TrainJob) -> str:
    """One line."""
    return json.dumps(
        {
            "spec": job.spec.model_dump(),  # not mode="json": that turns .inf and .nan into null
            "features": str(job.features),
            "inputs": list(job.inputs),
            "validation_start": job.validation_start.isoformat(),
            "end": job.end.isoformat(),
            "seed": job.seed,
            "folder": str(job.folder),
        },
        default=str,  # dates that YAML made
    )


def job_from_json(line: str) -> TrainJob:
    """The inverse of `job_to_json`."""
    data = json.loads(line)
    return TrainJob(
        spec=ModelSpec.model_validate(data["spec"]),
        features=Path(data["features"]),
        inputs=tuple(data["inputs"]),
        validation_start=date.fromisoformat(data["validation_start"]),
        end=date.fromisoformat(data["end"]),
        seed=data["seed"],
        folder=Path(data["folder"]),
    )


def result_to_json(result: Fitted | Failed) -> dict[str, Any]:
    """A result without its job, of which the folder stays as the key: a name may come twice."""
    job = {"folder": str(result.job.folder)}
    if isinstance(result, Failed):
        return {**job, "failed": result.reason, "exit_code": result.exit_code}
    return {**job, "epochs": result.epochs, "facts": result.facts}


def result_from_json(job: TrainJob, data: dict[str, Any]) -> Fitted | Failed:
    """The inverse of `result_to_json`."""
    if "failed" in data:
        return Failed(job, data["failed"], data["exit_code"])
    return Fitted(job, data["epochs"], data["facts"])
