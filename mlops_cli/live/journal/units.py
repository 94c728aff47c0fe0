"""Whether the prices of a ticker were restated for a split since some forecasts were made, and by how much.

A split changes all closes before it by one factor; a correction changes some closes, each in its own way. The journal
holds two closes of each forecast's day: its last close, and the one before. If both changed by the same factor, the
units of the prices changed. If only one changed, it was corrected, and the units are those of the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlops_cli.prices.cleaning.moves import EXACT, PROVABLE, nearest

Floats = NDArray[np.float64]


def tolerances(closes_then: Floats, closes_now: Floats, half: Floats) -> Floats:
    """How far the log of now / then may be off if nothing but rounding happened; same shape as the closes.

    `half`: half a unit of the last decimal place of the prices (`prices.cleaning.moves.rounding`), of the same shape.
    """
    errors: Floats = EXACT + half / closes_then + half / closes_now
    return errors


def units_now(closes_then: Floats, closes_now: Floats, half: Floats) -> Floats:
    """The price of the table today per price of the day on which each forecast was made.

    Args:
        closes_then: last close of each forecast and the close before it, as they were: (n, 2); NaN where there was
            none.
        closes_now: closes of the same sessions in the price table today: (n, 2); NaN where there is none.
        half: see `tolerances`; (n,).

    Returns:
        float64 (n,): 1 where the units did not change; 0.25 after a split 4:1 (exactly the ratio, if it is one that
        splits have); NaN where neither close is in the table today.
    """
    moves = np.log(closes_now / closes_then)
    allowed = tolerances(closes_then, closes_now, half[:, None])
    ratios = np.where(np.isnan(moves), np.nan, nearest(np.nan_to_num(moves), PROVABLE))
    is_split = np.abs(moves - ratios) <= allowed
    units = np.where(is_split, np.exp(ratios), np.exp(moves))
    agree = np.abs(moves[:, 0] - moves[:, 1]) <= allowed.sum(axis=1)
    unchanged = (np.abs(moves) <= allowed).any(axis=1)
    # closes that differ in what happened to them, or a single one: only a ratio that splits have is believed
    alone = np.where(is_split[:, 0], units[:, 0], np.where(is_split[:, 1], units[:, 1], 1.0))
    changed = np.where(agree, units[:, 0], alone)
    return np.where(np.isnan(moves).all(axis=1), np.nan, np.where(unchanged, 1.0, changed))
