"""The deflated Sharpe ratio: how sure a Sharpe ratio is after the best of several trials was chosen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import kurtosis, norm, skew


def deflated_sharpe(returns: npt.NDArray[np.float64], trials: int) -> float | None:
    """Probability that the true Sharpe ratio is above 0 although the best of `trials` was taken.

    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", equations 1 and 2. The Sharpe ratios of trials that
    were never traded are not known: their standard deviation is taken to be that of an estimate from as many days
    where the true ratio is 0, 1 / sqrt(T - 1).

    Args:
        returns: daily simple returns.
        trials: how many trainings the traded models were chosen from; at least 1.

    Returns:
        The probability; None where it is undefined (fewer than three returns, or all the same).
    """
    days, spread = len(returns), float(np.std(returns, ddof=1)) if len(returns) > 2 else 0.0
    if spread < 1e-12:
        return None
    sharpe = float(np.mean(returns)) / spread
    variance = 1 - float(skew(returns)) * sharpe + (float(kurtosis(returns, fisher=False)) - 1) / 4 * sharpe**2
    if variance <= 0:
        return None
    benchmark = _expected_best(trials) / math.sqrt(days - 1)
    return float(norm.cdf((sharpe - benchmark) * math.sqrt(days - 1) / math.sqrt(variance)))


def _expected_best(trials: int) -> float:
    """Approximate expected maximum of `trials` independent standard normal variables; 0 for one."""
    if trials <= 1:
        return 0.0
    return float((1 - np.euler_gamma) * norm.ppf(1 - 1 / trials) + np.euler_gamma * norm.ppf(1 - 1 / (trials * math.e)))
