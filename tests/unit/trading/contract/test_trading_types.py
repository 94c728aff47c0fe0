"""Names of orders, costs of trades: what the parts of paper trading hand to each other."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.trading import Costs
from mlops_cli.trading.contract.costs import cost_factor, exact, expected_price, one_way_bps, round_trip_bps
from mlops_cli.trading.contract.types import LONGEST_ORDER_ID, client_order_id

DAY = date(2024, 1, 5)
D = Decimal
names = st.text("abcdefghij-", min_size=1, max_size=60)


@given(names, names, st.sampled_from(["buy", "sell"]), st.integers(0, 99))
def test_names_fit_whatever_they_are_made_of(team, ticker, side, part):
    name = client_order_id(team, ticker, DAY, side, "1a2b3c4d5e6f", part)
    assert len(name) <= LONGEST_ORDER_ID
    assert name == client_order_id(team, ticker, DAY, side, "1a2b3c4d5e6f", part)


def test_everything_that_makes_an_order_another_one_is_in_its_name():
    made = {
        client_order_id(team, ticker, day, side, version, part)
        for team in ("red", "blue")
        for ticker in ("AAPL", "MSFT")
        for day in (DAY, date(2024, 1, 8))
        for side in ("buy", "sell")
        for version in ("1a2b3c4d5e6f", "ffffffffffff")
        for part in (0, 1)
    }
    assert len(made) == 2**6


def test_long_names_of_other_teams_and_tickers_differ():
    assert client_order_id("a" * 40 + "-b", "c", DAY, "buy", "v") != client_order_id("a" * 40, "b-c", DAY, "buy", "v")


@pytest.mark.parametrize(("side", "bps"), [("buy", 4.5), ("sell", 4.8)])
def test_one_trade_costs_spread_slippage_and_commission_and_a_sale_its_fee(side, bps):
    costs = Costs(half_spread_bps=2, slippage_bps=1.5, commission_bps=1, sell_fee_bps=0.3)
    assert one_way_bps(costs, side) == pytest.approx(bps)
    assert round_trip_bps(costs) == pytest.approx(9.3)
    assert cost_factor(costs, side) == D(str(bps)) / 10_000


@pytest.mark.parametrize(("side", "price"), [("buy", "100.035"), ("sell", "99.965")])
def test_fills_are_expected_on_the_worse_side_without_commission(side, price):
    costs = Costs(half_spread_bps=2, slippage_bps=1.5, commission_bps=1, sell_fee_bps=0.3)
    assert expected_price(D(100), side, costs) == D(price)


@pytest.mark.parametrize(("number", "text"), [(0.1, "0.1"), (1 / 3, "0.3333333333333333"), (5, "5")])
def test_settings_are_taken_as_they_were_written(number, text):
    assert exact(number) == D(text)
