"""The figures of /metrics: what one worker counts, and the text that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mlops_cli.serving.contract.messages import RUNGS

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
