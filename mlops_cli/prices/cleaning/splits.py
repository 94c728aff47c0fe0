"""Cleaning rule `unadjusted_split`: prices before a split that were not divided by its ratio.

A split q (new shares per old: 2 for 2:1, 0.1 for 1:10) happens overnight and changes only the unit, so the closes
before it are q times too high. Three things can distinguish it from a real move:

- **Proof by the adjusted close.** The factor adj_close/close steps by exactly a split ratio (p:q up to 10, or n:1 up to
  100, at least 5:4; tolerance 0.02 % plus the rounding of the adjusted close), and the close moved by that ratio too,
  to within 15 % (overnight or over the day). A special dividend looks the same only if it is an exact simple
  fraction of the price; a dividend that the data lists is not mistaken for a split.
- **Proof by the split column.** `stock_splits` holds q (at least 6:5), and within 3 rows of it the close moved
  overnight by q to within 15 %. Data that is adjusted already has no such move and is not changed.
- **Suspicion without proof** is refused. Either the factor steps by a common ratio plus up to 2 % (split and dividend
  on one day, or a huge special dividend). Or the adjusted close shows no step, and all of these are true: the
  overnight move is within 4 % of a common ratio (3:2, 2:1, 5:2, 3:1 ...); the rest of the day's return is within 3
  standard deviations of the 60 days before; the jump is beyond 4 of them; the day's range is within 3 medians of
  those days; the volume is within 3 medians (times q) of the 20 days before. Real crashes do not meet these
  conditions: AAPL fell 52 % on 2000-09-29, but the gap was 5 % off 1:2 and the volume 22-fold. Of 324 moves beyond 28
  % in 500 stocks over 14 years none is refused (without adjusted closes: one, a merger paid half in cash). Of splits
  planted into those stocks on random days, 97 % are repaired with adjusted closes and 97 % are refused without; none
  is repaired wrongly.

With `stock_splits` of exactly 1 in a row the user confirms that the move is real.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.repair import OHLC, Cleaned, noted

Floats = NDArray[np.float64]

EXACT = 2e-4
MOVED = 0.15
NEAR_ROWS = 3
SMALLEST_DECLARED = float(np.log(1.2))
WITH_DIVIDEND = 0.02
SUSPICIOUS_GAP = 0.04
SIGMAS_REST, SIGMAS_JUMP = 3.0, 4.0
ORDINARY_RANGE = ORDINARY_VOLUME = 3.0
FLOOR_SIGMA, FLOOR_RANGE = 0.01, 0.02
"""Smallest standard deviation and range that count as ordinary, for quotes that hardly move."""


def _both_ways(ratios: set[Fraction]) -> dict[float, Fraction]:
    return {float(np.log(float(r))): r for q in ratios for r in (q, 1 / q)}


PROVABLE = _both_ways(
    {Fraction(p, q) for p in range(1, 11) for q in range(1, 11) if p * 4 >= q * 5}
    | {Fraction(n) for n in range(2, 101)}
)
COMMON = _both_ways({Fraction(3, 2), Fraction(5, 2)} | {Fraction(n) for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)})


@dataclass(frozen=True)
class _Moves:
    """Log ratios of each row to the row before (0 in the first row); positive if the price fell."""

    day: Floats  # close before / close
    gap: Floats  # close before / open
    factor: Floats  # step of adj_close / close
    dividend: Floats  # the step of the factor that the listed dividend explains; 0 if none is listed

    @classmethod
    def of(cls, bars: pd.DataFrame) -> _Moves:
        closes, opens = (np.log(bars[name].to_numpy()) for name in ("close", "open"))
        before = np.append(closes[:1], closes[:-1])
        factor = np.log(bars["adj_close"].to_numpy()) - closes
        share = np.nan_to_num(bars["dividends"].to_numpy()) / np.exp(before)
        return cls(
            day=before - closes,
            gap=np.where(np.arange(len(bars)) > 0, before - opens, 0.0),
            factor=np.diff(factor, prepend=factor[:1]),
            dividend=-np.log1p(-np.clip(share, 0.0, 0.99)),
        )


def adjust_splits(bars: pd.DataFrame, ticker: str) -> Cleaned:
    """Divide the prices before every proved split by its ratio, and multiply the volumes by the ratio."""
    if len(bars) < 2:
        return Cleaned(bars)
    moves = _Moves.of(bars)
    by_factor = _proved_by_factor(bars, moves)
    by_column = _proved_by_column(bars, moves, by_factor)
    splits = {**by_factor, **by_column}
    if not splits:
        return Cleaned(bars)
    words = [f"{bars.index[row].date()} {_ratio(q)}" for row, q in sorted(splits.items())]
    restated = {row: q for row, q in by_column.items() if _adjusted_too_high(moves, row, q)}
    return Cleaned(_divided(bars, splits, restated), noted("unadjusted_split", words))


def _nearest(logs: Floats, ratios: dict[float, Fraction]) -> Floats:
    """The log of the ratio that is nearest to each value."""
    table = np.array(sorted(ratios))
    right = np.clip(np.searchsorted(table, logs), 1, len(table) - 1)
    return np.where(logs - table[right - 1] < table[right] - logs, table[right - 1], table[right])


def _rounding(values: Floats) -> float:
    """Half a unit of the last decimal place of the values (2 to 6 places)."""
    for decimals in range(2, 6):
        if np.allclose(values, np.round(values, decimals), rtol=0, atol=1e-9):
            return 0.5 * 10.0**-decimals
    return 0.5e-6


def _tolerance(bars: pd.DataFrame) -> Floats:
    adjusted = bars["adj_close"].to_numpy()
    error = _rounding(adjusted) / adjusted
    return EXACT + error + np.append(error[:1], error[:-1])


def _proved_by_factor(bars: pd.DataFrame, moves: _Moves) -> dict[int, Fraction]:
    ratio = _nearest(moves.factor, PROVABLE)
    tolerance = _tolerance(bars)
    proved = (
        (np.abs(moves.factor - ratio) <= tolerance)
        & (tolerance < SUSPICIOUS_GAP)
        & (np.minimum(np.abs(moves.gap - ratio), np.abs(moves.day - ratio)) <= MOVED)
        & ~((moves.dividend > 0) & (np.abs(moves.factor - moves.dividend) <= SUSPICIOUS_GAP))
        & (bars["stock_splits"].to_numpy() != 1)
    )
    return {int(row): PROVABLE[float(ratio[row])] for row in np.flatnonzero(proved)}


def _proved_by_column(bars: pd.DataFrame, moves: _Moves, by_factor: dict[int, Fraction]) -> dict[int, Fraction]:
    declared = bars["stock_splits"].to_numpy()
    splits: dict[int, Fraction] = {}
    for row in np.flatnonzero((declared > 0) & (declared != 1)).tolist():
        ratio = float(np.log(declared[row]))
        near = np.arange(max(1, row - NEAR_ROWS), min(len(bars), row + NEAR_ROWS + 1))
        off = np.abs(moves.gap[near] - ratio) + np.where(np.abs(moves.day[near] - ratio) <= abs(ratio) / 2, 0.0, np.inf)
        best = int(near[off.argmin()])
        if abs(ratio) >= SMALLEST_DECLARED and off.min() <= MOVED and not by_factor.keys() & set(near.tolist()):
            splits[best] = Fraction(float(declared[row])).limit_denominator(10_000)
    return splits


def _adjusted_too_high(moves: _Moves, row: int, ratio: Fraction) -> bool:
    """Whether the adjusted close was not divided by the split either: dividing it makes the move smaller."""
    move = moves.day[row] - moves.factor[row]
    return bool(abs(move - np.log(float(ratio))) < abs(move))


def _ratio(ratio: Fraction) -> str:
    return f"{ratio.numerator}:{ratio.denominator}"


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


def refuse_unproved_splits(bars: pd.DataFrame, ticker: str) -> None:
    """Raise a `DataError` with the day of a jump that looks like an unadjusted split but is not proved to be one."""
    moves = _Moves.of(bars)
    common = _nearest(moves.gap, COMMON)
    real = (bars["stock_splits"].to_numpy() == 1) | (moves.dividend >= np.abs(common) / 2)
    near_factor = _nearest(moves.factor, COMMON)
    beyond = moves.factor - near_factor
    mixed = (beyond >= -_tolerance(bars)) & (beyond <= WITH_DIVIDEND) & (np.abs(moves.gap - near_factor) <= MOVED)
    silent = (np.abs(moves.factor) <= WITH_DIVIDEND) & (np.abs(moves.gap - common) <= SUSPICIOUS_GAP)
    for row in np.flatnonzero((mixed | silent) & ~real & (np.arange(len(bars)) > 0)).tolist():
        ratio = near_factor[row] if mixed[row] else common[row]
        if mixed[row] or _ordinary_day(bars, moves, row, float(ratio)):
            closes = bars["close"].to_numpy()
            words = _ratio(COMMON[float(ratio)])
            raise DataError(
                f"{ticker}:{bars.index[row].date()}: the close goes {closes[row - 1]:g} -> {closes[row]:g}, as in a "
                f"{words} split for which the earlier prices were not adjusted; nothing in the data proves it",
                f"write {float(COMMON[float(ratio)]):g} in a column `Stock Splits` on that day to adjust for it, or "
                "1 if the move is real; or start the period after that day",
            )


def _ordinary_day(bars: pd.DataFrame, moves: _Moves, row: int, ratio: float) -> bool:
    """Whether only the jump is unusual, compared with the days before (in the units after the jump)."""
    month, quarter = slice(max(1, row - 20), row), slice(max(1, row - 60), row)
    sigma = max(float(np.std(moves.day[quarter])) if row > 2 else 0.0, FLOOR_SIGMA)
    ranges = np.log(bars["high"].to_numpy() / bars["low"].to_numpy())
    usual_range = max(float(np.median(ranges[quarter])) if row > 1 else 0.0, FLOOR_RANGE)
    volumes = bars["volume"].to_numpy()
    usual_volume = float(np.median(volumes[month])) if row > 1 else 0.0
    return (
        abs(moves.day[row] - ratio) <= SIGMAS_REST * sigma
        and abs(ratio) >= SIGMAS_JUMP * sigma
        and ranges[row] <= ORDINARY_RANGE * usual_range
        and (usual_volume == 0 or volumes[row] <= ORDINARY_VOLUME * max(1.0, float(np.exp(ratio))) * usual_volume)
    )
