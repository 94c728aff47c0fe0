"""Cleaning rule `unadjusted_split`: prices before a split that were not divided by its ratio.

A split q (new shares per old: 2 for 2:1, 0.1 for 1:10) happens overnight and changes only the unit, so the closes
before it are q times too high. Two things can prove it:

- **The adjusted close.** The factor adj_close/close steps by exactly a split ratio (p:q up to 10, or n:1 up to 100, at
  least 5:4; tolerance 0.02 % plus the rounding of the adjusted close), alone or with the dividend that the data lists
  for the day, and the close moved by that ratio too, to within 15 % (overnight or over the day). A special dividend
  looks the same only if it is an exact simple fraction of the price; a listed dividend is not mistaken for a split.
- **The split column** (module `declared`). It lists q, and within 3 rows of it the factor steps by q, or the close
  moved overnight by q to within 15 %. For q below 6:5 the close alone proves it only if its move is much likelier with
  the split than without. Data that is adjusted already has no such move and is not changed; data in which it is unclear
  is refused.

Suspicion without proof is refused (module `unproved`). Of splits planted into 500 stocks over 14 years on random days,
97 % are repaired with adjusted closes and 97 % are refused without; none is repaired wrongly.

A row whose move the user confirms with 1 in the split column is left as it is.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd

from mlops_cli.prices.cleaning.declared import MOVED, proved_by_column
from mlops_cli.prices.cleaning.moves import (
    PROVABLE,
    Floats,
    Moves,
    dividend_steps,
    nearest,
    rounding,
    tolerance,
    words,
)
from mlops_cli.prices.cleaning.repair import OHLC, Cleaned, noted

SUSPICIOUS_GAP = 0.04


def adjust_splits(bars: pd.DataFrame, ticker: str) -> Cleaned:
    """Divide the prices before every proved split by its ratio, and multiply the volumes by the ratio.

    The column `stock_splits` of the result lists these splits, for the rule about dividends.
    """
    if len(bars) < 2:
        return Cleaned(bars)
    moves = Moves.of(bars)
    by_factor = _proved_by_factor(bars, moves)
    by_column = proved_by_column(bars, moves, by_factor, ticker)
    splits = {**by_factor, **by_column}
    if not splits:
        return Cleaned(bars)
    texts = [f"{bars.index[row].date()} {words(q)}" for row, q in sorted(splits.items())]
    restated = {row: q for row, q in by_column.items() if _adjusted_too_high(moves, row, q)}
    adjusted = _divided(bars, splits, restated)
    marks = adjusted["stock_splits"].to_numpy(copy=True)
    marks[list(splits)] = [float(ratio) for ratio in splits.values()]
    return Cleaned(adjusted.assign(stock_splits=marks), noted("unadjusted_split", texts))


def _proved_by_factor(bars: pd.DataFrame, moves: Moves) -> dict[int, Fraction]:
    ratio = nearest(moves.factor, PROVABLE)
    error = tolerance(bars)
    exact = np.abs(moves.factor - ratio) <= error
    for row in np.flatnonzero((moves.dividend > 0) & (moves.factor != 0)).tolist():
        with_dividend = _ratio_beside_dividend(bars, moves, row, float(error[row]))
        if with_dividend is not None:
            ratio[row], exact[row] = with_dividend, True
    proved = (
        exact
        & (error < SUSPICIOUS_GAP)
        & (np.minimum(np.abs(moves.gap - ratio), np.abs(moves.day - ratio)) <= MOVED)
        & ~((moves.dividend > 0) & (np.abs(moves.factor - moves.dividend) <= SUSPICIOUS_GAP))
        & ~bars["confirmed"].to_numpy(dtype=bool)
    )
    return {int(row): PROVABLE[float(ratio[row])] for row in np.flatnonzero(proved)}


def _ratio_beside_dividend(bars: pd.DataFrame, moves: Moves, row: int, error: float) -> float | None:
    """Log of the ratio by which the factor steps beside the listed dividend, paid on each new share or each old one."""
    logs = np.array(list(PROVABLE))
    paid, before = bars["dividends"].to_numpy()[row], bars["close"].to_numpy()[row - 1]
    cents = rounding(bars["dividends"].fillna(0).to_numpy()) / before
    off = np.minimum(
        np.abs(moves.factor[row] - logs - dividend_steps(paid * np.exp(logs), before)),
        np.abs(moves.factor[row] - logs - moves.dividend[row]),
    )
    near = off <= error + cents * np.maximum(np.exp(logs), 1.0)
    return float(logs[np.where(near, off, np.inf).argmin()]) if near.any() else None


def _adjusted_too_high(moves: Moves, row: int, ratio: Fraction) -> bool:
    """Whether the adjusted close was not divided by the split either: dividing it makes the move smaller."""
    move = moves.day[row] - moves.factor[row]
    return bool(abs(move - np.log(float(ratio))) < abs(move))


def _divided(bars: pd.DataFrame, splits: dict[int, Fraction], restated: dict[int, Fraction]) -> pd.DataFrame:
    """The bars divided by `splits`, with the adjusted closes divided by `restated` only."""
    scale = _scale(len(bars), splits)
    changed = (
        bars[OHLC]
        .div(scale, axis=0)
        .assign(volume=bars["volume"] * scale, adj_close=bars["adj_close"] / _scale(len(bars), restated))
    )
    return bars.assign(**{str(name): changed[name] for name in changed.columns})


def _scale(rows: int, splits: dict[int, Fraction]) -> Floats:
    scale = np.ones(rows)
    for row, ratio in splits.items():
        scale[:row] *= float(ratio)
    return scale
