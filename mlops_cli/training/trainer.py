"""Port `Trainer`: many jobs in, one fitted (or failed) model each out, as they finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import TrainingError


@dataclass(frozen=True)
class TrainJob:
    """One model to train.

    Attributes:
        features: parquet file with the feature table (`features.build`): index `session`, the input columns,
            `target`, `last_close`, `next_close`, `target_session`.
        inputs: names of the input columns in the order of the exported graph's input.
        validation_start: first session whose row validates; rows before it train.
        end: no row whose target session is on or after this day may be used.
        folder: an existing empty folder; the trainer writes its files there.
    """

    spec: ModelSpec
    features: Path
    inputs: tuple[str, ...]
    validation_start: date
    end: date
    seed: int
    folder: Path


@dataclass(frozen=True)
class Fitted:
    """A trained model. `folder` now holds `model.onnx` (shrinkage 1) and, for Ludwig, `ludwig/`.

    Attributes:
        epochs: one dict per epoch, e.g. {"train_loss": .., "validation_loss": ..}; empty for baselines.
        facts: lines for the manifest (parameters, best epoch, largest ONNX difference).
    """

    job: TrainJob
    epochs: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedJob:
    """A job that could not be finished, and why, in words for the user."""

    job: TrainJob
    reason: str
    exit_code: int = 5


class Trainer(Protocol):
    """Fits jobs in any order, and yields exactly one result per job, also for jobs that fail."""

    @property
    def name(self) -> str:
        """Its name in configs."""
        ...

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        """Train all jobs; call `progress` with a short line about what is being done."""
        ...


def fit_each(
    trainer: Callable[[], Trainer], jobs: Sequence[TrainJob], progress: Callable[[str], None]
) -> Iterator[Fitted | FailedJob]:
    """Train all jobs, and yield exactly one result per job even if the trainer fails as a whole or forgets jobs."""
    left = {job.folder: job for job in jobs}  # by folder: a model may have several jobs
    reason, exit_code = "", TrainingError.exit_code
    try:
        for result in trainer().fit(jobs, progress):
            del left[result.job.folder]
            yield result
    except TrainingError as error:
        reason, exit_code = str(error), error.exit_code
    for job in left.values():
        yield FailedJob(job, reason or f"{job.spec.name}: the trainer gave no result for it", exit_code)
