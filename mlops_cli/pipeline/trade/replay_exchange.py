"""The local exchange of a replay: a thread of this process serves it on loopback, with the project's prices."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import requests

from mlops_cli.config.schemas.trading import Costs
from mlops_cli.errors import ServiceError
from mlops_cli.exchange.api.serve import listen, server
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import MarketRules
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import ParquetTables
from mlops_cli.market.hours import us_hours

PATIENCE_SECONDS = 30.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ReplayExchange:
    """A running exchange: its address, and the HTTP session that moves its clock."""

    address: str
    requests: requests.Session

    def advance(self, now: datetime) -> None:
        """Move the exchange's clock to `now`; orders fill and expire accordingly.

        Raises:
            ServiceError: the exchange does not answer.
        """
        try:
            answer = self.requests.post(
                f"{self.address}/sim/clock", json={"now": now.isoformat()}, timeout=PATIENCE_SECONDS
            )
            answer.raise_for_status()
        except requests.RequestException as error:
            raise ServiceError(
                f"the replay's exchange at {self.address} does not answer: {error}", "run again"
            ) from None


@contextmanager
def replay_exchange(prices: Sequence[Path], start: datetime, costs: Costs) -> Iterator[ReplayExchange]:
    """Serve an exchange until the block ends. It holds all of its data in memory.

    Args:
        prices: folders of price tables.
        start: first time of its clock.
        costs: the exchange uses their spread and slippage, and takes neither commission nor fees.
    """
    rules = MarketRules(spread_bps=2 * costs.half_spread_bps, slippage_bps=costs.slippage_bps)
    exchange = Exchange(Market(ParquetTables(prices), us_hours()), Clock(start), rules)
    listening = listen(LOOPBACK, 0)
    serving = server(exchange)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]}, daemon=True, name="replay-exchange")
    thread.start()
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy for loopback
            yield ReplayExchange(f"http://{LOOPBACK}:{listening.getsockname()[1]}", session)
    finally:
        serving.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listening.close()
