"""Faults on demand over HTTP, steering, and the real `mlops exchange serve` killed and started again."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.market import market as market_module
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import MemoryTables, ParquetTables
from mlops_cli.market.hours import parse_time, us_hours
from tests.fakes.cli import BIN, environment
from tests.fakes.exchange_process import exchange_process
from tests.fakes.exchange_server import ExchangeServer, exchange_server, some_prices

PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def running() -> Iterator[ExchangeServer]:
    with exchange_server(start="2024-01-03T16:00:00+00:00") as server:
        yield server


@pytest.fixture
def server(running: ExchangeServer) -> Iterator[ExchangeServer]:
    yield running
    running.clear()


class Client:
    """Raw requests with an account of its own, and a timeout as short as a test wants."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers = {"APCA-API-KEY-ID": str(uuid4()), "APCA-API-SECRET-KEY": "secret"}

    def ask(self, method: str, path: str, timeout: float = 5, **body: Any) -> requests.Response:
        return requests.request(
            method, f"{self.url}/v2/{path}", json=body or None, headers=self.headers, timeout=timeout
        )

    def buy(self, name: str, timeout: float = 5, **body: Any) -> requests.Response:
        standard = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}
        return self.ask("POST", "orders", timeout, **standard, client_order_id=name, **body)

    def order(self, name: str) -> dict[str, Any] | None:
        found = self.ask("GET", f"orders:by_client_order_id?client_order_id={name}")
        return None if found.status_code == 404 else found.json()


@pytest.fixture
def client(server: ExchangeServer) -> Client:
    return Client(server.url)


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_status(server: ExchangeServer, client: Client, status: int, when: str) -> None:
    server.fault("status", status=status, when=when, method="POST", path="/v2/orders", times=1)
    answer = client.buy("one")
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message"}
    assert (client.order("one") is None) == (when == "before")
    assert client.buy("two").status_code == 200


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_timeout(server: ExchangeServer, client: Client, when: str) -> None:
    server.fault("timeout", when=when, seconds=1.0, method="POST", times=1)
    with pytest.raises(requests.ReadTimeout):
        client.buy("one", timeout=0.2)
    assert (client.order("one") is None) == (when == "before")


def test_a_server_with_a_waiting_client_stops() -> None:
    with exchange_server() as other:
        other.fault("timeout", seconds=3600)
        with pytest.raises(requests.ReadTimeout):
            Client(other.url).buy("one", timeout=0.1)
        begin = time.monotonic()
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dropped_connection(server: ExchangeServer, client: Client, when: str) -> None:
    server.fault("drop", when=when, method="POST", times=1)
    with pytest.raises(requests.ConnectionError):
        client.buy("one")
    assert (client.order("one") is None) == (when == "before")


