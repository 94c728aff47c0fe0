"""What browsers and hostile clients may not do to the exchange: foreign pages, large bodies, half-open connections."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.fakes.exchange_openapi import endpoints
from tests.fakes.exchange_server import ExchangeServer, exchange_server
from tests.fakes.foreign_pages import FOREIGN_PAGES, LINK

PAGES = {**FOREIGN_PAGES, "link": LINK}
KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}


@pytest.fixture(scope="module")
def server() -> Iterator[ExchangeServer]:
    with exchange_server() as running:
        requests.get(f"{running.url}/v2/account", headers=KEYS, timeout=10).raise_for_status()
        yield running


def ask(server: ExchangeServer, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    """A request with exactly these headers; status, and JSON of the answer."""
    port = urlsplit(server.url).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    content = b"" if body is None else json.dumps(body).encode()
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {**headers, "Content-Length": str(len(content))}.items():
        connection.putheader(name, value.replace("PORT", str(port)))
    connection.endheaders(content)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


@pytest.mark.parametrize("page", PAGES)
def test_no_endpoint_answers_a_page_of_another_site(server: ExchangeServer, page: str) -> None:
    before = ask(server, "GET", "/sim/accounts", {})
    for method, path in endpoints():
        filled = path.format(kind="FILL", symbol="AAPL", order_id="x")
        status, body = ask(server, method, filled, {**PAGES[page], **KEYS}, {"key": "key", "cash": "1"})
        assert status == 403, (method, path)
        assert body["code"] == 40310000
        assert "this server" in body["message"]
    assert ask(server, "GET", "/sim/accounts", {}) == before
    assert server.sim("GET", "faults") == []
    assert ask(server, "GET", "/nothing", PAGES[page])[0] == 403, "not even whether there is such a path"


@pytest.mark.parametrize(
    "headers", [{}, {"Host": "localhost:1"}, {"Host": "[::1]:8081"}, {"Sec-Fetch-Site": "none"},
                {"Host": "localhost:8081", "Origin": "http://localhost:8081", "Sec-Fetch-Site": "same-origin"}]
)  # fmt: skip
def test_programs_of_this_machine_are_answered(server: ExchangeServer, headers: dict[str, str]) -> None:
    assert ask(server, "GET", "/v2/account", {**headers, **KEYS})[0] == 200
    assert ask(server, "POST", "/sim/market", headers, {"spread_bps": 2})[0] == 200


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text/plain", 415),
        ("Text/Plain; charset=utf-8", 415),
        (" multipart/form-data; boundary=x", 415),
        ("application/json", 200),
        ("application/x-www-form-urlencoded", 200),  # what curl -d sends
        ("", 200),
    ],
)
def test_a_body_that_any_page_may_send_does_not_steer(server: ExchangeServer, kind: str, expected: int) -> None:
    assert ask(server, "POST", "/sim/market", {"Content-Type": kind}, {"spread_bps": 2})[0] == expected


@pytest.mark.parametrize("path", ["/sim/market", "/v2/orders"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_50_mb_is_refused_before_it_is_held(server: ExchangeServer, path: str, chunked: bool) -> None:
    before = psutil.Process().memory_info().rss
    parts = urlsplit(server.url)
    keys = "".join(f"{name}: {value}\r\n" for name, value in KEYS.items())
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 50000000"
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{keys}{length}\r\n\r\n".encode())
        connection.sendall(b"30d40\r\n" + b" " * 200_000 if chunked else b" " * 200_000)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":41310000' in answer
    assert psutil.Process().memory_info().rss - before < 30e6


@pytest.mark.parametrize("depth", [200, 900, 20_000])
@pytest.mark.parametrize("path", ["/sim/clock", "/sim/faults", "/sim/corporate-actions", "/sim/accounts", "/v2/orders"])
def test_deep_bodies_are_refused(server: ExchangeServer, path: str, depth: int) -> None:
    for start, end in (("[", "]"), ('{"a":', "}")):
        deep = f"{start * depth}1{end * depth}"
        nested = ", ".join(f'"{name}": {deep}' for name in ("to", "kind", "type", "key", "side"))
        answer = requests.post(f"{server.url}{path}", data=f"{{{nested}}}", headers=KEYS, timeout=10)
        assert 400 <= answer.status_code < 500, answer.text
        assert len(answer.content) < 1_000


@pytest.mark.parametrize("cash", ["1e-999999999", "1e999999999", "NaN", "Infinity", "1_000", "", None, [], "9" * 5_000])
def test_amounts_that_are_none(server: ExchangeServer, cash: object) -> None:
    answer = requests.post(f"{server.url}/sim/accounts", json={"key": "key", "cash": cash}, timeout=10)
    assert answer.status_code == 422, answer.text
    assert len(answer.content) < 500


def test_faults_actions_and_keys_are_bounded(server: ExchangeServer) -> None:
    with requests.Session() as session:
        statuses = [
            session.post(f"{server.url}/sim/faults", json={"kind": "halt", "symbol": "X"}, timeout=10).status_code
            for _ in range(1_001)
        ]
        assert statuses == [200] * 1_000 + [422]
        server.clear()
        assert session.post(f"{server.url}/sim/faults", json={"kind": "halt", "symbol": "X" * 201}).status_code == 422
        long = {"APCA-API-KEY-ID": "k" * 129, "APCA-API-SECRET-KEY": "s"}
        assert session.get(f"{server.url}/v2/account", headers=long, timeout=10).status_code == 401
    assert len(server.exchange.state.accounts) == 1


def test_half_open_connections_do_not_stop_the_exchange(server: ExchangeServer) -> None:
    parts = urlsplit(server.url)
    held = [socket.create_connection((parts.hostname, parts.port), timeout=10) for _ in range(300)]
    try:
        for connection in held:
            connection.sendall(b"POST /v2/orders HTTP/1.1\r\nHost: localhost\r\nX-A")
        began = requests.get(f"{server.url}/v2/account", headers=KEYS, timeout=10)
        assert began.status_code == 200
        assert began.elapsed.total_seconds() < 2
    finally:
        for connection in held:
            connection.close()
