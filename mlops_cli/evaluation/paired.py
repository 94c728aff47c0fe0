"""Comparison of two sets of forecasts of the same models and sessions, with a test of significance."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from mlops_cli.evaluation.frame import check_forecasts
from mlops_cli.evaluation.metrics import naive_ratios, naive_scale, with_errors
from mlops_cli.evaluation.significance import day_clustered

LEVEL = 0.05
"""Significance level of the verdict."""

BETTER, SAME, WORSE = "better", "no difference", "worse"


def compare(forecasts: pd.DataFrame, others: pd.DataFrame) -> dict[str, Any]:
    """Compare the shrunk forecasts of two frames session by session, pooled over all models.

    Args:
        forecasts: as `frame.check_forecasts` requires.
        others: other forecasts of the same models and sessions; further rows are ignored.

    Returns:
        A dictionary of str, int, float and None only (an undefined figure is None): `n` (forecasts), `n_models`,
        `n_days`; `mae`, `mae_other` (price units); `mae_ratio`, `mae_ratio_other` (means over models of MAE / naive
        MAE); `difference` (mean over days of the models' mean (|error| - |other error|) / mean naive error; negative:
        `forecasts` have smaller errors) with `t` and `p` of its day-clustered test; `verdict`: `better` or `worse`
        with p < 0.05, else `no difference`.

    Raises:
        DataError: a frame is not as `frame.check_forecasts` requires.
        ValueError: a row of `forecasts` is not among `others`.
    """
    ours, theirs = check_forecasts(forecasts), check_forecasts(others)
    keys = ["model", "session"]
    pairs = ours[keys].merge(theirs, on=keys, how="left", validate="one_to_one")
    if pairs["actual_close"].isna().any():
        raise ValueError("the other forecasts lack some of these rows")
    ours, theirs = with_errors(ours), with_errors(pairs)
    test = day_clustered((ours["mae"] - theirs["mae"]) / naive_scale(ours), ours["target_session"])
    significant = test.p < LEVEL  # not where p is NaN, that is undefined
    verdict = (BETTER if test.mean < 0 else WORSE) if significant else SAME
    figures = {
        "mae": ours["mae"].mean(),
        "mae_other": theirs["mae"].mean(),
        "mae_ratio": naive_ratios(ours).mean(),
        "mae_ratio_other": naive_ratios(theirs).mean(),
        "difference": test.mean,
        "t": test.t,
        "p": test.p,
    }
    return {
        "n": len(ours),
        "n_models": int(ours["model"].nunique()),
        "n_days": int(ours["target_session"].nunique()),
        **{name: float(value) if math.isfinite(value) else None for name, value in figures.items()},
        "verdict": verdict,
    }
