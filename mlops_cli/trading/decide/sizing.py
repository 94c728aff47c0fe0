"""How many lots each candidate gets: the budget is shared out and rounded to whole lots. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ROUNDING = 1e-9  # 0.35 / 0.05 is 6.999...


@dataclass(frozen=True)
class Candidates:
    """Stocks that get a position; all arrays have the same length and order.

    Attributes:
        strength: forecast in basis points, without its sign.
        volatility: standard deviation of one-day log returns; NaN where unknown.
        held: lots held already in the signal's direction, at least 0.
        most: largest number of lots.
    """

    strength: Floats
    volatility: Floats
    held: Ints
    most: Ints


def target_lots(
    candidates: Candidates, sizing: Literal["equal", "strength", "inverse_volatility"], budget: float, lot: float
) -> Ints:
    """Share a budget out among stocks.

    Args:
        candidates: the stocks.
        sizing: equal parts, parts proportional to the forecast, or to 1 / volatility (a stock whose volatility is not
            known counts as the median one).
        budget: share of equity for all of them together; below 0 counts as 0.
        lot: share of equity of one lot.

    Returns:
        Lots per stock, at least 0, at most `most`, budget / lot together at most. Parts are rounded down to lots; lots
        left over go one each to the largest remainders, of equal ones first to stocks that hold the lot already, then
        to the strongest forecast, then in the order given.
    """
    if not len(candidates.strength):
        return np.empty(0, np.int64)
    lots = max(0, int(np.floor(budget / lot + ROUNDING)))
    parts = _parts(candidates, sizing)
    exact = np.minimum(max(0.0, budget) / lot * parts, candidates.most)
    whole = np.floor(exact + ROUNDING).astype(np.int64)
    remainder = np.maximum(exact - whole, 0.0).round(9)
    open_for_more = (remainder > 0) & (whole < candidates.most)
    order = np.lexsort((-candidates.strength, candidates.held <= whole, -remainder))
    chosen = order[open_for_more[order]][: max(0, lots - int(whole.sum()))]
    whole[chosen] += 1
    return whole


def _parts(candidates: Candidates, sizing: str) -> Floats:
    """Each stock's part of the budget; they add up to 1."""
    match sizing:
        case "strength":
            raw = candidates.strength
        case "inverse_volatility":
            has_one = np.isfinite(candidates.volatility) & (candidates.volatility > 0)
            middle = np.median(candidates.volatility[has_one]) if has_one.any() else 1.0
            raw = 1.0 / np.where(has_one, candidates.volatility, middle)
        case _:
            raw = np.ones_like(candidates.strength)
    total = float(raw.sum())
    return raw / total if total > 0 else np.full_like(raw, 1.0 / len(raw))
