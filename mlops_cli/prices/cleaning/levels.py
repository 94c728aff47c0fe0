"""Refusal of prices that leap as no stock does: rows of two instruments, a slipped decimal, a bad tick."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError

LEAP = float(np.log(8))
"""A change of the close between two rows beyond x8 or /8."""
SPIKE = float(np.log(3))
"""A change beyond x3 or /3 that the next row takes back..."""
TAKEN_BACK = float(np.log(1.5))
"""...to within x1.5 of where it came from."""


def leaps(moves: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which log moves of the close are beyond what a stock does: leaps, and both sides of a spike of one row."""
    after = np.append(moves[1:], 0.0)
    spike = (np.abs(moves) > SPIKE) & (np.abs(after) > SPIKE) & (np.abs(moves + after) < TAKEN_BACK)
    wild: NDArray[np.bool_] = (np.abs(moves) > LEAP) | spike | np.roll(spike, 1)  # a spike is never last: nothing wraps
    return wild


def refuse_leaps(bars: pd.DataFrame, ticker: str, at_least: int = 1) -> None:
    """Refuse closes that leap by more than x8, or by more than x3 for a single row, `at_least` so often.

    The largest real moves are below that: a crash of -52 % (AAPL, 2000-09-29) is x0.48, a special dividend of 85 %
    (KDP, 2018-07-10) is x0.18 in the close and x1.1 in the adjusted close; of the two, the smaller counts. A row whose
    `stock_splits` is exactly 1 is the user's word that the move is real.

    Raises:
        DataError: with the days.
    """
    raw = np.diff(np.log(bars["close"].to_numpy()))
    adjusted = np.diff(np.log(bars["adj_close"].to_numpy()))
    moves = np.where(np.abs(adjusted) < np.abs(raw), adjusted, raw)
    wild = leaps(moves) & (bars["stock_splits"].to_numpy()[1:] != 1)
    if wild.sum() < at_least:
        return
    rows = np.flatnonzero(wild) + 1
    closes = bars["close"].to_numpy()
    shown = [f"{bars.index[row].date()} ({closes[row - 1]:g} -> {closes[row]:g})" for row in rows[:5]]
    raise DataError(
        f"{ticker}: the close leaps on {len(rows)} {'day' if len(rows) == 1 else 'days'}: {', '.join(shown)}",
        "rows of two instruments or a slipped decimal? correct the file; if a move is real, "
        "write 1 in a column `Stock Splits` on that day; or start the period after it",
    )
