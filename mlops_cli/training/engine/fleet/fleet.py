"""Train jobs of one architecture together as a fleet; train the others one after another and say why."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from mlops_cli.errors import MlopsError
from mlops_cli.training.engine.export.agreement import LOWER_RATE
from mlops_cli.training.engine.fit import LIBRARY_FAILURES, LudwigFitter
from mlops_cli.training.engine.fleet.batches import padded_rows
from mlops_cli.training.engine.fleet.loop import FleetOptions, train_fleet
from mlops_cli.training.engine.fleet.loss_history import LossHistory
from mlops_cli.training.engine.fleet.module import CannotStackError
from mlops_cli.training.engine.fleet.template import FleetTemplate, Prepared
from mlops_cli.training.ludwig_errors import refusal_text
from mlops_cli.training.rows import training_rows
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

CACHE_BYTES = 24 * 2**20  # activations of a fleet on the CPU: with more, a step waits for memory
GPU_SHARE = 0.6  # of the free memory
ACTIVATION_COPIES = 4  # activations, their gradients and masks
WEIGHT_COPIES = 6  # weights, gradients, moments, best weights
FLOAT_BYTES = 4
EXAMPLES = 3  # an architecture is not tried again after the set-up failed for this many of its jobs
GAPS = "its rows have gaps"

SETUP_FAILURES: tuple[type[Exception], ...] = (MlopsError, *LIBRARY_FAILURES)

Tick = Callable[[str], None]


@dataclass(frozen=True)
class _Waiting:
    """A job with its Ludwig config and its rows."""

    job: TrainJob
    config: dict[str, Any]
    rows: pd.DataFrame

    @property
    def gaps(self) -> bool:
        """Whether a value is missing; only Ludwig's own preprocessing fills gaps."""
        return bool(self.rows.isna().to_numpy().any())

    @property
    def architecture(self) -> str:
        """Equal for jobs that may train together."""
        architecture = (self.config, self.job.inputs, self.job.seed, self.job.spec.target)
        return json.dumps(architecture, sort_keys=True, default=str)


class LudwigFleet:
    """Trains jobs together if possible; `fitter` trains the others one after another.

    The seed in `options` is replaced by that of the jobs.
    """

    def __init__(self, fitter: LudwigFitter, options: FleetOptions) -> None:
        self._fitter = fitter
        self._options = options
        self._templates: dict[str, FleetTemplate | str] = {}

    def fit(self, jobs: Sequence[TrainJob], tick: Tick) -> Iterator[Fitted | FailedJob]:
        """Train jobs of any architectures; one result each, in any order. `tick` is called with lines of progress."""
        groups: dict[str, list[_Waiting]] = {}
        for job in jobs:
            try:
                waiting = _Waiting(job, self._fitter.config(job), training_rows(job))
            except MlopsError as error:
                yield FailedJob(job, str(error), error.exit_code)
                continue
            groups.setdefault(waiting.architecture, []).append(waiting)
        for key, group in groups.items():
            yield from self._fit_group(key, group, tick)

    def _fit_group(self, key: str, group: list[_Waiting], tick: Tick) -> Iterator[Fitted | FailedJob]:
        template, misfits = self._template(key, group)
        prepared: list[Prepared] = []
        for waiting in group:
            reason = misfits.get(waiting.job.spec.name) or (template if isinstance(template, str) else None)
            if reason is None and isinstance(template, FleetTemplate):
                ready = _prepared(template, waiting)
                if isinstance(ready, Prepared):
                    prepared.append(ready)
                else:
                    reason = ready
            if reason is not None:
                yield self._alone(waiting.job, reason, tick)
        if isinstance(template, FleetTemplate):
            for chunk in _chunks(prepared, template, self._options.device):
                yield from self._fit_chunk(template, chunk, tick)

    def _template(self, key: str, group: list[_Waiting]) -> tuple[FleetTemplate | str, dict[str, str]]:
        """The template of an architecture, or why there is none; and by name, why the set-up failed for a job."""
        misfits: dict[str, str] = {}
        for waiting in group:
            if key in self._templates:
                break
            if waiting.gaps:
                continue
            try:
                self._templates[key] = FleetTemplate(waiting.job, waiting.config, waiting.rows, self._fitter)
            except CannotStackError as reason:
                self._templates[key] = str(reason)
            except SETUP_FAILURES as error:
                # its data may be the reason: then training it alone gives a better message. Try another job.
                misfits[waiting.job.spec.name] = f"it could not be set up ({refusal_text(error)})"
                if len(misfits) == EXAMPLES:
                    return next(iter(misfits.values())), misfits
        return self._templates.get(key, GAPS), misfits

    def _fit_chunk(self, template: FleetTemplate, chunk: list[Prepared], tick: Tick) -> Iterator[Fitted | FailedJob]:
        try:
            histories = self._histories(template, chunk, tick)
        except LIBRARY_FAILURES as error:
            # e.g. an argument that torch refuses: Ludwig's own trainer reports it for each model
            reason = f"its fleet failed ({refusal_text(error)})"
            for prepared in chunk:
                yield self._alone(prepared.job, reason, tick)
            return
        if histories is not None:
            for prepared, history in zip(chunk, histories, strict=True):
                yield _written(template, prepared, history)
            return
        gc.collect()  # frees the tensors of the failed attempt
        torch.cuda.empty_cache()
        half = len(chunk) // 2
        if half == 0:
            yield FailedJob(chunk[0].job, f"{chunk[0].job.spec.name}: too large for the memory of the GPU")
            return
        yield from self._fit_chunk(template, chunk[:half], tick)
        yield from self._fit_chunk(template, chunk[half:], tick)

    def _histories(self, template: FleetTemplate, chunk: list[Prepared], tick: Tick) -> list[LossHistory] | None:
        """Train a chunk; None if the memory of the GPU is too small for it."""
        evaluations = 0

        def count() -> None:
            nonlocal evaluations
            evaluations += 1
            tick(f"{len(chunk)} models together, evaluation {evaluations}")

        for prepared in chunk:
            tick(f"training {prepared.job.spec.name}")
        options = replace(self._options, seed=chunk[0].job.seed)
        members = [prepared.member for prepared in chunk]
        try:
            return train_fleet(template.stack, template.terms, members, options, count)
        except torch.OutOfMemoryError:
            return None

    def _alone(self, job: TrainJob, reason: str, tick: Tick) -> Fitted | FailedJob:
        tick(f"training {job.spec.name} alone: {reason}")
        try:
            fitted = self._fitter.fit(job)
        except MlopsError as error:
            return FailedJob(job, str(error), error.exit_code)
        except OSError as error:  # a full disk
            return FailedJob(job, f"{job.spec.name}: {error}")
        return replace(fitted, facts={**fitted.facts, "strategy": "sequential", "not_in_fleet": reason})


