"""Trainer `ludwig`: real Ludwig models, in fleets or one after another, in training processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlops_cli.config.run_environment import POOL, RUN_PID
from mlops_cli.config.schemas.project import Training
from mlops_cli.errors import ConfigError
from mlops_cli.training.local.cuda_devices import visible_cuda_devices
from mlops_cli.training.local.worker_pool import TRIES, Died, PoolSettings, WorkerPool
from mlops_cli.training.tasks.job_json import result_from_json
from mlops_cli.training.tasks.tasks import FleetSettings, cut
from mlops_cli.training.trainer import Failed, Fitted, Trainer, TrainJob


@dataclass(frozen=True)
class LudwigTrainer:
    """Trains with the real Ludwig.

    Args:
        pool: how training processes are kept; its GPUs are found here.
        fleets: how models train together.
        device: auto: CUDA for fleets where there is any.
        pooled_on_gpus: trains pools over several GPUs at once, where there are several; None: in one process.
    """

    pool: PoolSettings
    fleets: FleetSettings = field(default_factory=FleetSettings)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    pooled_on_gpus: Trainer | None = None
    name: str = "ludwig"

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | Failed]:
        """Train all jobs; a process that dies is replaced and its jobs tried once more, then reported.

        Raises:
            ConfigError: CUDA is asked for and there is none.
            TrainingError: no training process starts.
        """
        if not jobs:
            return
        gpus = self._gpus()
        here = list(jobs)
        if len(gpus) > 1 and self.pooled_on_gpus is not None:
            pooled = [job for job in jobs if job.spec.pool]
            here = [job for job in jobs if not job.spec.pool]
            yield from self.pooled_on_gpus.fit(pooled, progress)
        yield from self._fit(here, gpus, progress)

    def _fit(
        self, jobs: Sequence[TrainJob], gpus: tuple[str, ...], progress: Callable[[str], None]
    ) -> Iterator[Fitted | Failed]:
        settings = replace(self.fleets, device="cuda" if gpus else "cpu")
        by_folder = {str(job.folder): job for job in jobs}
        pool = WorkerPool(replace(self.pool, gpus=gpus), progress)
        for found in pool.run(cut(jobs, settings, max(1, len(gpus)))):
            if isinstance(found, Died):
                for job in found.task.jobs:
                    yield Failed(job, f"{job.spec.name}: the training process died {TRIES} times: {found.reason}")
            else:
                yield result_from_json(by_folder[found["folder"]], found)

    def _gpus(self) -> tuple[str, ...]:
        if self.device == "cpu" or (self.device == "auto" and not self.fleets.together):
            return ()
        gpus = visible_cuda_devices()
        if self.device == "cuda" and not gpus:
            raise ConfigError(
                "training.device: cuda asked for, but torch finds no CUDA device here",
                "set training.device to auto or cpu; `mlops doctor` says which GPUs the driver knows",
            )
        return gpus


def fleet_settings(training: Training) -> FleetSettings:
    """What params.yaml says about fleets."""
    return FleetSettings(
        together=training.strategy != "sequential", bf16=training.bf16, median_stopping=training.median_stopping
    )


def pool_settings(state: Path, training: Training) -> PoolSettings:
    """What params.yaml says about training processes.

    They are kept for the next branch: until the `mlops run` above this process ends, or else this process.

    Args:
        state: the project's folder for what is not a result.
        training: of the branch.
    """
    run, above = os.environ.get(POOL), os.environ.get(RUN_PID, "")
    owner = int(above) if run and above.isdigit() else os.getpid()
    home = Path(run) if run and above.isdigit() else state / "pool" / str(owner)
    memory = None if training.memory_gb is None else training.memory_gb * 1e9
    return PoolSettings(state / "graphs", state / "logs", training.workers, memory, home=home, owner=owner)
