"""Cleaning rule `unit_100x`: some prices quoted in cents (pence); and the refusal of other leaps of the level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError, bounded
from mlops_cli.prices.cleaning.repair import OHLC, Cleaned, noted

LEAP = float(np.log(8))  # a change of the close between two rows beyond x8 or /8
SPIKE = float(np.log(3))  # a change beyond x3 or /3 that the next row reverses...
TAKEN_BACK = float(np.log(1.5))  # ...to within x1.5 of the price before


def leaps(moves: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which log moves of the close are too large for a stock: leaps, and both sides of a spike of one row."""
    after = np.append(moves[1:], 0.0)
    spike = (np.abs(moves) > SPIKE) & (np.abs(after) > SPIKE) & (np.abs(moves + after) < TAKEN_BACK)
    leap: NDArray[np.bool_] = (np.abs(moves) > LEAP) | spike | np.roll(spike, 1)  # the last move is never a spike
    return leap


def refuse_leaps(bars: pd.DataFrame, ticker: str, at_least: int = 1) -> None:
    """Refuse closes with at least `at_least` leaps: by more than x8, or by more than x3 for a single row.

    The largest real moves are smaller: a crash of -52 % (AAPL, 2000-09-29) is x0.48, a special dividend of 85 %
    (KDP, 2018-07-10) is x0.18 in the close and x1.1 in the adjusted close. The smaller of the two moves counts. A
    row that is marked in the column `confirmed` is accepted.

    Raises:
        DataError: the message names the days.
    """
    raw = np.diff(np.log(bars["close"].to_numpy()))
    adjusted = np.diff(np.log(bars["adj_close"].to_numpy()))
    moves = np.where(np.abs(adjusted) < np.abs(raw), adjusted, raw)
    is_leap = leaps(moves) & ~bars["confirmed"].to_numpy(dtype=bool)[1:]
    if is_leap.sum() < at_least:
        return
    rows = np.flatnonzero(is_leap) + 1
    closes = bars["close"].to_numpy()
    shown = [f"{bars.index[row].date()} ({closes[row - 1]:g} -> {closes[row]:g})" for row in rows[:5]]
    raise DataError(
        f"{ticker}: the close leaps on {len(rows)} {'day' if len(rows) == 1 else 'days'}: {', '.join(shown)}",
        "rows of two instruments, or a misplaced decimal point? Correct the file; if a move is real, "
        "write 1 in a column `Stock Splits` on that day (0 on the other days); or start the period after it",
    )


LOG_UNIT = float(np.log(100))
TOLERANCE = float(np.log(1.6))  # how far a step may differ from exactly x100, because the price also moved normally
MINORITY_INSIDE, MINORITY_AT_END = 0.25, 0.10
"""Share of the traded prices up to which the rarer unit counts as the error: if the prices return to the more common
unit, and if they begin or end in the rarer one (which may be a lasting change of quotation)."""


def fix_units(bars: pd.DataFrame, ticker: str) -> Cleaned:
    """Convert all prices to one unit.

    In the sequence of prices (open, high, low, close, next open ...), each step of about x100 or /100 is a change of
    unit. The right unit is that of the rows with volume, because a row without volume repeats an old quote and proves
    nothing. If rows with volume use both units, the rarer unit is the error, provided that it is rare enough. The
    choice of the unit does not change returns, only the level; so if both units are common, the data is refused. A
    step that the data lists as a split (x50 to x200) is left to the split rule. Closes that also leap by other factors
    are left to `refuse_leaps`, because in a mix of two instruments a ratio near 100 means nothing.

    Raises:
        DataError: both units are common, or there are more than two levels.
    """
    declared = np.abs(np.log(bars["stock_splits"].where(bars["stock_splits"] > 0)))
    prices = np.log(bars[OHLC].to_numpy())
    unit = _levels(prices.ravel()).reshape(prices.shape)
    adjusted = np.log(bars["adj_close"].to_numpy()) - prices[:, 3]
    if (np.abs(declared - LOG_UNIT) < np.log(2)).any() or not (unit.any() or _levels(adjusted).any()):
        return Cleaned(bars)
    closes = np.diff(prices[:, 3])
    if (leaps(closes) & (np.abs(np.abs(closes) - LOG_UNIT) > TOLERANCE)).any():
        return Cleaned(bars)
    traded = bars["volume"].to_numpy() > 0
    shift = _majority(bars, unit, traded if traded.any() else np.ones(len(bars), dtype=bool), ticker) - unit
    fixed = prices + shift * LOG_UNIT
    factor = np.log(bars["adj_close"].to_numpy()) - fixed[:, 3]
    levels = _levels(factor)
    untouched = levels[shift[:, 3] == 0]
    factor += (_mode(untouched if untouched.size else levels) - levels) * LOG_UNIT
    changed = (shift != 0).any(axis=1) | (np.abs(factor + fixed[:, 3] - np.log(bars["adj_close"])) > TOLERANCE)
    out = bars.copy()
    for column, name in enumerate(OHLC):
        out[name] = bars[name] * 100.0 ** shift[:, column]
    new_adj = bars["adj_close"] * 100.0 ** np.rint((factor + fixed[:, 3] - np.log(bars["adj_close"])) / LOG_UNIT)
    return Cleaned(out.assign(adj_close=new_adj), noted("unit_100x", bars.index[changed]))


def _levels(logs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The unit of each value relative to the first value: +1 per step of x100, -1 per step of /100."""
    steps = np.diff(logs, prepend=logs[:1])
    jumps = np.where(np.abs(np.abs(steps) - LOG_UNIT) <= TOLERANCE, np.sign(steps), 0.0)
    return np.cumsum(jumps).astype(np.int64)


def _mode(levels: NDArray[np.int64]) -> int:
    values, counts = np.unique(levels, return_counts=True)
    return int(values[counts.argmax()])


def _majority(bars: pd.DataFrame, unit: NDArray[np.int64], judges: NDArray[np.bool_], ticker: str) -> int:
    right = _mode(unit[judges].ravel())
    minority = float((unit[judges] != right).mean())
    inside = unit[judges][0, 3] == right == unit[judges][-1, 3]
    if minority > (MINORITY_INSIDE if inside else MINORITY_AT_END) or unit.max() - unit.min() > 1:
        changes = bars.index[1:][np.diff(unit[:, 3]) != 0]
        raise DataError(
            f"{ticker}: prices change by a factor of 100 on {bounded([str(day.date()) for day in changes])}, "
            f"and {minority:.0%} of the traded prices are in the rarer unit: it is unclear which unit is right",
            "multiply the rows in the wrong unit by 100 (or 0.01) in the source file",
        )
    return right
