"""What may enter the book: buying power and margin, parts of shares, intents, and replacements."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mlops_cli.exchange.api.views import account_view
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import OrderRequest, number, read_order_request
from mlops_cli.exchange.book.records import Account, MarketRules, RefusedError
from tests.fakes.small_exchange import EXACT, exchange_with, send, until

MONDAY_NOON = "2024-07-01T16:00:00"  # the price is half way between the low of 98 and the high of 110
LIMIT = {"type": "limit", "limit_price": "60"}


def at_noon(rules: MarketRules = EXACT, cash: int = 100_000) -> tuple[Exchange, Account]:
    exchange, account = exchange_with(rules)
    account.cash = Decimal(cash)
    until(exchange, MONDAY_NOON)
    return exchange, account


@pytest.mark.parametrize(
    "body",
    [
        {"type": "limit", "limit_price": "0.50"},
        {"type": "stop_limit", "stop_price": "50", "limit_price": "0.50"},
        {"type": "market"},
    ],
)
def test_a_short_sale_counts_at_the_market_at_least(body: dict[str, Any]) -> None:
    exchange, account = at_noon()
    with pytest.raises(RefusedError, match="insufficient buying power") as caught:
        send(exchange, account, side="sell", qty=100_000, **body)
    assert caught.value.body["cost_basis"] == f"{exchange.state.price('AAA') * 100_000 * Decimal('1.03'):.2f}"
    assert not account.orders


def test_a_short_sale_above_the_market_counts_at_its_limit_and_so_does_its_replacement() -> None:
    exchange, account = at_noon(MarketRules(0, 0, 0.001))
    order = send(exchange, account, side="sell", qty=10, type="limit", limit_price="150", time_in_force="gtc")
    assert account.reserved == 1500
    exchange.catch_up()
    lower = OrderRequest("AAA", "sell", "limit", "gtc", Decimal(10), None, Decimal("0.5"), None, None)
    new = exchange.replace(account, order.id, lower)
    assert new.reserve == 10 * exchange.state.price("AAA") * Decimal("1.03")
    exchange.catch_up()
    more = OrderRequest("AAA", "sell", "limit", "gtc", Decimal(10_000), None, Decimal("0.5"), None, None)
    with pytest.raises(RefusedError, match="insufficient buying power"):
        exchange.replace(account, new.id, more)
    assert [*account.open_orders] == [new.id]


@pytest.mark.parametrize(("cash", "multiplier"), [(1999, "1"), (2000, "2")])
def test_margin_and_short_sales_take_2000_dollars(cash: int, multiplier: str) -> None:
    exchange, account = at_noon(cash=cash)
    view = account_view(exchange.state, account)
    assert (view["multiplier"], view["shorting_enabled"]) == (multiplier, multiplier == "2")
    assert view["buying_power"] == str(cash * int(multiplier))
    if multiplier == "1":
        with pytest.raises(RefusedError, match="not allowed to short"):
            send(exchange, account, side="sell", qty=1)
    else:
        assert send(exchange, account, side="sell", qty=1).position_intent == "sell_to_open"


def test_without_margin_the_proceeds_of_a_short_sale_buy_nothing() -> None:
    exchange, account = at_noon()
    send(exchange, account, side="sell", qty=100)
    exchange.catch_up()
    account.configurations["max_margin_multiplier"] = "1"
    worth = exchange.state.worth(account)
    assert worth.cash > 100_000
    assert worth.buying_power == worth.cash + 2 * worth.short == 100_000 + worth.short


def test_regulation_t_stays_two_for_one() -> None:
    """With multiplier 4 half of the positions is still margin, as in the example of Alpaca's OpenAPI file."""
    exchange, account = at_noon()
    account.configurations["max_margin_multiplier"] = "4"
    send(exchange, account, qty=100)
    exchange.catch_up()
    long = 100 * exchange.state.price("AAA")
    view = {name: value for name, value in account_view(exchange.state, account).items() if "_" in name}
    assert Decimal(view["initial_margin"]) == long / 2
    assert Decimal(view["regt_buying_power"]) == (100_000 - long / 2) * 2
    assert Decimal(view["daytrading_buying_power"]) == Decimal(view["buying_power"]) == 400_000 - long
    account.configurations["max_margin_multiplier"] = "2"
    assert account_view(exchange.state, account)["daytrading_buying_power"] == "0"


