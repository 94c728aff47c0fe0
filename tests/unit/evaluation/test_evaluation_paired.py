"""One set of forecasts against another of the same sessions."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlops_cli.errors import DataError
from mlops_cli.evaluation.paired import compare
from tests.fakes.forecast_frames import forecast_frame, market_returns, noise

RETURNS = market_returns(6, 60, 5)


def frames(seed: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    return forecast_frame(RETURNS, noise(6, 60, seed)), forecast_frame(RETURNS, noise(6, 60, seed + 1))


def test_figures_as_a_hand_computes_them() -> None:
    ours, theirs = frames()
    result = compare(ours, theirs)
    error = (ours["predicted_close"] - ours["actual_close"]).abs()
    other = (theirs["predicted_close"] - theirs["actual_close"]).abs()
    naive = (ours["last_close"] - ours["actual_close"]).abs()
    scale = naive.groupby(ours["model"]).transform("mean")
    daily = ((error - other) / scale).groupby(ours["target_session"]).mean()
    expected = stats.ttest_1samp(daily, 0.0)
    assert (result["n"], result["n_models"], result["n_days"]) == (360, 6, 60)
    assert result["mae"] == pytest.approx(error.mean())
    assert result["mae_other"] == pytest.approx(other.mean())
    assert result["mae_ratio"] == pytest.approx((error / scale).groupby(ours["model"]).mean().mean())
    assert result["mae_ratio_other"] == pytest.approx((other / scale).groupby(ours["model"]).mean().mean())
    assert result["difference"] == pytest.approx(daily.mean())
    assert (result["t"], result["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    json.dumps(result, allow_nan=False)


def test_swapping_the_two_swaps_the_sign() -> None:
    one, other = compare(*frames()), compare(*reversed(frames()))
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["t"] == pytest.approx(-other["t"])
    assert one["p"] == pytest.approx(other["p"])


def test_better_and_worse_are_said_alike() -> None:
    knowing, blind = forecast_frame(RETURNS, 0.5 * RETURNS), forecast_frame(RETURNS, np.zeros_like(RETURNS))
    assert compare(knowing, blind)["verdict"] == "better"
    assert compare(blind, knowing)["verdict"] == "worse"


def test_equal_forecasts_are_no_evidence() -> None:
    ours, _ = frames()
    result = compare(ours, ours)
    assert (result["difference"], result["t"], result["p"], result["verdict"]) == (0.0, None, None, "no difference")


def test_few_days_are_not_tested() -> None:
    ours, theirs = frames()
    early = ours["target_session"] <= ours["target_session"].unique()[9]
    result = compare(ours.loc[early], theirs)
    assert (result["n_days"], result["p"], result["verdict"]) == (10, None, "no difference")


def test_further_rows_of_the_other_and_the_order_of_rows_do_not_matter() -> None:
    ours, theirs = frames()
    late = ours["target_session"] > ours["target_session"].unique()[20]
    part = compare(ours.loc[late], theirs.loc[late])
    assert compare(ours.loc[late].sample(frac=1, random_state=1), theirs.sample(frac=1, random_state=2)) == part


def test_a_stock_that_never_moved_has_no_say_in_the_difference() -> None:
    still = np.hstack([RETURNS, np.zeros((60, 1))])
    ours, theirs = forecast_frame(still, noise(7, 60, 5)), forecast_frame(still, noise(7, 60, 6))
    moved = ours["ticker"] != "S006"
    assert compare(ours, theirs)["difference"] == pytest.approx(
        compare(ours.loc[moved], theirs.loc[moved])["difference"]
    )


def test_missing_rows_and_broken_frames_are_refused() -> None:
    ours, theirs = frames()
    with pytest.raises(ValueError, match="lack some of these rows"):
        compare(ours, theirs.iloc[:-1])
    with pytest.raises(DataError, match="columns missing"):
        compare(ours, theirs.drop(columns="last_close"))


def test_noise_is_found_to_differ_about_as_often_as_chance_says() -> None:
    differences = 0
    for seed in range(200):
        returns = market_returns(5, 40, 1000 + seed)
        ours = forecast_frame(returns, noise(5, 40, 2 * seed))
        theirs = forecast_frame(returns, noise(5, 40, 2 * seed + 1))
        differences += compare(ours, theirs)["verdict"] != "no difference"
    assert differences <= 22  # 5 % of 200 is 10; more than 22 comes by chance once in 5,000 times
