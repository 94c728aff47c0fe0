"""Alpaca's client: its limit per minute, timeouts, and which failures are what."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from requests import Response
from requests.adapters import BaseAdapter

from mlops_cli.errors import BrokerError
from mlops_cli.trading.alpaca.alpaca_answers import activity_of, fields_of, order_of, time_of
from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
from mlops_cli.trading.alpaca.alpaca_client import (
    AlpacaAccess,
    Failed,
    Patience,
    TimedSession,
    TokenBucket,
    is_local,
    repeat,
)
from mlops_cli.trading.contract.broker import BrokerUnreachable, KeysRefused, OutcomeUnknown
from mlops_cli.trading.contract.types import OrderIntent

QUICK = Patience((0.2, 0.2), 2, 0.001)


def test_no_minute_has_more_requests_than_the_limit(monkeypatch):
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    bucket, times = TokenBucket(200), []
    for _ in range(1000):
        bucket.take()
        times.append(now)
    assert times[49] == 1000.0, "a burst is not held up"
    assert all(later - sooner >= 60 - 1e-6 for sooner, later in zip(times, times[200:], strict=False))
    assert times[-1] - times[0] < 1000 / 150 * 60


def test_the_limit_holds_for_alpaca_and_not_for_this_machine():
    bucket = TokenBucket()
    assert TimedSession("https://paper-api.alpaca.markets", QUICK, bucket)._bucket is bucket
    assert TimedSession("http://127.0.0.1:8081", QUICK, bucket)._bucket is None
    assert is_local("http://localhost:1")
    assert not is_local("https://localhost.example.org")


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = AlpacaBroker(AlpacaAccess("key", "secret", f"http://127.0.0.1:{silent.getsockname()[1]}"), QUICK)
        start = time.monotonic()
        with pytest.raises(BrokerUnreachable, match="2 attempts"):
            broker.clock()
        assert time.monotonic() - start < 5


class Canned(BaseAdapter):
    """Answers in place of Alpaca: the same JSON for every request; keeps the time of each."""

    def __init__(self, answer: dict, times: list[float]) -> None:
        super().__init__()
        self._answer = answer
        self._times = times

    def send(self, request, **_):
        self._times.append(time.monotonic())
        answer = Response()
        answer.status_code, answer.request, answer._content = 200, request, json.dumps(self._answer).encode()
        return answer

    def close(self) -> None:
        pass


def test_both_apis_of_an_account_together_keep_to_the_limit(monkeypatch):
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    broker, times = AlpacaBroker(AlpacaAccess("key", "secret"), QUICK), []
    broker._trading._session.mount("https://", Canned({"timestamp": "2024-01-02T21:30:00Z", "is_open": False}, times))
    broker._data._session.mount("https://", Canned({"quotes": {}}, times))
    for _ in range(300):
        broker.clock()
        broker.quotes(["AAPL"])
    assert len(times) == 600
    assert all(later - sooner >= 60 - 1e-6 for sooner, later in zip(times, times[200:], strict=False))


def test_pauses_double_with_jitter():
    patience = Patience(first_wait=2.0)
    for attempt, middle in enumerate((2.0, 4.0, 8.0, 16.0)):
        pauses = {patience.pause(attempt) for _ in range(50)}
        assert all(0.75 * middle <= pause <= 1.25 * middle for pause in pauses)
        assert len(pauses) > 1


def test_a_request_that_is_answered_later_is_answered():
    answers = [Failed(503, 0, "busy"), Failed(None, 0, "timeout"), "answer"]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Failed):
            raise answer
        return answer

    assert repeat(ask, Patience((0.2, 0.2), 3, 0.001), "there") == "answer"


@pytest.mark.parametrize("body", ["{}", "[]", "null", "3", '{"id": 1, "cash": "x"}', "<html>"])
def test_another_server_at_the_address_is_said_to_be_one(body):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_):
            pass

    day = date(2024, 1, 3)
    order = OrderIntent("red", "AAPL", day, "buy", Decimal(1), None, "market", None, "day", "name",
                        "red-aapl", "v", 1.0, Decimal(1))  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        broker = AlpacaBroker(AlpacaAccess("key", "secret", f"http://127.0.0.1:{server.server_port}"), QUICK)
        for ask in (broker.account, broker.clock, lambda: broker.order_by_client_id("x")):
            with pytest.raises((BrokerError, BrokerUnreachable)) as raised:
                ask()
            assert raised.value.exit_code in (7, 8)
        with pytest.raises(OutcomeUnknown):
            broker.submit(order)
    finally:
        server.shutdown()
        server.server_close()


def test_only_what_may_pass_is_asked_again():
    asked: list[int] = []

    def ask(status: int | None):
        asked.append(1)
        raise Failed(status, 0, "words")

    lost = [(status, BrokerUnreachable, 2) for status in (500, 429, None)]
    refused = [(401, KeysRefused, 1), (403, KeysRefused, 1), (404, Failed, 1), (422, Failed, 1)]
    for status, kind, times in lost + refused:
        asked.clear()
        with pytest.raises(kind):
            repeat(lambda status=status: ask(status), QUICK, "there")
        assert len(asked) == times


def test_what_may_have_been_taken():
    assert [status for status in (None, 400, 403, 408, 422, 429, 500, 503, 504) if Failed(status, 0, "").ambiguous] == [
        None,
        408,
        500,
        503,
        504,
    ]


def test_times_with_nanoseconds_and_zones_are_utc():
    assert time_of("2024-01-02T16:30:00.123456789-05:00") == datetime(2024, 1, 2, 21, 30, 0, 123456, tzinfo=UTC)
    assert time_of("2024-01-02T21:30:00Z") == datetime(2024, 1, 2, 21, 30, tzinfo=UTC)


def test_decimals_are_sent_as_they_are():
    day = date(2024, 1, 3)
    intent = OrderIntent("red", "AAPL", day, "buy", Decimal("0.123456789"), None, "market", None, "day", "name",
                         "red-aapl", "v", 1.0, Decimal(1))  # fmt: skip
    assert fields_of(intent)["qty"] == "0.123456789"
    assert "notional" not in fields_of(intent)


def test_answers_as_alpaca_documents_them():
    split = activity_of({"activity_type": "SPLIT", "id": "20200831::x", "date": "2020-08-31", "net_amount": "0",
                         "symbol": "AAPL", "qty": "30"})  # fmt: skip
    assert (split.qty, split.cash, split.day) == (30, 0, date(2020, 8, 31))
    fee = activity_of({"activity_type": "FEE", "id": "1::x", "date": "2024-01-03", "net_amount": "-0.02", "qty": "1"})
    assert (fee.ticker, fee.qty, fee.cash) == ("", 0, Decimal("-0.02"))
    order = order_of({"id": "1", "client_order_id": "2", "symbol": "AAPL", "side": "buy", "type": "market",
                      "time_in_force": "day", "status": "held", "qty": None, "notional": "10", "limit_price": None,
                      "filled_qty": "0", "filled_avg_price": None, "submitted_at": "2024-01-02T21:30:00Z"})  # fmt: skip
    assert not order.final, "a status that we do not know of is no end"
