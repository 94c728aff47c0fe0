"""Slippage: fills beside the opening price, the cost model and the local exchange."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pandas as pd
import pytest

from mlops_cli.config.schemas.trading import Costs
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import MemoryTables
from mlops_cli.market.hours import us_hours
from mlops_cli.trading.passes.liquidate import LIQUIDATION
from mlops_cli.trading.results.slippage import FilledOrder, filled_orders, slippage_by_day

D = Decimal
DAYS = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04"])
TABLE = pd.DataFrame(
    {
        "open": [99.0, 100.0, 104.0],
        "high": [101.0, 105.0, 106.0],
        "low": [98.0, 99.0, 103.0],
        "close": [100.0, 104.0, 105.0],
        "volume": [1e6] * 3,
    },
    DAYS,
)
COSTS = Costs(half_spread_bps=2, slippage_bps=1, commission_bps=0, sell_fee_bps=0)


@pytest.fixture
def market() -> Market:
    return Market(MemoryTables({"AAPL": TABLE}), us_hours())


def order(price: str = "100.10", side: str = "buy", **changes) -> FilledOrder:
    values = {
        "session": date(2024, 1, 3),
        "ticker": "AAPL",
        "side": side,
        "type": "market",
        "limit_price": None,
        "qty": D(10),
        "price": D(price),
        "close": D(100),
    }
    return FilledOrder(**{**values, **changes})


def rows_of(**changes) -> tuple[list[dict], list[dict], list[dict]]:
    orders = {
        "id": "o1",
        "client_order_id": "name",
        "ticker": "AAPL",
        "side": "buy",
        "type": "market",
        "limit_price": None,
        "filled_qty": "10",
        "filled_average_price": "100.1",
    }
    intents = {"client_order_id": "name", "session": "2024-01-03", "model": "red-aapl", "price_seen": "99.5"}
    fills = {"order_id": "o1", "time": "2024-01-04T00:30:00+00:00"}
    for row in (orders, intents, fills):
        row.update({key: value for key, value in changes.items() if key in row})
    return [orders], [intents], [fills]


class TestFilledOrders:
    def test_an_order_is_of_the_day_in_new_york_on_which_it_was_filled(self):
        (made,) = filled_orders(*rows_of())
        assert made == order(price="100.1", close=D("99.5"))

    def test_without_a_fill_in_the_books_it_is_of_its_session(self):
        orders, intents, _ = rows_of(session="2024-01-04")
        assert filled_orders(orders, intents, [])[0].session == date(2024, 1, 4)

    @pytest.mark.parametrize("changes", [{"filled_qty": "0"}, {"filled_average_price": None}])
    def test_what_was_not_filled_is_left_out(self, changes):
        assert filled_orders(*rows_of(**changes)) == []

    def test_orders_of_others_are_left_out(self):
        orders, _, fills = rows_of()
        assert filled_orders(orders, [], fills) == []

    def test_a_liquidation_saw_no_close(self):
        assert filled_orders(*rows_of(model=LIQUIDATION))[0].close is None

    def test_a_limit(self):
        assert filled_orders(*rows_of(limit_price="101.5"))[0].limit_price == D("101.5")


class TestSlippage:
    def test_nothing_traded_is_nothing_to_compare(self, market):
        assert slippage_by_day([], market, COSTS) == []

    @pytest.mark.parametrize(
        ("price", "side", "bps"),
        [("100.10", "buy", 10), ("99.90", "buy", -10), ("99.90", "sell", 10)],
    )
    def test_worse_than_the_open_is_above_zero(self, market, price, side, bps):
        day, total = slippage_by_day([order(price, side)], market, COSTS)
        assert day["fills_bps"] == pytest.approx(bps)
        assert day["model_bps"] == pytest.approx(3)
        assert (day["session"], total["session"]) == ("2024-01-03", "all")
        assert {**day, "session": "all"} == total

    def test_orders_are_weighted_by_their_value(self, market):
        day, _ = slippage_by_day([order("100.10", qty=D(30)), order("100", qty=D(10))], market, COSTS)
        assert day["fills_bps"] == pytest.approx(7.5)
        assert day["orders"] == 2
        assert day["traded"] == pytest.approx(30 * 100.1 + 1000)

    def test_days_rise_and_all_comes_last(self, market):
        later = order("104", session=date(2024, 1, 4), close=D(104))
        sessions = [row["session"] for row in slippage_by_day([later, order()], market, COSTS)]
        assert sessions == ["2024-01-03", "2024-01-04", "all"]

    def test_the_local_exchange_fills_the_same_order(self, market):
        (day, _) = slippage_by_day([order()], market, COSTS)
        assert day["unfilled_here"] == 0
        assert day["local_bps"] is not None
        assert day["local_bps"] >= 0

    def test_a_limit_that_it_would_not_reach_is_left_out_of_its_figure(self, market):
        far = order("99", type="limit", limit_price=D(50))
        day, _ = slippage_by_day([far], market, COSTS)
        assert (day["unfilled_here"], day["local_bps"]) == (1, None)
        assert day["fills_bps"] == pytest.approx(-100)

    @pytest.mark.parametrize(
        "changes",
        [
            {"ticker": "XYZ"},
            {"session": date(2024, 1, 6)},  # a Saturday
            {"price": D(200)},  # not in the shares that the price is of
        ],
    )
    def test_an_order_without_a_price_here_is_counted_and_left_out(self, market, changes):
        day, _ = slippage_by_day([order(**changes)], market, COSTS)
        assert (day["unpriced"], day["fills_bps"], day["traded"]) == (1, None, 0)

    def test_a_split_since_then_is_seen_by_the_close_it_knew(self, market):
        before = order("400.40", close=D(400), qty=D("2.5"))
        day, _ = slippage_by_day([before], market, COSTS)
        assert day["unpriced"] == 0
        assert day["fills_bps"] == pytest.approx(10)
