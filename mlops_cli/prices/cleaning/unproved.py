"""Refusals: jumps that may be a split for which the prices before were not adjusted, without proof.

A jump is refused in four cases; a row whose move the user or the data confirms is never refused.

- **Split with a dividend**: the factor adj_close/close steps by a common ratio plus up to 2 %, and so does the close.
- **Silent**: the overnight move is within 4 % of a common ratio (3:2, 2:1, 5:2, 3:1 ...), the factor does not make it,
  and all of these are true: the rest of the day's return is within 3 standard deviations of the 60 days before; the
  jump is beyond 4 of them; the day's range is within 3 medians of those days; the volume is within 3 medians (times
  the ratio) of the 20 days before; the jump is more than 2 ticks. Real crashes do not meet these conditions: AAPL fell
  52 % on 2000-09-29, but the gap was 5 % off 1:2 and the volume 22-fold. Of 324 moves beyond 28 % in 500 stocks over 14
  years none is refused (without adjusted closes: one, a merger paid half in cash).
- **Unexplained step**: the factor steps by more than 10 %, or by a multiple of 5 %, the close makes the step or its
  inverse, and no listed dividend explains it. If the numbers are exact enough to tell, the step of a dividend is
  recognised by its round amount per share, and a step that is neither a round dividend nor a round ratio is accepted.
- **A hole**: there are no bars for a month, and the close has doubled or halved: two companies under one ticker.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.moves import (
    COMMON,
    MONTH,
    QUARTER,
    Floats,
    Moves,
    nearest,
    rounding,
    tick,
    tolerance,
    words,
)

MOVED = 0.15
WITH_DIVIDEND = 0.02
SUSPICIOUS_GAP = 0.04
SIGMAS_REST, SIGMAS_JUMP = 3.0, 4.0
ORDINARY_RANGE = ORDINARY_VOLUME = 3.0
FLOOR_SIGMA, FLOOR_RANGE = 0.01, 0.02
"""Smallest standard deviation and range that count as ordinary, for quotes that hardly move."""
FEW_TICKS = 2.5
LARGE_STEP, SMALL_STEP = float(np.log(1.1)), float(np.log(1.04))
LARGEST_ODD = 3.0  # spin-offs have ratios like 1.231; splits of more than 3:1 have whole ones
CENTS = 0.005  # the rounding of prices in cents
HOLE = pd.Timedelta(days=30)
TWICE = float(np.log(2))


def refuse_unproved_splits(bars: pd.DataFrame, ticker: str) -> None:
    """Raise a `DataError` with the day of a jump that looks like an unadjusted split but is not proved to be one."""
    moves = Moves.of(bars)
    common = nearest(moves.gap, COMMON)
    near_factor = nearest(moves.factor, COMMON)
    beyond = moves.factor - near_factor
    error = tolerance(bars)
    mixed = (beyond >= -error) & (beyond <= WITH_DIVIDEND) & (np.abs(moves.gap - near_factor) <= MOVED)
    mixed &= error < SUSPICIOUS_GAP
    unmade = np.sign(common) * moves.factor <= WITH_DIVIDEND  # the factor may step the wrong way
    silent = unmade & (np.abs(moves.gap - common) <= SUSPICIOUS_GAP)
    real = _confirmed(bars) | (moves.dividend >= np.abs(common) / 2)
    for row in np.flatnonzero((mixed | silent) & ~real & (np.arange(len(bars)) > 0)).tolist():
        ratio = near_factor[row] if mixed[row] else common[row]
        if mixed[row] or (_ordinary_day(bars, moves, row, float(ratio)) and _many_ticks(bars, row)):
            raise _looks_like_split(bars, row, float(ratio), ticker)
    for row in np.flatnonzero(_unexplained(bars, moves) & ~_confirmed(bars)).tolist():
        raise _step_without_cause(bars, moves, row, ticker)


def refuse_holes(bars: pd.DataFrame, ticker: str) -> None:
    """Raise a `DataError` if the close doubled or halved over a month or more without bars."""
    moves = np.append(0.0, np.diff(np.log(bars["close"].to_numpy()))) if len(bars) else np.zeros(0)
    for row in np.flatnonzero(_after_hole(bars) & (np.abs(moves) >= TWICE) & ~_confirmed(bars)).tolist():
        raise DataError(
            f"{_change(bars, row, ticker)} after {(bars.index[row] - bars.index[row - 1]).days} days without a bar",
            f"{_start(bars, row)}; or, if it is the same company and the move is real, "
            "write 1 in a column `Stock Splits` on that day (0 on the other days)",
        )


def _confirmed(bars: pd.DataFrame) -> NDArray[np.bool_]:
    return bars["confirmed"].to_numpy(dtype=bool)


def _after_hole(bars: pd.DataFrame) -> NDArray[np.bool_]:
    days = pd.DatetimeIndex(bars.index)
    return np.append(False, days[1:] - days[:-1] >= HOLE)[: len(bars)]


def _start(bars: pd.DataFrame, row: int) -> str:
    day = bars.index[row].date()
    return f"start the period there, as the bars before may be another company's: period.start: {day} in params.yaml"


def _change(bars: pd.DataFrame, row: int, ticker: str) -> str:
    closes = bars["close"].to_numpy()
    return f"{ticker}:{bars.index[row].date()}: the close goes {closes[row - 1]:g} -> {closes[row]:g}"


def _looks_like_split(bars: pd.DataFrame, row: int, ratio: float, ticker: str) -> DataError:
    split = COMMON[ratio]
    confirm = (
        f"write {float(split):g} in a column `Stock Splits` on that day to adjust for it, or 1 if the move is real "
        "(0 on the other days)"
    )
    kind = f"as in a {words(split)} split for which the earlier prices were not adjusted"
    message = f"{_change(bars, row, ticker)}, {kind}"
    if _after_hole(bars)[row]:
        missing = (bars.index[row] - bars.index[row - 1]).days
        return DataError(f"{message}, after {missing} days without a bar", f"{_start(bars, row)}; or {confirm}")
    return DataError(f"{message}; nothing in the data proves it", f"{confirm}; or start the period after that day")


def _step_without_cause(bars: pd.DataFrame, moves: Moves, row: int, ticker: str) -> DataError:
    ratio = float(np.exp(moves.factor[row]))
    return DataError(
        f"{_change(bars, row, ticker)}, and adj_close/close steps by {ratio:.4g} on that day: a split for which the "
        "earlier prices were not adjusted, or a large dividend; nothing in the data explains it",
        f"write {ratio:.4g} in a column `Stock Splits` on that day if it is a split, 1 if the move is real (0 on the "
        "other days), or the dividend per share in a column `Dividends`; or start the period after that day",
    )


def _many_ticks(bars: pd.DataFrame, row: int) -> bool:
    closes = bars["close"].to_numpy()
    return bool(abs(closes[row] - closes[row - 1]) > FEW_TICKS * tick(bars, row))


def _unexplained(bars: pd.DataFrame, moves: Moves) -> NDArray[np.bool_]:
    """Rows in which the factor makes a step that no dividend explains, and the close makes it or its inverse."""
    step = moves.factor - np.where(np.abs(moves.factor - moves.dividend) < np.abs(moves.factor), moves.dividend, 0.0)
    error = tolerance(bars)
    rows = np.flatnonzero((np.abs(step) > SMALL_STEP + error) & (error < SUSPICIOUS_GAP))
    unexplained = np.zeros(len(bars), dtype=bool)
    for row in rows[rows > 0].tolist():
        size = float(step[row])
        made = _made(moves, row, size) or ((size < 0 or size > LARGE_STEP) and _made(moves, row, -size))
        unexplained[row] = made and _suspicious(bars, row, size)
    return unexplained


def _made(moves: Moves, row: int, step: float) -> bool:
    """Whether the close moved by the step rather than not at all."""
    _, size = moves.noise(row)
    return any(
        abs(move - step) <= max(3 * size, 0.03) and abs(move - step) < abs(move)
        for move in (float(moves.gap[row]), float(moves.day[row]))
    )


def _suspicious(bars: pd.DataFrame, row: int, step: float) -> bool:
    """Whether a step of the factor may be a split: dividends are positive and mostly round, ratios mostly round."""
    if step < 0:
        return True
    close, adjusted = bars["close"].to_numpy(), bars["adj_close"].to_numpy()
    error = 2 * rounding(adjusted) / min(adjusted[row - 1], adjusted[row])
    amount = float(close[row - 1] * (1 - np.exp(-step)))
    ratio = float(np.exp(step))
    of_five = abs(ratio * 20 - round(ratio * 20)) / 20 <= ratio * (error + 2e-4)
    if close[row - 1] * error >= 1e-4:
        return bool(of_five or step > LARGE_STEP)
    if abs(amount - round(amount, 3)) <= close[row - 1] * error + 2e-5:
        return False
    if rounding(close) >= CENTS:  # closes in cents were never divided by a later split: a dividend would be round
        return bool(of_five or step > LARGE_STEP)
    return ratio < LARGEST_ODD and abs(ratio - round(ratio, 3)) <= ratio * error + 2e-5


def _ordinary_day(bars: pd.DataFrame, moves: Moves, row: int, ratio: float) -> bool:
    """Whether only the jump is unusual, compared with the days before (in the units after the jump)."""
    month, quarter = slice(max(1, row - MONTH), row), slice(max(1, row - QUARTER), row)
    sigma = max(float(np.std(moves.day[quarter])) if row > 2 else 0.0, FLOOR_SIGMA)
    ranges: Floats = np.log(bars["high"].to_numpy() / bars["low"].to_numpy())
    usual_range = max(float(np.median(ranges[quarter])) if row > 1 else 0.0, FLOOR_RANGE)
    volumes = bars["volume"].to_numpy()
    usual_volume = float(np.median(volumes[month])) if row > 1 else 0.0
    return (
        abs(moves.day[row] - ratio) <= SIGMAS_REST * sigma
        and abs(ratio) >= SIGMAS_JUMP * sigma
        and bool(ranges[row] <= ORDINARY_RANGE * usual_range)
        and (usual_volume == 0 or volumes[row] <= ORDINARY_VOLUME * max(1.0, float(np.exp(ratio))) * usual_volume)
    )
