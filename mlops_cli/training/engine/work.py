"""The work of a training process: it trains the jobs of a task as a fleet or, if they cannot, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from mlops_cli.training.engine.fleet.fleet import LudwigFleet
from mlops_cli.training.engine.fleet.loop import FleetOptions
from mlops_cli.training.engine.ludwig.fit import LudwigFitter
from mlops_cli.training.engine.ludwig.task import fit_task
from mlops_cli.training.tasks import FleetSettings, Task
from mlops_cli.training.trainer import FailedJob, Fitted


class LudwigWork:
    """Fits tasks, and keeps exported architectures in the folder `graphs` for later tasks and processes."""

    def __init__(self, graphs: Path) -> None:
        self._fitter = LudwigFitter(graphs)
        self._fleets: dict[FleetSettings, LudwigFleet] = {}

    def fit(self, task: Task, tick: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        """Train a task's jobs; one result each, in any order."""
        if task.settings.together and not task.jobs[0].spec.pool:
            yield from self._fleet(task.settings).fit(task.jobs, tick)
            return
        for job in task.jobs:
            tick(f"training {job.spec.name}")
        yield from fit_task(self._fitter, task.jobs)

    def _fleet(self, settings: FleetSettings) -> LudwigFleet:
        if settings not in self._fleets:
            options = FleetOptions(
                seed=0,  # each job's own counts
                device=torch.device(settings.device),
                bf16=settings.bf16,
                median_stopping=settings.median_stopping,
            )
            self._fleets[settings] = LudwigFleet(self._fitter, options)
        return self._fleets[settings]
