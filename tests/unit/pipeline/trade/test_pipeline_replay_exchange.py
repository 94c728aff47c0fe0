"""The exchange of a replay: it answers at its address, its clock is moved, and it ends with the block."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Costs, Trading
from mlops_cli.errors import DataError, ServiceError
from mlops_cli.pipeline.stages.tables import write_table
from mlops_cli.pipeline.trade.competition import ReplayExchange, replay_exchange
from mlops_cli.pipeline.trade.paper_trade import slippage_report
from tests.fakes.price_tables import random_prices

START = datetime(2015, 6, 1, 21, tzinfo=UTC)
KEYS = {"APCA-API-KEY-ID": "REPLAY-red", "APCA-API-SECRET-KEY": "replay"}


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    write_table(tmp_path / "prices", "AAA", random_prices(300))
    return tmp_path / "prices"


def clock(exchange: ReplayExchange) -> datetime:
    answer = requests.get(f"{exchange.address}/v2/clock", headers=KEYS, timeout=10)
    return datetime.fromisoformat(answer.json()["timestamp"])


def test_its_clock_stands_until_it_is_moved(prices: Path) -> None:
    with replay_exchange([prices], START, Costs()) as exchange:
        assert exchange.address.startswith("http://127.0.0.1:"), "nobody else may reach it"
        assert clock(exchange) == START
        exchange.advance(START + timedelta(days=1))
        assert clock(exchange) == START + timedelta(days=1)


def test_time_does_not_go_back(prices: Path) -> None:
    with (
        replay_exchange([prices], START, Costs()) as exchange,
        pytest.raises(ServiceError, match="does not answer"),
    ):
        exchange.advance(START - timedelta(days=1))


def test_it_ends_with_the_block(prices: Path) -> None:
    with replay_exchange([prices], START, Costs()) as exchange:
        pass
    with pytest.raises(ServiceError, match=f"the replay's exchange at {exchange.address}"):
        ReplayExchange(exchange.address, requests.Session()).advance(START)


class TestSlippage:
    def test_without_ledgers_there_is_nothing_to_compare(self, tmp_path: Path) -> None:
        assert slippage_report(Project(tmp_path), ["main"], Trading()) == {}

    def test_a_team_without_a_ledger_is_refused_when_it_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="team red has no ledger") as caught:
            slippage_report(Project(tmp_path), ["main"], Trading(), "red")
        assert "mlops paper-trade" in caught.value.hint
