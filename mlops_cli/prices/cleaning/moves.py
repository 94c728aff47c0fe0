"""What the rules about splits look at: the moves of each row, split ratios, and how exact the numbers are."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.prices.cleaning.repair import OHLC

Floats = NDArray[np.float64]

EXACT = 2e-4
MONTH, QUARTER, YEAR = 20, 60, 250  # sessions
GRID_VALUES = 3  # from this number of different prices on, their smallest distance is the tick


def both_ways(ratios: set[Fraction]) -> dict[float, Fraction]:
    """The ratios and their inverses, by the log of their value."""
    return {float(np.log(float(r))): r for q in ratios for r in (q, 1 / q)}


PROVABLE = both_ways(
    {Fraction(p, q) for p in range(1, 11) for q in range(1, 11) if p * 4 >= q * 5}
    | {Fraction(n) for n in range(2, 101)}
)
COMMON = both_ways({Fraction(3, 2), Fraction(5, 2)} | {Fraction(n) for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)})


@dataclass(frozen=True)
class Moves:
    """Log ratios of each row to the row before (0 in the first row); positive if the price fell."""

    day: Floats  # close before / close
    gap: Floats  # close before / open
    factor: Floats  # step of adj_close / close
    dividend: Floats  # the step of the factor that the listed dividend explains; 0 if none is listed

    @classmethod
    def of(cls, bars: pd.DataFrame) -> Moves:
        """The moves of bars with all price and action columns, without NaN in the prices."""
        closes, opens = (np.log(bars[name].to_numpy()) for name in ("close", "open"))
        before = np.append(closes[:1], closes[:-1])
        factor = np.log(bars["adj_close"].to_numpy()) - closes
        return cls(
            day=before - closes,
            gap=np.where(np.arange(len(bars)) > 0, before - opens, 0.0),
            factor=np.diff(factor, prepend=factor[:1]),
            dividend=dividend_steps(np.nan_to_num(bars["dividends"].to_numpy()), np.exp(before)),
        )

    def noise(self, row: int) -> tuple[float, float]:
        """The overnight move of a row, or its day's if opens tell nothing, and its usual size (standard deviation)."""
        around = [
            place for place in range(max(1, row - QUARTER), min(len(self.day), row + QUARTER + 1)) if place != row
        ]
        sizes = {"gap": _usual_size(self.gap[around]), "day": _usual_size(self.day[around])}
        name = "gap" if 0 < sizes["gap"] < sizes["day"] else "day"
        return float(getattr(self, name)[row]), max(sizes[name], 0.003)


def _usual_size(moves: Floats) -> float:
    if not moves.size:
        return 0.0
    return max(1.4826 * float(np.median(np.abs(moves))), float(np.std(moves)) / 2)


def dividend_steps(dividends: Floats, closes_before: Floats) -> Floats:
    """The steps of the adjustment factor that dividends per share cause, after these closes."""
    steps: Floats = -np.log1p(-np.clip(dividends / closes_before, 0.0, 0.99))
    return steps


def nearest(logs: Floats, ratios: dict[float, Fraction]) -> Floats:
    """The log of the ratio that is nearest to each value."""
    table = np.array(sorted(ratios))
    right = np.clip(np.searchsorted(table, logs), 1, len(table) - 1)
    return np.where(logs - table[right - 1] < table[right] - logs, table[right - 1], table[right])


def rounding(values: Floats) -> float:
    """Half a unit of the last decimal place of the values (2 to 6 places)."""
    for decimals in range(2, 6):
        if np.allclose(values, np.round(values, decimals), rtol=0, atol=1e-9):
            return 0.5 * 10.0**-decimals
    return 0.5e-6


def tolerance(bars: pd.DataFrame, exact: float = EXACT) -> Floats:
    """How far the step of the factor in each row may be from its true value: `exact` and the rounding of two rows."""
    adjusted = bars["adj_close"].to_numpy()
    error = rounding(adjusted) / adjusted
    return exact + error + np.append(error[:1], error[:-1])


def tick(bars: pd.DataFrame, row: int) -> float:
    """The smallest amount by which the prices around a row change.

    It is a unit of the last decimal place, or the smallest distance of the prices if all are multiples of it: prices
    that were divided by a later split keep their ticks, but not their decimal places.
    """
    prices = bars[OHLC].iloc[max(0, row - YEAR) : row + YEAR].to_numpy().ravel()
    values = np.unique(np.round(prices, 9))
    places = next((n for n in range(9) if np.allclose(values, np.round(values, n), rtol=0, atol=1e-10)), 9)
    if len(values) < GRID_VALUES:
        return float(10.0**-places)
    distance = float(np.diff(values).min())
    on_grid = np.abs(values / distance - np.rint(values / distance)).max() < 0.01
    return max(distance if on_grid else 0.0, float(10.0**-places))


def words(ratio: Fraction) -> str:
    """The ratio as in `2:1`."""
    return f"{ratio.numerator}:{ratio.denominator}"