def _prepared(template: FleetTemplate, waiting: _Waiting) -> Prepared | str:
    """The job with prepared data, or the reason why it cannot train in a fleet."""
    if waiting.gaps:
        return GAPS
    try:
        ready = template.prepare(waiting.job, waiting.rows)
    except LIBRARY_FAILURES as error:  # a normalisation that its rows do not allow
        return f"its rows do not fit ({refusal_text(error)})"
    train_rows, batch = ready.member.train_rows, template.terms.trainer.batch_size
    if train_rows < 2 or len(ready.member.target) <= train_rows:
        return "it has no rows to train on, or none to validate"
    if train_rows > batch and train_rows % batch == 1:
        return "its last batch would be one row, which Ludwig leaves out"
    return ready


def _written(template: FleetTemplate, prepared: Prepared, history: LossHistory) -> Fitted | FailedJob:
    job = prepared.job
    if history.best is None or history.stopped == "not finite":
        when = f" after evaluation {len(history.losses)}" if history.losses else ""
        what = "its weights are" if history.stopped == "not finite" else "the validation loss is"
        return FailedJob(job, f"{job.spec.name}: {what} not a number{when}. {LOWER_RATE}, or look at its data")
    try:
        return template.write(prepared, history)
    except MlopsError as error:
        return FailedJob(job, str(error), error.exit_code)
    except OSError as error:
        return FailedJob(job, f"{job.spec.name}: {error}")


def _chunks(prepared: list[Prepared], template: FleetTemplate, device: torch.device) -> Iterator[list[Prepared]]:
    """Cut models into chunks with tensors of one shape, each small enough for the cache or the GPU."""
    batch = template.terms.trainer.batch_size
    ordered = sorted(prepared, key=lambda model: model.member.train_rows)
    shapes: dict[tuple[int, int], list[Prepared]] = {}
    for model in ordered:
        shapes.setdefault(padded_rows(model.member, batch), []).append(model)
    for bucket in shapes.values():
        size = chunk_size(bucket, template, device)
        for first in range(0, len(bucket), size):
            yield bucket[first : first + size]


def chunk_size(bucket: list[Prepared], template: FleetTemplate, device: torch.device) -> int:
    """Number of models of an architecture that train at once; `bucket` is in the order of their numbers of rows."""
    largest = bucket[-1].member
    rows = min(largest.train_rows, int(template.terms.trainer.batch_size))
    activations = int(template.stack.activations) * rows * FLOAT_BYTES
    if device.type != "cuda":
        return max(1, CACHE_BYTES // activations)
    weights = sum(weight.numel() for weight in template.stack.weights.values()) * FLOAT_BYTES
    each = activations * ACTIVATION_COPIES + weights * WEIGHT_COPIES + largest.inputs.nbytes
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(free * GPU_SHARE) // int(each))
