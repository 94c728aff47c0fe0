"""What the local exchange shows over HTTP: pages of bars, positions, history, assets, settings; as Alpaca does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
import requests
from alpaca.common.enums import Sort
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import (
    AssetClass,
    AssetExchange,
    DTBPCheck,
    OrderSide,
    PDTCheck,
    TimeInForce,
    TradeConfirmationEmail,
)
from alpaca.trading.requests import GetAssetsRequest, GetPortfolioHistoryRequest, MarketOrderRequest

from tests.fakes import alpaca_contract
from tests.fakes.exchange_server import ExchangeServer, exchange_server, some_prices
from tests.fakes.price_tables import random_prices

JUDGED: set[tuple[str, str]] = set()


class Client:
    """Alpaca's two clients with one key, and requests past them; every answer is judged by the OpenAPI files."""

    def __init__(self, server: ExchangeServer) -> None:
        self.server = server
        self.key = str(uuid4())
        self.trading = TradingClient(self.key, "secret", url_override=server.url)
        self.data = StockHistoricalDataClient(self.key, "secret", url_override=server.url)
        self.session = requests.Session()
        self.session.headers.update({"APCA-API-KEY-ID": self.key, "APCA-API-SECRET-KEY": "secret"})
        for session in (self.trading._session, self.data._session, self.session):
            alpaca_contract.watch(session, JUDGED)

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.session.get(f"{self.server.url}/v2/{path}", params=query, timeout=20)

    def order(self, symbol: str, shares: float) -> None:
        """Buy, or sell what is negative; filled when the next request comes."""
        side = OrderSide.BUY if shares > 0 else OrderSide.SELL
        self.trading.submit_order(
            MarketOrderRequest(symbol=symbol, qty=abs(shares), side=side, time_in_force=TimeInForce.DAY)
        )

    def pages(self, limit: int, move: float = 0, **query: Any) -> list[tuple[str, dict[str, Any]]]:
        """All bars, page after page; `move` seconds pass between two."""
        found, token = [], None
        for _ in range(200):
            page = self.get("stocks/bars", **query, limit=limit, page_token=token).json()
            shown = [(symbol, bar) for symbol, bars in page["bars"].items() for bar in bars]
            assert len(shown) <= limit
            found += shown
            token = page["next_page_token"]
            if token is None:
                return found
            assert len(shown) == limit
            if move:
                self.server.advance(seconds=move)
        raise AssertionError("the pages have no end")


@pytest.fixture(scope="module")
def server() -> Iterator[ExchangeServer]:
    with exchange_server(start="2024-03-12T15:00:10+00:00") as running:
        yield running


