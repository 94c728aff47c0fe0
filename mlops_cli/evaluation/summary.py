"""All figures of a collection's forecasts, as a dictionary that can be written as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.evaluation.alarm import look_ahead, total_returns
from mlops_cli.evaluation.decomposition import decompose, verdict_on_network
from mlops_cli.evaluation.frame import check_forecasts
from mlops_cli.evaluation.intervals import figures_by_model, pooled_figures
from mlops_cli.evaluation.metrics import average_by, naive_ratios, score_forecasts
from mlops_cli.evaluation.significance import (
    FLOAT32_ERRORS,
    FLOAT32_PRICES,
    MIN_SESSIONS,
    clustered_error,
    day_clustered,
    diebold_mariano_p,
    false_discovery,
    pesaran_timmermann_p,
)

LEVEL = 0.05
"""Significance level of the verdicts, after false-discovery control."""

MIN_CALLS = 10
DIRECTION = ["direction_accuracy", "direction_se", "always_up_rate"]
"""The figures that are left out if there are fewer than MIN_SESSIONS sessions or MIN_CALLS calls."""

SKILL, NO_SKILL, WORSE = "skill", "no skill", "worse than naive"


def summarise(forecasts: pd.DataFrame, shrinkage: Mapping[str, float]) -> dict[str, Any]:
    """Judge a collection of forecasts: per model, per team, and pooled.

    Args:
        forecasts: as `frame.check_forecasts` requires, rows in any order.
        shrinkage: model name to its factor lambda in [0, 1] (1 = forecasts as the model made them, 0 = naive).

    Returns:
        A dictionary of str, int, float, bool and None only (an undefined figure is None, never NaN):
        `models`: one dictionary per model, by name: model, team, ticker, n, mae, mae_raw, mae_naive, mae_drift, skill,
        mae_ratio, direction_accuracy, direction_se, direction_calls, always_up_rate, shrinkage, dm_p, dm_p_fdr, pt_p,
        pt_p_fdr, verdict; mae_base, base_ratio (mae_base / mae_naive), base_p, base_p_fdr, base_verdict; intervals (by
        level, see evaluation.intervals; empty if the model has none).
        `teams`: a leaderboard, best mean MAE ratio first and then best direction: rank, team, and the keys of `pooled`
        plus dm_p_fdr and base_p_fdr (over the teams), without intervals.
        `pooled`: the same figures over all rows (prices averaged as they are; n = rows), and n_models, n_days (target
        sessions), n_sessions (sessions forecast from), mae_ratio (mean over models of MAE / naive MAE: every stock
        weighs the same), mae_ratio_se and direction_se (clustered by day), share_of_models_below_naive, shrinkage
        (mean), the day-clustered tests `dm_t`, `dm_p` (against naive), `drift_t`, `drift_p` (against drift), `base_t`,
        `base_p` (against the base), `pt_t`, `pt_p` (direction beyond independence) and the verdicts. A t that is
        infinite is None beside its p of 0.
        With fewer than 20 sessions (pooled: days), or 10 calls, direction_accuracy, direction_se and always_up_rate are
        None: they would mean nothing.
        `decomposition`: what the pooled gain is made of (see evaluation.decomposition); None if no model has a base.
        `alarm`: `sounded` and `reasons` (see evaluation.alarm).
        A verdict is `skill` if MAE < naive and the (adjusted) dm_p < 0.05, `worse than naive` if MAE > naive and
        dm_p < 0.05, else `no skill`; for teams and pooled, "MAE < naive" is the sign of `dm_t`. A base_verdict is the
        same against the base: `adds to the base`, `takes from the base` or `adds nothing to the base`. Without a base
        (the last close takes its place) all figures of the base are None: the first verdict says all.

    Raises:
        DataError: `forecasts` are not as required, or a model has no shrinkage factor.
    """
    frame = check_forecasts(forecasts)
    missing = sorted(set(frame["model"]) - set(shrinkage))
    if missing:
        raise DataError(f"no shrinkage factor for {bounded(missing)}", "train these models again: mlops train")
    scores = score_forecasts(frame)
    scores["shrinkage"] = scores["model"].map(dict(shrinkage)).astype("float64")
    reasons = look_ahead(score_forecasts(total_returns(frame)))
    intervals = figures_by_model(frame)
    pooled = _records(_pools(scores.assign(collection="all"), "collection").drop(columns="collection"))[0]
    return {
        "models": [{**row, "intervals": intervals.get(row["model"], {})} for row in _records(_models(scores))],
        "teams": _records(_teams(scores)),
        "pooled": {**pooled, "intervals": pooled_figures(frame)},
        "decomposition": decompose(scores),
        "alarm": {"sounded": bool(reasons), "reasons": reasons},
    }


def _models(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per model, columns as `summarise` names them."""
    groups = scores.groupby("model", observed=True, sort=True)
    table = groups[["team", "ticker"]].first().join(average_by(scores, "model"))
    table["mae_ratio"] = 1.0 - table["skill"]
    accuracy, calls = table["direction_accuracy"], table["direction_calls"]
    # The clustered error with one row per day: std(ddof=1) / sqrt(n) of zeros and ones.
    table["direction_se"] = np.sqrt(accuracy * (1.0 - accuracy) / (calls - 1).where(calls > 1))
    table.loc[(table["n"] < MIN_SESSIONS) | (calls < MIN_CALLS), DIRECTION] = np.nan
    table["shrinkage"] = groups["shrinkage"].first()
    tests = pd.DataFrame({model: _tests(rows) for model, rows in groups}).T
    table["dm_p"], table["pt_p"] = tests["dm_p"], tests["pt_p"]
    table["dm_p_fdr"], table["pt_p_fdr"] = false_discovery(table["dm_p"]), false_discovery(table["pt_p"])
    gain = table["mae_naive"] - table["mae"]
    table["verdict"] = [_verdict(g, p) for g, p in zip(gain, table["dm_p_fdr"], strict=True)]
    table["base_ratio"] = table["mae_base"] / table["mae_naive"].replace(0.0, np.nan)
    table["base_p"] = tests["base_p"].where(table["mae_base"].notna())
    table["base_p_fdr"] = false_discovery(table["base_p"])
    return _with_base_verdicts(table, table["mae_base"] - table["mae"], table["base_p_fdr"]).reset_index()