@pytest.mark.parametrize("size", [{"qty": "1.5"}, {"notional": "150"}])
@pytest.mark.parametrize(
    "body",
    [
        {"type": "limit", "limit_price": "103"},
        {"type": "stop", "stop_price": "109"},
        {"type": "stop_limit", "stop_price": "108", "limit_price": "109"},
    ],
)
def test_parts_of_shares_by_limit_and_stop(size: dict[str, str], body: dict[str, str]) -> None:
    exchange, account = exchange_with()
    order = send(exchange, account, **size, **body)
    until(exchange, "2024-07-01T20:00:00")
    assert order.status == "filled"
    assert order.filled_cost <= 150 if "notional" in size else order.filled_qty == Decimal("1.5")
    assert account.reserved == 0
    with pytest.raises(RefusedError, match="must be DAY"):
        send(exchange, account, **size, **body, time_in_force="gtc")


def test_parts_of_shares_cost_a_dollar_at_least_unless_they_are_all_that_is_left() -> None:
    exchange, account = at_noon()
    for body in ({"qty": "0.009"}, {"qty": "0.000000004"}, {"qty": "0.5", "type": "limit", "limit_price": "1.99"}):
        with pytest.raises(RefusedError, match="minimal amount of order 1") as caught:
            send(exchange, account, **body)
        assert (caught.value.status, caught.value.body["code"]) == (403, 40310000)
    send(exchange, account, qty="1.001")
    exchange.catch_up()
    send(exchange, account, side="sell", qty="1")
    exchange.catch_up()
    send(exchange, account, side="sell", qty="0.001")
    exchange.catch_up()
    assert not account.positions


def test_a_short_position_stays_of_whole_shares() -> None:
    exchange, account = at_noon()
    send(exchange, account, side="sell", qty=4)
    exchange.catch_up()
    for body in ({"qty": "1.5"}, {"notional": "150"}):
        with pytest.raises(RefusedError, match="cannot cover short positions in part"):
            send(exchange, account, **body)
    account.positions["AAA"].qty = Decimal("-0.5")  # what a reverse split has left at an earlier version's exchange
    send(exchange, account, qty="0.5")
    exchange.catch_up()
    assert not account.positions


def test_refusals_speak_of_plain_numbers() -> None:
    exchange, account = at_noon()
    send(exchange, account, qty="9.5")
    exchange.catch_up()
    with pytest.raises(RefusedError, match=r"\(requested: 20, available: 9\.5\)") as caught:
        send(exchange, account, side="sell", qty="20")
    assert [caught.value.body[name] for name in ("available", "existing_qty", "held_for_orders")] == ["9.5", "9.5", "0"]


@pytest.mark.parametrize(
    ("side", "intent"), [("sell", "sell_to_close"), ("buy", "buy_to_close"), ("buy", "sell_to_open")]
)
def test_an_order_does_what_it_is_meant_to_or_is_refused(side: str, intent: str) -> None:
    exchange, account = at_noon()
    with pytest.raises(RefusedError, match=f"inferred: {side}_to_open, specified: {intent}") as caught:
        send(exchange, account, side=side, position_intent=intent)
    assert (caught.value.status, caught.value.body["code"]) == (422, 42210000)
    assert send(exchange, account, position_intent="buy_to_open").position_intent == "buy_to_open"
    exchange.catch_up()
    assert send(exchange, account, side="sell", position_intent="sell_to_close").position_intent == "sell_to_close"


