"""Train jobs as lines of JSON, for worker processes."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from mlops_cli.config.schema import ModelSpec
from mlops_cli.training.trainer import TrainJob


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
