"""The part of the training benchmark that runs inside a training process.

`python -m tests.bench.fleet_inside PROJECT OUT NUMBERS` trains models of the branch main of a featurized project: one
after another with Ludwig's trainer, together as a fleet, and in a bare PyTorch loop over stacked tensors of the same
shapes; then fleets in training processes that have already started. It writes the figures to OUT as JSON. Because it
imports Ludwig, it is a process of its own, with the environment of a training process.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from mlops_cli.config.load import load_branch, load_params, load_scenario
from mlops_cli.config.paths import Project
from mlops_cli.pipeline.stages.train_plan import plan_model
from mlops_cli.training.engine.fit import LudwigFitter, prepare_process
from mlops_cli.training.engine.fleet.batches import Batches, padded_rows, steps_per_epoch
from mlops_cli.training.engine.fleet.fleet import LudwigFleet, chunk_size
from mlops_cli.training.engine.fleet.loop import FleetOptions, train_fleet
from mlops_cli.training.engine.fleet.template import FleetTemplate, Prepared
from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.local.workers import WorkerSettings
from mlops_cli.training.rows import training_rows
from mlops_cli.training.tasks import FleetSettings
from mlops_cli.training.trainer import FailedJob, TrainJob

ALONE = 5  # models trained one after another: the time per model does not depend on their number
PROBE = 512  # size of the matrices whose product shows the speed of a core


def main(root: Path, out: Path, numbers: Sequence[int]) -> None:
    """Measure each number of models."""
    prepare_process()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        jobs = _jobs(root, Path(scratch), max(numbers))
        inside = _Inside(jobs, Path(scratch), device)
        figures: dict[str, Any] = {"device": str(device), "flops_per_second": _flops_per_second(device)}
        figures["flops_per_model"] = inside.flops()
        figures["numbers"] = {str(number): inside.measure(number) for number in numbers}
        figures["pool"] = _pool(jobs, Path(scratch), numbers)
        figures["peak_bytes"] = _peak()
    out.write_text(json.dumps(figures))


class _Inside:
    """The measurements that this process makes itself."""

    def __init__(self, jobs: Sequence[TrainJob], scratch: Path, device: torch.device) -> None:
        self._jobs = list(jobs)
        self._fitter = LudwigFitter(scratch / "graphs")
        self._options = FleetOptions(seed=jobs[0].seed, device=device)
        rows = training_rows(jobs[0])
        self._template = FleetTemplate(jobs[0], self._fitter.config(jobs[0]), rows, self._fitter)
        self._fitter.fit(jobs[0])  # exports the architecture, which happens once
        _clear(jobs[:1])
        self._prepared = [self._template.prepare(job, training_rows(job)) for job in jobs]

    def measure(self, number: int) -> dict[str, float]:
        """Seconds per model of each way of training `number` models."""
        prepared = self._prepared[:number]
        figures = {"fleet_loop": _timed(lambda: self._fleet(prepared)) / number}
        figures["bare"] = _timed(lambda: self._bare(prepared)) / number
        few = self._jobs[: min(number, ALONE)]
        figures["sequential"] = _timed(lambda: [self._fitter.fit(job) for job in few]) / len(few)
        _clear(few)
        figures["fleet"] = _timed(lambda: self._whole(self._jobs[:number])) / number
        _clear(self._jobs[:number])
        return figures

    def flops(self) -> float:
        """Multiplications and additions of one model's training: forward and backward on the training rows, and the
        evaluation of all rows, every epoch."""
        weights = sum(weight.numel() for weight in self._template.stack.weights.values())
        member = self._prepared[0].member
        epochs = self._template.terms.trainer.epochs
        return float(epochs * weights * (6 * member.train_rows + 2 * len(member.target)))

    def _fleet(self, prepared: Sequence[Prepared]) -> None:
        for chunk in self._chunks(prepared):
            members = [item.member for item in chunk]
            train_fleet(self._template.stack, self._template.terms, members, self._options, lambda: None)

    def _whole(self, jobs: Sequence[TrainJob]) -> None:
        for result in LudwigFleet(self._fitter, self._options).fit(jobs, lambda _: None):
            if isinstance(result, FailedJob) or result.facts["strategy"] != "fleet":
                raise SystemExit(f"not trained in a fleet: {result}")

    def _bare(self, prepared: Sequence[Prepared]) -> None:
        for chunk in self._chunks(prepared):
            _bare_loop(chunk, self._template, self._options)

    def _chunks(self, prepared: Sequence[Prepared]) -> list[list[Prepared]]:
        batch = self._template.terms.trainer.batch_size
        ordered = sorted(prepared, key=lambda item: item.member.train_rows)
        buckets: dict[tuple[int, int], list[Prepared]] = {}
        for item in ordered:
            buckets.setdefault(padded_rows(item.member, batch), []).append(item)
        chunks = []
        for bucket in buckets.values():
            size = chunk_size(bucket, self._template, self._options.device)
            chunks += [bucket[first : first + size] for first in range(0, len(bucket), size)]
        return chunks


def _bare_loop(chunk: Sequence[Prepared], template: FleetTemplate, options: FleetOptions) -> None:
    """The same layers, rows, steps and evaluations without Ludwig, random streams per model, and clipping."""
    linear = [name for name in template.stack.weights if name.endswith("weight")]
    layers = [name for name in linear if "combiner" in name] + [name for name in linear if "combiner" not in name]
    weights = {
        name: tensor.to(options.device).repeat(len(chunk), *[1] * tensor.dim()).requires_grad_()
        for name, tensor in template.stack.weights.items()
    }
    rates = [rate for rate, _ in template.stack.dropouts.values()]
    rate = rates[0] if rates else 0.0
    batches = Batches([item.member for item in chunk], template.terms, options.seed, options.device)
    optimizer = torch.optim.Adam(list(weights.values()), lr=template.terms.trainer.learning_rate, fused=True)
    delta = template.terms.delta

    def forward(values: torch.Tensor, drop: bool) -> torch.Tensor:
        values = torch.nn.functional.dropout(values, rate) if drop and rate else values
        for number, name in enumerate(layers):
            bias = weights[name.replace("weight", "bias")][:, None]
            values = torch.baddbmm(bias, values, weights[name].transpose(1, 2))
            if number < len(layers) - 1:
                values = values.relu()
                values = torch.nn.functional.dropout(values, rate) if drop and rate else values
        return values[..., 0]

    steps = steps_per_epoch(chunk[0].member.train_rows, template.terms.trainer.batch_size)
    for epoch in range(template.terms.trainer.epochs):
        batches.begin_epoch(epoch)
        for step in range(steps):
            rows = batches.batch(step)
            loss = torch.nn.functional.huber_loss(forward(rows.inputs, True), rows.target, delta=delta)
            optimizer.zero_grad()
            (loss * len(chunk)).backward()
            optimizer.step()
        with torch.no_grad():
            for rows in [*batches.training_blocks(), batches.validation()]:
                torch.nn.functional.huber_loss(forward(rows.inputs, False), rows.target, delta=delta)


def _pool(jobs: Sequence[TrainJob], scratch: Path, numbers: Sequence[int]) -> dict[str, Any]:
    """Fleets in training processes that have already imported Ludwig, as for the second branch of a run."""
    logs, home = scratch / "logs", scratch / "home"
    settings = WorkerSettings(scratch / "graphs", logs, limit=psutil.cpu_count(logical=False) or 1, home=home)
    trainer = LudwigTrainer(settings, FleetSettings())
    figures: dict[str, Any] = {}
    # at least two tasks, otherwise one process would do all the work
    warm = [replace(job, seed=seed) for seed, job in enumerate(jobs[: settings.limit or 1])]
    _run(trainer, warm)
    for number in numbers:
        chosen = list(jobs[:number])
        figures[str(number)] = _timed(lambda chosen=chosen: _run(trainer, chosen)) / number
        _clear(chosen)
    figures["processes"] = len(list(home.glob("*.json")))
    shutil.rmtree(home)
    return figures


def _run(trainer: LudwigTrainer, jobs: Sequence[TrainJob]) -> None:
    for result in trainer.fit(jobs, lambda _: None):
        if isinstance(result, FailedJob):
            raise SystemExit(f"failed: {result.reason}")
    _clear(jobs)


def _jobs(root: Path, scratch: Path, number: int) -> list[TrainJob]:
    project = Project.at(root)
    branch = load_branch(project, load_params(project), "main")
    start = load_scenario(project, branch.scenario).start
    tables = project.features(branch.name)
    jobs = []
    for spec in branch.models[:number]:
        plan = plan_model(tables, branch, start, spec, None)
        folder = scratch / "models" / spec.name
        folder.mkdir(parents=True)
        table = tables / f"{spec.name}.parquet"
        jobs.append(TrainJob(spec, table, plan.network_inputs, plan.validation.first, start, branch.seed, folder))
    return jobs


def _clear(jobs: Sequence[TrainJob]) -> None:
    for job in jobs:
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True)


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _flops_per_second(device: torch.device) -> float:
    """Speed of the fastest of some products of square matrices."""
    left, right = (torch.randn(PROBE, PROBE, device=device) for _ in range(2))
    left @ right
    return 2.0 * PROBE**3 / min(_timed(lambda: left @ right) for _ in range(20))


def _peak() -> int:
    process = psutil.Process()
    return int(process.memory_info().rss)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(number) for number in sys.argv[3:]])
