"""Widths of prediction intervals, from the closes of one stock or of all stocks of a branch.

An interval of level 95 holds the next close with a probability of 95 %. Its half width is q * s:

- the scale s_t is the volatility of the stock, of its returns up to session t: the mean of a fast, a medium and a slow
  exponential average (`DECAYS`);
- an error is |return_i| / s_{i-1}: how far session i went, in units of the scale that was known the day before;
- q is the conformal quantile of the last `WINDOW` errors: the ceil((n + 1) * level)-th smallest of n errors.

The returns are log total returns, with the dividend that was announced for the session, where the model's base
subtracts it. So the errors are those of "the close does not change but for the dividend". The drift and the network
change a forecast by far less than a stock moves in a day; `training.shrinkage.width_factor` corrects for models of
which this is not true.

With `stock_quantiles`, q comes from the errors of one stock. With `fleet_quantiles`, it comes from the errors of all
stocks of the last `WINDOW` sessions, and the level is corrected after each session by the share of stocks whose
interval held the close (adaptive conformal inference, Gibbs and Candes 2021). In a crash, the intervals of all stocks
then grow after the first day.

Everything of session t depends on closes and dividends that were known at the close of t.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.features.column_names import WIDEST, width_columns

LEAST = 1e-4
"""Neither a scale nor a width is smaller: 0.01 %, about the step in which prices are quoted.

A stock that was halted, or never moved, has no volatility and no errors. Its interval is as narrow as a quote, because
its price cannot be known more closely; it is not zero, by which errors could not be divided.
"""
WINDOW = 504  # sessions of errors, two years
DECAYS = {0.80: 0.2, 0.94: 0.4, 0.99: 0.4}  # of the exponential averages: decay per session, and weight in the mean
SETTLED = 20  # returns that a scale needs before its errors count
STEP = 0.05  # by which the level of a fleet is corrected, per unit of missing coverage
MOST_CORRECTED = 0.999  # the very largest of a fleet's errors, such as of a take-over, says nothing about the others

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScaledErrors:
    """The volatility of a stock and its errors in units of it, by bar.

    Attributes:
        scales: s of each bar, float64 (n,), made of returns up to the bar; NaN before the first return.
        errors: |return| of each bar over the scale of the bar before, float64 (n,); NaN where the bar is not of the
            session after the bar before, or the scale is not settled.
    """

    scales: Vector
    errors: Vector


def scaled_errors(returns: Vector, follows: npt.NDArray[np.bool_]) -> ScaledErrors:
    """Scales and errors of one stock.

    Args:
        returns: log return of each bar, (n,); NaN for the first bar alone.
        follows: whether a bar is of the exchange's next session after the bar before, (n,). The return over a halt
            says something about the volatility, but is no error of a forecast for one session.
    """
    squares = pd.Series(returns * returns)
    scales = np.zeros(len(returns))
    for decay, weight in DECAYS.items():
        scales += weight * np.sqrt(squares.ewm(alpha=1.0 - decay).mean().to_numpy())
    scales = np.maximum(scales, LEAST)
    errors = np.full(len(returns), np.nan)
    errors[1:] = np.abs(returns[1:]) / scales[:-1]
    errors[: SETTLED + 1] = np.nan
    errors[~follows] = np.nan
    return ScaledErrors(scales, errors)


def stock_quantiles(errors: Vector, levels: Sequence[float]) -> Vector:
    """The conformal quantile of the last `WINDOW` errors up to each bar.

    Args:
        errors: (n,), >= 0; NaN where there is none.
        levels: in percent.

    Returns:
        float64 (n, len(levels)); infinite where there are too few errors for the level.
    """
    ranks = [[conformal_rank(count, level / 100.0) for level in levels] for count in range(WINDOW + 1)]
    quantiles: list[list[float]] = []
    recent: list[float] = []  # the errors in the order of time
    ordered: list[float] = []  # the last of them, rising
    for error in errors.tolist():
        if not math.isnan(error):
            recent.append(error)
            insort(ordered, error)
            if len(ordered) > WINDOW:
                del ordered[bisect_left(ordered, recent[-WINDOW - 1])]
        count = len(ordered)
        quantiles.append([ordered[rank - 1] if rank <= count else math.inf for rank in ranks[count]])
    return np.array(quantiles).reshape(len(errors), len(levels))


def conformal_rank(errors: int, share: float) -> int:
    """Which of so many errors, from 1 for the smallest, is the conformal quantile; above `errors`: there is none."""
    return max(1, math.ceil((errors + 1) * share - 1e-9))  # 505 * 0.8 must not become 405 by rounding


def fleet_quantiles(errors: Mapping[str, pd.Series[float]], levels: Sequence[float]) -> pd.DataFrame:
    """The pooled conformal quantile of all stocks for each session, its level corrected by the coverage so far.

    Args:
        errors: by stock, `ScaledErrors.errors` with the sessions as index.
        levels: in percent.

    Returns:
        Index: all sessions of the stocks, rising. One float64 column per level, named by `width_columns`; infinite
        where there are too few errors. A level is never corrected beyond `MOST_CORRECTED`, nor beyond the largest
        error.
    """
    table = pd.DataFrame(dict(errors)).sort_index()
    days = [row[~np.isnan(row)] for row in table.to_numpy(np.float64)]
    shares = np.array([level / 100.0 for level in levels])
    quantiles = np.full((len(days), len(levels)), np.inf)
    corrected, ordered = shares.copy(), np.empty(0)
    for day, new in enumerate(days):
        if len(new) and day and np.isfinite(quantiles[day - 1]).any():
            covered = (new[:, None] <= quantiles[day - 1]).mean(axis=0)
            corrected = np.where(np.isfinite(quantiles[day - 1]), corrected + STEP * (shares - covered), corrected)
        ordered = _moved(ordered, new, days[day - WINDOW] if day >= WINDOW else new[:0])
        for place, share in enumerate(shares):
            if conformal_rank(len(ordered), share) <= len(ordered):
                rank = conformal_rank(len(ordered), min(corrected[place], MOST_CORRECTED))
                quantiles[day, place] = ordered[min(rank, len(ordered)) - 1]
    return pd.DataFrame(quantiles, index=table.index, columns=list(width_columns(levels)))


def _moved(ordered: Vector, new: Vector, old: Vector) -> Vector:
    """Rising errors, with those of the newest session and without those of the session that left the window."""
    if len(old):
        leaving = np.sort(old)
        first = np.searchsorted(ordered, leaving)
        repeats = np.arange(len(leaving)) - np.searchsorted(leaving, leaving)  # equal errors leave one after another
        ordered = np.delete(ordered, first + repeats)
    arriving = np.sort(new)
    return np.insert(ordered, np.searchsorted(ordered, arriving), arriving)


def half_widths(scales: Vector, quantiles: Vector) -> Vector:
    """Half widths of the intervals in log return, (n, levels), from scales (n,) and quantiles (n, levels).

    They lie between `LEAST` and `WIDEST`; a width that is not known is `WIDEST`.
    """
    with np.errstate(invalid="ignore"):
        widths = scales[:, None] * quantiles
    return np.clip(np.where(np.isnan(widths), WIDEST, widths), LEAST, WIDEST)