@pytest.fixture
def client(server: ExchangeServer) -> Client:
    return Client(server)


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize(
    ("frame", "start"),
    [("1Min", "2024-03-12T14:20:00Z"), ("1Hour", "2024-03-05"), ("1Day", "2024-01-20"), ("1Week", "2023-12-13")],
)
def test_pages_make_up_the_whole(client: Client, frame: str, start: str, sort: str) -> None:
    query = {"symbols": "MSFT,AAPL", "timeframe": frame, "start": start, "sort": sort}
    whole = client.get("stocks/bars", **query).json()
    assert whole["next_page_token"] is None
    bars = [(symbol, bar) for symbol in ("AAPL", "MSFT") for bar in whole["bars"][symbol]]
    for symbol in ("AAPL", "MSFT"):
        times = [bar["t"] for bar in whole["bars"][symbol]]
        assert times == sorted(set(times), reverse=sort == "desc")
    for limit in (3, len(bars) // 2):  # the second ends where a symbol does
        assert client.pages(limit, **query) == bars
    single = client.get("stocks/MSFT/bars", **{**query, "limit": 2}).json()
    rest = client.get("stocks/MSFT/bars", **query, page_token=single["next_page_token"]).json()
    assert single["bars"] + rest["bars"] == whole["bars"]["MSFT"]


@pytest.mark.parametrize("given", [True, False])
def test_pages_go_on_where_they_were_when_time_has_moved(given: bool) -> None:
    with exchange_server(start="2024-03-12T19:50:30+00:00") as server:
        client = Client(server)
        query = {"symbols": "AAPL,MSFT", "timeframe": "30Min", **({"start": "2024-03-12"} if given else {})}
        before = client.get("stocks/bars", **query).json()["bars"]
        found = client.pages(4, 2 * 3600, **query)  # the day is over with page two, and another with page six
        assert [bar["t"] for symbol, bar in found if symbol == "AAPL"] == [bar["t"] for bar in before["AAPL"]]
        assert [bar["t"] for symbol, bar in found if symbol == "MSFT"] == [bar["t"] for bar in before["MSFT"]]
        newest = client.get("stocks/bars", symbols="AAPL", timeframe="1Min", sort="desc", limit=2, start="2024-03-12")
        server.advance(to="next_open", seconds=600)
        token = newest.json()["next_page_token"]
        older = client.get(
            "stocks/bars", symbols="AAPL", timeframe="1Min", sort="desc", limit=2, start="2024-03-12", page_token=token
        ).json()["bars"]["AAPL"]
        assert [bar["t"] for bar in older] == ["2024-03-12T19:57:00Z", "2024-03-12T19:56:00Z"]


def test_a_page_takes_no_longer_from_a_long_span() -> None:
    tables = {"AAPL": random_prices(6000, start="2000-01-03")}
    with exchange_server(tables, start="2022-06-01T18:00:00+00:00") as server:
        client = Client(server)
        client.get("stocks/bars", symbols="AAPL", timeframe="1Day")  # reads the table
        for sort in ("asc", "desc"):
            began = time.perf_counter()
            answer = client.get(
                "stocks/bars", symbols="AAPL", timeframe="1Min", start="2000-01-01", limit=100, sort=sort
            ).json()
            assert len(answer["bars"]["AAPL"]) == 100
            assert time.perf_counter() - began < 1  # two million bars took half a minute


def test_real_clients_page_by_themselves(client: Client) -> None:
    request = StockBarsRequest(
        symbol_or_symbols=["AAPL", "MSFT"],
        timeframe=TimeFrame.Minute,
        start=datetime(2024, 2, 1, tzinfo=UTC),
        end=datetime(2024, 3, 1, tzinfo=UTC),
        sort=Sort.DESC,
    )
    found = client.data.get_stock_bars(request)
    for symbol in ("AAPL", "MSFT"):  # 20 sessions each, on two pages
        times = [bar.timestamp for bar in found[symbol]]
        assert len(times) == 390 * 20
        assert times == sorted(set(times), reverse=True)


@pytest.mark.parametrize("token", ["-5", "x", "10", "QUFQTA==", "é"])
def test_what_is_no_page_token(client: Client, token: str) -> None:
    answer = client.get("stocks/bars", symbols="AAPL", start="2024-01-02", page_token=token)
    assert (answer.status_code, answer.json()["code"]) == (400, 40010000)


@pytest.mark.parametrize("limit", ["0", "-1", "1_000", "\uff11\uff10", "x", "1.5", "9" * 5000])
def test_what_is_no_limit(client: Client, limit: str) -> None:
    answer = client.get("stocks/bars", symbols="AAPL", start="2024-01-02", limit=limit)
    assert (answer.status_code, answer.json()["code"]) == (400, 40010000)
    for path, name in (("orders", "limit"), ("account/activities", "page_size")):
        assert client.get(path, **{name: limit}).status_code == 422


def hours(client: Client, day: date, number: int) -> list[str]:
    request = StockBarsRequest(
        symbol_or_symbols="AAPL",
        timeframe=TimeFrame(number, TimeFrameUnit.Hour),
        start=datetime(day.year, day.month, day.day, tzinfo=UTC),
        end=datetime(day.year, day.month, day.day, 23, tzinfo=UTC),
    )
    found = client.data.get_stock_bars(request)["AAPL"]
    minutes = client.get("stocks/AAPL/bars", timeframe="1Min", start=str(day), end=f"{day}T23:00:00Z").json()["bars"]
    assert (found[0].open, found[-1].close) == (minutes[0]["o"], minutes[-1]["c"])
    assert sum(bar.volume for bar in found) == pytest.approx(sum(bar["v"] for bar in minutes), rel=1e-3)
    return [f"{bar.timestamp:%H:%M}" for bar in found]


def test_bars_of_hours_begin_with_the_clocks(client: Client) -> None:
    winter, summer = date(2024, 3, 8), date(2024, 3, 11)  # the session is from 14:30 UTC, then from 13:30
    assert hours(client, winter, 1) == ["14:00", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]
    assert hours(client, summer, 1) == ["13:00", "14:00", "15:00", "16:00", "17:00", "18:00", "19:00"]
    assert hours(client, winter, 4) == ["12:00", "16:00", "20:00"]
    assert hours(client, summer, 4) == ["12:00", "16:00"]


def test_bars_of_several_months(client: Client) -> None:
    ends = {"3": ["2023-04", "2023-07", "2023-10", "2024-01"], "12": ["2024-01"], "6": ["2023-07", "2024-01"]}
    days = client.get("stocks/AAPL/bars", timeframe="1Day", start="2023-03-01").json()["bars"]
    for number, months in ends.items():
        found = client.get("stocks/AAPL/bars", timeframe=f"{number}Month", start="2023-03-01").json()["bars"]
        assert [bar["t"][:10] for bar in found] == [f"{month}-01" for month in months]
        for bar, until in zip(found, [*(one["t"] for one in found[1:]), "9"], strict=True):
            inside = [day for day in days if bar["t"] <= day["t"] < until]
            assert (bar["o"], bar["c"]) == (inside[0]["o"], inside[-1]["c"])
            assert (bar["h"], bar["l"]) == (max(day["h"] for day in inside), min(day["l"] for day in inside))
            assert bar["v"] == sum(day["v"] for day in inside)
    assert client.get("stocks/AAPL/bars", timeframe="5Month").status_code == 400


def test_a_bar_is_whole_although_the_span_ends_within_it(client: Client) -> None:
    whole = client.get("stocks/AAPL/bars", timeframe="1Day", start="2024-03-06", end="2024-03-06").json()["bars"]
    query = {"timeframe": "1Day", "start": "2024-03-05T12:00:00Z", "end": "2024-03-06T17:00:00Z"}
    assert client.get("stocks/AAPL/bars", **query).json()["bars"] == whole
    assert client.get("stocks/AAPL/bars", **query, sort="desc").json()["bars"] == whole


def test_a_days_profit_counts_from_what_the_days_shares_cost() -> None:
    with exchange_server(start="2024-03-11T15:00:00+00:00") as server:
        client = Client(server)
        client.order("AAPL", 4)
        bought = client.trading.get_open_position("AAPL")
        assert bought.unrealized_intraday_pl == bought.unrealized_pl  # as in the example of the OpenAPI file
        assert bought.unrealized_intraday_plpc == bought.unrealized_plpc
        assert bought.lastday_price != bought.avg_entry_price
        server.advance(to="next_open", seconds=1800)

        def profit() -> tuple[Decimal, Decimal]:
            """The day's, and that of a share held overnight."""
            held = client.trading.get_open_position("AAPL")
            price, last = Decimal(held.current_price), Decimal(held.lastday_price)
            return Decimal(held.unrealized_intraday_pl), price - last

        today, overnight = profit()
        assert today == 4 * overnight
        client.order("AAPL", 6)
        cost = Decimal(client.trading.get("/account/activities/FILL")[0]["price"])
        server.advance(seconds=3600)
        price = Decimal(client.trading.get_open_position("AAPL").current_price)
        today, overnight = profit()
        assert today == 4 * overnight + 6 * (price - cost)
        client.order("AAPL", -3)  # those held overnight go first
        today, overnight = profit()
        assert today == overnight + 6 * (price - cost)
        client.order("AAPL", -2)
        assert profit()[0] == 5 * (price - cost)


def test_a_days_profit_of_a_short_position() -> None:
    with exchange_server(start="2024-03-11T15:00:00+00:00") as server:
        client = Client(server)
        client.order("AAPL", -4)
        sold = client.trading.get_open_position("AAPL")
        assert sold.unrealized_intraday_pl == sold.unrealized_pl
        server.advance(to="next_open", seconds=1800)
        client.order("AAPL", 4)
        client.order("AAPL", -5)
        server.advance(seconds=3600)
        again = client.trading.get_open_position("AAPL")
        assert again.unrealized_intraday_pl == again.unrealized_pl


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtbp_check", "garbage"),
        ("pdt_check", "q"),
        ("max_options_trading_level", 99),
        ("max_options_trading_level", True),
        ("max_margin_multiplier", "3"),
        ("trade_confirm_email", "some"),
        ("no_shorting", "true"),
    ],
)
def test_settings_take_only_what_they_may_be(client: Client, name: str, value: object) -> None:
    before = client.get("account/configurations").json()
    body = {"suspend_trade": True, name: value}
    answer = client.session.patch(f"{client.server.url}/v2/account/configurations", json=body, timeout=20)
    assert (answer.status_code, answer.json()["message"]) == (422, f"invalid {name}: {str(value)!r}")
    assert client.get("account/configurations").json() == before


