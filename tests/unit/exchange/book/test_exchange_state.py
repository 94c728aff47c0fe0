"""The state of an exchange and its records: prices, quotes, open orders, and what must be written."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from mlops_cli.exchange.book.activities import booking
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import read_order_request
from mlops_cli.exchange.book.records import Account, MarketRules, RefusedError, is_whole
from mlops_cli.exchange.book.state import AccountOrder, DayEquity
from tests.fakes.small_exchange import BEGAN, exchange_with, new_account, new_order, send, until

NOON = datetime(2024, 7, 1, 16, tzinfo=UTC)


@pytest.fixture
def exchange() -> Exchange:
    return exchange_with(MarketRules(spread_bps=100, slippage_bps=0, volume_limit=1.0))[0]


def test_prices_follow_the_time(exchange: Exchange) -> None:
    state = exchange.state
    assert state.price("AAA") == 100
    state.move_to(datetime(2024, 7, 1, 13, 30, tzinfo=UTC))
    assert state.price("AAA") == 102
    state.market.split("AAA", date(2024, 7, 1), 2.0)
    assert state.price("AAA") == 102  # remembered
    state.forget_prices()
    assert state.price("AAA") == 51


def test_quotes_lie_around_the_price(exchange: Exchange) -> None:
    quote = exchange.state.quote("AAA")
    assert quote is not None
    assert (quote.bid, quote.ask) == pytest.approx((99.5, 100.5))
    assert quote.at == datetime(2024, 6, 28, 20, tzinfo=UTC)


def test_a_wide_spread_ends_with_its_fault(exchange: Exchange) -> None:
    state = exchange.state
    state.faults.add({"kind": "wide_spread", "factor": 10, "symbol": "AAA"}, state.now)
    assert (state.spread_factor("AAA"), state.spread_factor("BBB")) == (10, 1)
    quote = state.quote("AAA")
    assert quote is not None
    assert (quote.bid, quote.ask) == pytest.approx((95, 105))
    state.faults.clear()
    assert state.spread_factor("AAA") == 1


def test_stale_quotes_stand_still_while_prices_move(exchange: Exchange) -> None:
    state = exchange.state
    state.move_to(datetime(2024, 7, 1, 13, 30, tzinfo=UTC))
    before = state.quote("AAA")
    state.faults.add({"kind": "stale_quotes"}, state.now)
    state.move_to(NOON)
    assert state.quote("AAA") == before
    assert state.price("AAA") != 102


def test_the_last_equity_is_of_a_day_before_today(exchange: Exchange) -> None:
    state, account = exchange.state, new_account(base_value=Decimal(5))
    assert state.last_equity(account) == DayEquity(None, Decimal(5))
    account.equity = {date(2024, 6, 27): Decimal(6), date(2024, 6, 28): Decimal(7)}
    assert state.last_equity(account) == DayEquity(date(2024, 6, 27), Decimal(6))  # today is 28 June
    state.move_to(NOON)
    assert state.last_equity(account) == DayEquity(date(2024, 6, 28), Decimal(7))


def test_changes_are_remembered_until_they_are_written(exchange: Exchange) -> None:
    state, account = exchange.state, exchange.state.accounts["key"]
    exchange.commit()
    assert state.unwritten == {}
    order = send(exchange, account)
    assert state.unwritten == {order.id: order}
    exchange.cancel(account, order.id)
    activity = booking(account, "JNLC", state.now, Decimal(1))
    state.add_activity(account, activity)
    assert set(state.unwritten) == {order.id, account.id, activity.id}
    assert account.activities == [activity]


@pytest.mark.parametrize(
    ("status", "member"),
    [
        ("canceled", "canceled_at"),
        ("expired", "expired_at"),
        ("rejected", "failed_at"),
        ("replaced", "replaced_at"),
        ("filled", None),
    ],
)
def test_the_end_of_an_order_has_a_time(exchange: Exchange, status: str, member: str | None) -> None:
    account, order = new_account(), new_order(reserve=Decimal(100))
    account.add(order)
    exchange.state.end_order(account, order, status, NOON)
    members = ("canceled_at", "expired_at", "failed_at", "replaced_at")
    assert {name for name in members if getattr(order, name) == NOON} == ({member} if member else set())
    assert (order.status, order.updated_at, order.is_open) == (status, NOON, False)
    assert (account.open_orders, account.reserved) == ({}, 0)


def test_open_orders_of_all_accounts(exchange: Exchange) -> None:
    first, second = exchange.state.accounts["key"], exchange.account("other", "secret")
    orders = [send(exchange, first), send(exchange, second), send(exchange, first)]
    exchange.cancel(first, orders[2].id)
    assert exchange.state.open_orders() == [AccountOrder(first, orders[0]), AccountOrder(second, orders[1])]


def test_an_account_knows_its_open_orders_by_side() -> None:
    account = new_account()
    buy, sell = new_order(id="buy", reserve=Decimal(100)), new_order(id="sell", side="sell", client_order_id="other")
    for order in (buy, sell, new_order(id="old", client_order_id="old", status="filled", reserve=Decimal(7))):
        account.add(order)
    assert account.open_orders_in("AAA") == [buy, sell]
    assert account.open_orders_in("AAA", "sell") == [sell]
    assert account.open_orders_in("BBB") == []
    assert (account.reserved, len(account.orders), len(account.by_client_id)) == (100, 3, 3)
    account.remove_open(buy)
    account.remove_open(buy)  # a second time changes nothing
    assert (account.open_orders_in("AAA"), account.reserved) == ([sell], 0)


@pytest.mark.parametrize(("shares", "whole"), [("3", True), ("3.000", True), ("-2", True), ("0.5", False), ("0", True)])
def test_whole_shares(shares: str, whole: bool) -> None:
    assert is_whole(Decimal(shares)) is whole


def test_keys_and_secrets(exchange: Exchange) -> None:
    account = exchange.account("mine", "secret")
    assert account.number == "PA00000002"
    assert exchange.account("mine", "secret") is account
    assert "secret" not in account.secret_hash
    for key, secret in (("mine", "other"), ("", "secret"), ("new", ""), ("", "")):
        with pytest.raises(RefusedError, match="not authorized") as caught:
            exchange.account(key, secret)
        assert (caught.value.status, caught.value.body["code"]) == (401, 40110000)
    assert set(exchange.state.accounts) == {"key", "mine"}


def test_orders_belong_to_one_account(exchange: Exchange) -> None:
    account: Account = exchange.state.accounts["key"]
    order = send(exchange, account, client_order_id="mine")
    other = exchange.account("other", "secret")
    with pytest.raises(RefusedError, match="order not found") as caught:
        exchange.cancel(other, order.id)
    assert caught.value.status == 404
    with pytest.raises(RefusedError, match="client_order_id must be unique"):
        send(exchange, account, client_order_id="mine")
    assert send(exchange, other, client_order_id="mine").sequence == 2


def test_a_replacement_is_for_the_shares_that_are_left(exchange: Exchange) -> None:
    exchange.state.rules = MarketRules(0, 0, 0.004)  # four shares of a session
    account = exchange.state.accounts["key"]
    until(exchange, "2024-07-01T14:00:00")
    order = send(exchange, account, type="limit", limit_price=105, time_in_force="gtc")
    exchange.catch_up()
    assert order.filled_qty == 4
    changes = {"symbol": "AAA", "side": "buy", "type": "limit", "time_in_force": "gtc", "qty": 12, "limit_price": 90}
    with pytest.raises(RefusedError, match="qty must be > filled_qty"):
        exchange.replace(account, order.id, read_order_request({**changes, "qty": 4}))
    new = exchange.replace(account, order.id, read_order_request(changes))
    assert (new.qty, new.limit_price, new.replaces) == (8, 90, order.id)
    assert (order.status, order.replaced_by, order.replaced_at) == ("replaced", new.id, exchange.state.now)
    assert account.reserved == new.reserve == 720
    with pytest.raises(RefusedError, match='already in "replaced" state'):
        exchange.replace(account, order.id, read_order_request(changes))


def test_expired_orders_expire_when_they_said(exchange: Exchange) -> None:
    account = exchange.state.accounts["key"]
    day = send(exchange, account, type="limit", limit_price=1)
    longer = send(exchange, account, type="limit", limit_price=1, time_in_force="gtc")
    assert day.expires_at == datetime(2024, 7, 1, 20, tzinfo=UTC)
    assert longer.expires_at - BEGAN >= timedelta(days=90)
    until(exchange, "2024-07-02T00:00:00")
    assert (day.status, day.expired_at, longer.status) == ("expired", day.expires_at, "new")
