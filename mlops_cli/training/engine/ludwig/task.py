"""Training of tasks, i.e. of one job or of a pool's jobs together, inside a training process.

A pool is one Ludwig model over the rows of all its tickers, with the ticker as a category among its inputs. Each job of
it gets a folder as every other job does: the pooled model in `ludwig/`, and a graph with the job's ticker baked in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from mlops_cli.errors import MlopsError
from mlops_cli.training.engine.ludwig.fit import LudwigFitter, Trained
from mlops_cli.training.rows import training_rows
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob


def fit_task(fitter: LudwigFitter, task: Sequence[TrainJob]) -> list[Fitted | FailedJob]:
    """Train the jobs of one task (see `tasks.group_tasks`); never raises for one job's sake.

    Returns:
        One result per job; none where the task was trained and another process writes the results.
    """
    return fit_pool(fitter, task) if task[0].spec.pool else _guarded(task, lambda: _fit_alone(fitter, task[0]))


def fit_pool(fitter: LudwigFitter, jobs: Sequence[TrainJob]) -> list[Fitted | FailedJob]:
    """Train one model on the rows of all jobs, and write it into each job's folder with its ticker baked in.

    A job whose rows cannot be read fails, and the others train without it. Every job's own `validation_start` says
    which of its rows validate.

    Args:
        fitter: trains and exports.
        jobs: of one pool: their specs differ in name and ticker alone.

    Returns:
        See `fit_task`.
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


def _fit_alone(fitter: LudwigFitter, job: TrainJob) -> list[Fitted | FailedJob]:
    rows = training_rows(job)
    trained = fitter.train(job, rows)
    return [fitter.export(job, trained, rows)] if fitter.writes else []


def _fit_members(
    fitter: LudwigFitter, members: Sequence[TrainJob], rows: dict[str, pd.DataFrame]
) -> list[Fitted | FailedJob]:
    trained = fitter.train(members[0], pd.concat([rows[job.spec.name] for job in members], ignore_index=True))
    if not fitter.writes:
        return []
    for job in members[1:]:
        shutil.copytree(members[0].folder / "ludwig", job.folder / "ludwig")
    results: list[Fitted | FailedJob] = []
    for job in members:
        results += _guarded([job], partial(_export, fitter, job, trained, rows[job.spec.name], len(members)))
    return results


def _export(
    fitter: LudwigFitter, job: TrainJob, trained: Trained, rows: pd.DataFrame, members: int
) -> list[Fitted | FailedJob]:
    fitted = fitter.export(job, trained, rows)
    return [replace(fitted, facts={**fitted.facts, "pooled_tickers": members})]


def _guarded(jobs: Sequence[TrainJob], work: Callable[[], list[Fitted | FailedJob]]) -> list[Fitted | FailedJob]:
    try:
        return work()
    except MlopsError as error:
        return [FailedJob(job, str(error), error.exit_code) for job in jobs]
    except OSError as error:  # a full disk
        return [FailedJob(job, f"{job.spec.name}: {error}") for job in jobs]
