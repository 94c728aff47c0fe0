"""Sizing: how a budget is shared out and rounded to lots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.trading.decide.targets import Candidates, target_lots

NAN = float("nan")


def candidates(strength, volatility=None, held=None, most=100, width=None) -> Candidates:
    count = len(strength)
    return Candidates(
        np.array(strength, np.float64),
        np.array(volatility if volatility is not None else [NAN] * count),
        np.array(width if width is not None else [NAN] * count),
        np.array(held if held is not None else [0] * count),
        np.full(count, most) if isinstance(most, int) else np.array(most),
    )


def lots(given: Candidates, sizing="equal", budget=1.0, lot=0.1) -> list[int]:
    return target_lots(given, sizing, budget, lot).tolist()


def test_nobody_gets_nothing():
    assert lots(candidates([])) == []


@pytest.mark.parametrize(
    ("count", "budget", "expected"),
    [(2, 1.0, [5, 5]), (4, 1.0, [3, 3, 2, 2]), (3, 0.35, [1, 1, 1]), (3, 0.05, [0, 0, 0]), (1, 1.0, [10])],
)
def test_equal_parts_are_rounded_to_lots(count, budget, expected):
    assert lots(candidates([10.0] * count), budget=budget) == expected


@pytest.mark.parametrize("budget", [0.0, -0.5])
def test_without_a_budget_there_are_no_lots(budget):
    assert lots(candidates([1.0, 2.0]), budget=budget) == [0, 0]


def test_a_budget_that_floats_make_a_little_less_is_whole():
    assert lots(candidates([1.0]), budget=0.35, lot=0.05) == [7]


def test_by_strength():
    assert lots(candidates([10.0, 30.0]), "strength") == [2, 8], "equal remainders: to the stronger one"
    assert lots(candidates([10.0, 40.0]), "strength") == [2, 8]


def test_strengths_of_zero_are_equal_parts():
    assert lots(candidates([0.0, 0.0]), "strength") == [5, 5]


def test_by_inverse_volatility():
    assert lots(candidates([1.0, 1.0], [0.01, 0.04]), "inverse_volatility") == [8, 2]


@pytest.mark.parametrize("unknown", [NAN, 0.0, -1.0, float("inf")])
def test_an_unknown_volatility_counts_as_the_median(unknown):
    assert lots(candidates([1.0] * 3, [0.01, 0.01, unknown]), "inverse_volatility", lot=0.25, budget=0.75) == [1, 1, 1]


def test_without_any_volatility_parts_are_equal():
    assert lots(candidates([1.0, 1.0]), "inverse_volatility") == [5, 5]


def test_by_the_width_of_the_interval():
    assert lots(candidates([1.0, 1.0], width=[0.01, 0.04]), "interval") == [8, 2]
    assert lots(candidates([1.0] * 3, width=[0.02, 0.02, NAN]), "interval", budget=0.9) == [3, 3, 3]
    assert lots(candidates([1.0, 1.0]), "interval") == [5, 5]


@given(st.lists(st.floats(1e-4, 2.0), min_size=1, max_size=20), st.sampled_from([0.0, 0.3, 0.95]))
def test_intervals_use_as_much_capital_as_equal_parts(widths, budget):
    stocks = candidates([1.0] * len(widths), width=widths, most=1000)
    assert sum(lots(stocks, "interval", budget, 0.01)) == sum(lots(stocks, "equal", budget, 0.01))


def test_no_more_than_the_most():
    assert lots(candidates([1.0, 1.0], most=[2, 100])) == [2, 5]


def test_a_lot_left_over_goes_to_who_holds_it_already():
    assert lots(candidates([1.0, 1.0, 1.0], held=[0, 0, 4])) == [3, 3, 4]
    assert lots(candidates([1.0, 1.0, 1.0], held=[4, 0, 0])) == [4, 3, 3]


def test_else_to_the_strongest_and_then_to_the_first():
    assert lots(candidates([1.0, 3.0, 2.0])) == [3, 4, 3]
    assert lots(candidates([1.0, 1.0, 1.0])) == [4, 3, 3]


@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(0.001, 0.2), st.integers(0, 12), st.integers(0, 12)), max_size=20),
    st.sampled_from(["equal", "strength", "inverse_volatility", "interval"]),
    st.floats(-0.5, 1.5),
    st.sampled_from([0.02, 0.05, 0.1, 1 / 3]),
)
def test_lots_are_within_the_budget_and_the_most(stocks, sizing, budget, lot):
    strength, volatility, held, most = (list(column) for column in zip(*stocks, strict=True)) if stocks else ([],) * 4
    risk = np.array(volatility)
    given = Candidates(np.array(strength), risk, risk, np.array(held, int), np.array(most, int))
    result = target_lots(given, sizing, budget, lot)
    assert (result >= 0).all()
    assert (result <= given.most).all()
    assert result.sum() * lot <= max(0.0, budget) + 1e-6
    assert (result == target_lots(given, sizing, budget, lot)).all()
