"""Splits that the data lists: which of them the prices before were not adjusted for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.moves import Moves, dividend_steps, tolerance

Rows = NDArray[np.int64]

MOVED = 0.15
NEAR_ROWS = 3
LARGE = float(np.log(1.2))  # a split from 6:5 on moves the close more than most days do
TINY = float(np.log(1.015))  # a split below 1.5 % is less than the move of a day: nothing shows in one price
FREEDOM = 3  # degrees of freedom of Student's t, as fitted to daily returns
CLEAR = 3.0  # log likelihood ratio from which on a split is seen...
ABSENT = -1.5  # ...and below which it is not
LEAN = -6.5  # what an adjusted close of its own without a step says: the closes beside it are adjusted already
HABIT = 6.0  # what a large split in the same data says about the smaller ones
MOST_OTHERS = 10.0


@dataclass(frozen=True)
class _Listed:
    """A listed split: its row, its ratio, and the log of the ratio (positive for more shares)."""

    row: int
    ratio: float
    log: float


def proved_by_column(
    bars: pd.DataFrame, moves: Moves, by_factor: dict[int, Fraction], ticker: str
) -> dict[int, Fraction]:
    """Ratio by row of the listed splits that the data shows in unadjusted prices.

    Args:
        bars: the bars with all columns.
        moves: the moves of the bars.
        by_factor: splits that the adjusted close proves; a listed split near one of them is the same.
        ticker: for messages.

    Raises:
        DataError: for a listed split it is unclear whether the prices before are adjusted.
    """
    splits: dict[int, Fraction] = {}
    small: list[_Listed] = []
    habit = 0.0
    for listed in _listed(bars, by_factor):
        near = _near(bars, listed.row)
        row = _shown_by_factor(bars, moves, listed, near)
        if row is None and abs(listed.log) < LARGE:
            small.append(listed)
            continue
        row = _shown_by_price(moves, listed, near) if row is None else row
        if row is None and _unclear(moves, listed):
            raise _refusal(bars, listed, ticker)
        habit += HABIT if row is not None else -HABIT
        if row is not None:
            splits[row] = _fraction(listed)
    return {**splits, **_shown_small(bars, moves, small, habit, ticker)}


def _listed(bars: pd.DataFrame, by_factor: dict[int, Fraction]) -> list[_Listed]:
    """The listed splits that are not near one of those that the adjusted close proves."""
    ratios = bars["stock_splits"].to_numpy()
    rows = np.flatnonzero((ratios > 0) & np.isfinite(ratios) & (ratios != 1))
    open_rows = [row for row in rows[rows > 0].tolist() if not by_factor.keys() & set(_near(bars, row).tolist())]
    return [_Listed(row, float(ratios[row]), float(np.log(ratios[row]))) for row in open_rows]


def _near(bars: pd.DataFrame, row: int) -> Rows:
    return np.arange(max(1, row - NEAR_ROWS), min(len(bars), row + NEAR_ROWS + 1))


def _fraction(listed: _Listed) -> Fraction:
    return Fraction(listed.ratio).limit_denominator(10_000)


def _shown_by_factor(bars: pd.DataFrame, moves: Moves, listed: _Listed, near: Rows) -> int | None:
    """The row near the listed one in which the factor steps by the ratio (and a dividend), as does the close."""
    before = bars["close"].to_numpy()[near - 1]
    dividends = np.nan_to_num(bars["dividends"].to_numpy()[near])
    step = moves.factor[near]
    per_new_share = dividend_steps(dividends, before / listed.ratio)
    off = np.min([np.abs(step - listed.log - due) for due in (0.0, moves.dividend[near], per_new_share)], axis=0)
    moved = np.minimum(np.abs(moves.gap[near] - listed.log), np.abs(moves.day[near] - listed.log)) <= MOVED
    only_dividend = (dividends > 0) & (np.abs(step - moves.dividend[near]) <= tolerance(bars)[near])
    shown = (off <= tolerance(bars)[near]) & moved & ~only_dividend
    return int(near[np.where(shown, off, np.inf).argmin()]) if shown.any() else None


def _shown_by_price(moves: Moves, listed: _Listed, near: Rows) -> int | None:
    """The row near the listed one in which the close moved by the ratio, if the ratio is large."""
    by_day = np.abs(moves.day[near] - listed.log) <= abs(listed.log) / 2
    off = np.where(by_day, np.abs(moves.gap[near] - listed.log), np.inf)
    return int(near[off.argmin()]) if off.min() <= MOVED else None


def _unclear(moves: Moves, listed: _Listed) -> bool:
    """Whether the close moved by more than half of the split, up or down, and no dividend explains it."""
    move = float(moves.day[listed.row])
    explained = abs(moves.factor[listed.row] - move) <= abs(move) / 2
    return not explained and abs(move) > abs(listed.log) / 2


def _shown_small(
    bars: pd.DataFrame, moves: Moves, small: list[_Listed], habit: float, ticker: str
) -> dict[int, Fraction]:
    """Small splits that the moves show: each is judged by its own move, and by what the other splits show."""
    own = np.array([_likelihood_ratio(moves, listed) for listed in small])
    lean = 0.0 if np.allclose(bars["adj_close"], bars["close"], rtol=1e-3) else LEAN
    splits = {}
    for listed, ratio in zip(small, own, strict=True):
        others = float(np.clip(habit + own.sum() - ratio, -MOST_OTHERS, MOST_OTHERS))
        score = ratio + others + lean
        if score > CLEAR:
            splits[listed.row] = _fraction(listed)
        elif score > ABSENT and abs(listed.log) >= TINY:
            raise _refusal(bars, listed, ticker)
    return splits


def _likelihood_ratio(moves: Moves, listed: _Listed) -> float:
    """Log of how much likelier the move is with an unadjusted split than without, by Student's t distribution.

    Its tails are those of daily returns: of two moves that are both unlikely, neither proves anything.
    """
    move, size = moves.noise(listed.row)
    without, with_split = ((value / size) ** 2 / FREEDOM for value in (move, move - listed.log))
    return float((FREEDOM + 1) / 2 * (np.log1p(without) - np.log1p(with_split)))


def _refusal(bars: pd.DataFrame, listed: _Listed, ticker: str) -> DataError:
    closes = bars["close"].to_numpy()
    return DataError(
        f"{ticker}:{bars.index[listed.row].date()}: the data lists a split of {listed.ratio:g} for this day, and the "
        f"close goes {closes[listed.row - 1]:g} -> {closes[listed.row]:g}: it is unclear whether the prices before are "
        "adjusted for it",
        f"in the column of splits, write 0 on that day if they are adjusted; otherwise divide the prices before by "
        f"{listed.ratio:g} (volumes times {listed.ratio:g}) and write 0; or start the period on that day",
    )