def test_faults_skip_count_and_follow_their_seed(server: ExchangeServer, client: Client) -> None:
    server.fault("status", status=503, path="/v2/clock", skip=1, times=2)
    assert [client.ask("GET", "clock").status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert server.sim("GET", "faults")[0]["struck"] == 2
    runs = []
    for _ in range(2):
        server.clear()
        server.sim("POST", "faults", seed=7, kind="status", status=500, probability=0.5)
        runs.append([client.ask("GET", "clock").status_code for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}
    wrong = requests.post(f"{server.url}/sim/faults", json={"kind": "storm"}, timeout=5)
    assert (wrong.status_code, wrong.json()["code"]) == (422, 40010001)


def test_a_halted_symbol_is_not_traded_until_it_is_again(server: ExchangeServer, client: Client) -> None:
    server.fault("halt", symbol="AAPL")
    client.buy("halted")
    client.ask("POST", "orders", symbol="MSFT", qty="1", side="buy", type="market", time_in_force="day")
    server.advance(seconds=600)
    assert client.order("halted")["status"] == "new"
    assert [held["symbol"] for held in client.ask("GET", "positions").json()] == ["MSFT"]
    server.clear()
    server.advance(seconds=1)
    assert client.order("halted")["status"] == "filled"


def test_wide_spreads_and_stale_quotes(server: ExchangeServer, client: Client) -> None:
    def quote() -> dict[str, Any]:
        return client.ask("GET", "stocks/AAPL/quotes/latest").json()["quote"]

    before = quote()
    server.fault("wide_spread", symbol="AAPL", factor=100)
    wide = quote()
    assert (wide["ap"] - wide["bp"]) == pytest.approx(100 * (before["ap"] - before["bp"]), rel=0.01)
    client.buy("dear")
    assert float(client.order("dear")["filled_avg_price"]) == pytest.approx(wide["ap"] * 1.0001, abs=1e-3)
    server.clear()
    server.fault("stale_quotes")
    server.advance(seconds=1800)
    assert quote() == before
    server.clear()
    assert quote()["t"] > before["t"]


def test_delayed_partial_and_rejected_orders(server: ExchangeServer, client: Client) -> None:
    server.fault("delay_fills", seconds=120, times=1)
    client.buy("late")
    server.advance(seconds=119)
    assert client.order("late")["status"] == "new"
    server.advance(seconds=1)
    assert client.order("late")["status"] == "filled"
    server.fault("partial_fills", fraction=0.3, seconds=60, times=1)
    client.buy("part")
    assert (client.order("part")["status"], client.order("part")["filled_qty"]) == ("partially_filled", "3")
    server.advance(seconds=60)
    assert (client.order("part")["status"], client.order("part")["filled_qty"]) == ("filled", "10")
    server.fault("reject_orders", times=1)
    taken = client.buy("no").json()
    assert taken["status"] == "pending_new"
    assert (client.order("no")["status"], client.order("no")["failed_at"] is None) == ("rejected", False)


def test_duplicated_fills_and_a_wrong_clock(server: ExchangeServer, client: Client) -> None:
    client.buy("one")
    fills = client.ask("GET", "account/activities/FILL").json()
    server.fault("duplicate_fills")
    assert client.ask("GET", "account/activities/FILL").json() == fills * 2
    shown = client.ask("GET", "clock").json()["timestamp"]
    server.fault("clock_skew", seconds=-300)
    assert client.ask("GET", "clock").json()["timestamp"] < shown


@pytest.mark.parametrize(
    ("kind", "member", "value"),
    [
        ("status", "path", 5),
        ("status", "method", ["POST"]),
        ("status", "status", 42),
        ("status", "status", 204),
        ("status", "status", 429.5),
        ("status", "times", "3"),
        ("status", "times", 0.5),
        ("status", "skip", True),
        ("status", "probability", 5),
        ("halt", "symbol", {"a": 1}),
        ("partial_fills", "fraction", 5),
        ("status", "when", ["before"]),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    server: ExchangeServer, client: Client, kind: str, member: str, value: Any
) -> None:
    answer = requests.post(f"{server.url}/sim/faults", json={"kind": kind, member: value}, timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (422, 40010001)
    assert server.sim("GET", "faults") == []
    assert client.ask("GET", "clock").status_code == 200


def test_a_fault_with_null_is_one_without(server: ExchangeServer, client: Client) -> None:
    server.fault("status", path=None, times=None, seconds=None, method=None)
    assert client.ask("GET", "clock").status_code == 500


def test_real_time_does_not_go_back_either() -> None:
    with exchange_server(exchange=Exchange(Market(MemoryTables(some_prices()), us_hours()), Clock())) as other:
        post = lambda **body: requests.post(f"{other.url}/sim/clock", json=body, timeout=5)  # noqa: E731
        for body in ({"now": "2012-06-01T15:00:00Z"}, {"seconds": -5}):
            refused = post(**body)
            assert (refused.status_code, "does not go back" in refused.json()["message"]) == (422, True)
        assert other.sim("GET", "clock")["replay"] is False
        assert post(seconds=0).json()["replay"] is True


def test_a_locked_database_is_an_answer_and_what_was_asked_is_done_once(tmp_path: Path) -> None:
    """A program that holds the write lock for long: 503 to orders and to whoever would see them, then all is well."""
    database = tmp_path / "exchange.db"
    with exchange_server(start="2024-01-03T16:00:00+00:00", database=database) as other:
        other.exchange._store._database.execute("PRAGMA busy_timeout = 50")
        client = Client(other.url)
        key = client.headers["APCA-API-KEY-ID"]
        trading = TradingClient(key, "secret", url_override=other.url)
        trading.get_account()
        request = MarketOrderRequest(
            symbol="AAPL", qty=3, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id="one"
        )
        blocking = sqlite3.connect(database, isolation_level=None)
        blocking.execute("BEGIN IMMEDIATE")
        with pytest.raises(APIError, match="nothing can be written") as caught:
            trading.submit_order(request)
        assert (caught.value.status_code, caught.value.code) == (503, 50310000)
        assert client.ask("GET", "orders").json()["code"] == 50310000
        assert client.ask("DELETE", f"orders/{uuid4()}").status_code == 503
        blocking.execute("ROLLBACK")
        blocking.close()
        with pytest.raises(APIError, match="must be unique"):
            trading.submit_order(request)
        assert client.order("one")["status"] == "filled"
        assert trading.get_open_position("AAPL").qty == "3"
    with exchange_server(database=database) as again:
        held = TradingClient(key, "secret", url_override=again.url).get_all_positions()
        assert [(one.symbol, one.qty) for one in held] == [("AAPL", "3")]


def test_a_price_file_that_is_gone_is_said_until_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "CHECK_SECONDS", 0)
    for symbol, table in some_prices().items():
        table.to_parquet(tmp_path / f"{symbol}.parquet")
    file = tmp_path / "AAPL.parquet"
    evening = parse_time("2024-01-02T21:30:00+00:00")
    exchange = Exchange(Market(ParquetTables([tmp_path]), us_hours()), Clock(evening))
    with exchange_server(exchange=exchange) as other:
        client = Client(other.url)
        client.buy("one")
        good = file.read_bytes()
        file.unlink()
        moved = requests.post(f"{other.url}/sim/clock", json={"to": "next_open"}, timeout=5)
        for answer in (moved, client.ask("GET", "account")):
            assert (answer.status_code, answer.json()["code"]) == (500, 50010000)
            assert "AAPL.parquet: No such file" in answer.json()["message"]
        file.write_bytes(good)
        assert client.order("one")["status"] == "filled"


def test_steering(server: ExchangeServer, client: Client) -> None:
    def post(path: str, **body: Any) -> int:
        return requests.post(f"{server.url}/sim/{path}", json=body, timeout=5).status_code

    now = server.sim("GET", "clock")["now"]
    assert post("clock", now="2020-01-01") == 422
    assert post("clock", now="noon") == 422
    assert post("clock", to="next_week") == 422
    assert post("clock", seconds="1") == 422
    assert post("clock", seconds=1e300) == 422
    assert post("clock", now="2190-01-01") == 422
    assert post("faults", kind="wide_spread", factor=1e300) == 422
    assert post("faults", kind="delay_fills", seconds=-1) == 422
    assert post("corporate-actions", type="split", symbol="AAPL", date="2024-05-01", ratio="1e9") == 422
    assert server.sim("GET", "clock")["now"] == now
    rules = server.sim("GET", "market")
    assert post("market", spread_bps=-1) == 422
    assert server.sim("POST", "market", spread_bps=5)["spread_bps"] == 5
    server.sim("POST", "market", **rules)
    assert post("corporate-actions", type="merger", symbol="AAPL", date="2024-05-01") == 422
    assert post("corporate-actions", type="split", symbol="AAPL", date="soon", ratio=2) == 422
    assert post("corporate-actions", type="split", symbol="NOPE", date="2024-05-01", ratio=2) == 404
    assert post("accounts", key="nobody", cash="5") == 404
    client.ask("GET", "account")
    key = client.headers["APCA-API-KEY-ID"]
    for cash in ("0", "-250.5", "1000"):
        server.cash(key, cash)
        assert client.ask("GET", "account").json()["cash"] == cash
    assert {post("accounts", key=key, cash=cash) for cash in ("much", "NaN", "1e99", None)} == {422}
    for query in (
        "account/portfolio/history?period=99999999A",
        "account/portfolio/history?end=9999-12-31",
        "orders?after=0001-01-01",
        "orders?limit=x",
        "stocks/bars?symbols=AAPL&end=9999-12-31",
        "stocks/bars?symbols=AAPL&page_token=x",
        "calendar?start=soon",
        "account/activities?after=x",
    ):
        assert client.ask("GET", query).status_code in (400, 422), query
    refused = client.buy("poor")
    assert (refused.status_code, refused.json()["message"]) == (403, "insufficient buying power")
    assert requests.get(f"{server.url}/v2/nothing", headers=client.headers, timeout=5).json()["code"] == 40410000
    broken = requests.post(f"{server.url}/v2/orders", data="{", headers=client.headers, timeout=5)
    assert (broken.status_code, broken.json()["code"]) == (400, 40010000)


def test_the_command_survives_kill_9(tmp_path: Path) -> None:
    prices = tmp_path / "prices"
    prices.mkdir()
    for symbol, table in some_prices().items():
        table.to_parquet(prices / f"{symbol}.parquet")
    options = ("--prices", "prices", "--database", "exchange.db", "--replay", "2024-01-02T22:00:00+00:00")
    request = MarketOrderRequest(symbol="AAPL", qty=3, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    with exchange_process(tmp_path, *options) as (process, url):
        client = TradingClient("key", "very-secret", url_override=url)
        taken = client.submit_order(request)
        requests.post(f"{url}/sim/clock", json={"to": "next_open"}, timeout=5).raise_for_status()
        again = client.submit_order(request)
        process.kill()
        process.wait(PATIENCE_SECONDS)
    with exchange_process(tmp_path, *options) as (process, url):
        client = TradingClient("key", "very-secret", url_override=url)
        orders = {order.id: order.filled_qty for order in client.get_orders()}
        assert orders == {}
        assert client.get_order_by_id(taken.id).filled_qty == "3"
        assert client.get_order_by_id(again.id).filled_qty == "3"
        assert client.get_open_position("AAPL").qty == "6"
    assert b"very-secret" not in b"".join(path.read_bytes() for path in tmp_path.glob("exchange.db*"))


def test_a_database_is_served_once(tmp_path: Path) -> None:
    options = ("--replay", "2012-01-03", "--database", "exchange.db")
    with exchange_process(tmp_path, *options) as (process, _):
        command = [str(BIN / "mlops"), "exchange", "serve", "--port", "0", *options]
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 8
        assert "another exchange is running on this database" in done.stderr
        assert "--database" in done.stderr
        process.kill()
        process.wait(PATIENCE_SECONDS)
    with exchange_process(tmp_path, *options) as (process, _):  # a killed one leaves no lock
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_without_prices_the_sample_series_are_traded(tmp_path: Path) -> None:
    with exchange_process(tmp_path, "--replay", "2012-01-03") as (process, url):
        client = TradingClient("key", "secret", url_override=url)
        assert [asset.symbol for asset in client.get_all_assets()] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
        assert client.get_asset("FB").tradable is False  # it came to the market in May
        assert client.get_clock().next_open.isoformat() == "2012-01-03T09:30:00-05:00"
        process.send_signal(2)
        assert process.wait(PATIENCE_SECONDS) == 130
        assert process.stderr is not None
        assert "5 symbols from the sample" in process.stderr.read()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prices", "."], "no <TICKER>.parquet price tables"),
        (["--replay", "soon"], "no day or time"),
        (["--host", "203.0.113.1"], "give a --host of this machine"),
    ],
)
def test_what_serve_refuses(tmp_path: Path, options: list[str], words: str) -> None:
    command = [str(BIN / "mlops"), "exchange", "serve", "--port", "0", *options]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (3, 4, 8)
    assert words in done.stderr
