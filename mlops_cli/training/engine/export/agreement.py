"""Comparison of an exported graph's forecasts with those of Ludwig."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops_cli.errors import TrainingError
from mlops_cli.models.graph import LARGEST_LOG_RETURN

Vector = npt.NDArray[np.float64]

AGREEMENT = 1e-5  # largest difference of log returns
ROUNDINGS = 8  # largest difference of a price, in float32 rounding errors; the largest one measured was 1.2
FLOAT32 = float(np.finfo(np.float32).eps)
LOWER_RATE = "lower trainer.learning_rate"
OTHER_ARCHITECTURE = "it cannot be served; use another encoder or combiner"


@dataclass(frozen=True)
class PriceScale:
    """The prices that a graph with target `close` adds; their size determines the rounding error.

    Attributes:
        closes: last close of each compared row, (rows,).
        shift: the price that Ludwig's normalisation of the target maps to 0.
    """

    closes: Vector
    shift: float


def allowed_difference(ludwigs: Vector, prices: PriceScale | None) -> Vector:
    """For each row, the largest difference of log returns that float32 rounding can explain.

    A graph with target `close` adds a price to a multiple of another in float32, and takes the logarithm of the sum.
    The rounding error of a sum grows with its terms: a model that forecasts 3 dollars as 700,003 - 700,000 is wrong by
    cents, and on another processor by a different amount. An error e in a price P is an error e / P in its log return.

    Args:
        ludwigs: log returns that Ludwig forecasts, (rows,).
        prices: for target `close`; None for target `log_return`, whose values are small: `AGREEMENT` for every row.
    """
    allowed = np.full(ludwigs.shape, AGREEMENT)
    if prices is None:
        return allowed
    forecasts = prices.closes * np.exp(ludwigs)
    terms = prices.closes + abs(prices.shift) + np.abs(forecasts - prices.shift)
    explained: Vector = np.maximum(allowed, ROUNDINGS * FLOAT32 * terms / forecasts)
    return explained


def checked_difference(name: str, ours: Vector, ludwigs: Vector, prices: PriceScale | None = None) -> float:
    """The largest difference between the log returns (rows,) of the exported graph, `ours`, and of Ludwig.

    Raises:
        TrainingError: they differ by more than float32 explains (see `allowed_difference`), or the model diverged.
    """
    largest = float(np.abs(ludwigs).max())
    if not largest <= LARGEST_LOG_RETURN:
        raise TrainingError(f"{name}: training diverged, it forecasts log returns of {largest:.2g}", LOWER_RATE)
    differences, allowed = np.abs(ours - ludwigs), allowed_difference(ludwigs, prices)
    worst = int(np.argmax(np.where(np.isnan(differences), np.inf, differences / allowed)))
    if not differences[worst] <= allowed[worst]:
        raise TrainingError(
            f"{name}: the exported graph differs from Ludwig's predict by {differences[worst]:.2g} "
            f"(allowed: {allowed[worst]:.2g})",
            OTHER_ARCHITECTURE,
        )
    return float(differences.max())
