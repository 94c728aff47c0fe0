"""When an order can be filled within a session, at which price, and how much of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.exchange.book.matching import Match, bid_and_ask, half_spread, match, to_price, volume_left
from mlops_cli.exchange.book.records import MarketRules
from mlops_cli.exchange.market.price_path import PricePath
from tests.fakes.small_exchange import EXACT, new_order

PATH = PricePath.of_bar(102, 110, 98, 105, 1000)  # 102, 98, 110, 105
SESSION = (0.0, 1.0)
WIDE = MarketRules(spread_bps=200, slippage_bps=50, volume_limit=0.1)


def order_of(**changes: Any) -> Any:
    prices = {name: Decimal(str(changes.pop(name))) for name in ("limit_price", "stop_price") if name in changes}
    return new_order(**prices, **changes)


@pytest.mark.parametrize(
    ("value", "price"), [(1.00004, "1.0000"), (1.00006, "1.0001"), (0.0, "0.0001"), (0.1 + 0.2, "0.3000")]
)
def test_prices_are_rounded_to_ticks(value: float, price: str) -> None:
    assert to_price(value) == Decimal(price)


def test_the_spread_lies_around_the_price_and_ends_at_its_size() -> None:
    assert bid_and_ask(100.0, WIDE) == (99.0, 101.0)
    assert bid_and_ask(100.0, WIDE, 3.0) == (97.0, 103.0)
    assert half_spread(WIDE, 1e6) == 0.5
    assert bid_and_ask(100.0, EXACT) == (100.0, 100.0)


@pytest.mark.parametrize(
    ("changes", "fraction", "price"),
    [
        ({}, 0, 102),
        ({"type": "limit", "limit_price": 103}, 0, 102),  # better than the limit at once
        ({"type": "limit", "limit_price": 100}, 1 / 6, 100),
        ({"type": "limit", "limit_price": 98}, 1 / 3, 98),
        ({"type": "limit", "limit_price": 97.99}, None, None),
        ({"type": "limit", "limit_price": 101, "side": "sell"}, 0, 102),
        ({"type": "limit", "limit_price": 110, "side": "sell"}, 2 / 3, 110),
        ({"type": "limit", "limit_price": 110.01, "side": "sell"}, None, None),
        ({"type": "stop", "stop_price": 104}, 0.5, 104),
        ({"type": "stop", "stop_price": 101}, 0, 102),
        ({"type": "stop", "stop_price": 100, "side": "sell"}, 1 / 6, 100),
        ({"type": "stop", "stop_price": 111}, None, None),
        ({"type": "stop_limit", "stop_price": 110, "limit_price": 107.5}, 5 / 6, 107.5),
        ({"type": "stop_limit", "stop_price": 110, "limit_price": 104}, None, None),
        ({"type": "stop_limit", "stop_price": 99, "limit_price": 104, "side": "sell"}, 0.5, 104),
    ],
)
def test_the_first_match_in_a_session(changes: dict[str, Any], fraction: float | None, price: float | None) -> None:
    found = match(order_of(**changes), PATH, SESSION, EXACT)
    if fraction is None:
        assert found is None
    else:
        assert found is not None
        assert found.fraction == pytest.approx(fraction)
        assert float(found.price) == pytest.approx(price)


def test_nothing_is_matched_outside_the_span() -> None:
    order = order_of(type="limit", limit_price=100)
    assert match(order, PATH, (0.0, 0.1), EXACT) is None
    assert match(order, PATH, (0.4, 1.0), EXACT) is None
    assert match(order, PATH, (0.2, 1.0), EXACT) == Match(0.2, Decimal("99.6000"))  # already below the limit


def test_a_stop_stays_triggered_in_later_spans() -> None:
    order = order_of(type="stop_limit", stop_price=110, limit_price=104)
    assert match(order, PATH, (0.0, 0.5), EXACT) is None
    assert not order.triggered
    assert match(order, PATH, (0.5, 1.0), EXACT) is None
    assert order.triggered
    falling = PricePath.of_bar(103, 104, 90, 91, 1000)
    assert match(order, falling, SESSION, EXACT) == Match(0.0, Decimal("103.0000"))


def test_market_orders_pay_half_the_spread_and_the_slippage() -> None:
    buy, sell = match(order_of(), PATH, SESSION, WIDE), match(order_of(side="sell"), PATH, SESSION, WIDE)
    assert buy is not None
    assert sell is not None
    assert (buy.price, sell.price) == (Decimal("103.5300"), Decimal("100.4700"))


def test_limit_orders_wait_for_the_quote_and_not_for_the_price() -> None:
    """With a half spread of 1%, a limit of 100 is reached when the price is 100 / 1.01."""
    found = match(order_of(type="limit", limit_price=100), PATH, SESSION, WIDE)
    assert found is not None
    assert found.price == 100
    assert PATH.price(found.fraction) == pytest.approx(100 / 1.01)
    assert match(order_of(type="limit", limit_price=98.5), PATH, SESSION, WIDE) is None


@given(
    bar=st.tuples(*[st.floats(50, 150)] * 4),
    limit=st.decimals(50, 150, places=2),
    side=st.sampled_from(["buy", "sell"]),
    start=st.floats(0, 1),
    spread=st.floats(0, 500),
)
def test_a_limit_is_never_violated(
    bar: tuple[float, ...], limit: Decimal, side: str, start: float, spread: float
) -> None:
    path = PricePath.of_bar(bar[0], max(bar), min(bar), bar[1], 1000)
    found = match(new_order(type="limit", limit_price=limit, side=side), path, (start, 1.0), MarketRules(spread))
    if found is not None:
        assert found.price <= limit if side == "buy" else found.price >= limit
        assert start <= found.fraction <= 1


@pytest.mark.parametrize(
    ("volume", "taken", "left"), [(1000.0, 0, 100), (1000.0, 40, 60), (1000.0, 150, 0), (999.9, 0, 99), (0.0, 0, 0)]
)
def test_the_volume_that_is_left(volume: float, taken: int, left: int) -> None:
    path = PricePath.of_bar(100, 100, 100, 100, volume)
    assert volume_left(path, WIDE, Decimal(taken)) == left


def test_a_session_without_trade_has_no_volume() -> None:
    assert volume_left(PricePath.flat(100, 1000, traded=False), WIDE, Decimal(0)) == 0
