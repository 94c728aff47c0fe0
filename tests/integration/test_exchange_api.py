"""A plain alpaca-py program against the local exchange over HTTP, every answer judged by Alpaca's OpenAPI files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import jsonschema
import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import (
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.models import NonTradeActivity, TradeActivity
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopOrderRequest,
)

from tests.fakes import alpaca_contract
from tests.fakes.exchange_server import ExchangeServer, exchange_server

BUY, SELL, DAY, GTC = OrderSide.BUY, OrderSide.SELL, TimeInForce.DAY, TimeInForce.GTC
SEEN: set[tuple[str, str]] = set()


@pytest.fixture(scope="module")
def server() -> Iterator[ExchangeServer]:
    with exchange_server() as running:
        yield running


def judged[T: (TradingClient, StockHistoricalDataClient)](client: T) -> T:
    """The client, unchanged but that whatever comes back over its session is judged on the way."""
    alpaca_contract.watch(client._session, SEEN)
    return client


@pytest.fixture
def trading(server: ExchangeServer) -> TradingClient:
    return judged(TradingClient(str(uuid4()), "secret", paper=True, url_override=server.url))


@pytest.fixture
def data(server: ExchangeServer) -> StockHistoricalDataClient:
    return judged(StockHistoricalDataClient(str(uuid4()), "secret", url_override=server.url))


def session_on(server: ExchangeServer, minutes: float = 60) -> None:
    """Move on into the next session."""
    server.advance(to="next_open", seconds=minutes * 60)


def market(symbol: str, qty: float, side: OrderSide = BUY, **more: object) -> MarketOrderRequest:
    return MarketOrderRequest(symbol=symbol, qty=qty, side=side, time_in_force=DAY, **more)


def test_a_new_key_opens_an_account(trading: TradingClient) -> None:
    account = trading.get_account()
    assert (account.cash, account.equity, account.currency) == ("100000", "100000", "USD")
    assert account.status == "ACTIVE"
    assert trading.get_all_positions() == []
    assert trading.get_orders() == []


def test_an_order_sent_overnight_is_filled_at_the_open(server: ExchangeServer, trading: TradingClient) -> None:
    server.advance(to="next_close", seconds=1800)
    sent = trading.submit_order(market("AAPL", 10, client_order_id="overnight"))
    assert sent.status == OrderStatus.ACCEPTED
    assert trading.get_all_positions() == []
    opened = server.advance(to="next_open")
    order = trading.get_order_by_client_id("overnight")
    assert (order.status, order.filled_qty) == (OrderStatus.FILLED, "10")
    assert order.filled_at == datetime.fromisoformat(opened)
    opening = server.exchange.state.market.path("AAPL", server.exchange.state.hours.current(order.filled_at)).points[0]
    assert float(order.filled_avg_price) == pytest.approx(opening * (1 + 2e-4), abs=1e-4)  # half the spread, slippage
    held = trading.get_open_position("AAPL")
    assert (held.qty, held.avg_entry_price) == ("10", order.filled_avg_price)
    assert Decimal(trading.get_account().cash) == 100_000 - 10 * Decimal(order.filled_avg_price)


def test_an_order_in_the_session_is_pending_then_filled(server: ExchangeServer, trading: TradingClient) -> None:
    session_on(server)
    sent = trading.submit_order(market("MSFT", 1.5))
    assert (sent.status, sent.filled_qty) == (OrderStatus.PENDING_NEW, "0")
    assert trading.get_order_by_id(sent.id).status == OrderStatus.FILLED
    fractions = trading.submit_order(MarketOrderRequest(symbol="NVDA", notional=500, side=BUY, time_in_force=DAY))
    done = trading.get_order_by_id(fractions.id)
    assert done.status == OrderStatus.FILLED
    assert float(done.filled_qty) * float(done.filled_avg_price) == pytest.approx(500, abs=1e-3)


def test_limits_stops_replace_and_cancel(server: ExchangeServer, trading: TradingClient) -> None:
    session_on(server)
    trading.submit_order(market("AAPL", 20))
    price = float(trading.get_open_position("AAPL").current_price)
    low = trading.submit_order(
        LimitOrderRequest(symbol="MSFT", qty=3, side=BUY, time_in_force=GTC, limit_price=1.5, client_order_id="mine")
    )
    stop = trading.submit_order(
        StopOrderRequest(symbol="AAPL", qty=5, side=SELL, time_in_force=GTC, stop_price=round(price / 2, 2))
    )
    both = trading.submit_order(
        StopLimitOrderRequest(
            symbol="AAPL", qty=5, side=SELL, time_in_force=GTC, stop_price=round(price / 2, 2), limit_price=1
        )
    )
    assert {order.id for order in trading.get_orders()} == {low.id, stop.id, both.id}
    wanted = GetOrdersRequest(status=QueryOrderStatus.OPEN, symbols=["AAPL"], side=SELL, limit=1)
    assert [order.id for order in trading.get_orders(wanted)] == [both.id]
    new = trading.replace_order_by_id(low.id, ReplaceOrderRequest(qty=4, limit_price=2.0, client_order_id="other"))
    assert (new.qty, new.limit_price, new.replaces) == ("4", "2", low.id)
    with pytest.raises(APIError, match="not changed") as caught:
        trading.replace_order_by_id(new.id, ReplaceOrderRequest(qty=4, limit_price=2.0))
    assert (caught.value.status_code, caught.value.code) == (422, 42210000)
    old = trading.get_order_by_id(low.id)
    assert (old.status, old.replaced_by) == (OrderStatus.REPLACED, new.id)
    trading.cancel_order_by_id(new.id)
    assert trading.get_order_by_id(new.id).status == OrderStatus.CANCELED
    assert {answer.id for answer in trading.cancel_orders()} == {stop.id, both.id}
    assert trading.get_orders() == []
    closed = trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.CLOSED))
    assert len(closed) == 5


def test_parts_of_a_share_at_a_limit(server: ExchangeServer, trading: TradingClient) -> None:
    session_on(server)
    sent = trading.submit_order(
        LimitOrderRequest(symbol="AAPL", qty=0.01, side=BUY, time_in_force=DAY, limit_price=50_000)
    )
    assert trading.get_order_by_id(sent.id).status == OrderStatus.FILLED
    half = LimitOrderRequest(symbol="MSFT", notional=250, side=BUY, time_in_force=DAY, limit_price=50_000)
    assert trading.get_order_by_id(trading.submit_order(half).id).status == OrderStatus.FILLED
    assert {held.symbol for held in trading.get_all_positions()} == {"AAPL", "MSFT"}


def test_positions_are_closed_in_part_and_all(server: ExchangeServer, trading: TradingClient) -> None:
    session_on(server)
    for symbol in ("AAPL", "MSFT"):
        trading.submit_order(market(symbol, 9))
    trading.close_position("AAPL", ClosePositionRequest(qty="2"))
    trading.close_position("MSFT", ClosePositionRequest(percentage="50"))
    assert {held.symbol: held.qty for held in trading.get_all_positions()} == {"AAPL": "7", "MSFT": "5"}
    trading.submit_order(LimitOrderRequest(symbol="AAPL", qty=7, side=SELL, time_in_force=DAY, limit_price=90_000))
    assert trading.get_open_position("AAPL").qty_available == "0"
    unjudged = TradingClient(trading._api_key, "secret", url_override=server.url)  # the file knows no refusal in a list
    answers = {answer.symbol: answer for answer in unjudged.close_all_positions()}
    assert {symbol: answer.status for symbol, answer in answers.items()} == {"AAPL": 403, "MSFT": 200}
    assert answers["AAPL"].body.code == 40310000
    trading.submit_order(market("MSFT", 1))
    assert [answer.status for answer in trading.close_all_positions(cancel_orders=True)] == [200, 200]
    assert trading.get_all_positions() == []


def test_a_short_position(server: ExchangeServer, trading: TradingClient) -> None:
    session_on(server)
    trading.submit_order(market("AAPL", 10, SELL))
    held = trading.get_open_position("AAPL")
    assert (held.qty, held.side) == ("-10", "short")
    account = trading.get_account()
    assert float(account.cash) > 100_000
    assert float(account.short_market_value) < 0
    trading.close_position("AAPL")
    assert trading.get_all_positions() == []


def test_history_and_activities(server: ExchangeServer, trading: TradingClient) -> None:
    session_on(server)
    trading.submit_order(market("AAPL", 50))
    server.advance(to="next_close", seconds=60)
    server.advance(to="next_close", seconds=60)
    history = trading.get_portfolio_history(GetPortfolioHistoryRequest(period="1M", timeframe="1D"))
    account = trading.get_account()
    assert history.base_value == history.equity[0]  # a new account: no close before
    assert history.equity[-1] == pytest.approx(float(account.equity))
    assert history.equity[-2] == pytest.approx(float(account.last_equity))
    fills = [TradeActivity(**raw) for raw in trading.get("/account/activities/FILL")]
    assert [(fill.symbol, fill.qty, fill.leaves_qty) for fill in fills] == [("AAPL", 50, 0)]
    day = (datetime.fromisoformat(server.advance(seconds=1)) + timedelta(days=1)).date()
    server.action("dividend", "AAPL", day.isoformat(), amount="0.25")
    server.advance(to="next_open")
    paid = [NonTradeActivity(**raw) for raw in trading.get("/account/activities", {"activity_types": "DIV"})]
    assert [(one.symbol, one.net_amount, one.per_share_amount) for one in paid] == [("AAPL", 12.5, 0.25)]
    assert len(trading.get("/account/activities", {"category": "trade_activity"})) == 1


def test_calendar_and_clock_know_half_days_holidays_and_summer_time(
    server: ExchangeServer, trading: TradingClient
) -> None:
    days = trading.get_calendar(GetCalendarRequest(start=date(2024, 7, 1), end=date(2024, 7, 5)))
    hours = [(day.date.day, day.open.hour, day.close.hour) for day in days]
    assert hours == [(1, 9, 16), (2, 9, 16), (3, 9, 13), (5, 9, 16)]  # the 4th is a holiday
    with exchange_server(start="2024-03-08T21:30:00+00:00") as spring:
        client = judged(TradingClient("a", "b", url_override=spring.url))
        clock = client.get_clock()
        assert not clock.is_open
        assert clock.timestamp.utcoffset() == timedelta(hours=-5)
        assert clock.next_open == datetime(2024, 3, 11, 13, 30, tzinfo=UTC)  # an hour earlier than on Friday
        spring.advance("2024-07-03T16:59:59+00:00")
        assert client.get_clock().is_open
        spring.advance(seconds=1)
        after = client.get_clock()
        assert not after.is_open
        assert after.next_open == datetime(2024, 7, 5, 13, 30, tzinfo=UTC)


def test_assets_and_configurations(trading: TradingClient) -> None:
    assert [asset.symbol for asset in trading.get_all_assets(GetAssetsRequest(status="active"))] == [
        "AAPL",
        "MSFT",
        "NVDA",
    ]
    apple = trading.get_asset("AAPL")
    assert trading.get_asset(apple.id) == apple
    assert apple.tradable
    settings = trading.get_account_configurations()
    settings.no_shorting = True
    assert trading.set_account_configurations(settings).no_shorting
    assert not trading.get_account().shorting_enabled


def test_market_data(server: ExchangeServer, data: StockHistoricalDataClient) -> None:
    session_on(server)
    now = server.exchange.state.now
    start = now - timedelta(days=20)
    bars = data.get_stock_bars(
        StockBarsRequest(symbol_or_symbols=["AAPL", "MSFT"], timeframe=TimeFrame.Day, start=start)
    )
    table = server.exchange.state.market.tables.table("AAPL")
    known, today = bars["AAPL"][:-1], bars["AAPL"][-1]
    assert [bar.close for bar in known] == pytest.approx(
        [table["close"][str(b.timestamp.date())] for b in known], abs=1e-4
    )
    assert len(known) > 10
    quote = data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))["AAPL"]
    assert quote.bid_price < today.close < quote.ask_price
    assert quote.timestamp == now
    for frame in (TimeFrame.Minute, TimeFrame.Hour, TimeFrame.Week, TimeFrame.Month):
        found = data.get_stock_bars(StockBarsRequest(symbol_or_symbols="AAPL", timeframe=frame, start=start))["AAPL"]
        assert found[-1].close == today.close  # nothing of the session's future
    first = data.get_stock_bars(
        StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=start, limit=5)
    )
    assert len(first["AAPL"]) == 5
    assert data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="AAPL"))["AAPL"].price == today.close
    assert data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAPL"))["AAPL"].close == today.close
    shot = data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=["AAPL"]))["AAPL"]
    assert shot.daily_bar == today
    assert shot.previous_daily_bar == known[-1]
    for path in ("bars", "bars/latest", "quotes/latest", "trades/latest", "snapshot"):
        assert data.get(f"/stocks/AAPL/{path}")["symbol"] == "AAPL"
    page = data.get("/stocks/bars", {"symbols": "AAPL", "start": start.isoformat(), "limit": 3, "sort": "desc"})
    assert page["next_page_token"]
    assert page["bars"]["AAPL"][0]["c"] == today.close


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 422, 40010001, "is required"),
        ({"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day"}, 422, 40010001, "qty or notional"),
        ({"qty": "0"}, 422, 40010001, "must be > 0"),
        ({"qty": "x"}, 422, 40010001, "invalid qty"),
        ({"qty": "1e400"}, 422, 40010001, "invalid qty"),
        ({"qty": "1", "notional": "5"}, 422, 40010001, "only one of"),
        ({"qty": "1", "limit_price": "0"}, 422, 40010001, "limit price must be > 0"),
        ({"qty": "1", "limit_price": "5"}, 422, 40010001, "market orders require no stop or limit price"),
        ({"qty": "1", "type": "limit"}, 422, 40010001, "limit orders require a limit price"),
        ({"qty": "1", "type": "limit", "limit_price": "10.001"}, 422, 42210000, "sub-penny"),
        ({"qty": "1.5", "time_in_force": "gtc"}, 422, 42210000, "fractional orders must be DAY orders"),
        ({"notional": "0.99"}, 403, 40310000, "minimal amount of order"),
        ({"qty": "0.0001"}, 403, 40310000, "minimal amount of order"),
        ({"qty": "1_0"}, 422, 40010001, "invalid qty"),
        ({"qty": "1", "stop_loss": {"stop_price": "9"}}, 422, 42210000, "stop_loss is not supported"),
        ({"qty": "1", "side": "sell", "position_intent": "sell_to_close"}, 422, 42210000, "inferred: sell_to_open"),
        (
            {"qty": "100000", "side": "sell", "type": "limit", "limit_price": "0.50"},
            403,
            40310000,
            "insufficient buying power",
        ),
        ({"notional": "10.123"}, 422, 42210000, "2 decimal places"),
        ({"qty": "1", "client_order_id": "x" * 129}, 422, 40010001, "128 characters"),
        ({"qty": "1", "symbol": "NOPE"}, 422, 42210000, "not found"),
        ({"qty": "1", "order_class": "bracket"}, 422, 42210000, "not supported"),
        ({"qty": "1", "time_in_force": "ioc"}, 422, 42210000, "market hours"),
        ({"qty": "1000000"}, 403, 40310000, "insufficient buying power"),
        ({"qty": "0.5", "side": "sell"}, 422, 42210000, "fractional orders cannot be sold short"),
    ],
)
def test_refusals(
    server: ExchangeServer, trading: TradingClient, body: dict[str, str], status: int, code: int, words: str
) -> None:
    if server.exchange.state.hours.current(server.exchange.state.now) is not None:
        server.advance(to="next_close", seconds=60)
    whole = {"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", **body}
    with pytest.raises(APIError) as caught:
        trading.post("/orders", whole if {"qty", "notional"} & set(body) else body)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert words in caught.value.message
    assert trading.get_orders() == []


def test_what_is_not_there(trading: TradingClient) -> None:
    for call, argument in (
        (trading.get_order_by_id, str(uuid4())),
        (trading.get_order_by_client_id, "nobody"),
        (trading.get_open_position, "AAPL"),
        (trading.close_position, "AAPL"),
        (trading.get_asset, "NOPE"),
    ):
        with pytest.raises(APIError) as caught:
            call(argument)
        assert (caught.value.status_code, caught.value.code) == (404, 40410000)


def test_a_client_order_id_is_taken_once(trading: TradingClient) -> None:
    trading.submit_order(market("AAPL", 1, client_order_id="once"))
    with pytest.raises(APIError, match="client_order_id must be unique") as caught:
        trading.submit_order(market("MSFT", 2, client_order_id="once"))
    assert (caught.value.status_code, caught.value.code) == (422, 40010001)
    assert len(trading.get_orders()) == 1


def test_keys_guard_accounts(server: ExchangeServer) -> None:
    key = str(uuid4())
    TradingClient(key, "right", url_override=server.url).submit_order(market("AAPL", 1))
    with pytest.raises(APIError) as caught:
        judged(TradingClient(key, "wrong", url_override=server.url)).get_orders()
    assert (caught.value.status_code, caught.value.code) == (401, 40110000)
    assert requests.get(f"{server.url}/v2/account", timeout=10).status_code == 401
    assert TradingClient(str(uuid4()), "right", url_override=server.url).get_orders() == []


def test_what_corporate_actions_leave_in_the_account(server: ExchangeServer, trading: TradingClient) -> None:
    """A 3:2 split with an open order, a spin-off, a change of name; every answer is judged by Alpaca's schemas."""
    session_on(server)
    trading.submit_order(market("NVDA", 15))
    waiting = trading.submit_order(
        LimitOrderRequest(symbol="NVDA", qty=5, side=BUY, time_in_force=GTC, limit_price=1.5)
    )
    trading.get_all_positions()
    today = server.exchange.state.now.date()
    days = [str(today + timedelta(days=n)) for n in range(1, 15)]
    server.action("split", "NVDA", days[0], ratio=1.5)
    server.advance(to="next_open", seconds=60)
    assert trading.get_open_position("NVDA").qty == "22"
    order = trading.get_order_by_id(waiting.id)
    assert (order.qty, order.limit_price, order.status) == ("7", "1", OrderStatus.NEW)
    server.action("spin_off", "NVDA", days[0], ratio=0.5, new_symbol="NVDB", price="2.00")
    server.action("rename", "NVDA", days[0], new_symbol="NVDC")
    assert [action["type"] for action in server.sim("GET", "corporate-actions")] == ["spin_off", "rename"]
    server.advance(to="next_open", seconds=60)
    assert {held.symbol: held.qty for held in trading.get_all_positions()} == {"NVDB": "11", "NVDC": "22"}
    assert trading.get_order_by_id(waiting.id).status == OrderStatus.CANCELED
    told = [one for one in trading.get("/account/activities") if one["activity_type"] != "FILL"]
    assert [(one["activity_type"], one["symbol"], one["qty"]) for one in reversed(told)] == [
        ("SPLIT", "NVDA", "22"), ("SPIN", "NVDB", "11"), ("NC", "NVDA", "-22"), ("NC", "NVDC", "22"),
    ]  # fmt: skip
    assert Decimal(told[-1]["net_amount"]) > 0, "half a share"
    assert trading.get_asset("NVDA").tradable is False
    assert trading.get_asset("NVDC").tradable is True
    assert trading.get_asset(trading.get_asset("NVDB").id).symbol == "NVDB"
    closed = trading.close_all_positions()
    assert {answer.status for answer in closed} == {200}


