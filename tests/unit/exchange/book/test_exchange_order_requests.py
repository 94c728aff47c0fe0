"""Requests for orders: what is read, what is refused and in which words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mlops_cli.exchange.book.order_requests import (
    LONGEST_CLIENT_ID,
    OrderRequest,
    client_id,
    number,
    read_order_request,
    read_replacement,
)
from mlops_cli.exchange.book.records import RefusedError
from tests.fakes.small_exchange import new_order

MARKET = {"symbol": "AAA", "side": "buy", "type": "market", "time_in_force": "day", "qty": "10"}
LIMIT = {**MARKET, "type": "limit", "limit_price": "99.5"}


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def test_a_whole_request_is_read() -> None:
    body = {
        **LIMIT,
        "type": "stop_limit",
        "stop_price": 101,
        "time_in_force": "gtc",
        "client_order_id": "mine",
        "position_intent": "buy_to_open",
        "order_class": "simple",
    }
    assert read_order_request(body) == OrderRequest(
        symbol="AAA",
        side="buy",
        type="stop_limit",
        time_in_force="gtc",
        qty=Decimal(10),
        notional=None,
        limit_price=Decimal("99.5"),
        stop_price=Decimal(101),
        client_order_id="mine",
        extended_hours=False,
        position_intent="buy_to_open",
    )


@pytest.mark.parametrize("name", ["symbol", "side", "type", "time_in_force"])
@pytest.mark.parametrize("missing", [None, ""])
def test_required_members(name: str, missing: str | None) -> None:
    for body in (without(MARKET, name), {**MARKET, name: missing}):
        with pytest.raises(RefusedError, match=f"^{name} is required") as caught:
            read_order_request(body)
        assert (caught.value.status, caught.value.body["code"]) == (422, 40010001)


@pytest.mark.parametrize(
    ("changes", "words", "status"),
    [
        ({"side": "hold"}, "invalid side: 'hold'", 422),
        ({"type": "trailing_stop"}, "invalid type: 'trailing_stop'", 422),
        ({"time_in_force": 5}, "invalid time_in_force: '5'", 422),
        ({"symbol": ["AAA"]}, "invalid symbol", 422),
        ({"order_class": "bracket"}, "bracket orders are not supported", 422),
        ({"qty": None}, "qty or notional is required", 422),
        ({"notional": "5"}, "only one of qty or notional", 422),
        ({"qty": "1.5", "time_in_force": "gtc"}, "fractional orders must be DAY orders", 422),
        ({"qty": None, "notional": "50", "time_in_force": "gtc"}, "fractional orders must be DAY", 422),
        ({"qty": "1.0000000001"}, "9 decimal places", 422),
        ({"qty": None, "notional": "5.001"}, "2 decimal places", 422),
        ({"qty": None, "notional": "0.99"}, "minimal amount of order 1", 403),
        ({"limit_price": "5"}, "market orders require no stop or limit price", 422),
        ({"stop_price": "5"}, "market orders require no stop or limit price", 422),
        ({"type": "limit"}, "limit orders require a limit price", 422),
        ({"type": "limit", "limit_price": "5", "stop_price": "5"}, "limit orders require no stop price", 422),
        ({"type": "stop"}, "stop orders require a stop price", 422),
        ({"type": "stop", "limit_price": "5", "stop_price": "5"}, "stop orders require no limit price", 422),
        ({"type": "stop_limit", "stop_price": "5"}, "stop_limit orders require a limit price", 422),
        ({"type": "stop_limit", "limit_price": "5"}, "stop_limit orders require a stop price", 422),
        ({"type": "limit", "limit_price": "5.001"}, "invalid limit_price 5.001. sub-penny increment", 422),
        ({"type": "stop", "stop_price": "0.12345"}, "invalid stop_price 0.12345. sub-penny increment", 422),
        ({"type": "stop", "stop_price": "5", "time_in_force": "opg"}, "opg orders must be market or limit", 422),
        ({"type": "stop", "stop_price": "5", "time_in_force": "cls"}, "cls orders must be market or limit", 422),
        ({"extended_hours": True}, "must be DAY or GTC limit orders", 422),
    ],
)
def test_what_does_not_fit_together(changes: dict[str, Any], words: str, status: int) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        read_order_request({**MARKET, **changes})
    assert caught.value.status == status


@pytest.mark.parametrize(
    "changes",
    [
        {"qty": "0.000000001"},
        {"qty": None, "notional": "1.00"},
        {"type": "limit", "limit_price": "0.1234"},
        {"type": "limit", "limit_price": "1.01", "time_in_force": "opg"},
        {"type": "limit", "limit_price": "5", "extended_hours": True, "time_in_force": "gtc"},
        {"legs": [], "take_profit": None, "stop_loss": {}},
        {"extended_hours": "yes"},  # only true means true
    ],
)
def test_what_is_just_accepted(changes: dict[str, Any]) -> None:
    request = read_order_request({**MARKET, **changes})
    assert request.extended_hours is (changes.get("extended_hours") is True)


@pytest.mark.parametrize(
    ("qty", "notional", "fractional"),
    [("10", None, False), ("10.0", None, False), ("1.5", None, True), (None, 5, True)],
)
def test_which_requests_are_fractional(qty: str | None, notional: int | None, fractional: bool) -> None:
    assert read_order_request({**MARKET, "qty": qty, "notional": notional}).fractional is fractional


def test_numbers_end_at_a_trillion_and_begin_above_zero() -> None:
    assert number({"qty": "1e12"}, "qty") == Decimal(10) ** 12
    with pytest.raises(RefusedError, match="invalid qty"):
        number({"qty": "1000000000001"}, "qty")
    for given in (0, "-0.5", "0e9"):
        with pytest.raises(RefusedError, match="limit price must be > 0"):
            number({"limit_price": given}, "limit_price")
    assert number({"qty": ""}, "qty") is number({}, "qty") is None


def test_client_ids_have_a_length() -> None:
    longest = "x" * LONGEST_CLIENT_ID
    assert client_id({"client_order_id": longest}) == longest
    assert client_id({"client_order_id": ""}) is None
    for given in (longest + "x", 5, ["x"]):
        with pytest.raises(RefusedError, match="no more than 128 characters"):
            client_id({"client_order_id": given})


def test_a_replacement_keeps_what_it_does_not_change() -> None:
    order = new_order(type="limit", limit_price=Decimal(50), time_in_force="gtc", side="sell", extended_hours=True)
    request = read_replacement({"qty": "4"}, order)
    assert request == OrderRequest(
        symbol="AAA",
        side="sell",
        type="limit",
        time_in_force="gtc",
        qty=Decimal(4),
        notional=None,
        limit_price=Decimal(50),
        stop_price=None,
        client_order_id=None,
        extended_hours=True,
        position_intent="buy_to_open",
    )
    changed = read_replacement({"limit_price": "51", "time_in_force": "day", "client_order_id": "new"}, order)
    assert (changed.qty, changed.limit_price, changed.time_in_force) == (10, 51, "day")
    assert changed.client_order_id == "new"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"time_in_force": "soon"}, "invalid time_in_force: 'soon'"),
        ({"time_in_force": ["day"]}, "invalid time_in_force"),
        ({"trail": "5"}, "trailing_stop and notional orders cannot be replaced"),
        ({"notional": "5"}, "trailing_stop and notional orders cannot be replaced"),
        ({"stop_loss": {"stop_price": 5}}, "stop_loss is not supported"),
        ({"qty": "-1"}, "qty must be > 0"),
        ({"limit_price": "x"}, "invalid limit_price"),
    ],
)
def test_what_no_order_is_replaced_by(body: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        read_replacement(body, new_order())
