"""The figures of /metrics, and small files by which the workers of one server exchange them and unloaded models.

The folder lives as long as the server. Any worker may get a request for /metrics or to unload a model, and both concern
all workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mlops_cli.errors import MlopsError
from mlops_cli.serving.contract.messages import RUNGS
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.system.files import write_text

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds


@dataclass
class Counters:
    """Counts of one worker since it first started.

    Attributes:
        answers: forecasts given, by rung.
        statuses: HTTP answers, by status.
        buckets: infer requests by time taken, one per bound and one for all beyond.
        seconds: sum of these times.
    """

    answers: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def took(self, seconds: float) -> None:
        """Count an infer request."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        return dict(vars(self))

    def add(self, values: Mapping[str, Any]) -> None:
        """Add the counts of another worker, as `to_dict` returned them."""
        self.answers.update(values["answers"])
        self.statuses.update(values["statuses"])
        self.buckets = [mine + other for mine, other in zip(self.buckets, values["buckets"], strict=True)]
        self.seconds += values["seconds"]


def exposition(counters: Counters, measures: Sequence[Mapping[str, float]]) -> bytes:
    """The text that Prometheus reads, from the counters and the `DataPlane.measures()` of all workers."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(counters, measures))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, counters: Counters, measures: Sequence[Mapping[str, float]]) -> None:
        self._counters = counters
        self._measures = measures

    def collect(self) -> Iterable[Metric]:
        answers = CounterMetricFamily("mlops_answers", "Forecast requests answered, by rung.", labels=["rung"])
        for rung in RUNGS:
            answers.add_metric([rung], self._counters.answers[rung])
        yield answers
        statuses = CounterMetricFamily("mlops_http_responses", "HTTP answers, by status.", labels=["status"])
        for status, count in sorted(self._counters.statuses.items()):
            statuses.add_metric([status], count)
        yield statuses
        yield self._durations()
        for key in sorted({key for worker in self._measures for key in worker}):
            gauge = GaugeMetricFamily(f"mlops_{key}", f"{key.replace('_', ' ')}, by worker.", labels=["worker"])
            for worker, values in enumerate(self._measures):
                if key in values:
                    gauge.add_metric([str(worker)], values[key])
            yield gauge

    def _durations(self) -> Metric:
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counters.buckets, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily("mlops_infer_seconds", "Time from request to answer, waiting included.")
        family.add_metric([], buckets, self._counters.seconds)
        return family


STEP_SECONDS = 0.5


class WorkerFiles:
    """One worker's view of the folder. A worker that replaces a dead one takes its number; they start from 0."""

    def __init__(self, folder: Path, worker: int = 0) -> None:
        self._folder = folder
        self._own = folder / f"counters-{worker}.json"
        self._unloaded = folder / "unloaded"
        self._unloaded.mkdir(exist_ok=True)

    def resume(self) -> Counters:
        """Counters to start with: those of the worker that had this number before. So counts never fall."""
        counters = Counters()
        with contextlib.suppress(FileNotFoundError):
            counters.add(json.loads(self._own.read_text())["counters"])
        return counters

    def publish(self, counters: Counters, plane: DataPlane) -> None:
        """Show this worker's counters and measures to the others."""
        text = json.dumps({"counters": counters.to_dict(), "measures": plane.measures()})
        write_text(self._own, text)

    def everyone(self) -> tuple[Counters, list[dict[str, float]]]:
        """Counters of all workers together, and the measures of each worker; up to `STEP_SECONDS` old."""
        total = Counters()
        measures = []
        for path in sorted(self._folder.glob("counters-*.json")):
            values: dict[str, Any] = json.loads(path.read_text())
            total.add(values["counters"])
            measures.append(values["measures"])
        return total, measures

    def mark_unloaded(self, model: str, unloaded: bool) -> None:
        """Let every worker unload this model, or load it again."""
        path = self._unloaded / quote(model, safe="")
        if unloaded:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    def unloaded(self) -> set[str]:
        """Models that no worker answers for until they are loaded again."""
        return {unquote(path.name) for path in self._unloaded.iterdir()}


async def keep_in_step(plane: DataPlane, counters: Counters, worker_files: WorkerFiles) -> None:
    """Publish counters, and unload and load the models that other workers were told to, until cancelled."""
    unloaded: set[str] = set()
    while True:
        with contextlib.suppress(OSError):  # such as a full disk: the figures get old, but requests are answered
            worker_files.publish(counters, plane)
        requested = worker_files.unloaded()
        for model in requested ^ unloaded:
            # removed meanwhile, or quarantined: a request for it is told why
            with contextlib.suppress(MlopsError):
                await (plane.unload(model) if model in requested else plane.load(model))
        unloaded = requested
        await asyncio.sleep(STEP_SECONDS)
