"""Corporate actions of the local exchange, reconciled by paper trading: the ledger follows, and nothing is blocked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from mlops_cli.exchange.book.clock import target
from mlops_cli.exchange.book.records import CorporateAction
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.passes.reconcile import Reconciled, reconcile
from tests.fakes.exchange_server import new_exchange
from tests.fakes.ledgers import an_intent
from tests.fakes.local_broker import LocalBroker

DAY = date(2024, 1, 4)


class Desk:
    """A team with 15 shares of AAPL, 7 of MSFT sold short, and a ledger that has booked them."""

    def __init__(self, ledger: Ledger) -> None:
        self.exchange = new_exchange()
        self.broker = LocalBroker(self.exchange, "key", "secret")
        self.ledger = ledger
        self.look()
        for intent in (an_intent("AAPL", "buy", "15"), an_intent("MSFT", "sell", "7")):
            self.ledger.write_intents([intent], self.exchange.state.now)
            self.broker.submit(intent)
        self.advance("next_close", 60)
        assert self.look().blocked == {}

    def advance(self, to: str, seconds: float) -> None:
        state = self.exchange.state
        state.clock.advance(target(state.now, state.hours, to, seconds))
        self.exchange.catch_up()

    def look(self) -> Reconciled:
        now = self.exchange.state.now
        return reconcile(self.broker, self.ledger, now, self.exchange.state.hours.next_open(now).day)

    def act(self, kind: str, symbol: str, value: str | None, **more: object) -> Reconciled:
        action = CorporateAction(kind, symbol, DAY, None if value is None else Decimal(value), **more)
        self.exchange.state.actions.append(action)
        self.advance("next_close", 60)
        return self.look()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_ledger(IN_MEMORY, "red") as ledger:
        yield Desk(ledger)


@pytest.mark.parametrize(
    ("kind", "symbol", "value", "more", "positions"),
    [
        ("split", "AAPL", "1.5", {}, {"AAPL": 22, "MSFT": -7}),
        ("split", "MSFT", "0.1", {}, {"AAPL": 15}),
        ("split", "MSFT", "1.5", {}, {"AAPL": 15, "MSFT": -10}),
        ("rename", "AAPL", None, {"new_symbol": "NEWCO"}, {"NEWCO": 15, "MSFT": -7}),
        ("rename", "MSFT", None, {"new_symbol": "NEWCO"}, {"AAPL": 15, "NEWCO": -7}),
        ("spin_off", "AAPL", "0.25", {"new_symbol": "PART", "price": Decimal(8)},
         {"AAPL": 15, "MSFT": -7, "PART": 3}),
        ("spin_off", "MSFT", "0.5", {"new_symbol": "PART", "price": Decimal(8)},
         {"AAPL": 15, "MSFT": -7, "PART": -3}),
        ("delisting", "MSFT", "1", {}, {"AAPL": 15}),
    ],
)  # fmt: skip
def test_the_ledger_follows_what_companies_do(desk, kind, symbol, value, more, positions) -> None:
    state = desk.act(kind, symbol, value, **more)
    assert {ticker: held.qty for ticker, held in state.holdings.items()} == positions
    assert state.blocked == {}
    assert state.notes == (), "cash in lieu is booked"
    assert desk.ledger.expected_positions() == positions
    assert desk.ledger.expected_cash() == state.account.cash
    assert desk.look().booked == 0
