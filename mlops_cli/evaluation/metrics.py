"""Errors and directions of the forecasts, and of the naive and drift forecasts."""

from __future__ import annotations

import numpy as np
import pandas as pd

ERROR_COLUMNS = ("mae", "mae_raw", "mae_naive", "mae_drift", "mae_base")


def with_errors(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Add the absolute errors of every forecast.

    Args:
        forecasts: as `frame.check_forecasts` returns it.

    Returns:
        `forecasts` with the columns `mae`, `mae_raw`, `mae_naive`, `mae_drift` and `mae_base`, in price units: errors
        of the shrunk, the raw, the naive (last close) and the drift forecast, and of the base.
    """
    actual = forecasts["actual_close"]
    return forecasts.assign(
        mae=(forecasts["predicted_close"] - actual).abs(),
        mae_raw=(forecasts["raw_predicted_close"] - actual).abs(),
        mae_naive=(forecasts["last_close"] - actual).abs(),
        mae_drift=(forecasts["drift_predicted_close"] - actual).abs(),
        mae_base=(forecasts["base_predicted_close"] - actual).abs(),
    )


def naive_scale(errors: pd.DataFrame) -> pd.Series:
    """Per row of `with_errors`, the mean naive error of its model; NaN if the close never changed in its rows."""
    return errors.groupby("model", observed=True)["mae_naive"].transform("mean").replace(0.0, np.nan)


def score_forecasts(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Score every forecast.

    Args:
        forecasts: as `frame.check_forecasts` returns it.

    Returns:
        `forecasts` with these columns added, same index:
        `mae`, `mae_raw`, `mae_naive`, `mae_drift`, `mae_base`: see `with_errors`;
        `scale`: the model's mean naive error; NaN if the close never changed in its rows;
        `relative_loss`: (mae - mae_naive) / the model's mean naive error, comparable between stocks of any price;
        NaN if the close never changed in its rows;
        `drift_relative_loss`, `base_relative_loss`: the same against the drift forecast and against the base;
        `has_base`: whether the model has a base (its base is not the last close in every row);
        `actual_return`, `raw_return`: log returns from the last close, actual and as forecast before shrinkage;
        `up`: 1.0 where the close rose, 0.0 where it fell, NaN where it did not move;
        `call`: 1.0 where the raw forecast is up, 0.0 where it is down, NaN where it is neither or the close did not
        move (then it does not count);
        `hit`: 1.0 where `call` equals `up`, 0.0 where not, NaN where there is no call;
        `excess_hit`: `hit` minus the share of hits that the model would have if its calls were independent of the
        market, p q + (1 - p)(1 - q) for shares p of rises and q of up-calls (Pesaran & Timmermann 1992); a model whose
        every call is up gets 0 on average.
    """
    frame = with_errors(forecasts)
    actual, last, raw = frame["actual_close"], frame["last_close"], frame["raw_predicted_close"]
    frame["scale"] = scale = naive_scale(frame)
    frame["relative_loss"] = (frame["mae"] - frame["mae_naive"]) / scale
    frame["drift_relative_loss"] = (frame["mae"] - frame["mae_drift"]) / scale
    frame["base_relative_loss"] = (frame["mae"] - frame["mae_base"]) / scale
    differs = frame["base_predicted_close"] != last
    frame["has_base"] = differs.groupby(frame["model"], observed=True).transform("any")
    frame["actual_return"] = np.log(actual / last)
    frame["raw_return"] = np.log(raw / last)
    frame["up"] = (actual > last).astype("float64").mask(actual == last)
    return with_hits(frame, (raw > last).astype("float64").mask(raw == last))


def with_hits(scores: pd.DataFrame, calls: pd.Series) -> pd.DataFrame:
    """Set `call`, `hit` and `excess_hit` of `score_forecasts` for these calls: 1.0 = up, 0.0 = down, NaN = no call."""
    scores = scores.assign(call=calls.mask(scores["up"].isna()))
    scores["hit"] = (scores["call"] == scores["up"]).astype("float64").mask(scores["call"].isna())
    return scores.assign(excess_hit=scores["hit"] - _hits_by_chance(scores))


def _hits_by_chance(frame: pd.DataFrame) -> pd.Series:
    """Per row, its model's expected share of hits if calls and rises were independent; only rows with a call count."""
    called = frame[["up", "call"]].mask(frame["call"].isna())
    shares = called.groupby(frame["model"], observed=True).transform("mean")
    return shares["up"] * shares["call"] + (1.0 - shares["up"]) * (1.0 - shares["call"])


def average_by(scores: pd.DataFrame, by: str) -> pd.DataFrame:
    """Average the scores per value of column `by`, with equal weights of all rows.

    Args:
        scores: as `score_forecasts` returns it.
        by: a column of `scores`, such as `model` or `team`.

    Returns:
        One row per value of `by`, sorted, columns: `n` (rows); the errors of `with_errors` (price units;
        `mae_base` is NaN if no model has a base); `skill` = 1 - mae / mae_naive (NaN if the close never changed);
        `direction_accuracy` (share of calls that were right, NaN without calls), `direction_calls` (their number),
        `always_up_rate` (share of rises among the sessions that moved: what "up, every day" would have scored; NaN if
        none moved).
    """
    groups = scores.groupby(by, observed=True, sort=True)
    table = groups[list(ERROR_COLUMNS)].mean()
    table["mae_base"] = table["mae_base"].where(groups["has_base"].any())
    table.insert(0, "n", groups.size())
    table["skill"] = 1.0 - table["mae"] / table["mae_naive"].replace(0.0, np.nan)
    table["direction_accuracy"] = groups["hit"].mean()
    table["direction_calls"] = groups["hit"].count()
    table["always_up_rate"] = groups["up"].mean()
    return table


def naive_ratios(errors: pd.DataFrame, column: str = "mae") -> pd.Series:
    """Return MAE / naive MAE per model (index: model, sorted), without the models whose close never moved.

    `column`: the errors to compare with the naive ones.
    """
    means = errors.groupby("model", observed=True, sort=True)[[column, "mae_naive"]].mean()
    moved = means[means["mae_naive"] > 0]
    return moved[column] / moved["mae_naive"]
