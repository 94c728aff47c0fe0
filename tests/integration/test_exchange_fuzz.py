"""Whatever is sent to the exchange, it answers or refuses in words, in bounded time and memory: never with a 500."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from tests.fakes.exchange_openapi import BODIES, document, endpoints
from tests.fakes.exchange_process import exchange_process

KEYS = {"APCA-API-KEY-ID": "fuzz", "APCA-API-SECRET-KEY": "secret"}
START = "2012-05-18T14:00:00+00:00"
LONGEST_SECONDS, MOST_GROWTH, LONGEST_ANSWER = 2.0, 100e6, 3_000_000
SHORT, SOAK_SECONDS = 6, float(os.environ.get("MLOPS_SOAK_SECONDS", "600"))
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@dataclass
class Fuzzed:
    """An exchange under fuzzing, and how much it was asked."""

    client: httpx.Client
    process: psutil.Process
    before: int = 0
    asked: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def judge(self, what: str, answer: httpx.Response) -> None:
        """Every answer, one after another."""
        self.asked += 1
        took = answer.elapsed.total_seconds()
        self.slowest = max(self.slowest, took)
        assert answer.status_code < 500, (what, answer.text)
        assert took < LONGEST_SECONDS, (what, took)
        assert len(answer.content) < LONGEST_ANSWER, (what, len(answer.content))
        if answer.status_code >= 400:
            assert answer.json()["message"], what
        if self.asked % 20 == 0:
            assert self.process.memory_info().rss - self.before < MOST_GROWTH, what


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("exchange")
    with (
        exchange_process(folder, "--replay", START, "--database", "fuzz.db") as (process, url),
        httpx.Client(base_url=url, headers=KEYS, timeout=30) as client,
    ):
        running = psutil.Process(process.pid)
        client.get("/v2/account")
        client.get("/v2/assets")
        yield Fuzzed(client, running, running.memory_info().rss)
        assert process.poll() is None


def by_schema(fuzzed: Fuzzed, examples: int, number: int, modes: tuple[GenerationMode, ...]) -> None:
    """Ask every endpoint with what its members allow, or forbid."""
    for operation in schemathesis.openapi.from_dict(document()).get_all_operations():
        for mode in modes:
            if mode is GenerationMode.NEGATIVE and (operation.ok().method.upper(), operation.ok().path) not in BODIES:
                continue

            @seed(number)
            @settings(max_examples=examples, **QUIET)
            @given(case=operation.ok().as_strategy(generation_mode=mode))
            def ask(case: Case) -> None:
                answer = fuzzed.client.request(
                    case.method, case.formatted_path, params=case.query, json=_plain(case.body)
                )
                fuzzed.judge(f"{case.method} {case.formatted_path} {case.query} {case.body!r}"[:2000], answer)

            ask()


def _plain(body: Any) -> Any:
    return body if isinstance(body, dict | list | str | int | float | bool) else {}


NASTY = st.one_of(
    st.integers(100, 20_000).map(lambda depth: b"[" * depth + b"]" * depth),
    st.integers(10, 20_000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
    st.integers(1, 90_000).map(lambda digits: b"1" * digits),
    st.integers(1, 90_000).map(lambda size: b'"' + b"x" * size + b'"'),
    st.sampled_from([b"1e999", b"-1e-999999999", b"1e308", b'"1e999999999"', b'"1e-999999999"', b"NaN", b'"NaN"',
                     b"-0", b'"-0"', b"null", b"true", b"{}", b"[]", b'""', b'"\\ud800"', b'"\\u0000"',
                     b"\xff", b'"\xff"',
                     b'"9999-12-31"', b'"0001-01-01"', b'"9999-12-31T23:59:59+23:59"', b"18446744073709551616"]),
    st.binary(max_size=200),
)  # fmt: skip


@st.composite
def bombs(draw: st.DrawFn) -> tuple[str, str, bytes, dict[str, str]]:
    """A request whose body has wrong, huge or deep values in the members that the endpoint reads."""
    (method, path), members = draw(st.sampled_from(sorted(BODIES.items(), key=str)))
    names = draw(st.lists(st.sampled_from([*members, "x"]), max_size=4))
    body = b"{" + b",".join(b'"%s":%s' % (name.encode(), draw(NASTY)) for name in names) + b"}"
    if draw(st.integers(0, 4)) == 0:
        body = draw(NASTY)
    headers = draw(st.sampled_from([{}, {"Content-Type": "text/html"}, {"Content-Encoding": "gzip"}]))
    return method, path.replace("{order_id}", "x"), body, headers


def by_bombs(fuzzed: Fuzzed, examples: int, number: int) -> None:
    """Send bodies that are made to hurt."""

    @seed(number)
    @settings(max_examples=examples, **QUIET)
    @given(bombs())
    def ask(bomb: tuple[str, str, bytes, dict[str, str]]) -> None:
        method, path, body, headers = bomb
        fuzzed.judge(
            f"{method} {path} {body[:500]!r}", fuzzed.client.request(method, path, content=body, headers=headers)
        )

    ask()


def trades(fuzzed: Fuzzed) -> None:
    """After all that, it is an exchange."""
    fuzzed.client.delete("/sim/faults").raise_for_status()
    clear = {"key": "fuzz", "cash": "100000", "trading_blocked": False, "account_blocked": False}
    fuzzed.client.post("/sim/accounts", json=clear).raise_for_status()
    assert fuzzed.client.get("/v2/clock").status_code == 200


def test_every_endpoint_is_in_the_document() -> None:
    assert len(endpoints()) == 44
    assert {path for _, path in endpoints()} == set(document()["paths"])
    assert set(BODIES) <= set(endpoints())


def test_no_request_makes_the_exchange_fail(fuzzed: Fuzzed) -> None:
    by_schema(fuzzed, SHORT, 1, (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
    assert fuzzed.asked > 44 * SHORT // 2
    trades(fuzzed)


def test_no_bomb_makes_the_exchange_fail(fuzzed: Fuzzed) -> None:
    by_bombs(fuzzed, 150, 1)
    trades(fuzzed)


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_nothing_makes_the_exchange_fail_for_minutes(fuzzed: Fuzzed) -> None:
    end, number = time.monotonic() + SOAK_SECONDS, 2
    while time.monotonic() < end:
        by_schema(fuzzed, 30, number, (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
        by_bombs(fuzzed, 500, number)
        trades(fuzzed)
        number += 1
    print(f"{fuzzed.asked} requests, seeds 2 to {number - 1}, slowest {fuzzed.slowest:.3f} s")
