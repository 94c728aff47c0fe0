"""Splits, dividends and delistings: which are accepted, and what each does to positions, orders and cash."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from mlops_cli.exchange.book.corporate_actions import apply, read_action
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account, CorporateAction, Position, RefusedError
from tests.fakes.small_exchange import exchange_with, new_order

DAY = date(2024, 7, 1)
SPLIT = {"type": "split", "symbol": "AAA", "date": "2024-07-01", "ratio": 4}


@pytest.mark.parametrize(
    ("body", "action"),
    [
        (SPLIT, CorporateAction("split", "AAA", DAY, Decimal(4))),
        ({**SPLIT, "ratio": "0.125"}, CorporateAction("split", "AAA", DAY, Decimal("0.125"))),
        (
            {"type": "dividend", "symbol": "AAA", "date": "2024-07-01", "amount": "0.24"},
            CorporateAction("dividend", "AAA", DAY, Decimal("0.24")),
        ),
        ({"type": "delisting", "symbol": "AAA", "date": "2024-07-01"}, CorporateAction("delisting", "AAA", DAY)),
        (
            {"type": "delisting", "symbol": "AAA", "date": "2024-07-01", "price": 7, "close_positions": False},
            CorporateAction("delisting", "AAA", DAY, Decimal(7), closes_positions=False),
        ),
    ],
)
def test_what_can_be_announced(body: dict[str, Any], action: CorporateAction) -> None:
    assert read_action(body) == action


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "merger"}, "type must be one of split, dividend, delisting"),
        ({"type": ["split"]}, "type must be one of"),
        ({"symbol": None}, "symbol a text"),
        ({"ratio": None}, "ratio is required"),
        ({"ratio": "0.0001"}, "ratio must be from 0.001 to 1000"),
        ({"ratio": 1001}, "ratio must be from 0.001 to 1000"),
        ({"ratio": -2}, "ratio must be > 0"),
        ({"ratio": "x"}, "invalid ratio: 'x'"),
        ({"type": "dividend"}, "amount is required"),
        ({"type": "delisting", "price": "0.00001"}, "price must be from 0.0001"),
        ({"date": "2024-06-31"}, "date must be a day"),
        ({"date": None}, "date must be a day"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        read_action({**SPLIT, **changes})
    assert caught.value.status == 422


def holder(qty: str) -> tuple[Exchange, Account]:
    exchange, account = exchange_with()
    account.positions["AAA"] = Position("AAA", Decimal(qty), Decimal(90))
    return exchange, account


def act(exchange: Exchange, kind: str, value: str | None = None, **more: bool) -> None:
    apply(exchange.state, CorporateAction(kind, "AAA", DAY, None if value is None else Decimal(value), **more), DAY)


@pytest.mark.parametrize(("ratio", "qty", "average"), [("3", "21", "30"), ("0.5", "3.5", "180"), ("1.5", "10.5", "60")])
def test_a_split_changes_shares_and_average_price(ratio: str, qty: str, average: str) -> None:
    exchange, account = holder("7")
    act(exchange, "split", ratio)
    assert account.positions["AAA"] == Position("AAA", Decimal(qty), Decimal(average))
    assert account.cash == 100_000
    assert (account.activities[0].body["activity_type"], account.activities[0].body["net_amount"]) == ("SPLIT", "0")


@pytest.mark.parametrize(
    ("limit", "ratio", "expected"),
    [("100", "3", "33.33"), ("2", "3", "0.6667"), ("0.0002", "10", "0.0001"), ("0.5", "0.1", "5.00")],
)
def test_a_split_rounds_the_prices_of_orders_as_the_market_does(limit: str, ratio: str, expected: str) -> None:
    exchange, account = holder("7")
    order = new_order(type="stop_limit", limit_price=Decimal(limit), stop_price=Decimal(limit), filled_qty=Decimal(2))
    account.add(order)
    act(exchange, "split", ratio)
    assert (order.limit_price, order.stop_price) == (Decimal(expected), Decimal(expected))
    assert (order.qty, order.filled_qty) == (10 * Decimal(ratio), 2 * Decimal(ratio))


def test_a_split_leaves_notional_orders_and_other_symbols() -> None:
    exchange, account = holder("7")
    notional = new_order(id="notional", qty=None, notional=Decimal(100))
    other = new_order(id="other", symbol="BBB")
    account.add(notional)
    account.add(other)
    act(exchange, "split", "2")
    assert (notional.qty, notional.notional, other.qty) == (None, 100, 10)
    assert exchange.state.market.split_factor("AAA", DAY) == 2


def test_a_reverse_split_may_leave_nothing() -> None:
    exchange, account = holder("0.000000002")
    order = new_order(side="sell", qty=Decimal("0.000000002"), position_intent="sell_to_close")
    account.add(order)
    act(exchange, "split", "0.1")
    assert account.positions == {}
    assert (order.status, account.open_orders) == ("canceled", {})


@pytest.mark.parametrize(("qty", "cash"), [("10", "100001.23"), ("-10", "99998.77"), ("0.5", "100000.06")])
def test_a_dividend_is_paid_in_cents(qty: str, cash: str) -> None:
    exchange, account = holder(qty)
    act(exchange, "dividend", "0.1234")
    assert account.cash == Decimal(cash)
    assert exchange.state.unwritten[account.id] is account


def test_accounts_without_the_symbol_get_nothing() -> None:
    exchange, _ = holder("10")
    other = exchange.account("other", "secret")
    act(exchange, "dividend", "1")
    act(exchange, "split", "2")
    act(exchange, "delisting")
    assert (other.cash, other.activities) == (100_000, [])


def test_a_delisting_pays_the_last_close_and_cancels_orders() -> None:
    exchange, account = holder("10")
    order = new_order(limit_price=Decimal(50), reserve=Decimal(500))
    account.add(order)
    act(exchange, "delisting")
    assert (account.cash, account.positions) == (101_000, {})  # Friday's close was 100
    assert (order.status, order.canceled_at, account.reserved) == ("canceled", exchange.state.now, 0)
    assert account.activities[-1].body["activity_type"] == "REORG"
    assert exchange.state.market.delisted == {"AAA": DAY}


def test_a_short_seller_pays_at_a_delisting() -> None:
    exchange, account = holder("-10")
    act(exchange, "delisting", "7")
    assert account.cash == 100_000 - 70


def test_positions_may_stay_after_a_delisting() -> None:
    exchange, account = holder("10")
    act(exchange, "delisting", "7", closes_positions=False)
    assert (account.cash, account.positions["AAA"].qty) == (100_000, 10)
