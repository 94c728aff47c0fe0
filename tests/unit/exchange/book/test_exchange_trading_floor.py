"""What happens as time passes: openings, fills in turn, faults of fills, closes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account, MarketRules
from mlops_cli.exchange.book.trading_floor import advance
from tests.fakes.small_exchange import announce, exchange_with, send, table, until

NOON = "2024-07-01T16:00:00"
AFTER_CLOSE = "2024-07-01T20:00:01"
SCARCE = MarketRules(0, 0, 0.05)  # 50 shares of a session's 1000


def at_noon(rules: MarketRules | None = None) -> tuple[Exchange, Account]:
    exchange, account = exchange_with() if rules is None else exchange_with(rules)
    until(exchange, NOON)
    return exchange, account


def fault(exchange: Exchange, kind: str, **members: Any) -> None:
    exchange.state.faults.add({"kind": kind, **members}, exchange.state.now)


def test_time_passes_to_the_moment_and_no_further() -> None:
    exchange, _ = exchange_with()
    to = datetime(2024, 7, 3, 18, 30, 0, 1, tzinfo=UTC)
    advance(exchange.state, to)
    assert exchange.state.now == to
    advance(exchange.state, to - timedelta(days=1))  # never back
    assert exchange.state.now == to


def test_no_time_no_fill() -> None:
    exchange, account = at_noon()
    order = send(exchange, account, type="limit", limit_price=99)
    advance(exchange.state, exchange.state.now)
    assert order.status == "new"
    market = send(exchange, account)
    assert market.status == "pending_new"
    advance(exchange.state, exchange.state.now)
    assert (market.status, market.filled_at) == ("filled", exchange.state.now)


def test_orders_are_filled_in_the_order_in_which_the_price_reaches_them() -> None:
    exchange, account = exchange_with(SCARCE)
    low = send(exchange, account, type="limit", limit_price=98.5, qty=30)
    high = send(exchange, account, type="limit", limit_price=101, qty=30)
    until(exchange, NOON)
    assert (high.filled_qty, low.filled_qty) == (30, 20)  # the later order, but the earlier price
    assert high.filled_at is not None
    assert high.filled_at < low.updated_at


def test_orders_of_one_moment_are_filled_in_the_order_in_which_they_came() -> None:
    exchange, account = exchange_with(SCARCE)
    orders = [send(exchange, account, qty=30) for _ in range(3)]
    until(exchange, "2024-07-01T13:30:00")
    assert [order.filled_qty for order in orders] == [30, 20, 0]
    assert [order.status for order in orders] == ["filled", "partially_filled", "new"]


def test_every_account_and_every_session_has_its_own_volume() -> None:
    exchange, account = exchange_with(SCARCE)
    other = exchange.account("other", "secret")
    first = send(exchange, account, qty=90, time_in_force="gtc")
    second = send(exchange, other, qty=50)
    until(exchange, "2024-07-01T13:30:00")
    assert (first.filled_qty, second.filled_qty) == (50, 50)
    until(exchange, "2024-07-02T13:30:00")
    assert (first.filled_qty, first.status) == (90, "filled")


def test_an_order_to_close_is_canceled_when_another_was_faster() -> None:
    exchange, account = at_noon()
    send(exchange, account)
    exchange.catch_up()
    slow = send(exchange, account, side="sell", type="limit", limit_price=200, time_in_force="gtc")
    account.positions["AAA"].qty = Decimal(0)
    del account.positions["AAA"]
    slow.limit_price = Decimal(90)
    until(exchange, "2024-07-01T17:00:00")
    assert (slow.status, slow.filled_qty) == ("canceled", 0)


def test_an_order_to_close_sells_no_more_than_there_is() -> None:
    exchange, account = at_noon()
    send(exchange, account)
    exchange.catch_up()
    order = send(exchange, account, side="sell")
    account.positions["AAA"].qty = Decimal(6)
    exchange.catch_up()
    assert (order.filled_qty, order.status) == (6, "partially_filled")
    assert account.positions == {}


def test_fill_or_kill_takes_all_or_nothing() -> None:
    exchange, account = at_noon(SCARCE)
    nothing, everything = (send(exchange, account, qty=qty, time_in_force="fok") for qty in (51, 50))
    exchange.catch_up()
    assert (nothing.status, nothing.filled_qty) == ("canceled", 0)
    assert (everything.status, everything.filled_qty) == ("filled", 50)


def test_a_halted_symbol_waits() -> None:
    exchange, account = at_noon()
    fault(exchange, "halt", symbol="AAA")
    order = send(exchange, account)
    until(exchange, "2024-07-01T17:00:00")
    assert order.status == "new"
    exchange.state.faults.clear()
    until(exchange, "2024-07-01T17:00:01")
    assert order.status == "filled"


@pytest.mark.parametrize(
    ("qty", "fraction", "first"),
    [("10", 0.5, "5"), ("10", 0.59, "5"), ("1", 0.5, "1"), ("2.5", 0.5, "1.25"), ("10", 0.0, "1")],
)
def test_a_partial_fill_comes_first_and_the_rest_later(qty: str, fraction: float, first: str) -> None:
    exchange, account = at_noon()
    fault(exchange, "partial_fills", fraction=fraction, seconds=600)
    order = send(exchange, account, qty=qty)
    exchange.catch_up()
    assert order.filled_qty == Decimal(first)
    until(exchange, "2024-07-01T16:09:59")
    assert order.filled_qty == Decimal(first)
    until(exchange, "2024-07-01T16:10:00")
    assert (order.status, order.filled_qty) == ("filled", Decimal(qty))
    assert sum(Decimal(activity.body["qty"]) for activity in account.activities) == Decimal(qty)


def test_delayed_fills_wait_and_expire_with_the_session() -> None:
    exchange, account = at_noon()
    fault(exchange, "delay_fills", seconds=3600)
    order = send(exchange, account)
    until(exchange, "2024-07-01T16:59:59")
    assert order.status == "new"
    until(exchange, "2024-07-01T17:00:00")
    assert order.status == "filled"
    exchange.state.faults.clear()
    fault(exchange, "delay_fills", seconds=86_400)
    late = send(exchange, account)
    until(exchange, AFTER_CLOSE)
    assert (late.status, late.filled_qty) == ("expired", 0)


def test_a_rejected_order_is_accepted_first() -> None:
    exchange, account = at_noon()
    fault(exchange, "reject_orders", times=1)
    order, other = send(exchange, account), send(exchange, account)
    assert (order.status, account.reserved > 0) == ("pending_new", True)
    exchange.catch_up()
    assert (order.status, order.failed_at, order.filled_qty) == ("rejected", exchange.state.now, 0)
    assert other.status == "filled"
    assert (account.reserved, exchange.state.to_reject) == (0, set())


def test_orders_are_rejected_overnight_too() -> None:
    exchange, account = exchange_with()
    fault(exchange, "reject_orders")
    order = send(exchange, account)
    exchange.catch_up()
    assert order.status == "rejected"


def test_actions_happen_before_the_first_fill_of_their_day() -> None:
    exchange, account = exchange_with()
    announce(exchange, type="split", ratio=2, date="2024-07-01")
    order = send(exchange, account, notional="510")
    until(exchange, "2024-07-01T13:30:00")
    assert order.filled_cost / order.filled_qty == 51
    assert exchange.state.actions == []


def test_an_action_of_a_holiday_happens_at_the_next_opening() -> None:
    exchange, account = exchange_with()
    send(exchange, account)
    announce(exchange, type="dividend", amount=1, date="2024-07-04")
    until(exchange, "2024-07-04T23:00:00")
    cash = account.cash
    assert len(exchange.state.actions) == 1
    until(exchange, "2024-07-05T13:30:00")
    assert account.cash == cash + 10


def test_the_close_writes_the_equity_of_every_account() -> None:
    exchange, account = exchange_with()
    idle = exchange.account("idle", "secret")
    send(exchange, account)
    until(exchange, "2024-07-01T19:59:59")
    assert account.equity == {}
    until(exchange, "2024-07-03T20:00:00")
    assert list(account.equity) == [date(2024, 7, 1), date(2024, 7, 2), date(2024, 7, 3)]
    assert idle.equity == dict.fromkeys(account.equity, Decimal(100_000))


def test_orders_become_new_at_the_opening() -> None:
    exchange, account = exchange_with()
    order = send(exchange, account, type="limit", limit_price=50)
    until(exchange, "2024-07-01T13:29:59")
    assert order.status == "accepted"
    until(exchange, "2024-07-01T13:30:00")
    assert (order.status, order.updated_at) == ("new", exchange.state.now)


def test_a_long_step_lets_every_session_happen() -> None:
    exchange, account = exchange_with()
    order = send(exchange, account, type="stop", stop_price=109, time_in_force="gtc")
    until(exchange, "2024-07-08T00:00:00")
    assert order.filled_at is not None
    assert abs(order.filled_at - datetime(2024, 7, 1, 17, 39, 10, tzinfo=UTC)) < timedelta(seconds=1)
    assert len(account.equity) == 4


def test_a_new_order_waits_for_prices_that_begin_later() -> None:
    later = table()[2:]
    exchange, _ = exchange_with(AAA=table(), BBB=later)
    until(exchange, NOON)
    assert exchange.state.price("BBB") == 0
    assert exchange.state.quote("BBB") is None
    assert not exchange.state.market.listed("BBB", exchange.state.now)
    until(exchange, "2024-07-02T13:30:00")
    assert exchange.state.price("BBB") == 104
