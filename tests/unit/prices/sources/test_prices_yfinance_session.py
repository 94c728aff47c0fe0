"""The session under yfinance against a real HTTP server: where requests go, how often, and how long it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from curl_cffi.requests.exceptions import HTTPError, RequestException

from mlops_cli.prices.sources.yahoo_session import CHART_PATH, RateLimitedSession

CHART = f"https://query2.finance.yahoo.com{CHART_PATH}AAA"


class Answers:
    """A server that gives scripted answers (status, Retry-After) and then 200, and remembers what it was asked."""

    def __init__(self) -> None:
        self.script: list[tuple[int, str]] = []
        self.paths: list[str] = []
        self.times: list[float] = []

    def next(self, path: str) -> tuple[int, str]:
        self.paths.append(path)
        self.times.append(time.monotonic())
        return self.script.pop(0) if self.script else (200, "")


@pytest.fixture
def server() -> Iterator[tuple[Answers, str]]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, retry_after = answers.next(self.path)
            self.send_response(status)
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield answers, f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()
    thread.join()


def session(base_url: str, lines: list[str] | None = None, **changes: float) -> RateLimitedSession:
    settings = {"rate_per_s": 10_000.0, "retries": 2, "backoff_s": 0.0, **changes}
    notify = (lambda line: None) if lines is None else lines.append
    return RateLimitedSession(settings["rate_per_s"], int(settings["retries"]), settings["backoff_s"], base_url, notify)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (CHART, "/v8/finance/chart/AAA"),
        (f"{CHART}?range=1d&interval=1d", "/v8/finance/chart/AAA?range=1d&interval=1d"),
        ("https://fc.yahoo.com/", "/"),
        ("https://yahoo.com/x%20y", "/x%20y"),
    ],
)
def test_hosts_of_yahoo_are_redirected_with_path_and_query(server, url, path):
    answers, address = server
    with session(address) as polite:
        assert polite.get(url).status_code == 200
    assert answers.paths == [path]


def test_a_base_url_may_have_a_path(server):
    answers, address = server
    with session(f"{address}/proxy/") as polite:
        polite.get(CHART)
    assert answers.paths == ["/proxy/v8/finance/chart/AAA"]


def test_other_hosts_are_not_redirected(server):
    answers, address = server
    with session("http://127.0.0.1:9") as polite:  # nobody listens there
        assert polite.get(f"{address}/elsewhere").status_code == 200
    assert answers.paths == ["/elsewhere"]


def test_a_host_that_only_contains_the_name_is_another_host(server):
    answers, address = server
    with session(address) as polite, pytest.raises(RequestException):
        polite.get("http://yahoo.com.localhost:9/v8/x")
    assert answers.paths == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_prices_are_requested_again_after_a_refusal(server, status):
    answers, address = server
    answers.script = [(status, ""), (status, "")]
    lines: list[str] = []
    with session(address, lines) as polite:
        assert polite.get(CHART).status_code == 200
    assert len(answers.paths) == 3
    assert lines == [f"yahoo: HTTP {status}, retrying in 0 s ({number}/2)" for number in (1, 2)]


@pytest.mark.parametrize("status", [400, 401, 404])
def test_other_answers_are_handed_on(server, status):
    answers, address = server
    answers.script = [(status, "")]
    with session(address) as polite:
        assert polite.get(CHART).status_code == status
    assert len(answers.paths) == 1


def test_after_the_last_try_the_answer_is_an_error(server):
    answers, address = server
    answers.script = [(429, "")] * 3
    with session(address) as polite, pytest.raises(HTTPError) as raised:
        polite.get(CHART)
    assert raised.value.response.status_code == 429
    assert len(answers.paths) == 3


def test_without_retries_one_request_is_sent(server):
    answers, address = server
    answers.script = [(503, "")]
    with session(address, retries=0) as polite, pytest.raises(HTTPError):
        polite.get(CHART)
    assert len(answers.paths) == 1


def test_cookies_and_crumbs_are_requested_once(server):
    answers, address = server
    answers.script = [(429, "")]
    with session(address) as polite:
        assert polite.get("https://query1.finance.yahoo.com/v1/test/getcrumb").status_code == 429
    assert len(answers.paths) == 1


def test_retry_after_is_obeyed_if_it_is_longer(server):
    answers, address = server
    answers.script = [(429, "1")]
    lines: list[str] = []
    with session(address, lines) as polite:
        polite.get(CHART)
    assert answers.times[1] - answers.times[0] >= 1.0
    assert lines == ["yahoo: HTTP 429, retrying in 1 s (1/2)"]


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "-5", "soon"])
def test_a_retry_after_that_is_no_number_of_seconds_is_ignored(server, header):
    answers, address = server
    answers.script = [(429, header)]
    with session(address) as polite:
        assert polite.get(CHART).status_code == 200
    assert answers.times[1] - answers.times[0] < 0.5


def test_a_broken_connection_is_tried_again_and_then_told():
    lines: list[str] = []
    with session("http://127.0.0.1:9", lines) as polite, pytest.raises(RequestException):
        polite.get(CHART)
    assert len(lines) == 2
    assert all("retrying in 0 s" in line for line in lines)


def test_the_rate_holds_over_all_threads(server):
    answers, address = server
    with session(address, rate_per_s=50) as polite:
        threads = [threading.Thread(target=polite.get, args=(CHART,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers.times) == 6
    assert max(answers.times) - min(answers.times) >= 5 / 50 * 0.8