def test_blocked_accounts(server: ExchangeServer, data: StockHistoricalDataClient) -> None:
    key = str(uuid4())
    trading = judged(TradingClient(key, "secret", url_override=server.url))
    session_on(server)
    open_order = trading.submit_order(
        LimitOrderRequest(symbol="AAPL", qty=1, side=BUY, time_in_force=GTC, limit_price=1)
    )
    assert trading.get_account().trading_blocked is trading.get_account().account_blocked is False
    blocked = server.sim("POST", "accounts", key=key, trading_blocked=True)
    assert (blocked["trading_blocked"], blocked["cash"]) == (True, "100000")
    assert trading.get_account().trading_blocked
    with pytest.raises(APIError, match="not authorized to trade") as caught:
        trading.submit_order(market("AAPL", 1))
    assert (caught.value.status_code, caught.value.code) == (403, 40310000)
    trading.cancel_order_by_id(open_order.id)
    server.sim("POST", "accounts", key=key, account_blocked=True, trading_blocked=False)
    assert trading.get_account().account_blocked
    for call in (lambda: trading.submit_order(market("AAPL", 1)), lambda: trading.cancel_order_by_id(open_order.id)):
        with pytest.raises(APIError, match="account is blocked"):
            call()
    assert trading.cancel_orders() == [], "there is none"
    server.sim("POST", "accounts", key=key, account_blocked=False, cash="50000")
    assert trading.submit_order(market("AAPL", 1)).status == OrderStatus.PENDING_NEW


