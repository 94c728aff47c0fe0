"""The dividends that adjusted closes imply, and how exactly they imply them."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.prices.actions.implied_dividends import implied_steps
from tests.fakes.dividend_prices import paying_prices


def implied(prices: pd.DataFrame) -> dict[str, float]:
    return {str(day): amount for day, amount in implied_steps(prices).dividends().items()}


def test_exact_adjusted_closes_give_the_exact_amounts() -> None:
    prices = paying_prices({"2024-02-08": 0.5, "2024-05-09": 0.75})
    assert implied(prices) == pytest.approx({"2024-02-08": 0.5, "2024-05-09": 0.75}, rel=1e-9)


def test_adjusted_closes_that_are_the_closes_imply_none() -> None:
    assert implied(paying_prices({})) == {}


def test_a_dividend_on_the_first_session_cannot_be_seen() -> None:
    prices = paying_prices({"2024-02-08": 0.5}).loc["2024-02-08":]
    assert implied(prices) == {}


def test_one_session_implies_nothing() -> None:
    assert implied(paying_prices({}).iloc[:1]) == {}


def test_rounded_adjusted_closes_hide_small_steps_and_keep_large_ones() -> None:
    prices = paying_prices({"2024-02-08": 0.2}, close=20.0)
    rounded = prices.assign(adj_close=prices["adj_close"].round(2))
    assert list(implied(rounded)) == ["2024-02-08"]
    assert implied(rounded)["2024-02-08"] == pytest.approx(0.2, abs=0.01)
    tiny = paying_prices({"2024-02-08": 0.015}, close=20.0)
    assert list(implied(tiny)) == ["2024-02-08"]
    assert implied(tiny.assign(adj_close=tiny["adj_close"].round(2))) == {}


@settings(deadline=None, max_examples=40)
@given(st.floats(0.06, 9.0), st.integers(2, 100))
def test_any_usual_dividend_is_found_whatever_later_ones_are(amount: float, place: int) -> None:
    days = paying_prices({}).index
    dividends = {str(days[place].date()): amount, str(days[-1].date()): 1.0}
    found = implied(paying_prices(dividends))
    assert found[str(days[place].date())] == pytest.approx(amount, rel=1e-6)
    assert len(found) == len(dividends)


class TestAgrees:
    STEPS = implied_steps(paying_prices({"2024-02-08": 0.5}))

    @pytest.mark.parametrize(
        ("amount", "agrees"), [(0.5, True), (0.505, True), (0.515, True), (0.55, False), (1.0, False)]
    )
    def test_amounts_close_to_the_step(self, amount: float, agrees: bool) -> None:
        assert self.STEPS.agrees(date(2024, 2, 8), amount) is agrees

    def test_a_day_without_a_step_allows_no_dividend(self) -> None:
        assert not self.STEPS.agrees(date(2024, 2, 9), 0.5)

    def test_days_of_which_the_table_says_nothing_allow_any(self) -> None:
        assert self.STEPS.agrees(date(2025, 2, 7), 0.5)
        assert self.STEPS.agrees(date(2024, 1, 2), 0.5)  # the first session has no step
        assert self.STEPS.amount_on(date(2024, 2, 10)) is None

    def test_the_rounding_of_the_adjusted_close_is_allowed_for(self) -> None:
        prices = paying_prices({"2024-02-08": 0.2}, close=20.0)
        steps = implied_steps(prices.assign(adj_close=prices["adj_close"].round(2)))
        assert steps.agrees(date(2024, 2, 8), 0.2)
        assert np.all(steps.errors > 0)
