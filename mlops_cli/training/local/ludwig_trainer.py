"""Trainer `ludwig` on this machine: tasks run in training processes, as fleets (many models at once) or one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlops_cli.config.run_environment import RUN_PID, WORKERS
from mlops_cli.config.schemas.project import Training
from mlops_cli.training.local.cuda_devices import no_cuda_device_error, visible_cuda_devices
from mlops_cli.training.local.workers import WorkerDied, Workers, WorkerSettings
from mlops_cli.training.tasks import TRIES, FleetSettings, result_from_json, split_into_tasks
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob


@dataclass(frozen=True)
class LudwigTrainer:
    """Trains with Ludwig in training processes.

    Args:
        workers: how training processes are started and kept. The GPUs in it are replaced by those found here.
        device: auto: fleets use CUDA if there is a device.
        pooled_on_gpus: trainer for pooled models if the machine has several GPUs; None: a pool trains in one process.
    """

    workers: WorkerSettings
    fleets: FleetSettings = field(default_factory=FleetSettings)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    pooled_on_gpus: Trainer | None = None
    name: str = "ludwig"

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        """Train all jobs. A process that dies is replaced and its jobs are retried once, then reported.

        Raises:
            ConfigError: CUDA is requested, but there is no CUDA device.
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
    ) -> Iterator[Fitted | FailedJob]:
        settings = replace(self.fleets, device="cuda" if gpus else "cpu")
        by_folder = {str(job.folder): job for job in jobs}
        workers = Workers(replace(self.workers, gpus=gpus), progress)
        for result in workers.run(split_into_tasks(jobs, settings, max(1, len(gpus)))):
            if isinstance(result, WorkerDied):
                for job in result.task.jobs:
                    yield FailedJob(job, f"{job.spec.name}: the training process died {TRIES} times: {result.reason}")
            else:
                yield result_from_json(by_folder[result["folder"]], result)

    def _gpus(self) -> tuple[str, ...]:
        if self.device == "cpu" or (self.device == "auto" and not self.fleets.together):
            return ()
        gpus = visible_cuda_devices()
        if self.device == "cuda" and not gpus:
            raise no_cuda_device_error()
        return gpus


def fleet_settings(training: Training) -> FleetSettings:
    """Read the settings of fleets from the `training` section of params.yaml."""
    return FleetSettings(
        together=training.strategy != "sequential", bf16=training.bf16, median_stopping=training.median_stopping
    )


def worker_settings(state: Path, training: Training) -> WorkerSettings:
    """Read the settings of training processes from the `training` section of params.yaml.

    The processes stay for the next branch. They end when the `mlops run` that started this process ends, or, without
    one, when this process ends. `state` is the project's folder for graphs, logs and addresses of processes (`.mlops`).
    """
    run_folder, run_pid = os.environ.get(WORKERS), os.environ.get(RUN_PID, "")
    in_run = bool(run_folder) and run_pid.isdigit()
    owner = int(run_pid) if in_run else os.getpid()
    home = Path(str(run_folder)) if in_run else state / "pool" / str(owner)
    memory = None if training.memory_gb is None else training.memory_gb * 1e9
    return WorkerSettings(state / "graphs", state / "logs", training.workers, memory, home=home, owner=owner)