def test_assets_that_do_not_allow_everything(server: ExchangeServer, trading: TradingClient) -> None:
    session_on(server)
    flags = server.sim("POST", "assets", symbol="MSFT", shortable=False, fractionable=False, easy_to_borrow=False)
    assert server.sim("GET", "assets") == [flags]
    asset = trading.get_asset("MSFT")
    assert (asset.tradable, asset.shortable, asset.fractionable, asset.easy_to_borrow) == (True, False, False, False)
    for order, words in (
        (market("MSFT", 1, SELL), "asset MSFT cannot be sold short"),
        (market("MSFT", 1.5), "is not fractionable"),
        (MarketOrderRequest(symbol="MSFT", notional=50, side=BUY, time_in_force=DAY), "is not fractionable"),
    ):
        with pytest.raises(APIError, match=words):
            trading.submit_order(order)
    server.sim("POST", "assets", symbol="MSFT", shortable=True)
    with pytest.raises(APIError, match="only day orders are allowed for hard-to-borrow asset MSFT"):
        trading.submit_order(LimitOrderRequest(symbol="MSFT", qty=1, side=SELL, time_in_force=GTC, limit_price=9999))
    waiting = trading.submit_order(LimitOrderRequest(symbol="MSFT", qty=1, side=BUY, time_in_force=GTC, limit_price=1))
    trading.submit_order(market("MSFT", 2))
    assert trading.get_open_position("MSFT").qty == "2"
    server.sim("POST", "assets", symbol="MSFT", tradable=False)
    assert trading.get_asset("MSFT").tradable is False
    with pytest.raises(APIError, match="asset MSFT is not tradable"):
        trading.close_position("MSFT")
    assert trading.get_order_by_id(waiting.id).status == OrderStatus.NEW
    server.sim("POST", "assets", symbol="MSFT", tradable=True, fractionable=True, easy_to_borrow=True)
    assert server.sim("GET", "assets") == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("assets", {"symbol": "NOPE", "tradable": False}, 404),
        ("assets", {"symbol": ["AAPL"]}, 404),
        ("assets", {"symbol": "AAPL", "tradable": "no"}, 422),
        ("assets", {"symbol": "AAPL", "colour": True}, 422),
        ("accounts", {"key": "nobody", "cash": "1"}, 404),
        ("accounts", {"key": "KEY"}, 422),
        ("accounts", {"key": "KEY", "trading_blocked": 1}, 422),
        ("accounts", {"key": "KEY", "cash": "1", "status": "ACTIVE"}, 422),
        ("corporate-actions", {"type": "rename", "symbol": "AAPL", "date": "2030-01-02", "new_symbol": "MSFT"}, 422),
        ("corporate-actions", {"type": "spin_off", "symbol": "AAPL", "date": "2030-01-02", "ratio": 1,
                               "new_symbol": "PART"}, 422),
    ],
)  # fmt: skip
def test_what_the_simulation_refuses(server: ExchangeServer, path: str, body: dict[str, object], status: int) -> None:
    keys = {"APCA-API-KEY-ID": "KEY", "APCA-API-SECRET-KEY": "secret"}
    requests.get(f"{server.url}/v2/account", headers=keys, timeout=10).raise_for_status()
    answer = requests.post(f"{server.url}/sim/{path}", json=body, timeout=10)
    assert (answer.status_code, set(answer.json())) == (status, {"code", "message"})


def test_the_schemas_judge(trading: TradingClient) -> None:
    account = trading.get("/account")
    for wrong in ({**account, "status": "FINE"}, {**account, "id": "1"}, {**account, "created_at": "today"}):
        with pytest.raises(jsonschema.ValidationError):
            alpaca_contract.check("trading-api.json", "Account", wrong)
    with pytest.raises(jsonschema.ValidationError):
        alpaca_contract.check("market-data-api.json", "stock_bars_resp", {"bars": {"AAPL": [{"c": 1.0}]}})


def test_the_copied_schemas_are_alpacas(shared_data: Path) -> None:
    folder = shared_data.parent / "contracts" / "alpaca"
    if not folder.is_dir():
        pytest.skip("no ../shared/contracts on this machine")
    for file in alpaca_contract.FILES:
        whole = json.loads((folder / file).read_text())
        made = alpaca_contract.slim(whole, alpaca_contract.roots(file))
        assert made == json.loads((alpaca_contract.DATA / file).read_text())


def test_every_endpoint_was_judged() -> None:
    if len(SEEN) < 5:
        pytest.skip("run together with the other tests of this file")
    assert {*alpaca_contract.TRADING, *alpaca_contract.MARKET_DATA} <= SEEN
