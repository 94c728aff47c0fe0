"""Shrinkage of forecasts towards "no change", chosen on validation and pooled over the models of a group.

A forecast of the log return r becomes lambda * r with lambda in [0, 1]; lambda = 0 is the naive forecast. Daily closes
are so close to a random walk that unshrunk models lose to it; pooling the choice over a group keeps the estimate
from chasing the noise of one stock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
GRID: Vector = np.round(np.linspace(0.0, 1.0, 21), 2)


@dataclass(frozen=True)
class ValidationForecasts:
    """One model's unshrunk forecasts of its validation rows; all shape (n,), float64, finite.

    Attributes:
        last_close: close of the session on which the forecast was made, price units, > 0.
        actual_close: close of the next session, price units, > 0.
        log_return: predicted log return.
    """

    last_close: Vector
    actual_close: Vector
    log_return: Vector

    def mae_ratio(self, shrinkage: float) -> float:
        """MAE of the shrunk forecast over MAE of the naive one, in price units; 1 where the price never moved."""
        naive = np.abs(self.actual_close - self.last_close).mean()
        if naive == 0:
            return 1.0
        forecast = self.last_close * np.exp(shrinkage * self.log_return)
        return float(np.abs(self.actual_close - forecast).mean() / naive)


def choose_shrinkage(group: Sequence[ValidationForecasts]) -> float:
    """Return the lambda of `GRID` with the lowest mean MAE ratio over the group's models; ties go to the smaller one.

    Raises:
        ValueError: the group is empty.
    """
    if not group:
        raise ValueError("a group needs at least one model")
    losses = np.array([[model.mae_ratio(value) for value in GRID] for model in group]).mean(axis=0)
    return float(GRID[int(np.argmin(losses))])
