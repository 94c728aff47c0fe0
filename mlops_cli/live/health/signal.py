"""The signal: a model's error beside that of the naive forecast, less what all models of the fleet have in common.

For the error e of a model and the error n of the naive forecast of a session t,

    z_t = (|e_t| - |n_t|) / max(E_t, E_reference),    E_t+1 = 0.94 E_t + 0.06 |n_t|

E is an exponentially weighted mean (RiskMetrics 1996 takes the same weights) of the sessions before t. Without it,
every rise of volatility would look like a worse model. E is never taken below its mean over the reference: else a
forecast of constant size, such as a drift, would look worse as soon as the market turns calm.
As ||e| - |n|| <= |e - n|, no price move makes |z| larger than the forecast is, in units of E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlops_cli.live.health.outcomes import Floats

WEIGHT = 0.06
"""Weight of the newest naive error in their exponentially weighted mean."""

WARM_UP = 20
"""Sessions whose mean starts that mean; they give no signal."""

MIN_FLEET = 20
"""With fewer models in a session, its common part is not known, and nothing is subtracted."""

LEAST_SIZE = 0.01
"""Least size of the standardised signals that counts."""

SIZE_WEIGHT = 0.1
"""Weight of the newest session in the exponentially weighted mean of the fleet's size of signals."""


def moved(mean: Floats, values: Floats, weight: float = WEIGHT) -> Floats:
    """Exponentially weighted means after one more value each; those whose value is NaN stay."""
    return np.where(np.isfinite(values), mean + weight * (values - mean), mean)


def naive_means(naive: Floats) -> tuple[Floats, Floats]:
    """The weighted mean naive error before each session.

    Args:
        naive: shape (t, m), NaN where there is no forecast.

    Returns:
        E of each session and model, NaN in the warm-up, shape (t, m); E after the last session, shape (m,), NaN if
        there were fewer than `WARM_UP` sessions.
    """
    known = np.isfinite(naive)
    count = known.cumsum(axis=0)
    warm = known & (count <= WARM_UP)
    start = np.where(warm, naive, 0.0).sum(axis=0) / WARM_UP
    mean = np.where(count[-1] >= WARM_UP, start, np.nan) if len(naive) else np.full(naive.shape[1], np.nan)
    means = np.full_like(naive, np.nan)
    for place, row in enumerate(naive):
        past = known[place] & (count[place] > WARM_UP)
        means[place, past] = mean[past]
        mean = moved(mean, np.where(past, row, np.nan))
    return means, mean


@dataclass(frozen=True)
class Common:
    """What the models of one session have in common.

    Attributes:
        mean: of the standardised signals, without the tenth of them on either side; NaN with fewer than `MIN_FLEET`
            models.
        median: of the standardised signals; NaN likewise.
        size: median distance of the standardised signals from their median; NaN likewise.
    """

    mean: float
    median: float
    size: float


UNKNOWN = Common(np.nan, np.nan, np.nan)


def common(signals: Floats) -> Common:
    """The common part of one session's standardised signals, shape (m,); NaN entries have no forecast."""
    known = np.sort(signals[np.isfinite(signals)])
    if known.size < MIN_FLEET:
        return UNKNOWN
    cut = known.size // 10
    median = float(np.median(known))
    return Common(float(known[cut : known.size - cut].mean()), median, float(np.median(np.abs(known - median))))


def log_size(shared: Common) -> float:
    """Log of the size; one of 0 (most models equal the naive forecast) counts as `LEAST_SIZE`."""
    return float(np.log(max(shared.size, LEAST_SIZE)))


def own_part(signals: Floats, shared: Common, growth: float) -> Floats:
    """What is left of standardised signals, shape (m,), without the common part.

    Args:
        signals: NaN entries stay.
        shared: the common part of the session.
        growth: how much larger the fleet's signals are than in the reference; below 1 it is not applied, because models
            whose forecasts do not follow volatility would then look worse.
    """
    if not np.isfinite(shared.median):
        return signals
    return (signals - shared.median) / max(1.0, growth)
