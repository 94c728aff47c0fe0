"""`mlops serve` without a token: pages of other sites, DNS rebinding, reverse proxies, and connections held open."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.foreign_pages import FOREIGN_PAGES, LINK
from tests.fakes.served_projects import Served, infer_body, served_project, serving

NAME = "red-t000"
PROXY = "forecasts.example.com"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_project(tmp_path_factory.mktemp("hosts") / "p", [NAME])


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[Served]:
    with serving(project, "--workers", "2", "--allowed-host", PROXY) as running:
        yield running


def ask(served: Served, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, Any]:
    """A request with exactly these headers; status, and JSON of the answer if it is any."""
    port = urlsplit(served.address).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value.replace("PORT", str(port)))
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.getheader("content-type") == "application/json" else text


@pytest.mark.parametrize("page", FOREIGN_PAGES)
def test_nothing_is_answered_to_a_page_of_another_site(served: Served, page: str) -> None:
    paths = ask(served, "GET", "/openapi.json", {})[1]["paths"]
    asked = 0
    for path, operations in paths.items():
        for method in operations:
            filled = path.format(name=NAME, model=NAME, version="x", ticker="T000", number=1)
            status, body = ask(served, method.upper(), filled, FOREIGN_PAGES[page], infer_body())
            assert status == 403, (method, path)
            assert body["error"].endswith(body["hint"])
            asked += 1
    assert asked >= 18
    assert served.infer(NAME).status == 200, "it was not unloaded"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:PORT", "Origin": "http://localhost:PORT", "Sec-Fetch-Site": "same-origin"},
        {"Host": "[::1]:PORT"},
        {"Host": PROXY, "Origin": f"https://{PROXY}", "Sec-Fetch-Site": "same-origin"},
        {"Host": "127.0.0.1:PORT", "Origin": f"https://{PROXY}", "X-Forwarded-Host": PROXY},
    ],
)
def test_programs_own_pages_and_the_proxy_are_answered(served: Served, headers: dict[str, str]) -> None:
    assert ask(served, "GET", "/forecasts", headers)[0] == 200
    assert ask(served, "POST", f"/v2/models/{NAME}/infer", headers, infer_body())[0] == 200


def test_a_link_leads_to_the_page_for_people(served: Served) -> None:
    assert ask(served, "GET", "/docs", LINK)[0] == 200
    assert ask(served, "POST", f"/v2/repository/models/{NAME}/unload", LINK)[0] == 403


def test_refusals_are_counted(served: Served) -> None:
    ask(served, "GET", "/forecasts", {"Host": "evil.com"})
    time.sleep(1.5)  # the workers tell each other
    counts = served.metrics()
    assert sum(count for name, count in counts.items() if "http_responses" in name and '"403"' in name) > 0


def test_with_a_token_the_name_does_not_matter(project: Path) -> None:
    (project / ".env").write_text("MLOPS_API_TOKEN=sesame-open-now\n")
    try:
        with serving(project) as served:
            for headers in ({"Host": "evil.com"}, {"Origin": "https://evil.com"}):
                assert ask(served, "GET", "/forecasts", headers)[0] == 401
                bearer = {**headers, "Authorization": "Bearer sesame-open-now"}
                assert ask(served, "GET", "/forecasts", bearer)[0] == 200
    finally:
        (project / ".env").unlink()


def test_half_open_connections_and_endless_heads_do_not_stop_the_others(served: Served) -> None:
    parts = urlsplit(served.address)
    before = served.memory
    held = [socket.create_connection((parts.hostname, parts.port), timeout=10) for _ in range(400)]
    try:
        for connection in held:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        for connection in held[:20]:
            try:
                for _ in range(50):
                    connection.sendall(b"a" * 100_000)
            except OSError:  # it was cut
                continue
            pytest.fail("5 MB of a header were taken")
        began = time.monotonic()
        assert served.infer(NAME).status == 200
        assert time.monotonic() - began < 2
        assert served.memory - before < 60e6
    finally:
        for connection in held:
            connection.close()
