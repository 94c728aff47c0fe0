"""Intervals: figures by hand, what happens to forecasts that have none, and calibration with known answers."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlops_cli.evaluation.frame import check_forecasts
from mlops_cli.evaluation.intervals import figures_by_model, interval_score, pooled_figures, score_intervals
from mlops_cli.evaluation.summary import summarise
from tests.fakes.forecast_frames import (
    equal_shrinkage,
    forecast_frame,
    market_returns,
    noise,
    with_base,
    with_intervals,
)

NORMAL = {80.0: stats.norm.ppf(0.9), 95.0: stats.norm.ppf(0.975)}


def normal_frame(models: int, days: int, seed: int = 0, size: float = 0.01, stated: float = 1.0) -> pd.DataFrame:
    """Normal returns around a forecast of no change, with the right quantiles, times `stated`."""
    returns = np.random.default_rng(seed).normal(size=(days, models)) * size
    frame = forecast_frame(returns, np.zeros_like(returns))
    widths = {level: size * stated * quantile for level, quantile in NORMAL.items()}
    return check_forecasts(with_intervals(frame, widths, {level: 1.5 * width for level, width in widths.items()}))


def three_rows() -> pd.DataFrame:
    """Closes inside, below and above an 80 % interval, and a fourth forecast without one."""
    frame = forecast_frame(np.zeros((4, 1)), np.zeros((4, 1)))
    closes = {"last_close": 100.0, "predicted_close": 100.0, "actual_close": [100.0, 95.0, 104.0, 100.0]}
    bounds = {"lower_80": [98.0, 98.0, 98.0, np.nan], "upper_80": [102.0, 102.0, 102.0, np.nan]}
    return check_forecasts(frame.assign(**closes, **bounds, constant_80=math.log(1.01)))


def test_figures_of_three_rows_by_hand() -> None:
    scores = score_intervals(three_rows(), 80.0)
    assert scores["coverage"].tolist() == [1.0, 0.0, 0.0]
    assert scores["width"].tolist() == pytest.approx([0.04] * 3)
    # a = 0.2, so each unit outside costs 10: 4, 4 + 10 * 3, 4 + 10 * 2, of a close of 100
    assert scores["score"].tolist() == pytest.approx([0.04, 0.34, 0.24])
    width = 101 - 100 / 1.01
    constant = [width, width + 10 * (100 / 1.01 - 95), width + 10 * (104 - 101)]
    assert scores["constant_score"].tolist() == pytest.approx([value / 100 for value in constant])
    (figures,) = figures_by_model(three_rows())["red-s000"].values()
    assert (figures["n"], figures["left_out"]) == (3, 1)
    assert figures["coverage"] == pytest.approx(1 / 3)
    assert figures["score_ratio"] == pytest.approx(62 / sum(constant))
    assert figures["worst_month"] is None, "three sessions are no month"


def test_a_close_on_a_bound_is_inside() -> None:
    frame = three_rows().assign(actual_close=[98.0, 102.0, 102.0, 100.0])
    assert score_intervals(frame, 80.0)["coverage"].tolist() == [1.0, 1.0, 1.0]


@settings(max_examples=30)
@given(st.floats(1.0, 99.5), st.floats(1.0, 500.0), st.floats(0.0, 50.0), st.floats(1.0, 500.0), st.floats(0.0, 10.0))
def test_the_score_never_rewards_a_wider_interval_that_was_not_needed(
    level: float, lower: float, width: float, actual: float, more: float
) -> None:
    def score(low: float, high: float) -> float:
        return float(interval_score(pd.Series([low]), pd.Series([high]), pd.Series([actual]), level)[0])

    if lower <= actual <= lower + width:
        assert score(lower - more, lower + width + more) == pytest.approx(width + 2 * more)
    assert score(lower, lower + width) >= width - 1e-9


def test_the_true_quantiles_have_the_best_score() -> None:
    best = {level: figures["score"] for level, figures in pooled_figures(normal_frame(20, 400)).items()}
    for stated in (0.7, 0.85, 1.2, 1.5):
        other = pooled_figures(normal_frame(20, 400, stated=stated))
        assert all(other[level]["score"] > best[level] for level in best)


def test_coverage_of_true_quantiles_is_the_level() -> None:
    pooled = pooled_figures(normal_frame(20, 400))
    assert pooled["80"]["coverage"] == pytest.approx(0.80, abs=0.01)
    assert pooled["95"]["coverage"] == pytest.approx(0.95, abs=0.01)
    assert {figures["calibration"] for figures in pooled.values()} == {"as stated"}
    assert all(figures["score_ratio"] < 1 for figures in pooled.values())


@pytest.mark.parametrize(("stated", "said"), [(0.8, "too narrow"), (1.3, "too wide")])
def test_intervals_that_are_off_are_called_so(stated: float, said: str) -> None:
    pooled = pooled_figures(normal_frame(20, 400, stated=stated))
    assert {figures["calibration"] for figures in pooled.values()} == {said}
    sign = -1 if said == "too narrow" else 1
    assert all(sign * figures["coverage_t"] > 5 and figures["coverage_p"] < 0.001 for figures in pooled.values())


def test_half_a_point_off_is_as_stated_even_if_it_is_significant() -> None:
    frame = normal_frame(50, 2000, stated=0.98)
    figures = pooled_figures(frame)["95"]
    assert figures["coverage_p"] < 0.05
    assert figures["calibration"] == "as stated"


def test_few_days_have_no_calibration() -> None:
    figures = pooled_figures(normal_frame(3, 10))["95"]
    assert (figures["coverage_t"], figures["calibration"]) == (None, None)


def test_days_on_which_all_stocks_move_together_are_one_observation() -> None:
    """200 copies of one stock prove no more than the stock alone."""
    alone = normal_frame(1, 60, seed=3, stated=0.8)
    copies = pd.concat([alone.assign(model=f"m{number}", ticker=f"M{number}") for number in range(200)])
    one, many = pooled_figures(alone)["95"], pooled_figures(check_forecasts(copies))["95"]
    assert many["coverage_t"] == pytest.approx(one["coverage_t"], abs=1e-9)


def test_the_worst_month_is_a_full_one() -> None:
    frame = normal_frame(4, 90, seed=4)
    month = frame["target_session"].dt.to_period("M").astype(str)
    first, last = month.iloc[0], month.max()
    assert month[frame["model"] == "red-s000"].value_counts()[last] < 10
    outside = (month == "2023-03") | (month == last)
    frame.loc[outside, "actual_close"] = frame.loc[outside, "last_close"] * 2
    for figures in (pooled_figures(frame)["95"], figures_by_model(frame)["red-s000"]["95"]):
        assert figures["worst_month"] == {"month": "2023-03", "coverage": 0.0}
    assert first == "2023-01"


def test_a_dividend_moves_both_intervals_and_the_close_alike() -> None:
    returns = market_returns(3, 40, 5)
    plain = forecast_frame(returns, noise(3, 40, 5))
    payer = with_base(plain, np.full(120, 0.02))
    widths, constants = {95.0: 0.03}, {95.0: 0.025}
    one, other = (
        pooled_figures(check_forecasts(with_intervals(each, widths, constants)))["95"] for each in (plain, payer)
    )
    for key in ("coverage", "score", "constant_score", "width"):
        assert one[key] == pytest.approx(other[key], rel=1e-9)


def test_forecasts_without_an_interval_are_left_out_and_counted() -> None:
    frame = normal_frame(2, 60, seed=6)
    gone = frame["session"] < "2023-01-16"
    frame.loc[gone, ["lower_95", "upper_95"]] = np.nan
    pooled, kept = pooled_figures(frame), pooled_figures(check_forecasts(frame[~gone]))
    assert (pooled["95"]["n"], pooled["95"]["left_out"]) == (100, 20)
    assert (pooled["80"]["n"], pooled["80"]["left_out"]) == (120, 0)
    assert pooled["95"] == kept["95"] | {"left_out": 20}


def test_a_model_or_level_without_any_interval_has_no_figures() -> None:
    frame = normal_frame(2, 30, seed=7)
    frame.loc[frame["model"] == "red-s000", ["lower_80", "upper_80", "lower_95", "upper_95"]] = np.nan
    assert list(figures_by_model(frame)) == ["blue-s001"]
    assert pooled_figures(frame)["95"]["left_out"] == 30
    summary = summarise(frame, equal_shrinkage(frame))
    assert [list(row["intervals"]) for row in summary["models"]] == [["80", "95"], []]
    frame[["lower_80", "upper_80", "lower_95", "upper_95"]] = np.nan
    assert (figures_by_model(frame), pooled_figures(frame)) == ({}, {})


def test_without_a_constant_width_there_is_no_comparison() -> None:
    frame = normal_frame(2, 30, seed=8)
    red = frame["model"] == "red-s000"
    frame.loc[red, "constant_95"] = np.nan
    models = figures_by_model(frame)
    assert models["red-s000"]["95"]["score_ratio"] is None
    assert models["red-s000"]["95"]["constant_score"] is None
    assert pooled_figures(frame)["95"]["score_ratio"] == models["blue-s001"]["95"]["score_ratio"]


def test_every_level_has_its_figures_and_all_of_it_is_json() -> None:
    returns = market_returns(2, 30, 9)
    widths = {50.0: 0.005, 99.5: 0.04}
    frame = with_intervals(forecast_frame(returns, noise(2, 30, 9)), widths, {50.0: 0.01, 99.5: 0.02})
    summary = summarise(frame, equal_shrinkage(frame))
    assert list(summary["pooled"]["intervals"]) == ["50", "99.5"]
    assert all(list(row["intervals"]) == ["50", "99.5"] for row in summary["models"])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
