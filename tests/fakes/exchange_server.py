"""The real local exchange, served over HTTP on its own port, for all tests that trade."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import requests

from mlops_cli.exchange.api.app import listen, server
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import MarketRules
from mlops_cli.exchange.book.store import Store
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import MemoryTables
from mlops_cli.market.hours import parse_time, us_hours
from tests.fakes.price_tables import random_prices

PATIENCE_SECONDS = 20


@dataclass
class ExchangeServer:
    """A running exchange.

    Attributes:
        url: base address, for `url_override` of alpaca-py's trading and data clients.
        exchange: the exchange that is served; use it only between requests.
    """

    url: str
    exchange: Exchange

    def sim(self, method: str, path: str, /, **body: Any) -> Any:
        """Call `/sim/<path>` and return its JSON."""
        answer = requests.request(method, f"{self.url}/sim/{path}", json=body or None, timeout=PATIENCE_SECONDS)
        assert answer.ok, answer.text
        return answer.json()

    def advance(self, now: str | None = None, *, to: str | None = None, seconds: float = 0) -> str:
        """Move the clock: to an ISO time, or to "next_open" or "next_close", plus seconds. Returns the new time."""
        body = {"now": now, "to": to, "seconds": seconds}
        return str(self.sim("POST", "clock", **{k: v for k, v in body.items() if v is not None})["now"])

    def fault(self, kind: str, /, **settings: Any) -> None:
        """Set a fault."""
        self.sim("POST", "faults", kind=kind, **settings)

    def clear(self) -> None:
        """Remove all faults."""
        self.sim("DELETE", "faults")

    def action(self, kind: str, symbol: str, date: str, /, **settings: Any) -> None:
        """Announce a split (ratio), dividend (amount) or delisting (price, close_positions)."""
        self.sim("POST", "corporate-actions", type=kind, symbol=symbol, date=date, **settings)

    def cash(self, key: str, cash: str) -> None:
        """Set the cash of the account of this key."""
        self.sim("POST", "accounts", key=key, cash=cash)


def some_prices() -> dict[str, pd.DataFrame]:
    """AAPL, MSFT and NVDA from 2023 to the end of 2025; random walks, always the same."""
    names = ("AAPL", "MSFT", "NVDA")
    return {name: random_prices(750, seed, start="2023-01-03") for seed, name in enumerate(names)}


def new_exchange(
    tables: Mapping[str, pd.DataFrame] | None = None,
    start: str = "2024-01-02T21:30:00+00:00",
    database: Path | None = None,
    rules: MarketRules | None = None,
    dividends: Mapping[str, Mapping[date, float]] | None = None,
) -> Exchange:
    """A replay without HTTP; it starts after the close of a session (16:30 in New York) by default.

    `dividends`: of the tables, USD per share by ex-date.
    """
    market = Market(MemoryTables(tables if tables is not None else some_prices(), dividends), us_hours())
    return Exchange(market, Clock(parse_time(start)), rules, None if database is None else Store(database))


@contextlib.contextmanager
def exchange_server(
    tables: Mapping[str, pd.DataFrame] | None = None,
    start: str = "2024-01-02T21:30:00+00:00",
    database: Path | None = None,
    rules: MarketRules | None = None,
    exchange: Exchange | None = None,
) -> Iterator[ExchangeServer]:
    """Serve an exchange in a thread until the block ends.

    Args:
        tables: price tables by symbol; by default `some_prices()`.
        start: time of the replay.
        database: file that keeps the state; by default none.
        rules: of the market.
        exchange: an existing exchange to serve; the other arguments then have no effect.
    """
    inside = exchange if exchange is not None else new_exchange(tables, start, database, rules)
    taken = listen("127.0.0.1", 0)
    serving = server(inside)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not serving.started:
        assert time.monotonic() < deadline, "the exchange does not start"
        time.sleep(0.005)
    try:
        yield ExchangeServer(f"http://127.0.0.1:{taken.getsockname()[1]}", inside)
    finally:
        serving.should_exit = True
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the exchange does not stop"
        if exchange is None:
            inside.close()