def _with_base_verdicts(table: pd.DataFrame, gain: pd.Series, p: pd.Series) -> pd.DataFrame:
    """Add `base_verdict`, by the gain over the base and the p of its test; None in rows without a base."""
    verdicts = [verdict_on_network(each, of_each, LEVEL) for each, of_each in zip(gain, p, strict=True)]
    return table.assign(base_verdict=pd.Series(verdicts, table.index, dtype=object).where(table["mae_base"].notna()))


def _tests(rows: pd.DataFrame) -> dict[str, float]:
    """Test one model's rows, in order of time."""
    called = rows.dropna(subset=["call"])
    names = ("actual_close", "predicted_close", "last_close", "base_predicted_close")
    actual, forecast, last, base = (rows[name].to_numpy() for name in names)
    return {
        "dm_p": diebold_mariano_p(actual, forecast, last),
        "base_p": diebold_mariano_p(actual, forecast, base, FLOAT32_PRICES),
        "pt_p": pesaran_timmermann_p(called["actual_return"].to_numpy(), called["raw_return"].to_numpy()),
    }


def _pools(scores: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row per value of column `by`, columns as `summarise` names them for `pooled`."""
    table = average_by(scores, by)
    pools = pd.DataFrame({name: _pool(rows) for name, rows in scores.groupby(by, observed=True, sort=True)}).T
    table = table.join(pools.astype({name: "int64" for name in pools if str(name).startswith("n_")}))
    table.loc[table["n_days"] < MIN_SESSIONS, DIRECTION] = np.nan
    table.loc[table["mae_base"].isna(), ["base_t", "base_p", "base_ratio"]] = np.nan
    table["verdict"] = [_verdict(-t, p) for t, p in zip(table["dm_t"], table["dm_p"], strict=True)]
    return _with_base_verdicts(table, -table["base_t"], table["base_p"]).reset_index()


def _pool(rows: pd.DataFrame) -> dict[str, float]:
    """The figures whose unit is a model or a day; `metrics.average_by` gives the others."""
    days, ratios = rows["target_session"], naive_ratios(rows)
    naive, drift, direction = (
        day_clustered(rows[name], days) for name in ("relative_loss", "drift_relative_loss", "excess_hit")
    )
    base = day_clustered(rows["base_relative_loss"], days, FLOAT32_ERRORS)
    return {
        "n_models": rows["model"].nunique(),
        "n_days": days.nunique(),
        "n_sessions": rows["session"].nunique(),
        "mae_ratio": ratios.mean(),
        "mae_ratio_se": naive.error,
        "share_of_models_below_naive": (ratios < 1.0).mean(),
        "direction_se": clustered_error(rows["hit"], days),
        "shrinkage": rows.groupby("model", observed=True)["shrinkage"].first().mean(),
        "dm_t": naive.t,
        "dm_p": naive.p,
        "drift_t": drift.t,
        "drift_p": drift.p,
        "base_t": base.t,
        "base_p": base.p,
        "base_ratio": naive_ratios(rows, "mae_base").mean(),
        "pt_t": direction.t,
        "pt_p": direction.p,
    }


def _teams(scores: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard."""
    table = _pools(scores, "team")
    table["dm_p_fdr"], table["base_p_fdr"] = false_discovery(table["dm_p"]), false_discovery(table["base_p"])
    table["verdict"] = [_verdict(-t, p) for t, p in zip(table["dm_t"], table["dm_p_fdr"], strict=True)]
    table = _with_base_verdicts(table, -table["base_t"], table["base_p_fdr"]).sort_values(
        ["mae_ratio", "direction_accuracy", "team"], ascending=[True, False, True], ignore_index=True
    )
    table.insert(0, "rank", table.index + 1)
    return table


def _verdict(gain: float, p: float) -> str:
    """The verdict on a gain over naive (negative: a loss) with an adjusted p; NaN: the test is undefined."""
    if not p < LEVEL or gain == 0:
        return NO_SKILL
    return SKILL if gain > 0 else WORSE


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries of plain Python values, with None for what is not finite."""
    plain = table.astype(object).to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in plain]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
