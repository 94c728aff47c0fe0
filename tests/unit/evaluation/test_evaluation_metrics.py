"""Errors and directions, against values worked out by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.evaluation.frame import check_forecasts
from mlops_cli.evaluation.metrics import average_by, naive_ratios, naive_scale, score_forecasts, with_errors
from tests.fakes.forecast_frames import forecast_frame, market_returns, noise

#       last, shrunk,   raw, actual, drift
PRICES = [
    (100.0, 101.0, 102.0, 103.0, 100.5),  # up, called up
    (100.0, 99.0, 98.0, 102.0, 100.5),  # up, called down
    (100.0, 100.5, 101.0, 96.0, 100.5),  # down, called up
    (100.0, 102.0, 104.0, 100.0, 100.5),  # did not move: counts in neither direction
    (100.0, 100.0, 100.0, 101.0, 100.5),  # no call
]


@pytest.fixture
def scores() -> pd.DataFrame:
    return score_forecasts(check_forecasts(hand_frame("a", PRICES)))


def hand_frame(model: str, prices: list[tuple[float, ...]]) -> pd.DataFrame:
    days = pd.bdate_range("2024-01-01", periods=len(prices) + 1)
    frame = pd.DataFrame(
        prices,
        columns=["last_close", "predicted_close", "raw_predicted_close", "actual_close", "drift_predicted_close"],
    )
    frame = frame.assign(model=model, team="red", ticker="A", session=days[:-1], target_session=days[1:])
    return frame.assign(base_predicted_close=frame["last_close"], announced_dividend=0.0)


def test_mean_errors_by_hand(scores: pd.DataFrame) -> None:
    row = average_by(scores, "model").loc["a"]
    assert row["n"] == 5
    assert row["mae"] == pytest.approx((2 + 3 + 4.5 + 2 + 1) / 5, abs=1e-12)
    assert row["mae_raw"] == pytest.approx((1 + 4 + 5 + 4 + 1) / 5, abs=1e-12)
    assert row["mae_naive"] == pytest.approx((3 + 2 + 4 + 0 + 1) / 5, abs=1e-12)
    assert row["mae_drift"] == pytest.approx((2.5 + 1.5 + 4.5 + 0.5 + 0.5) / 5, abs=1e-12)
    assert row["skill"] == pytest.approx(1 - 12.5 / 10, abs=1e-12)


def test_direction_by_hand(scores: pd.DataFrame) -> None:
    row = average_by(scores, "model").loc["a"]
    assert row["direction_calls"] == 3
    assert row["direction_accuracy"] == pytest.approx(1 / 3, abs=1e-12)
    assert row["always_up_rate"] == pytest.approx(3 / 4, abs=1e-12)


def test_rows_by_hand(scores: pd.DataFrame) -> None:
    nan = math.nan
    assert scores["call"].tolist() == pytest.approx([1, 0, 1, nan, nan], nan_ok=True)
    assert scores["up"].tolist() == pytest.approx([1, 1, 0, nan, 1], nan_ok=True)
    assert scores["hit"].tolist() == pytest.approx([1, 0, 0, nan, nan], nan_ok=True)
    assert scores["relative_loss"].tolist() == pytest.approx([-0.5, 0.5, 0.25, 1.0, 0.0], abs=1e-12)
    assert scores["drift_relative_loss"].tolist() == pytest.approx([-0.25, 0.75, 0.0, 0.75, 0.25], abs=1e-12)
    assert scores["actual_return"].iloc[0] == pytest.approx(math.log(1.03), abs=1e-12)
    assert scores["raw_return"].iloc[0] == pytest.approx(math.log(1.02), abs=1e-12)


def test_excess_hits_by_hand(scores: pd.DataFrame) -> None:
    # Of the three calls 2 are up, and 2 of the three sessions rose: 4/9 + 1/9 would be right by chance.
    assert scores["excess_hit"].dropna().tolist() == pytest.approx([1 - 5 / 9, -5 / 9, -5 / 9], abs=1e-12)


def test_up_every_day_earns_no_excess_hit() -> None:
    frame = forecast_frame(market_returns(1, 60, 3, mean=0.004), noise(1, 60, 3) * 0 + 0.001)
    scores = score_forecasts(check_forecasts(frame))
    assert average_by(scores, "model")["direction_accuracy"].iloc[0] > 0.55
    assert scores["excess_hit"].mean() == pytest.approx(0.0, abs=1e-12)


def test_the_smallest_move_is_a_move() -> None:
    last = 100.0
    above = math.nextafter(last, 200.0)
    scores = score_forecasts(check_forecasts(hand_frame("a", [(last, above, above, above, last)])))
    row = average_by(scores, "model").loc["a"]
    assert (row["direction_calls"], row["direction_accuracy"]) == (1, 1.0)
    assert scores["actual_return"].iloc[0] > 0


def test_a_close_that_never_moves_has_no_skill_figure_and_no_ratio() -> None:
    still = hand_frame("still", [(50.0, 51.0, 51.0, 50.0, 50.0)] * 4)
    scores = score_forecasts(check_forecasts(pd.concat([still, hand_frame("a", PRICES)])))
    row = average_by(scores, "model").loc["still"]
    assert (row["mae"], row["mae_naive"], row["direction_calls"]) == (1.0, 0.0, 0)
    assert row[["skill", "direction_accuracy", "always_up_rate"]].isna().all()
    assert naive_ratios(scores).to_dict() == pytest.approx({"a": 1.25}, abs=1e-12)


def test_pooling_weighs_every_row_alike() -> None:
    two = pd.concat([hand_frame("a", PRICES), hand_frame("b", PRICES[:1])])
    row = average_by(score_forecasts(check_forecasts(two)), "team").loc["red"]
    assert row["n"] == 6
    assert row["mae"] == pytest.approx((12.5 + 2) / 6, abs=1e-12)
    assert row["direction_accuracy"] == pytest.approx(2 / 4, abs=1e-12)


def test_input_is_left_alone() -> None:
    frame = check_forecasts(hand_frame("a", PRICES))
    before = frame.copy()
    score_forecasts(frame)
    pd.testing.assert_frame_equal(frame, before)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_shrinkage_cannot_change_direction(seed: int, factor: float) -> None:
    returns, raw = market_returns(2, 12, seed), noise(2, 12, seed)
    one, other = (
        average_by(score_forecasts(check_forecasts(forecast_frame(returns, raw, by))), "model") for by in (1.0, factor)
    )
    columns = ["direction_accuracy", "direction_calls", "always_up_rate", "mae_raw", "mae_naive"]
    pd.testing.assert_frame_equal(one[columns], other[columns])


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_the_opposite_calls_are_right_when_these_are_wrong(seed: int) -> None:
    returns, raw = market_returns(2, 12, seed), noise(2, 12, seed)
    one, other = (
        average_by(score_forecasts(check_forecasts(forecast_frame(returns, by))), "model") for by in (raw, -raw)
    )
    assert (one["direction_accuracy"] + other["direction_accuracy"]).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    assert one["direction_calls"].tolist() == other["direction_calls"].tolist()


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.01, 1000))
def test_skill_knows_no_currency(seed: int, rate: float) -> None:
    frame = check_forecasts(forecast_frame(market_returns(2, 12, seed), noise(2, 12, seed)))
    prices = frame.select_dtypes("float64").columns
    one, other = (
        average_by(score_forecasts(each), "model") for each in (frame, frame.assign(**(frame[prices] * rate)))
    )
    assert other["skill"].tolist() == pytest.approx(one["skill"].tolist(), abs=1e-9)
    assert other["mae"].tolist() == pytest.approx((one["mae"] * rate).tolist(), rel=1e-9)


def test_errors_are_absolute_and_the_frame_itself_stays_as_it_is() -> None:
    frame = forecast_frame(market_returns(2, 25, 3), noise(2, 25, 3), shrinkage=0.5)
    columns = list(frame.columns)
    errors = with_errors(frame)
    assert list(frame.columns) == columns
    assert list(errors.columns) == [*columns, "mae", "mae_raw", "mae_naive", "mae_drift", "mae_base"]
    assert (errors["mae"] == (frame["predicted_close"] - frame["actual_close"]).abs()).all()
    assert (errors["mae_naive"] == (frame["last_close"] - frame["actual_close"]).abs()).all()
    assert (errors[["mae", "mae_raw", "mae_naive", "mae_drift"]] >= 0).all(axis=None)


def test_the_naive_scale_is_one_number_per_model_and_undefined_for_a_stock_that_never_moved() -> None:
    returns = market_returns(3, 25, 3)
    returns[:, 2] = 0.0
    errors = with_errors(forecast_frame(returns, noise(3, 25, 3)))
    scale = naive_scale(errors)
    means = errors.groupby("model")["mae_naive"].mean()
    for model, values in scale.groupby(errors["model"]):
        if means[model] == 0:
            assert values.isna().all()
        else:
            assert values.tolist() == pytest.approx([means[model]] * 25)
    assert scale.isna().sum() == 25
