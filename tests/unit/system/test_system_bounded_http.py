"""Requests end at their deadline and at their size, in whatever way a server keeps them waiting."""

from __future__ import annotations

import time
import tracemalloc
from functools import partial

import pytest
import requests

from mlops_cli.system.bounded_http import TooLarge, TooSlow, bounded
from tests.fakes.odd_servers import LARGE, SLOW, odd_server

SECONDS, MOST = 0.4, 2 * 10**6


def get(url: str, seconds: float = SECONDS, most: int = MOST) -> requests.Response:
    ask = partial(requests.get, url, stream=True, timeout=5, allow_redirects=False)
    return bounded(ask, seconds, most)


@pytest.mark.parametrize("kind", SLOW)
def test_a_server_that_drips_is_left_at_the_deadline(kind):
    with odd_server(kind) as server:
        start = time.monotonic()
        with pytest.raises(TooSlow, match=r"no whole answer (within 0\.4 s|in time)"):
            get(server.url)
        assert SECONDS <= time.monotonic() - start < SECONDS + 1.0


@pytest.mark.parametrize("kind", LARGE)
def test_an_answer_that_is_too_large_is_left_where_it_is(kind):
    with odd_server(kind) as server:
        tracemalloc.start()
        try:
            with pytest.raises(TooLarge, match="more than 2 MB"):
                get(server.url, seconds=20)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert most < 30 * 10**6


def test_an_answer_within_both_bounds_is_read_whole():
    with odd_server() as server:
        for _ in range(3):
            answer = get(server.url)
            assert (answer.status_code, answer.json()) == (200, {"ok": True})


def test_a_body_of_just_the_largest_size_is_taken():
    with odd_server("html") as server:
        assert len(get(server.url, most=5006).content) == 5006
        with pytest.raises(TooLarge):
            get(server.url, most=5005)


def test_errors_of_the_request_come_through():
    with pytest.raises(requests.ConnectionError):
        get("http://127.0.0.1:9")
    with pytest.raises(requests.exceptions.InvalidURL):
        get("http://")
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 / 0, 5, 1)  # type: ignore[arg-type, return-value]


def test_a_time_out_of_the_request_itself_is_not_called_the_deadline():
    def ask() -> requests.Response:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        bounded(ask, 5, 1)
