"""Tests of significance: of one model, of a whole collection, and corrections for many tests.

The p of an undefined test is NaN: there is no evidence either way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.diagnostic import pesaran_timmermann
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import diebold_mariano_test

MIN_SESSIONS = 20
"""Fewer sessions are not tested: both tests are for large samples, and reject far too often with fewer."""

ROUNDING = 1e-10
"""Means per day (in units of the naive error, or of hits) below this come from the rounding of prices."""

FLOAT32_PRICES, FLOAT32_ERRORS = 1e-6, 1e-4
"""The same for a forecast and its base, of which the graph computes the first in float32: with shrinkage 0 it *is* the
base, and must not be found better or worse. As shares of the price, and of the naive error."""

Floats = NDArray[np.float64]


def diebold_mariano_p(actual: Floats, forecast: Floats, baseline: Floats, rounding: float = 1e-12) -> float:
    """Two-sided p that `forecast` and `baseline` are equally far off, on absolute errors.

    Diebold & Mariano (1995) with the Newey-West (1987) variance over ceil(n^(1/3)) lags and the small-sample correction
    of Harvey, Leybourne & Newbold (1997), as statsmodels computes it.

    Args:
        actual: prices in order of time, shape (n,), no NaN.
        forecast: the forecasts to test, same shape.
        baseline: the forecasts that they are compared with, same shape.
        rounding: differences below this share of the highest price come from rounding.

    Returns:
        p; NaN where the test is undefined: fewer than MIN_SESSIONS rows, or a loss difference that never varies (a
        model shrunk to zero *is* the naive forecast).
    """
    loss = np.abs(forecast - actual) - np.abs(baseline - actual)
    # A spread this small comes from the rounding of prices; dividing by its variance would turn it into evidence.
    if len(actual) < MIN_SESSIONS or np.ptp(loss) <= rounding * np.max(np.abs(actual)):
        return np.nan
    return float(diebold_mariano_test(actual, forecast, baseline, criterion="mad", harvey_adj=True).pvalue)


def pesaran_timmermann_p(actual_returns: Floats, forecast_returns: Floats) -> float:
    """Two-sided p that the direction of the forecasts is independent of the direction of the market.

    Pesaran & Timmermann (1992) compare the right calls with those expected of independent directions, given how often
    each is up; so "up, every day" has no merit. As statsmodels computes it.

    Args:
        actual_returns: shape (n,), no NaN, no zero (a session that did not move has no direction).
        forecast_returns: before shrinkage, same shape, no zero.

    Returns:
        p; NaN where the test is undefined: fewer than MIN_SESSIONS rows, or all forecasts or all returns on one side.
    """
    sides = (np.unique(actual_returns > 0).size, np.unique(forecast_returns > 0).size)
    if len(actual_returns) < MIN_SESSIONS or 1 in sides:
        return np.nan
    return float(pesaran_timmermann(actual_returns, forecast_returns).pvalue)


def false_discovery(p: pd.Series) -> pd.Series:
    """Adjust p-values for the number of tests (Benjamini & Yekutieli 2001: valid under any dependence).

    Args:
        p: any index; NaN for undefined tests, which are not counted.

    Returns:
        Adjusted p on the same index, NaN where `p` is; below 0.05 = a discovery at a false discovery rate of 5 %.
    """
    adjusted = pd.Series(np.nan, index=p.index, dtype="float64")
    defined = p.notna()
    if defined.any():
        adjusted[defined] = multipletests(p[defined].to_numpy(), method="fdr_by")[1]
    return adjusted


@dataclass(frozen=True)
class TTest:
    """A mean over days, its standard error, t (infinite if all days are equal) and p against zero; NaN: undefined."""

    mean: float
    error: float
    t: float
    p: float


def day_clustered(values: pd.Series, days: pd.Series, rounding: float = ROUNDING) -> TTest:
    """Test whether a mean over models and days is zero, where all models of one day share that day's market.

    The models' mean of a day is one observation. The ordinary t-test over days (days - 1 degrees of freedom) takes the
    days as independent of each other.

    Args:
        values: one per forecast; NaN rows are left out.
        days: the target session of each, same index.
        rounding: means per day up to this size are zero.

    Returns:
        The test; all but the mean are NaN with fewer than MIN_SESSIONS days or where every day is zero.
    """
    daily = values.groupby(days).mean().dropna()
    mean = float(daily.mean()) if len(daily) else np.nan
    if len(daily) < MIN_SESSIONS or daily.abs().max() <= rounding:
        return TTest(mean, np.nan, np.nan, np.nan)
    error = float(daily.std(ddof=1)) / np.sqrt(len(daily))
    if error <= ROUNDING * abs(mean):
        return TTest(mean, 0.0, float(np.copysign(np.inf, mean)), 0.0)
    t = mean / error
    return TTest(mean, error, t, float(2.0 * stats.t.sf(abs(t), len(daily) - 1)))


def clustered_error(values: pd.Series, days: pd.Series) -> float:
    """Return the standard error of a mean over rows, clustered by day.

    The sandwich estimator with the correction D / (D - 1) for D days: with one row per day it is std(ddof=1) / sqrt(n).

    Args:
        values: one per forecast; NaN rows are left out.
        days: the target session of each, same index.

    Returns:
        The standard error in the units of `values`; NaN with fewer than two days.
    """
    values = values.dropna()
    sums = (values - values.mean()).groupby(days[values.index]).sum()
    if len(sums) < 2:
        return np.nan
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(values))
