"""How good the intervals of forecasts are: coverage, width and score, beside intervals of constant width.

Coverage is the share of closes inside the interval: it should equal the level. The interval score (Winkler 1972;
Gneiting & Raftery 2007, section 6.2) of an interval [l, u] with level 1 - a and the close y is

    (u - l) + 2 / a * max(l - y, 0) + 2 / a * max(y - u, 0)

A small score is good: it rewards narrow intervals, and penalises each close outside by its distance. On average it is
least for the true quantiles. Widths and scores are shares of the last close, so that stocks of any price compare.

The interval of constant width is what a user has without a model of volatility: the same centre, and always the half
width `constant_<level>`, in log total return.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.evaluation.frame import DIVIDEND, interval_columns, interval_levels
from mlops_cli.evaluation.significance import day_clustered

MIN_DAYS_OF_MONTH = 10
"""A month with fewer target sessions is never the worst one: its coverage would mean nothing."""

TOLERANCE = 0.01
"""A coverage this close to the level is good enough, whatever the test says."""

LEVEL = 0.05
"""Significance level of the verdict on calibration."""

CALIBRATED, TOO_NARROW, TOO_WIDE = "as stated", "too narrow", "too wide"
_FIGURES = ["coverage", "width", "score"]
_CONSTANT = ["constant_coverage", "constant_width", "constant_score"]

Figures = dict[str, dict[str, Any]]


def score_intervals(forecasts: pd.DataFrame, level: float) -> pd.DataFrame:
    """Score the intervals of one level.

    Args:
        forecasts: as `frame.check_forecasts` returns it.
        level: one of `frame.interval_levels`, in percent.

    Returns:
        The forecasts that have an interval, index as in `forecasts`: `model`, `target_session`; `coverage` (1.0 if the
        close is inside or on a bound, else 0.0), `width` and `score` of the interval; `constant_coverage`,
        `constant_width` and `constant_score` of the interval of constant width (NaN if there is none). Widths and
        scores are shares of the last close.
    """
    lower, upper, constant = interval_columns(level)
    rows = forecasts[forecasts[lower].notna()]
    total = rows["predicted_close"] + rows[DIVIDEND]
    constant_lower, constant_upper = (total * np.exp(sign * rows[constant]) - rows[DIVIDEND] for sign in (-1, 1))
    beside = _scores(constant_lower, constant_upper, rows, level).add_prefix("constant_")
    return rows[["model", "target_session"]].join([_scores(rows[lower], rows[upper], rows, level), beside])


def _scores(lower: pd.Series, upper: pd.Series, rows: pd.DataFrame, level: float) -> pd.DataFrame:
    """Coverage, width and score of the intervals with these bounds; NaN where the bounds are."""
    actual, close = rows["actual_close"], rows["last_close"]
    inside = ((lower <= actual) & (actual <= upper)).astype("float64").mask(lower.isna())
    score = interval_score(lower, upper, actual, level)
    return pd.DataFrame({"coverage": inside, "width": (upper - lower) / close, "score": score / close})


def interval_score(lower: pd.Series, upper: pd.Series, actual: pd.Series, level: float) -> pd.Series:
    """Interval score of each row, in the units of its arguments, which share one index; `level` in percent."""
    penalty = 2.0 / (1.0 - level / 100.0)
    outside = (lower - actual).clip(lower=0.0) + (actual - upper).clip(lower=0.0)
    return upper - lower + penalty * outside


def figures_by_model(forecasts: pd.DataFrame) -> dict[str, Figures]:
    """Figures of the intervals by model, then by level ("80", "95"); only models and levels that have intervals.

    Args:
        forecasts: as `frame.check_forecasts` returns it.

    Returns:
        Per level: `n` (forecasts with an interval), `left_out` (those without), `coverage`, `width` and `score` (means
        over the forecasts), `constant_coverage`, `constant_width`, `constant_score` (the same of constant width),
        `score_ratio` (`score` / `constant_score` over the forecasts that have both; below 1 = better than constant),
        `worst_month` (the calendar month with the least coverage, among those with at least 10 sessions: `month`,
        `coverage`). None: undefined.
    """
    figures: dict[str, Figures] = {}
    for level in interval_levels(forecasts):
        scores = score_intervals(forecasts, level)
        groups = scores.groupby("model", observed=True)
        means = groups[[*_FIGURES, *_CONSTANT]].mean().assign(score_ratio=_score_ratios(scores)).to_dict("index")
        total, with_interval = forecasts["model"].value_counts(), groups.size()
        worst = _worst_months(scores, scores["model"])
        for model, row in means.items():
            name = str(model)
            number = int(with_interval[name])
            counts = {"n": number, "left_out": int(total[name]) - number}
            shown = {str(key): _plain(value) for key, value in row.items()}
            figures.setdefault(name, {})[f"{level:g}"] = {**counts, **shown, "worst_month": worst.get(name)}
    return figures


def pooled_figures(forecasts: pd.DataFrame) -> Figures:
    """Figures of all intervals together, by level; only levels that have intervals.

    Args:
        forecasts: as `frame.check_forecasts` returns it.

    Returns:
        The keys of `figures_by_model`, over all rows; only `score_ratio` is the mean over the models, so that every
        stock weighs the same. Also `coverage_t` and `coverage_p`, the day-clustered test of the coverage against the
        level, and `calibration`: `too narrow` or `too wide` if p < 0.05 and the coverage is at least one percentage
        point off, else `as stated`; None if the test is undefined.
    """
    figures: Figures = {}
    for level in interval_levels(forecasts):
        scores = score_intervals(forecasts, level)
        if scores.empty:
            continue
        means = scores[[*_FIGURES, *_CONSTANT]].mean()
        miss = scores["coverage"] - level / 100.0
        test = day_clustered(miss, scores["target_session"])
        figures[f"{level:g}"] = {
            "n": len(scores),
            "left_out": len(forecasts) - len(scores),
            **{str(name): _plain(value) for name, value in means.items()},
            "score_ratio": _plain(_score_ratios(scores).mean()),
            "worst_month": _worst_months(scores, pd.Series("", scores.index)).get(""),
            "coverage_t": _plain(test.t),
            "coverage_p": _plain(test.p),
            "calibration": _calibration(miss.mean(), test.p),
        }
    return figures


def _score_ratios(scores: pd.DataFrame) -> pd.Series:
    """By model score / constant score, over the rows that have both; NaN if there are none."""
    both = scores["score"].mask(scores["constant_score"].isna())
    means = scores.assign(score=both).groupby("model", observed=True)[["score", "constant_score"]].mean()
    return means["score"] / means["constant_score"].replace(0.0, np.nan)


def _worst_months(scores: pd.DataFrame, names: pd.Series) -> dict[str, dict[str, Any]]:
    """By name (one per row), the month with the least coverage, the first of equal ones; a name may have no month."""
    days = scores["target_session"]
    months = scores.groupby([names, 12 * days.dt.year + days.dt.month - 1])
    full = months["coverage"].mean()[months["target_session"].nunique() >= MIN_DAYS_OF_MONTH]
    worst: dict[str, dict[str, Any]] = {}
    least_first = full.sort_values(kind="stable")
    places = [least_first.index.get_level_values(number) for number in (0, 1)]
    for name, month, coverage in zip(*places, least_first, strict=True):
        worst.setdefault(str(name), {"month": f"{month // 12}-{month % 12 + 1:02d}", "coverage": float(coverage)})
    return worst


def _calibration(miss: float, p: float) -> str | None:
    """Judge the mean difference of coverage and level by the p of its test."""
    if math.isnan(p):
        return None
    if p >= LEVEL or abs(miss) < TOLERANCE:
        return CALIBRATED
    return TOO_NARROW if miss < 0 else TOO_WIDE


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
