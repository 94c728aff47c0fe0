"""Paper trading: a replay of two teams over HTTP, the decision alone, orders per second at the local exchange."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import count
from statistics import median

import numpy as np
import yaml

from mlops_cli.config.schemas.trading import Rules
from mlops_cli.trading.contract.types import AccountState, DecisionContext, TradeForecast
from mlops_cli.trading.decide.policy import decide
from tests.bench.bench_processes import BenchError, clean_environment
from tests.bench.bench_projects import BINARIES, HELD_OUT, TEAM, BenchProject, Workplace, make_project
from tests.bench.bench_report import Row, Section

NAME = "trade"
RIVAL = "rival"
REPLAY_SECONDS, DECIDE_MS, ORDERS_PER_SECOND = 20.0, 50.0, 1000.0
PATIENCE_SECONDS = 60
DECISIONS = 25
HOST = "127.0.0.1"


@dataclass(frozen=True)
class TradeSize:
    """How much is measured.

    Attributes:
        tickers: each has one model per team.
        sessions: per price file; the last 125 are traded.
        decided: tickers in the decision.
        orders: sent to the exchange for each number of connections.
        connections: numbers of simultaneous connections.
        repeats: of sending the orders; the median is reported.
    """

    tickers: int
    sessions: int
    decided: int
    orders: int
    connections: tuple[int, ...]
    repeats: int


def trading(place: Workplace, size: TradeSize) -> Section:
    """Measure the replay, the decision and the orders."""
    section = Section(NAME)
    project = _project(place, size)
    for stage in ("ingest", "featurize", "train", "evaluate"):
        _say(stage)
        place.run("mlops", stage, cwd=project.root, seconds=1800)
    _replay(place, project, size, section)
    _decide(size, section)
    for memory in (False, True):
        _orders(project, size, section, memory=memory)
    return section


def _project(place: Workplace, size: TradeSize) -> BenchProject:
    """Two teams with the same stocks. Without shrinkage and costs they trade, although prices are random walks."""
    tickers = [f"T{index:03d}" for index in range(size.tickers)]
    project = make_project(place, "trade", tickers, size.sessions, epochs=1)
    configs = project.root / "configs" / "bench"
    rival = yaml.safe_load((configs / "models.yaml").read_text()) | {"team": RIVAL}
    (configs / "rival.yaml").write_text(yaml.safe_dump(rival))
    path = project.root / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["training"]["shrinkage"] = 1.0
    params["trading"] = {"costs": {"half_spread_bps": 0, "slippage_bps": 0, "sell_fee_bps": 0}, "max_drawdown": 1.0}
    path.write_text(yaml.safe_dump(params))
    return project


def _replay(place: Workplace, project: BenchProject, size: TradeSize, section: Section) -> None:
    _say("replay")
    scenario = yaml.safe_load((project.root / "simulation" / "bench.yaml").read_text())
    command = ["mlops", "paper-trade", "--replay", str(scenario["start"]), "--days", str(scenario["days"])]
    command += ["--team", TEAM, "--team", RIVAL, "--trade-without-skill"]
    done = place.run(*command, cwd=project.root, seconds=900)
    (report,) = (project.root / "simulation" / "reports").glob("competition-*")
    fills = max(0, len((report / "fills.csv").read_text().splitlines()) - 1)
    what = f"replay: {HELD_OUT} sessions x 2 teams x {size.tickers} stocks over HTTP, {fills} fills"
    target = f"<= {REPLAY_SECONDS:g} s"
    section.rows.append(Row(f"{what}: wall clock", done.wall, "s", target, met=done.wall <= REPLAY_SECONDS))
    section.rows.append(Row(f"{what}: user + system CPU", done.cpu, "s"))
    section.raw["replay"] = {"wall": done.wall, "cpu": done.cpu, "fills": fills}


def _decide(size: TradeSize, section: Section) -> None:
    _say("decision")
    random = np.random.default_rng(7)
    day, target = date(2024, 1, 2), date(2024, 1, 3)
    forecasts = [
        TradeForecast(
            f"red-t{i}", f"T{i}", "red", day, target, Decimal(f"{price:.4f}"), float(value), "1a2b3c4d5e6f", "skill"
        )
        for i, (price, value) in enumerate(
            zip(random.uniform(5, 500, size.decided), random.normal(0, 0.01, size.decided), strict=True)
        )
    ]
    prices = {forecast.ticker: forecast.last_close for forecast in forecasts}
    money = Decimal(1_000_000)
    account = AccountState(money, money, money, money)
    rules = Rules(lot_fraction=0.001, max_weight=0.01)
    times = []
    for _ in range(DECISIONS):
        start = time.perf_counter()
        decide(forecasts, account, {}, prices, rules, DecisionContext(target))
        times.append(1000 * (time.perf_counter() - start))
    middle = median(times)
    what = f"decision for {size.decided} tickers (median of {len(times)})"
    section.rows.append(Row(what, middle, "ms", f"<= {DECIDE_MS:g} ms", met=middle <= DECIDE_MS))
    section.raw["decide_ms"] = times


def _orders(project: BenchProject, size: TradeSize, section: Section, *, memory: bool) -> None:
    """Limit orders far from the market: each is checked, reserves buying power, is stored and answered."""
    _say(f"orders, {'in memory' if memory else 'kept on disk'}")
    prices = project.root / "data" / "prices" / "main"
    database = ":memory:" if memory else str(project.root / "exchange.db")
    scenario = yaml.safe_load((project.root / "simulation" / "bench.yaml").read_text())
    command = [BINARIES / "mlops", "exchange", "serve", "--port", "0", "--prices", prices, "--database", database]
    with subprocess.Popen(
        [*command, "--replay", f"{scenario['start']}T22:00:00+00:00"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=clean_environment(BINARIES),
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rsplit(":", 1)[1])
            for connections in size.connections:
                rates = [_rate(port, size.orders, connections) for _ in range(size.repeats)]
                name = f"orders over HTTP, {'in memory' if memory else 'SQLite'}, {connections} connections"
                rate, target = median(rates), f">= {ORDERS_PER_SECOND:,.0f}/s"
                row = Row(f"{name} (median of {size.repeats})", rate, "/s", target, met=rate >= ORDERS_PER_SECOND)
                section.rows.append(row)
                section.raw[name] = rates
        finally:
            process.terminate()


_accounts = count()


def _rate(port: int, orders: int, connections: int) -> float:
    """Accepted orders per second; each connection has its own account."""
    barrier = threading.Barrier(connections + 1)
    failures: list[str] = []
    threads = [
        threading.Thread(target=_send, args=(port, next(_accounts), orders // connections, barrier, failures))
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    barrier.wait(PATIENCE_SECONDS)
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        raise BenchError(f"an order was refused: {failures[0]}")
    return orders // connections * connections / seconds


def _send(port: int, number: int, orders: int, barrier: threading.Barrier, failures: list[str]) -> None:
    line = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_SECONDS)
    keys = {"APCA-API-KEY-ID": f"BENCH{number}", "APCA-API-SECRET-KEY": "bench", "Content-Type": "application/json"}
    order = {
        "symbol": "T000",
        "side": "buy",
        "type": "limit",
        "time_in_force": "day",
        "qty": "1",
        "limit_price": "0.01",
    }
    line.request("GET", "/v2/account", headers=keys)
    line.getresponse().read()
    barrier.wait(PATIENCE_SECONDS)
    for _ in range(orders):
        line.request("POST", "/v2/orders", json.dumps(order), keys)
        answer = line.getresponse()
        text = answer.read()
        if answer.status != 200:
            failures.append(text.decode())
            return
    line.close()


def _say(text: str) -> None:
    print(f"trade: {text} ({os.getloadavg()[0]:.1f} load)", file=sys.stderr)
