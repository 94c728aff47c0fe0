"""Health by the book: plain Python, one model and one session at a time, without the package's arrays.

It shares no code with `mlops_cli.live.health`; only figures of the calibration are given to it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy.stats import norm


@dataclass
class OracleModel:
    """What is usual for a model, and its sums."""

    naive_error: float
    loss: float
    spread: float
    own_mean: float
    own_spread: float
    mean_naive: float
    cusum: float = 0.0
    peak: float = 0.0
    total: float = 0.0
    run: int = 0
    path: list[float] = field(default_factory=list)

    def signal(self, last: float, predicted: float, actual: float) -> float:
        """Standardised signal of one session."""
        naive = abs(last - actual) / last
        own = abs(predicted - actual) / last
        z = (own - naive) / max(self.mean_naive, self.naive_error)
        self.mean_naive = 0.94 * self.mean_naive + 0.06 * naive
        return (z - self.loss) / self.spread

    def add(self, own_part: float) -> None:
        """Page's test with normal likelihoods."""
        x = (own_part - self.own_mean) / self.own_spread
        step = min(norm.logpdf(x, 0.5, 3.0) - norm.logpdf(x), 5.0)
        self.cusum = max(0.0, self.cusum + step)
        self.peak = max(self.peak, self.cusum)
        self.total, self.run = (self.total + x, self.run + 1) if self.cusum > 0 else (0.0, 0)
        self.path.append(self.cusum)


@dataclass
class OracleFleet:
    """All models, and the weighted size of their signals."""

    models: Mapping[str, OracleModel]
    usual_size: float
    size: float

    def session(self, rows: Mapping[str, tuple[float, float, float]]) -> None:
        """One session: last close, forecast and actual close by model."""
        signals = {name: self.models[name].signal(*prices) for name, prices in sorted(rows.items())}
        median = statistics.median(signals.values())
        size = statistics.median(abs(value - median) for value in signals.values())
        self.size = 0.9 * self.size + 0.1 * size
        for name, value in signals.items():
            self.models[name].add((value - median) / max(1.0, self.size / self.usual_size))


def benjamini_hochberg(probabilities: Sequence[float], level: float) -> list[bool]:
    """The step-up procedure as its paper states it."""
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    last = -1
    for rank, place in enumerate(order, start=1):
        if probabilities[place] <= level * rank / len(probabilities):
            last = rank
    rejected = {order[rank] for rank in range(max(last, 0))}
    return [place in rejected for place in range(len(probabilities))]


def exponential_tail(quantile: float, excess: float, height: float) -> float:
    """Probability beyond the 99th percentile."""
    return 0.01 * math.exp(-(height - quantile) / excess)
