"""Random faults and `kill -9` at any line of a pass: no order doubled, no fill lost, ledger and exchange agree.

Everything is real: the exchange over HTTP, alpaca-py, SQLite on disk, and SIGKILL. Each seed is a run of its own; the
same seed kills at the same lines. All 1,000: `make test-soak`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.exchange_server import ExchangeServer, exchange_server, some_prices
from tests.fakes.ledger_and_exchange import check_ledger

SHORT, LONG = 20, 1000
SESSIONS = 3
AT_A_TIME = 4
PRICES = some_prices()
LINES = 1100
"""About as many as a pass of three stocks runs; beyond them it ends before it is killed."""
SINGLE_THREADED = {  # a process with threads forks badly
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 429, "times": 2},
    {"kind": "status", "status": 500, "method": "POST", "when": "before", "times": 1},
    {"kind": "status", "status": 500, "method": "POST", "when": "after", "times": 1},
    {"kind": "status", "status": 504, "method": "POST", "when": "after", "times": 1},
    {"kind": "status", "status": 503, "method": "GET", "times": 2},
    {"kind": "status", "status": 503, "probability": 0.2},
    {"kind": "timeout", "method": "POST", "when": "before", "seconds": 0.4, "times": 1},
    {"kind": "timeout", "method": "POST", "when": "after", "seconds": 0.4, "times": 1},
    {"kind": "drop", "when": "before", "times": 1},
    {"kind": "drop", "method": "POST", "when": "after", "times": 2},
    {"kind": "drop", "probability": 0.1, "when": "after"},
    {"kind": "delay_fills", "seconds": 1800.0, "times": 2},
    {"kind": "partial_fills", "fraction": 0.3, "seconds": 600.0, "times": 2},
    {"kind": "duplicate_fills"},
    {"kind": "reject_orders", "times": 1},
    {"kind": "wide_spread", "factor": 100.0},
    {"kind": "stale_quotes"},
]


class Runner:
    """Passes in processes of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.pass_runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **SINGLE_THREADED},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, url: str, folder: Path, seed: int, kill_at: int | None, *, sell: bool = False) -> dict[str, Any]:
        order = {"url": url, "folder": str(folder), "seed": seed, "kill_at": kill_at, "sell": sell}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["outcome"] != "crashed", f"seed {seed}: a bug in the pass; its traceback is above"
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=20)


def live(runner: Runner, server: ExchangeServer, folder: Path, seed: int) -> Counter[str]:
    """Some sessions of a bad week; what the passes came to."""
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(SESSIONS):
        for fault in chance.sample(FAULTS, chance.randint(0, 3)):
            server.sim("POST", "faults", **fault)
        server.sim("POST", "faults", seed=seed)
        for _ in range(chance.randint(1, 3)):
            seen[runner.run(server.url, folder, seed, chance.randint(1, LINES))["outcome"]] += 1
        if chance.random() < 0.7:  # else the session goes by with whatever was sent
            server.clear()
            seen[runner.run(server.url, folder, seed, None)["outcome"]] += 1
        if chance.random() < 0.15:  # somebody wants out, and is cut short
            for kill_at in (chance.randint(1, LINES), None)[: chance.randint(1, 2)]:
                seen[runner.run(server.url, folder, seed, kill_at, sell=True)["outcome"]] += 1
        if chance.random() < 0.3:  # and somebody looks while the session is on
            server.advance(to="next_open", seconds=900)
            seen[runner.run(server.url, folder, seed, chance.randint(1, LINES))["outcome"]] += 1
        server.advance(to="next_close", seconds=1800)
    server.clear()
    for _ in range(2):
        last = runner.run(server.url, folder, seed, None)
    assert last["outcome"] == "done", last
    assert last["clean"], last
    return seen


def some(tmp_path: Path, seeds: range) -> tuple[Counter[str], int]:
    """One after another, in one runner: what the passes came to, and how many orders there were."""
    seen: Counter[str] = Counter()
    sent = 0
    runner = Runner()
    try:
        for seed in seeds:
            folder = tmp_path / str(seed)
            folder.mkdir()
            with exchange_server(PRICES, start="2024-01-02T21:30:00+00:00") as server:
                seen += live(runner, server, folder, seed)
                sent += check_ledger(server.exchange, folder / "red.db", seed)
    finally:
        runner.close()
    return seen, sent


def soak(tmp_path: Path, seeds: range) -> None:
    """All seeds, some at a time: they mostly wait for time-outs."""
    parts = [seeds[start::AT_A_TIME] for start in range(AT_A_TIME)]
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        found = list(threads.map(lambda part: some(tmp_path, part), parts))
    seen = sum((one for one, _ in found), Counter())
    sent = sum(orders for _, orders in found)
    print(f"{len(seeds)} seeds, {sent} orders, passes: {dict(seen)}")
    assert seen["killed"] > len(seeds), "the point of it all"
    assert seen["done"] > 0
    assert sent > len(seeds)


def test_killed_passes_double_no_order_and_lose_no_fill(tmp_path):
    soak(tmp_path, range(SHORT))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_thousand_killed_passes_double_no_order_and_lose_no_fill(tmp_path):
    soak(tmp_path, range(SHORT, SHORT + LONG))
