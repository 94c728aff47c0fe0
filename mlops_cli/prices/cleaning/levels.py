"""Refuses price changes that are too large for a stock: two instruments, a misplaced decimal point, a bad tick."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError

LEAP = float(np.log(8))
"""A change of the close between two rows beyond x8 or /8."""
SPIKE = float(np.log(3))
"""A change beyond x3 or /3 that the next row reverses..."""
TAKEN_BACK = float(np.log(1.5))
"""...to within x1.5 of the price before."""


def leaps(moves: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which log moves of the close are too large for a stock: leaps, and both sides of a spike of one row."""
    after = np.append(moves[1:], 0.0)
    spike = (np.abs(moves) > SPIKE) & (np.abs(after) > SPIKE) & (np.abs(moves + after) < TAKEN_BACK)
    leap: NDArray[np.bool_] = (np.abs(moves) > LEAP) | spike | np.roll(spike, 1)  # the last move is never a spike
    return leap


def refuse_leaps(bars: pd.DataFrame, ticker: str, at_least: int = 1) -> None:
    """Refuse closes with at least `at_least` leaps: by more than x8, or by more than x3 for a single row.

    The largest real moves are smaller: a crash of -52 % (AAPL, 2000-09-29) is x0.48, a special dividend of 85 %
    (KDP, 2018-07-10) is x0.18 in the close and x1.1 in the adjusted close. The smaller of the two moves counts. With
    `stock_splits` of exactly 1 in a row the user confirms that the move is real.

    Raises:
        DataError: the message names the days.
    """
    raw = np.diff(np.log(bars["close"].to_numpy()))
    adjusted = np.diff(np.log(bars["adj_close"].to_numpy()))
    moves = np.where(np.abs(adjusted) < np.abs(raw), adjusted, raw)
    is_leap = leaps(moves) & (bars["stock_splits"].to_numpy()[1:] != 1)
    if is_leap.sum() < at_least:
        return
    rows = np.flatnonzero(is_leap) + 1
    closes = bars["close"].to_numpy()
    shown = [f"{bars.index[row].date()} ({closes[row - 1]:g} -> {closes[row]:g})" for row in rows[:5]]
    raise DataError(
        f"{ticker}: the close leaps on {len(rows)} {'day' if len(rows) == 1 else 'days'}: {', '.join(shown)}",
        "rows of two instruments, or a misplaced decimal point? Correct the file; if a move is real, "
        "write 1 in a column `Stock Splits` on that day; or start the period after it",
    )
