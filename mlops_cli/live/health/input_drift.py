"""Which inputs of a model moved since its training: an explanation of an alarm, never a cause of one.

The distance of a feature is the Wasserstein distance between its values in training and its recent values (the mean
distance by which values must be moved to make the distributions equal), in units of the feature's spread in training.
Features change slowly, and recent rows are few, so distances are far above 0 without any change: the limit of a feature
is the 95th percentile of the same distance for stretches of its own training rows, each as long as the recent rows and
compared with all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance

from mlops_cli.live.health.outcomes import Floats

STRETCHES = 40
"""Stretches of the training rows, evenly spaced; they may overlap."""

PERCENTILE = 95.0
LEAST_ROWS = 20
SHOWN = 3


@dataclass(frozen=True)
class Moved:
    """A feature whose recent values are not as in training.

    Attributes:
        feature: name of its column.
        distance: standardised Wasserstein distance.
        usual: the distance that 5 % of the stretches of the training rows exceed.
        before: mean in training, in the unit of the feature.
        now: mean of the recent rows, likewise.
    """

    feature: str
    distance: float
    usual: float
    before: float
    now: float

    @property
    def times(self) -> float:
        """How many times the usual distance it is away; infinite for a feature that was constant in training."""
        return self.distance / self.usual if self.usual > 0 else np.inf


def moved_features(training: pd.DataFrame, recent: pd.DataFrame) -> list[Moved]:
    """The features that moved further than they usually do.

    Args:
        training: rows that the model was trained on, in order of time; one column per feature. NaN is left out.
        recent: the newest rows, the same columns (others are ignored).

    Returns:
        The features that moved, the furthest first (in multiples of the usual distance); empty if there are fewer than
        20 recent rows, or not at least four times as many training rows.
    """
    moved = [
        _moved(str(name), training[name].to_numpy("float64"), recent[name].to_numpy("float64")) for name in training
    ]
    return sorted((entry for entry in moved if entry), key=lambda entry: (-entry.times, entry.feature))


def in_words(moved: list[Moved]) -> str:
    """One sentence on at most `SHOWN` features; empty if none moved."""
    if not moved:
        return ""
    shown = ", ".join(
        f"{entry.feature} (mean {entry.before:.4g} before, {entry.now:.4g} now)" for entry in moved[:SHOWN]
    )
    rest = len(moved) - SHOWN
    return f"inputs that are not as in training: {shown}{f' and {rest} more' if rest > 0 else ''}"


def _moved(name: str, training: Floats, recent: Floats) -> Moved | None:
    training, recent = training[np.isfinite(training)], recent[np.isfinite(recent)]
    if len(recent) < LEAST_ROWS or len(training) < 4 * len(recent):
        return None
    distance = wasserstein_distance(training, recent)
    if distance == 0.0:
        return None
    scale = float(training.std(ddof=1)) or 1.0  # a constant feature: distances in its own unit
    starts = np.unique(np.linspace(0, len(training) - len(recent), STRETCHES).astype(int))
    own = [_stretch_distance(training, int(start), len(recent)) for start in starts]
    usual = float(np.percentile(own, PERCENTILE))
    if distance <= usual:
        return None
    return Moved(name, float(distance) / scale, usual / scale, float(training.mean()), float(recent.mean()))


def _stretch_distance(training: Floats, start: int, length: int) -> float:
    stretch = training[start : start + length]
    others = np.concatenate([training[:start], training[start + length :]])
    return float(wasserstein_distance(others, stretch))