@pytest.mark.parametrize(
    "more",
    [
        {"stop_loss": {"stop_price": "90"}},
        {"take_profit": {"limit_price": "200"}},
        {"legs": [{"symbol": "AAA"}]},
        {"trail_percent": "1"},
        {"advanced_instructions": {"algorithm": "VWAP"}},
        {"position_intent": "hold"},
    ],
)
def test_what_would_be_another_order_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"is not supported by this exchange|invalid position_intent") as caught:
        read_order_request(
            {"symbol": "AAA", "side": "buy", "type": "market", "time_in_force": "day", "qty": "1", **more}
        )
    assert caught.value.status == 422


@pytest.mark.parametrize("given", ["1_000", "\uff11\uff10", " 5", "0x10", "1e9999", "Infinity", "nan", True, [], "+-1"])
def test_what_is_no_number(given: Any) -> None:
    with pytest.raises(RefusedError, match="invalid qty"):
        number({"qty": given}, "qty")


@pytest.mark.parametrize(("given", "value"), [("1e3", 1000), (".5", 0.5), ("5.", 5), (2.5, 2.5), (7, 7), ("+3", 3)])
def test_what_is_a_number(given: Any, value: float) -> None:
    assert number({"qty": given}, "qty") == Decimal(str(value))


def changed(**changes: Any) -> OrderRequest:
    """Another ticket for ten shares at 60, good till canceled."""
    standard = {"symbol": "AAA", "side": "buy", "time_in_force": "gtc", "qty": "10", **LIMIT}
    return read_order_request({**standard, **changes})


@pytest.mark.parametrize(
    ("changes", "words", "code"),
    [
        ({}, "order parameters are not changed", 42210000),
        ({"client_order_id": "other"}, "order parameters are not changed", 42210000),
        ({"qty": "2.5", "time_in_force": "day"}, "whole shares", 42210000),
        ({"qty": None, "notional": "500", "time_in_force": "day"}, "notional orders cannot be replaced", 42210000),
    ],
)
def test_what_no_replacement_is(changes: dict[str, Any], words: str, code: int) -> None:
    exchange, account = at_noon()
    order = send(exchange, account, time_in_force="gtc", **LIMIT)
    exchange.catch_up()
    with pytest.raises(RefusedError, match=words) as caught:
        exchange.replace(account, order.id, changed(**changes))
    assert (caught.value.status, caught.value.body["code"], order.status) == (422, code, "new")


def test_an_order_that_is_not_at_the_market_yet_is_not_replaced() -> None:
    exchange, account = exchange_with()
    order = send(exchange, account, time_in_force="gtc", **LIMIT)
    for time, status in (("2024-07-01T13:29:59", "accepted"), (MONDAY_NOON, "pending_new")):
        until(exchange, time)
        if status == "pending_new":
            exchange.cancel(account, order.id)
            order = send(exchange, account, time_in_force="gtc", **LIMIT)
        assert order.status == status
        with pytest.raises(RefusedError, match="isn't sent to exchange yet") as caught:
            exchange.replace(account, order.id, changed(qty="4"))
        assert (caught.value.status, caught.value.body["code"]) == (422, 40010001)
    exchange.catch_up()
    assert exchange.replace(account, order.id, changed(qty="4")).qty == 4


def test_an_order_for_parts_of_shares_changes_its_price_but_not_its_size() -> None:
    exchange, account = at_noon()
    order = send(exchange, account, qty="2.5", **LIMIT)
    notional = send(exchange, account, notional="200", **LIMIT)
    exchange.catch_up()
    day = {"time_in_force": "day"}
    for qty in ("3", "2"):
        with pytest.raises(RefusedError, match="qty of fractional orders cannot be changed"):
            exchange.replace(account, order.id, changed(qty=qty, **day))
    with pytest.raises(RefusedError, match="notional orders cannot be replaced"):
        exchange.replace(account, notional.id, changed(**day))
    new = exchange.replace(account, order.id, changed(qty="2.5", limit_price="61", **day))
    assert (new.qty, new.limit_price) == (Decimal("2.5"), 61)
