"""The look-ahead alarm: find results so good that a leak of future data is the likely cause.

Honest forecasts of daily closes have at best a ratio of MAE to naive MAE of 0.99, 75 % of stocks below 1, and 56 %
right directions (500 stocks, 7 years). A small collection can exceed these limits by luck, and a constant forecast of
"a bit up" exceeds them in a bull market. So each rule also needs a test that is significant at SIGNIFICANCE_LEVEL. The
tests measure *timing*: errors are compared with those of the model's mean forecast repeated every day, and hits with
those expected if the same number of up-calls fell on random days. Any of these rules sounds the alarm:

- *ratio*: mean MAE / naive MAE below 0.99, and timing (day-clustered t) significant;
- *share*: more than 75 % of at least 20 stocks below 1, and timing significant;
- *direction*: more than 56 % of all calls right, more than the always-up rate, and timing significant;
- *single model*: more than 56 % of a model's calls right, and timing significant by Fisher's exact test (valid for few
  sessions too) after Bonferroni's correction for the number of models.

The last two rules are applied twice. The second time, a call is up if the raw forecast is above the model's own mean
forecast: else a model that forecasts the drift of its stock and a little of the future would say "up" every day.

All of this is judged in total return: an announced dividend is added to the closes of its ex-date (`total_returns`),
because a forecast that knows it is no leak. A dividend that was itself made of the next close would then go unheard, so
it has a rule of its own:

- *dividends*: what is left of the moves on ex-days is less than 75 % of a usual move, and that is significant.

The first two rules are applied to the shrunk and to the raw forecasts,
because shrinkage could hide a leak. The rate of false alarms and the leaks that are found:
tests/unit/evaluation/test_evaluation_alarm.py and docs/figures.md.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from mlops_cli.errors import bounded
from mlops_cli.evaluation.frame import DIVIDEND, PRICE_COLUMNS
from mlops_cli.evaluation.metrics import naive_scale, with_hits
from mlops_cli.evaluation.significance import FLOAT32_PRICES, TTest, day_clustered

MAX_RATIO = 0.99
MAX_SHARE = 0.75
MAX_ACCURACY = 0.56
MIN_MODELS_FOR_SHARE = 20
MIN_EX_DAY_MOVE = 0.75
SIGNIFICANCE_LEVEL = 0.001
"""Significance level of each rule's test, one-sided."""


def total_returns(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Forecasts (of `frame.check_forecasts`) with the announced dividend added to every close of the target session.

    The drop of a quote by an announced dividend is known before, and would look like a leak. Errors do not change.
    """
    closes = [name for name in PRICE_COLUMNS if name != "last_close"]
    return forecasts.assign(**{name: forecasts[name] + forecasts[DIVIDEND] for name in closes})


def look_ahead(scores: pd.DataFrame) -> list[str]:
    """The reasons why scores (of `metrics.score_forecasts`) are too good to be true; empty if there is no alarm.

    All rules but the one for single models need at least `significance.MIN_SESSIONS` days.
    """
    from_mean = _calls_from_mean(scores)
    return [
        *_error_reasons(scores, "predicted_close", "forecasts"),
        *_error_reasons(scores, "raw_predicted_close", "raw forecasts"),
        *(_direction_reasons(scores, "direction") or _direction_reasons(from_mean, "direction from the mean forecast")),
        *(_single_model_reasons(scores) or _single_model_reasons(from_mean)),
        *_dividend_reasons(scores),
    ]


def _calls_from_mean(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with calls of which side of its model's mean a raw forecast is; none within float32's rounding."""
    distance = scores["raw_return"] - scores.groupby("model", observed=True)["raw_return"].transform("mean")
    return with_hits(scores, (distance > 0).astype("float64").mask(distance.abs() <= FLOAT32_PRICES))


def _error_reasons(scores: pd.DataFrame, column: str, name: str) -> list[str]:
    """Check the errors of the forecasts in `column`; `name` is their name in messages."""
    actual, last, models = scores["actual_close"], scores["last_close"], scores["model"]
    errors = (scores[column] - actual).abs()
    own_mean = pd.Series(np.log(scores[column] / last)).groupby(models, observed=True).transform("mean")
    untimed = (last * np.exp(own_mean) - actual).abs()
    scale = naive_scale(scores)
    timing = day_clustered((errors - untimed) / scale, scores["target_session"])
    if not _is_significant(timing, better=-1):
        return []
    ratios = (errors / scale).groupby(models, observed=True).mean().dropna()
    reasons = []
    if ratios.mean() < MAX_RATIO:
        reasons.append(f"{name}: MAE is {ratios.mean():.4f} of the naive MAE (below {MAX_RATIO}; t = {timing.t:.1f})")
    share = float((ratios < 1.0).mean())
    if len(ratios) >= MIN_MODELS_FOR_SHARE and share > MAX_SHARE:
        reasons.append(
            f"{name}: {share:.0%} of {len(ratios)} models beat the naive forecast "
            f"(more than {MAX_SHARE:.0%}; t = {timing.t:.1f})"
        )
    return reasons


def _direction_reasons(scores: pd.DataFrame, name: str) -> list[str]:
    accuracy, always_up = scores["hit"].mean(), scores["up"].mean()
    timing = day_clustered(scores["excess_hit"], scores["target_session"])
    if accuracy > max(MAX_ACCURACY, always_up) and _is_significant(timing, better=1):
        return [
            f"{name}: {accuracy:.1%} of {scores['hit'].count()} calls right "
            f"(more than {MAX_ACCURACY:.0%}; up every day: {always_up:.1%}; t = {timing.t:.1f})"
        ]
    return []


def _single_model_reasons(scores: pd.DataFrame) -> list[str]:
    calls = scores.dropna(subset=["call"])
    groups = calls.assign(both=calls["up"] * calls["call"]).groupby("model", observed=True)
    if not len(groups):
        return []
    sums = groups[["up", "call", "both"]].sum()
    p = stats.hypergeom.sf(sums["both"] - 1, groups.size(), sums["up"], sums["call"])
    accuracy = groups["hit"].mean()
    suspects = accuracy[(accuracy > MAX_ACCURACY) & (p * len(accuracy) < SIGNIFICANCE_LEVEL)].sort_values(
        ascending=False
    )
    if suspects.empty:
        return []
    named = [f"{model} ({value:.1%})" for model, value in suspects.items()]
    return [f"direction of single models better than chance (more than {MAX_ACCURACY:.0%} right): {bounded(named)}"]


def _dividend_reasons(scores: pd.DataFrame) -> list[str]:
    """Check that stocks move as much as usual on ex-days, in total return: a dividend explains nothing but itself."""
    ex_days = scores[scores[DIVIDEND] > 0]
    moves = ex_days["mae_naive"] / ex_days["scale"]
    test = day_clustered(moves - 1.0, ex_days["target_session"])
    if moves.empty or 1.0 + test.mean >= MIN_EX_DAY_MOVE or not _is_significant(test, better=-1):
        return []
    return [
        f"dividends: on ex-days closes differ from last close - dividend by {1.0 + test.mean:.0%} of a usual move "
        f"(below {MIN_EX_DAY_MOVE:.0%}; t = {test.t:.1f})"
    ]


def _is_significant(test: TTest, better: int) -> bool:
    """Whether the mean has the sign `better` (-1 or 1) and is significant at level SIGNIFICANCE_LEVEL, one-sided."""
    return bool(np.sign(test.mean) == better and test.p / 2 < SIGNIFICANCE_LEVEL)