def test_settings_take_what_they_may_be(client: Client) -> None:
    settings = client.trading.get_account_configurations()
    wanted = {
        "dtbp_check": DTBPCheck.BOTH,
        "pdt_check": PDTCheck.EXIT,
        "trade_confirm_email": TradeConfirmationEmail.NONE,
        "max_margin_multiplier": "4",
    }
    changed = client.trading.set_account_configurations(settings.model_copy(update=wanted))
    assert {name: getattr(changed, name) for name in wanted} == wanted


def history(client: Client, **query: Any) -> dict[str, Any]:
    answer = client.get("account/portfolio/history", timeframe="1D", **query)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    shown["days"] = [f"{datetime.fromtimestamp(at, UTC):%m-%d}" for at in shown["timestamp"]]
    return shown


def test_history_is_of_trading_days() -> None:
    with exchange_server(start="2024-03-25T15:00:00+00:00") as server:  # Good Friday is the 29th
        client = Client(server)
        client.order("AAPL", 100)
        server.advance("2024-04-03T15:00:00+00:00")
        days = ["03-25", "03-26", "03-27", "03-28", "04-01", "04-02", "04-03"]
        whole = history(client)
        assert whole["days"] == days
        assert (whole["base_value"], whole["profit_loss"][0]) == (whole["equity"][0], 0)
        assert "base_value_asof" not in whole  # no close before: the first point itself is the base
        within = history(client, start="2024-03-27T15:00:00-04:00")
        assert within["days"] == days[2:]
        assert (within["base_value"], within["base_value_asof"]) == (whole["equity"][1], "2024-03-26")
        assert within["profit_loss"][0] == pytest.approx(whole["equity"][2] - whole["equity"][1])
        weekend = history(client, start="2024-03-30T12:00:00Z")
        assert (weekend["days"], weekend["base_value_asof"]) == (days[4:], "2024-03-28")
        assert history(client, start="2024-03-27T04:00:00Z", period="2D")["days"] == days[2:4]
        assert history(client, start="2024-03-26", end="2024-03-28T13:00:00Z")["days"] == days[1:4]
        assert history(client, end="2024-03-28", period="1D")["days"] == days[2:4]
        refused = client.get("account/portfolio/history", start="2024-03-26", end="2024-03-28", period="1D")
        assert (refused.status_code, refused.json()["code"]) == (422, 42210000)
        asked = GetPortfolioHistoryRequest(timeframe="1D", start=datetime(2024, 3, 27, 19, tzinfo=UTC))
        assert client.trading.get_portfolio_history(asked).equity == within["equity"]
        server.advance("2024-04-06T15:00:00+00:00")  # a Saturday
        assert history(client)["days"][-2:] == ["04-04", "04-05"]


