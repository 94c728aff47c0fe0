"""How high the cumulative sums of unchanged models rise within a year: the null distribution, by a block bootstrap.

One replicate: draw a model; draw blocks of `BLOCK` sessions from its reference (circular block bootstrap, Politis &
Romano 1992; blocks keep the clustering of volatility); take the first n sessions as a reference and *estimate mean and
spread from them anew*, standardise the following year with these, and note the peak of the sum. A real reference is an
estimate too: a null that takes its mean for the truth gives twice as many false alarms.

All models share one null distribution, so the number of false alarms over the whole fleet is what is controlled.
Beyond the 99th percentile, where replicates are few, the tail is taken as exponential, as that of the maximum of a
random walk with negative drift is (Asmussen 2003, section XIII.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from mlops_cli.live.health.cusum import YEAR, EvidenceOf, evidence, peaks
from mlops_cli.live.health.outcomes import Floats

BLOCK = 20
"""Sessions in a block."""

LEAST_SCALE = 0.5
"""Least spread of a standardised series: near 1 for all models, but for those that equal the naive forecast."""

REPLICATES = 20_000
_CHUNK = 4_000  # replicates in memory together: some 50 MB
_TAIL = 0.01
_PROBABILITIES = np.geomspace(1.0, _TAIL, 65)


class NullPeaks(BaseModel):
    """The distribution of the peak within a year.

    Attributes:
        quantiles: peaks that are reached with the probabilities 1 down to 0.01, rising.
        excess: mean height above the last quantile of the peaks that exceed it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantiles: tuple[float, ...]
    excess: float

    def at_least(self, other: NullPeaks) -> NullPeaks:
        """A distribution whose peaks are nowhere lower than those of either."""
        quantiles = tuple(map(max, self.quantiles, other.quantiles))
        return NullPeaks(quantiles=quantiles, excess=max(self.excess, other.excess))

    def probability(self, heights: Floats) -> Floats:
        """Probability that the sum of an unchanged model reaches these heights within a year; NaN stays NaN."""
        quantiles = np.array(self.quantiles)
        steps, first = np.unique(quantiles, return_index=True)  # of equal quantiles the most probable counts
        inside = np.exp(np.interp(heights, steps, np.log(_PROBABILITIES[first])))
        beyond = _TAIL * np.exp(-np.maximum(heights - quantiles[-1], 0.0) / self.excess)
        return np.where(heights > quantiles[-1], beyond, inside)


def null_peaks(
    references: Sequence[Floats],
    length: int,
    random: np.random.Generator,
    replicates: int = REPLICATES,
    evidence_of: EvidenceOf = evidence,
) -> NullPeaks:
    """Bootstrap the null distribution.

    Args:
        references: standardised signals of each model's reference, 1-D, none empty.
        length: sessions of the reference of the models to be judged, n.
        random: source of the draws.
        replicates: how many, at least 1000.
        evidence_of: what is summed.
    """
    sizes = np.array([len(series) for series in references])
    table = np.zeros((int(sizes.max()), len(references)))
    for column, series in enumerate(references):
        table[: len(series), column] = series
    drawn = [
        peaks(_replicates(table, sizes, length, min(_CHUNK, replicates - start), random), evidence_of)
        for start in range(0, replicates, _CHUNK)
    ]
    return _summary(np.sort(np.concatenate(drawn)))


def _replicates(table: Floats, sizes: np.ndarray, length: int, number: int, random: np.random.Generator) -> Floats:
    """The standardised years of `number` replicates, shape (year, number)."""
    total = length + YEAR
    models = random.integers(0, len(sizes), size=number)
    starts = random.integers(0, sizes[models], size=(-(-total // BLOCK), number))
    places = (starts[:, None, :] + np.arange(BLOCK)[None, :, None]).reshape(-1, number)[:total]
    signals = table[places % sizes[models], models]
    mean, spread = standard(signals[:length])
    years: Floats = (signals[length:] - mean) / spread
    return years


def standard(signals: Floats) -> tuple[Floats, Floats]:
    """Mean and spread (at least `LEAST_SCALE`) of each series, shape (t, m); NaN entries are left out."""
    mean = np.nanmean(signals, axis=0)
    return mean, np.maximum(np.nanstd(signals, axis=0, ddof=1), LEAST_SCALE)


def _summary(ordered: Floats) -> NullPeaks:
    places = np.minimum(np.floor((1.0 - _PROBABILITIES) * len(ordered)).astype(int), len(ordered) - 1)
    quantiles = ordered[places]
    excess = float((ordered[places[-1] :] - quantiles[-1]).mean())
    # series without any spread have peaks of 0 only; their next peak of any height is then unlikely
    return NullPeaks(quantiles=tuple(quantiles.tolist()), excess=max(excess, 1e-3))
