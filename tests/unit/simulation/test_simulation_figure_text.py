"""Figures as text: enough digits to tell models from naive, and a dash for what is undefined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.simulation.figure_text import direction, figure, p_value, percent, price


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.00123456, "0.001235"),
        (0.25826, "0.2583"),
        (1.4187, "1.419"),
        (43.43, "43.43"),
        (4343.2, "4343"),
    ],
)
def test_prices_have_four_digits(value: float, text: str) -> None:
    assert price(value) == text


@given(st.floats(1e-6, 1e6))
def test_a_price_is_as_near_as_its_digits_allow(value: float) -> None:
    assert float(price(value)) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "<.001"), (0.00099, "<.001"), (0.001, ".001"), (0.5, ".500"), (1.0, "1.000")]
)
def test_p_values_lose_their_zero(value: float, text: str) -> None:
    assert p_value(value) == text


def test_shares_are_percentages_without_their_sign() -> None:
    assert percent(0.5244) == "52.4"
    assert percent(0.0031, 2, "+") == "+0.31"
    assert direction({"direction_accuracy": 0.524, "direction_se": 0.018}) == "52.4 ±1.8"
    assert direction({"direction_accuracy": 1.0, "direction_se": None}) == "100.0"


def test_what_is_undefined_is_a_dash() -> None:
    texts = [figure(None, ".2f"), price(None), percent(None), p_value(None)]
    assert {*texts, direction({"direction_accuracy": None, "direction_se": None})} == {"-"}