def test_assets_are_filtered(client: Client) -> None:
    def found(**query: Any) -> list[str]:
        return [asset.symbol for asset in client.trading.get_all_assets(GetAssetsRequest(**query))]

    everything = sorted(some_prices())
    assert found() == found(asset_class=AssetClass.US_EQUITY) == found(exchange=AssetExchange.NASDAQ) == everything
    assert found(asset_class=AssetClass.CRYPTO) == found(exchange=AssetExchange.NYSE) == []
    assert found(attributes="has_options") == found(attributes="ptp_no_exception,ipo") == []
    assert found(status="inactive") == []


@pytest.mark.parametrize("query", [{"start": "soon"}, {"end": "2024-02-30"}, {"start": "20240101x"}])
def test_dates_that_are_none(client: Client, query: dict[str, str]) -> None:
    answer = client.get("calendar", **query)
    assert (answer.status_code, answer.json()["code"]) == (400, 40010000)


def test_a_symbol_with_gaps_and_an_early_end() -> None:
    table = random_prices(40, start="2024-01-02")
    tables = {"GAP": pd.concat([table[:10], table[20:30]]), "ZZZ": table}
    with exchange_server(tables, start="2024-03-12T15:00:00+00:00") as server:
        client = Client(server)
        query = {"symbols": "ZZZ,GAP", "timeframe": "1Day", "start": "1999-01-01"}
        found = client.pages(7, **query)
        assert [bar["t"][:10] for symbol, bar in found if symbol == "GAP"] == [
            str(day.date()) for day in tables["GAP"].index
        ]
        assert [symbol for symbol, _ in found] == ["GAP"] * 20 + ["ZZZ"] * 40
        assert client.pages(7, **query, sort="desc") == [*found[:20][::-1], *found[20:][::-1]]
        assert client.get("stocks/bars", symbols="GAP", start="2024-02-20").json() == {
            "bars": {},
            "next_page_token": None,
        }


def test_prices_in_todays_shares_are_the_same_on_every_page() -> None:
    with exchange_server(start="2024-03-12T15:00:00+00:00") as server:
        client = Client(server)
        server.action("split", "AAPL", "2024-03-13", ratio=4)
        server.advance(to="next_open", seconds=timedelta(hours=1).total_seconds())
        query = {"symbols": "AAPL", "timeframe": "1Day", "start": "2024-03-04", "adjustment": "split"}
        whole = [("AAPL", bar) for bar in client.get("stocks/bars", **query).json()["bars"]["AAPL"]]
        assert client.pages(1, **query) == whole
        assert client.pages(1, **query, sort="desc") == whole[::-1]
        early = client.get("stocks/bars", **query, end="2024-03-12").json()["bars"]["AAPL"]
        assert [("AAPL", bar) for bar in early] == whole[:-1]
