"""How far an exported graph may be from Ludwig: 1e-5 for log returns, some roundings of float32 for prices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import TrainingError
from mlops_cli.training.engine.export.agreement import (
    AGREEMENT,
    PriceScale,
    allowed_difference,
    checked_difference,
)

LUDWIGS = np.array([0.01, -0.02, 0.0])


def test_log_returns_may_differ_by_1e_5():
    assert checked_difference("m", LUDWIGS + 9e-6, LUDWIGS) == pytest.approx(9e-6)
    with pytest.raises(TrainingError, match=r"m: .* differs from Ludwig's predict by 1.1e-05 \(allowed"):
        checked_difference("m", LUDWIGS + np.array([0, 1.1e-5, 0]), LUDWIGS)


def test_not_a_number_is_no_agreement():
    with pytest.raises(TrainingError, match="differs"):
        checked_difference("m", np.array([0.01, np.nan, 0.0]), LUDWIGS)


@pytest.mark.parametrize("diverged", [np.nan, np.inf, 101.0])
def test_a_diverged_training_is_said_to_be_one(diverged: float):
    with pytest.raises(TrainingError, match="m: training diverged") as told:
        checked_difference("m", LUDWIGS, np.array([0.0, diverged, 0.0]))
    assert told.value.hint == "lower trainer.learning_rate"


@given(st.floats(0.01, 700_000), st.floats(-0.5, 0.5))
def test_prices_near_their_mean_may_differ_no_more_than_log_returns(price: float, log_return: float):
    """The scale of a price alone buys no tolerance: float32 is as exact at 700,000 as at 1."""
    prices = PriceScale(np.full(1, price), price)
    assert allowed_difference(np.array([log_return]), prices)[0] == AGREEMENT


def graph_price(close: float, shift: float, scale: float, normalised: float, dtype: type) -> float:
    """The log return as a graph computes it: normalised output times a scale plus a shift, over the last close."""
    price = dtype(dtype(normalised) * dtype(scale) + dtype(shift))
    return float(np.log(dtype(price / dtype(close))))


@given(st.floats(0.01, 700_000), st.floats(0.01, 1), st.floats(0.02, 1))
def test_what_float32_makes_of_a_price_is_allowed(highest: float, share: float, forecast: float):
    """A stock that stood at `highest` on average, is at `share` of it, and is forecast at `forecast` of that."""
    close = highest * share
    scale = highest / 3
    normalised = (close * forecast - highest) / scale
    ours = graph_price(close, highest, scale, normalised, np.float32)
    exact = graph_price(close, highest, scale, normalised, np.float64)
    prices = PriceScale(np.full(1, close), highest)
    checked_difference("m", np.array([ours]), np.array([exact]), prices)


@given(st.floats(0.01, 700_000), st.floats(0.01, 1), st.floats(0.02, 1))
def test_a_wrong_price_is_never_allowed(highest: float, share: float, forecast: float):
    """A graph that is off by a thousandth of the largest price in it is refused, whatever the prices."""
    close = highest * share
    exact = np.log(np.array([forecast]))
    ours = np.log(np.array([forecast + 0.001 * highest / close]))
    with pytest.raises(TrainingError, match="differs"):
        checked_difference("m", ours, exact, PriceScale(np.full(1, close), highest))


def test_the_worst_row_against_what_it_may_differ_is_told():
    """Row 0 differs by more, but may; row 1 may not."""
    prices = PriceScale(np.array([7_000.0, 700_000.0]), 700_000.0)
    ludwigs = np.array([-4.0, 0.0])
    allowed = allowed_difference(ludwigs, prices)
    assert allowed[0] > 1e-3
    with pytest.raises(TrainingError, match=r"differs from Ludwig's predict by 2e-05 \(allowed: 1e-05\)"):
        checked_difference("m", ludwigs + np.array([allowed[0] * 0.9, 2e-5]), ludwigs, prices)
