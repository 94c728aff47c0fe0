"""The work of a training process: it trains the jobs of a task as a fleet, alone, or as a pool.

A pool is one Ludwig model over the rows of all its tickers, with the ticker as a category among its inputs. Each of its
jobs has its own folder: the pooled model in `ludwig/`, and a graph in which the job's ticker is a constant.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from mlops_cli.errors import MlopsError
from mlops_cli.training.engine.fit import LudwigFitter
from mlops_cli.training.engine.fleet.fleet import LudwigFleet
from mlops_cli.training.engine.fleet.loop import FleetOptions
from mlops_cli.training.rows import training_rows
from mlops_cli.training.tasks import FleetSettings, Task
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob


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
            device, seed = torch.device(settings.device), 0  # the seed is replaced by that of the jobs
            options = FleetOptions(seed, device, settings.bf16, settings.median_stopping)
            self._fleets[settings] = LudwigFleet(self._fitter, options)
        return self._fleets[settings]


def fit_task(fitter: LudwigFitter, jobs: Sequence[TrainJob]) -> list[Fitted | FailedJob]:
    """Train one model on the rows of one job, or of a pool's jobs, and write it into each job's folder.

    A job whose rows cannot be read fails, and the others train without it. The `validation_start` of each job decides
    which of its rows validate. One result per job; none of trained jobs if another process writes the results.
    """
    rows: dict[str, pd.DataFrame] = {}
    failed: list[Fitted | FailedJob] = []
    for job in jobs:
        try:
            rows[job.spec.name] = training_rows(job)
        except MlopsError as error:
            failed.append(FailedJob(job, str(error), error.exit_code))
    members = [job for job in jobs if job.spec.name in rows]
    return failed + (_guarded(members, lambda: _fit_members(fitter, members, rows)) if members else [])


def _fit_members(
    fitter: LudwigFitter, members: Sequence[TrainJob], rows: dict[str, pd.DataFrame]
) -> list[Fitted | FailedJob]:
    trained = fitter.train(members[0], pd.concat([rows[job.spec.name] for job in members], ignore_index=True))
    if not fitter.writes:
        return []
    for job in members[1:]:
        shutil.copytree(members[0].folder / "ludwig", job.folder / "ludwig")

    def export(job: TrainJob) -> list[Fitted | FailedJob]:
        fitted = fitter.export(job, trained, rows[job.spec.name])
        return [replace(fitted, facts={**fitted.facts, "pooled_tickers": len(members)}) if job.spec.pool else fitted]

    return [result for job in members for result in _guarded([job], partial(export, job))]


def _guarded(jobs: Sequence[TrainJob], work: Callable[[], list[Fitted | FailedJob]]) -> list[Fitted | FailedJob]:
    try:
        return work()
    except MlopsError as error:
        return [FailedJob(job, str(error), error.exit_code) for job in jobs]
    except OSError as error:  # a full disk
        return [FailedJob(job, f"{job.spec.name}: {error}") for job in jobs]
