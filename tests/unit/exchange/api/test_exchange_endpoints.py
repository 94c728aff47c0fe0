"""What endpoints read from requests, and what they show: pages of bars, settings, parts of positions, views."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import DataError, ServiceError
from mlops_cli.exchange.api import views
from mlops_cli.exchange.api.account_endpoints import configuration_changes, fits_asset_query
from mlops_cli.exchange.api.data_endpoints import PageToken, read_page
from mlops_cli.exchange.api.responses import EXACT, answer, failure, json_body
from mlops_cli.exchange.api.trading_endpoints import shares_to_close
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account, MarketRules, Position, RefusedError, forbidden
from tests.fakes.small_exchange import BEGAN, exchange_with, new_account, new_order, send, table, until

NOON = "2024-07-01T16:00:00"


@pytest.mark.parametrize(
    ("held", "qty", "percentage", "shares"),
    [
        ("10", None, None, "10"),
        ("-10", None, None, "10"),
        ("10", "3.5", None, "3.5"),
        ("10", None, "25", "2"),  # whole shares of a whole position
        ("10.5", None, "25", "2.625"),
        ("-7", None, "50", "3"),
        ("3", None, "100", "3"),
        ("1", None, "50", "0"),
        ("0.000000003", None, "50", "0.000000001"),
    ],
)
def test_the_part_of_a_position_to_close(held: str, qty: str | None, percentage: str | None, shares: str) -> None:
    given_numbers = (None if text is None else Decimal(text) for text in (qty, percentage))
    assert shares_to_close(Position("AAA", Decimal(held), Decimal(1)), *given_numbers) == Decimal(shares)


@pytest.mark.parametrize(
    ("qty", "percentage", "words"), [(1, 50, "only one of qty or percentage"), (None, 101, "between 0 and 100")]
)
def test_parts_that_are_refused(qty: int | None, percentage: int, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        shares_to_close(
            Position("AAA", Decimal(10), Decimal(1)), None if qty is None else Decimal(qty), Decimal(percentage)
        )


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({}, {}),
        ({"no_shorting": True}, {"no_shorting": True}),
        ({"no_shorting": None, "colour": "red"}, {}),
        ({"max_margin_multiplier": "4", "pdt_check": "both"}, {"max_margin_multiplier": "4", "pdt_check": "both"}),
        ({"max_options_trading_level": 3}, {"max_options_trading_level": 3}),
    ],
)
def test_configurations_that_change(body: dict[str, Any], changes: dict[str, Any]) -> None:
    assert configuration_changes(new_account().configurations, body) == changes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no_shorting", "true"),
        ("no_shorting", 1),
        ("max_margin_multiplier", "3"),
        ("max_margin_multiplier", 2),
        ("max_options_trading_level", 4),
        ("max_options_trading_level", True),
        ("trade_confirm_email", "some"),
        ("dtbp_check", ["entry"]),
    ],
)
def test_configurations_that_are_refused(name: str, value: object) -> None:
    with pytest.raises(RefusedError, match=f"invalid {name}") as caught:
        configuration_changes(new_account().configurations, {name: value})
    assert caught.value.status == 422


ASSET = {"status": "active", "class": "us_equity", "exchange": "NASDAQ", "attributes": ["ipo", "has_options"]}


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ({}, True),
        ({"status": "all"}, True),
        ({"status": "active", "asset_class": "us_equity", "exchange": "NASDAQ"}, True),
        ({"status": "", "asset_class": "", "exchange": ""}, True),
        ({"status": "inactive"}, False),
        ({"asset_class": "crypto"}, False),
        ({"exchange": "NYSE"}, False),
        ({"attributes": "ipo,ptp_no_exception"}, True),
        ({"attributes": "ptp_no_exception"}, False),
    ],
)
def test_assets_by_query(query: dict[str, str], fits: bool) -> None:
    assert fits_asset_query(ASSET, query) is fits


@given(st.from_regex(r"[A-Z]{1,5}(\.[A-Z])?", fullmatch=True), st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))
def test_page_tokens_come_back(symbol: str, at: datetime) -> None:
    token = PageToken(symbol, at.replace(microsecond=0, tzinfo=UTC), at.replace(tzinfo=UTC))
    assert PageToken.read(token.text()) == token


@pytest.mark.parametrize("text", ["x", "====", "QUFB", "QUFBfHNvb258c29vbg==", "Ä"])  # AAA; AAA|soon|soon
def test_what_is_no_page_token(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PageToken.read(text)


@pytest.fixture
def noon() -> tuple[Exchange, Account]:
    """Monday at noon with two symbols."""
    exchange, account = exchange_with(MarketRules(), AAA=table(), BBB=table())
    until(exchange, NOON)
    return exchange, account


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", ["1", "2", "3", "4", "100"])
def test_pages_make_up_the_whole(noon: tuple[Exchange, Account], sort: str, limit: str) -> None:
    state = noon[0].state
    query = {"start": "2024-06-28", "timeframe": "1Day", "sort": sort}
    whole = read_page(state, query, ["AAA", "BBB"])
    assert (len(whole.bars), whole.token) == (4, None)
    pages, token = [], ""
    while token is not None and len(pages) < 10:
        page = read_page(state, {**query, "limit": limit, "page_token": token}, ["AAA", "BBB"])
        assert 0 < len(page.bars) <= int(limit)
        pages += page.bars
        token = page.token
    assert pages == whole.bars


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"timeframe": "2Day"}, "invalid timeframe"),
        ({"start": "soon"}, "invalid start, end or page_token"),
        ({"end": "2024-02-30"}, "invalid start, end or page_token"),
        ({"page_token": "x"}, "invalid start, end or page_token"),
        ({"limit": "0"}, "invalid limit"),
    ],
)
def test_pages_that_are_refused(noon: tuple[Exchange, Account], query: dict[str, str], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        read_page(noon[0].state, query, ["AAA"])
    assert (caught.value.status, caught.value.body["code"]) == (400, 40010000)


def test_bars_begin_today_and_end_now(noon: tuple[Exchange, Account]) -> None:
    page = read_page(noon[0].state, {"end": "2030-01-01"}, ["AAA"])
    assert [bar["t"] for _, bar in page.bars] == ["2024-07-01T04:00:00Z"]
    assert read_page(noon[0].state, {"end": "2024-06-28"}, ["AAA"]).bars == []
    assert read_page(noon[0].state, {}, []).bars == []


def test_an_order_as_clients_see_it() -> None:
    order = new_order(
        qty=None,
        notional=Decimal("250.50"),
        filled_qty=Decimal(3),
        filled_cost=Decimal(100),
        limit_price=Decimal("33.50"),
        filled_at=BEGAN,
    )
    view = views.order_view(order)
    assert (view["qty"], view["notional"], view["filled_qty"]) == (None, "250.5", "3")
    assert (view["filled_avg_price"], view["limit_price"]) == ("33.333333", "33.5")
    assert (view["submitted_at"], view["filled_at"]) == ("2024-06-28T13:30:00Z", "2024-06-28T13:30:00Z")
    assert (view["canceled_at"], view["stop_price"], view["legs"]) == (None, None, None)
    assert views.order_view(new_order())["filled_avg_price"] is None


def test_a_position_as_clients_see_it(noon: tuple[Exchange, Account]) -> None:
    exchange, account = noon
    send(exchange, account)
    exchange.catch_up()
    send(exchange, account, side="sell", qty=4, type="limit", limit_price=500)
    until(exchange, "2024-07-01T20:00:00")
    view = views.position_view(exchange.state, account, account.positions["AAA"])
    assert (view["side"], view["qty"], view["qty_available"]) == ("long", "10", "10")  # the limit order has expired
    assert (view["current_price"], view["lastday_price"], view["change_today"]) == ("105", "100", "0.05")
    assert Decimal(view["market_value"]) == 1050
    cost = Decimal(view["cost_basis"])
    assert cost == 10 * account.positions["AAA"].average_price
    assert Decimal(view["unrealized_pl"]) == Decimal(view["unrealized_intraday_pl"]) == 1050 - cost
    assert Decimal(view["unrealized_plpc"]) == ((1050 - cost) / cost).quantize(Decimal("1e-8"))


def test_a_short_position_loses_as_the_price_rises(noon: tuple[Exchange, Account]) -> None:
    exchange, account = noon
    account.positions["AAA"] = Position("AAA", Decimal(-10), Decimal(90))
    until(exchange, "2024-07-01T20:00:00")
    view = views.position_view(exchange.state, account, account.positions["AAA"])
    assert (view["side"], view["qty"], view["market_value"], view["cost_basis"]) == ("short", "-10", "-1050", "-900")
    assert (view["unrealized_pl"], view["unrealized_plpc"]) == ("-150", "-0.16666667")
    assert view["unrealized_intraday_pl"] == "-50"


def test_an_account_as_clients_see_it(noon: tuple[Exchange, Account]) -> None:
    exchange, account = noon
    send(exchange, account, type="limit", limit_price=50)
    view = views.account_view(exchange.state, account)
    assert (view["cash"], view["equity"], view["multiplier"]) == ("100000", "100000", "2")
    assert (view["buying_power"], view["daytrading_buying_power"]) == ("199500", "0")
    assert view["non_marginable_buying_power"] == "99500"
    assert (view["last_equity"], view["balance_asof"]) == ("100000", "2024-06-28")
    assert (view["shorting_enabled"], view["trade_suspended_by_user"]) == (True, False)
    account.configurations |= {"no_shorting": True, "suspend_trade": True}
    view = views.account_view(exchange.state, account)
    assert (view["shorting_enabled"], view["trade_suspended_by_user"]) == (False, True)


def test_symbols_are_found_by_name_and_by_id(noon: tuple[Exchange, Account]) -> None:
    state = noon[0].state
    asset_id = views.asset_id("BBB")
    assert views.asset_view(state, "BBB")["id"] == asset_id
    assert asset_id != views.asset_id("AAA")
    assert views.find_symbol(state, "bbb") == "BBB"
    assert views.find_symbol(state, asset_id.upper()) == "BBB"
    unknown = "0" * 36
    assert views.find_symbol(state, unknown) == unknown


def test_a_delisted_asset_is_inactive(noon: tuple[Exchange, Account]) -> None:
    state = noon[0].state
    assert views.asset_view(state, "AAA")["status"] == "active"
    state.market.delisted["AAA"] = state.now.date()
    view = views.asset_view(state, "AAA")
    assert (view["status"], view["tradable"]) == ("inactive", False)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (forbidden("no", symbol="AAA"), 403, 40310000),
        (ServiceError("the disk is full", "ask again"), 503, 50310000),
        (DataError("AAA.parquet: damaged", "fetch it again"), 500, 50010000),
    ],
)
def test_errors_become_answers(error: Any, status: int, code: int) -> None:
    found_status, body = failure(error)
    assert (found_status, body["code"]) == (status, code)
    assert body["message"].startswith(str(error)[:10])


def request_with(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


def read(body: bytes) -> Any:
    """Run `json_body` without an event loop: nothing in it really waits."""
    coroutine = json_body(request_with(body))
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


@pytest.mark.parametrize(("content", "body"), [(b"", {}), (b"{}", {}), (b'{"qty": "1"}', {"qty": "1"})])
def test_bodies(content: bytes, body: dict[str, Any]) -> None:
    assert read(content) == body


@pytest.mark.parametrize("content", [b"{", b"[]", b'"text"', b"5", b"null", b"\xff"])
def test_what_is_no_body(content: bytes) -> None:
    with pytest.raises(RefusedError, match="request body format is invalid") as caught:
        read(content)
    assert caught.value.status == 400


def test_answers_are_json() -> None:
    response = answer({"a": [1, None]}, 207)
    assert (response.status_code, json.loads(response.body)) == (207, {"a": [1, None]})
    assert response.media_type == "application/json"


def test_paths_without_parameters_are_found_by_a_look_up() -> None:
    assert ("POST", "/v2/orders") in EXACT
    assert not [path for _, path in EXACT if "{" in path]
