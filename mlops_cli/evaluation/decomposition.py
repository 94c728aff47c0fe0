"""What the gain over "tomorrow = today" is made of: announced dividends, the drift, and the network.

From the last close C to a forecast there are three steps: C - D (the announced dividend D is subtracted), the base
C exp(mu) - D, and the forecast. Each step changes the absolute error; the three changes add up to the whole change.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from mlops_cli.evaluation.frame import DIVIDEND
from mlops_cli.evaluation.significance import FLOAT32_ERRORS, ROUNDING, day_clustered

ADDS, ADDS_NOTHING, TAKES = "adds to the base", "adds nothing to the base", "takes from the base"
PARTS = ("dividends", "drift", "network", "together")


def part_losses(scores: pd.DataFrame) -> pd.DataFrame:
    """By row of `metrics.score_forecasts`, the change of the absolute error by each step.

    Returns:
        Columns PARTS, same index, in units of the model's mean naive error; negative: the error became smaller.
        `together` is `relative_loss`, the sum of the others. NaN if the close never changed in the model's rows.
    """
    actual, scale = scores["actual_close"], scores["scale"]
    ex_dividend = (scores["last_close"] - scores[DIVIDEND] - actual).abs()
    return pd.DataFrame(
        {
            "dividends": (ex_dividend - scores["mae_naive"]) / scale,
            "drift": (scores["mae_base"] - ex_dividend) / scale,
            "network": scores["base_relative_loss"],
            "together": scores["relative_loss"],
        }
    )


def decompose(scores: pd.DataFrame) -> dict[str, Any] | None:
    """Decompose the pooled gain, on all days, on ex-days whose dividend was announced before, and on other days.

    Args:
        scores: as `metrics.score_forecasts` returns it.

    Returns:
        By `all_days`, `ex_days` and `other_days`: `n` (forecasts), and for each of PARTS `relative_loss` (change of
        the error as a share of the naive error, mean over days; negative: smaller) with `t` and `p` of its
        day-clustered test. An undefined figure is None. None instead of all of it if no model has a base.
    """
    if not scores["has_base"].any():
        return None
    losses = part_losses(scores)
    on_ex_day = scores[DIVIDEND] > 0
    days = {"all_days": on_ex_day | True, "ex_days": on_ex_day, "other_days": ~on_ex_day}
    return {name: _tests(losses[rows], scores["target_session"][rows]) for name, rows in days.items()}


def _tests(losses: pd.DataFrame, days: pd.Series) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(losses)}
    for part in PARTS:
        test = day_clustered(losses[part], days, FLOAT32_ERRORS if part == "network" else ROUNDING)
        result[part] = {"relative_loss": _plain(test.mean), "t": _plain(test.t), "p": _plain(test.p)}
    return result


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def verdict_on_network(gain: float, p: float, level: float) -> str:
    """What the network adds to the base, by the gain over the base and the (adjusted) p of its test; NaN: undefined."""
    if not p < level or gain == 0:
        return ADDS_NOTHING
    return ADDS if gain > 0 else TAKES
