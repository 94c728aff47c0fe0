"""The deflated Sharpe ratio, by skfolio (an optional extra): how sure a Sharpe ratio is after so many trials."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

HOW_TO_INSTALL = "pip install 'mlops-cli[skfolio]'"


def deflated_sharpe(returns: npt.NDArray[np.float64], trials: int) -> float | None:
    """Probability that the true Sharpe ratio is above 0 although the best of `trials` was taken.

    Bailey and Lopez de Prado (2014). The Sharpe ratios of trials that were never traded are not known: their standard
    deviation is taken to be that of an estimate from as many days where there is nothing to find, 1 / sqrt(T - 1).

    Args:
        returns: daily simple returns.
        trials: how many trainings the traded models were chosen from; at least 1.

    Returns:
        The probability; None where it is undefined (fewer than three returns, or all the same).

    Raises:
        ModuleNotFoundError: skfolio is not installed.
    """
    from skfolio.measures import expected_max_sharpe_ratio, probabilistic_sharpe_ratio

    if len(returns) < 3 or float(np.std(returns)) < 1e-12:
        return None
    benchmark = expected_max_sharpe_ratio(max(1, trials), 1.0 / math.sqrt(len(returns) - 1))
    value = float(probabilistic_sharpe_ratio(returns, benchmark_sharpe_ratio=benchmark))
    return value if math.isfinite(value) else None
