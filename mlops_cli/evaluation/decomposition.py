"""What the gain over "tomorrow = today" is made of: announced dividends, the drift, and the model itself.

From the last close C to a forecast there are three steps: C - D (the announced dividend D subtracted), the base
C exp(mu) - D, and the forecast. Each step changes the absolute error; the three changes add up to the gain.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from mlops_cli.evaluation.significance import day_clustered

ADDS, ADDS_NOTHING, TAKES = "adds to the base", "adds nothing to the base", "takes from the base"
PARTS = ("dividends", "drift", "model")


def part_losses(scores: pd.DataFrame) -> pd.DataFrame:
    """By row of `metrics.scored`, the change of the absolute error by each step, in units of the model's naive MAE.

    Returns:
        Columns `dividends`, `drift`, `model`, same index; negative: the error got smaller. Their sum is
        `relative_loss`. NaN if the close never changed in the model's rows.
    """
    actual, scale = scores["actual_close"], scores["scale"]
    ex_dividend = (scores["last_close"] - scores["announced_dividend"] - actual).abs()
    return pd.DataFrame(
        {
            "dividends": (ex_dividend - scores["mae_naive"]) / scale,
            "drift": (scores["mae_base"] - ex_dividend) / scale,
            "model": (scores["mae"] - scores["mae_base"]) / scale,
        }
    )


def decompose(scores: pd.DataFrame) -> dict[str, Any]:
    """The parts of the gain on all days, on ex-days whose dividend was announced before, and on the other days.

    Returns:
        By `all`, `ex_days` and `other_days`: `rows` (forecasts), and by part `gain` (share of the naive MAE by which
        the part lowers the error, mean over days) with `t` and `p` of its day-clustered test; None where undefined.
    """
    losses = part_losses(scores)
    on_ex_day = scores["announced_dividend"] > 0
    return {
        name: _of_rows(losses[chosen], scores["target_session"][chosen])
        for name, chosen in {"all": on_ex_day | True, "ex_days": on_ex_day, "other_days": ~on_ex_day}.items()
    }


def _of_rows(losses: pd.DataFrame, days: pd.Series) -> dict[str, Any]:
    result: dict[str, Any] = {"rows": len(losses)}
    for part in PARTS:
        test = day_clustered(losses[part], days)
        result[part] = {"gain": _plain(-test.mean), "t": _plain(test.t), "p": _plain(test.p)}
    return result


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def verdict_on_model(gain: float, p: float, level: float) -> str:
    """What the model adds to its base, by its gain over the base and the (adjusted) p of the test; NaN: undefined."""
    if not p < level or gain == 0:
        return ADDS_NOTHING
    return ADDS if gain > 0 else TAKES
