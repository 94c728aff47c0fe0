"""Whatever is done in whatever order: no cash and no share comes from nowhere or goes astray."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlops_cli.exchange.api.action_requests import read_action
from mlops_cli.exchange.book.corporate_actions import announce
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import read_order_request
from mlops_cli.exchange.book.records import AssetFlags, MarketRules, RefusedError, is_whole
from mlops_cli.market.hours import in_new_york
from tests.fakes.exchange_server import new_exchange, some_prices

PRICES = some_prices()
SYMBOLS = st.sampled_from(sorted(PRICES))
KEYS = st.sampled_from(["red", "blue"])
ACTIONS: tuple[dict[str, Any], ...] = (
    {"type": "split", "ratio": "3"},
    {"type": "split", "ratio": "1.5"},
    {"type": "dividend", "amount": "0.37"},
    {"type": "split", "ratio": "0.1"},
    {"type": "split", "ratio": "1.5", "cash_in_lieu": False},
    {"type": "rename"},
    {"type": "spin_off", "ratio": "0.3", "price": "2.50"},
)
KINDS = ("halt", "wide_spread", "reject_orders", "delay_fills", "partial_fills")
START = Decimal(100_000)
LISTED = {symbol: {day.date(): 0.123456 for day in PRICES[symbol].index[::2]} for symbol in ("AAPL", "MSFT")}
"""Dividends beside the price tables: a stateful run must meet some."""


class AnyDay(RuleBasedStateMachine):
    """Two accounts, three symbols, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.database = Path(self.folder.name) / "exchange.db"
        self.exchange: Exchange = new_exchange(
            PRICES, database=self.database, rules=MarketRules(volume_limit=0.0005), dividends=LISTED
        )
        for key in ("red", "blue"):
            self.exchange.account(key, "secret")

    @rule(
        key=KEYS,
        symbol=SYMBOLS,
        side=st.sampled_from(["buy", "sell"]),
        kind=st.sampled_from(["market", "market", "limit", "stop", "stop_limit"]),
        force=st.sampled_from(["day", "day", "gtc", "opg", "cls", "ioc", "fok"]),
        size=st.one_of(st.integers(1, 200).map(str), st.sampled_from(["0.5", "7.123456789", "$250", "$9999.99"])),
        near=st.sampled_from([0.95, 0.99, 1.0, 1.01, 1.05]),
        hours=st.sampled_from([0, 0.2, 1, 4, 18, 24]),
    )
    def order(
        self, key: str, symbol: str, side: str, kind: str, force: str, size: str, near: float, hours: float
    ) -> None:
        if not size.isdigit():  # parts of shares are for day orders
            force = "day"
        if self.exchange.state.hours.current(self.exchange.state.now) is None and force in ("ioc", "fok"):
            force = "day"
        price = f"{float(self.exchange.state.price(symbol)) * near:.2f}"
        body: dict[str, Any] = {"symbol": symbol, "side": side, "type": kind, "time_in_force": force}
        body |= {"notional": size[1:]} if size.startswith("$") else {"qty": size}
        body |= {"limit_price": price} if "limit" in kind else {}
        body |= {"stop_price": price} if "stop" in kind else {}
        with suppress(RefusedError):
            self.exchange.submit(self.exchange.state.accounts[key], read_order_request(body))
        self.wait(hours)

    @rule(key=KEYS, which=st.integers(0, 5))
    def cancel(self, key: str, which: int) -> None:
        account = self.exchange.state.accounts[key]
        for order_id in [*account.open_orders][which : which + 1]:
            with suppress(RefusedError):  # the account may be blocked
                self.exchange.cancel(account, order_id)

    def wait(self, hours: float) -> None:
        self.exchange.state.clock.advance(self.exchange.state.now + timedelta(hours=hours))
        self.exchange.catch_up()

    @rule(symbol=SYMBOLS, what=st.sampled_from(ACTIONS), letter=st.sampled_from("PQRS"))
    def act(self, symbol: str, what: dict[str, Any], letter: str) -> None:
        day = in_new_york(self.exchange.state.now).date().isoformat()
        new = {"new_symbol": f"{symbol[:3]}{letter}"} if what["type"] in ("rename", "spin_off") else {}
        with suppress(RefusedError):  # the new symbol may be another's already
            announce(self.exchange.state, read_action({"symbol": symbol, "date": day, **what, **new}))

    @rule(symbol=SYMBOLS, flag=st.sampled_from(["tradable", "shortable", "fractionable"]), on=st.booleans())
    def allow(self, symbol: str, flag: str, on: bool) -> None:
        assets = self.exchange.state.assets
        assets[symbol] = replace(assets.get(symbol, AssetFlags()), **{flag: on})

    @rule(key=KEYS, flag=st.sampled_from(["trading_blocked", "account_blocked"]), on=st.booleans())
    def block(self, key: str, flag: str, on: bool) -> None:
        account = self.exchange.state.accounts[key]
        setattr(account, flag, on)
        self.exchange.state.changed(account)

    @rule(kind=st.sampled_from(KINDS), symbol=SYMBOLS)
    def fault(self, kind: str, symbol: str) -> None:
        self.exchange.state.faults.add({"kind": kind, "symbol": symbol, "times": 3}, self.exchange.state.now)

    @rule()
    def restart(self) -> None:
        """Another process takes up what the last commit has left."""
        old = self.exchange
        old.commit()
        old.close()
        start = old.state.now.isoformat()
        self.exchange = new = new_exchange(PRICES, start, self.database, dividends=LISTED)
        new.state.faults = old.state.faults
        if old.state.hours.current(old.state.now) is not None:
            assert new.state.taken == old.state.taken
        for key, account in old.state.accounts.items():
            again = new.state.accounts[key]
            for name in (
                "trading_blocked",
                "account_blocked",
                "cash",
                "positions",
                "orders",
                "open_orders",
                "reserved",
                "activities",
                "equity",
            ):
                assert getattr(again, name) == getattr(account, name), name

    def teardown(self) -> None:
        self.exchange.close()
        self.folder.cleanup()

    @rule()
    def mend(self) -> None:
        self.exchange.state.faults.clear()

    @invariant()
    def cash_and_shares_are_what_the_activities_say(self) -> None:
        for account in self.exchange.state.accounts.values():
            cash, shares = START, defaultdict[str, Decimal](Decimal)
            for one in (activity.body for activity in account.activities):
                if one["activity_type"] == "FILL":
                    sign, qty = (1 if one["side"] == "buy" else -1), Decimal(one["qty"])
                    cash -= sign * qty * Decimal(one["price"])
                    shares[one["symbol"]] += sign * qty
                else:
                    cash += Decimal(one["net_amount"])
                    if one["activity_type"] == "SPLIT":  # it says what is held afterwards
                        assert (shares[one["symbol"]] < 0) >= (Decimal(one["qty"]) < 0)
                        shares[one["symbol"]] = Decimal(one["qty"])
                    elif one["activity_type"] in ("NC", "SPIN"):
                        shares[one["symbol"]] += Decimal(one["qty"])
            assert account.cash == cash
            assert all(is_whole(position.qty) for position in account.positions.values() if position.qty < 0)
            assert {s: qty for s, qty in shares.items() if qty} == {s: p.qty for s, p in account.positions.items()}

    @invariant()
    def orders_keep_their_bounds(self) -> None:
        for account in self.exchange.state.accounts.values():
            for order in account.orders.values():
                assert order.filled_qty >= 0
                assert order.qty is None or order.filled_qty <= order.qty
                assert order.qty is None or order.time_in_force == "day" or is_whole(order.qty)
                assert order.notional is None or order.filled_cost <= order.notional
                assert order.is_open == (order.id in account.open_orders)
                assert order.status != "filled" or order.qty in (None, order.filled_qty)
            assert account.reserved == sum((order.reserve for order in account.open_orders.values()), Decimal(0))
            assert account.reserved >= 0


AnyDay.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestAnyDay = AnyDay.TestCase


@pytest.mark.parametrize("seed", range(6))
def test_a_long_random_run(seed: int) -> None:
    chance, machine = Random(seed), AnyDay()
    statuses: set[str] = set()
    for step in range(250):
        one = chance.choice
        machine.order(
            key=one(["red", "blue"]),
            symbol=one(sorted(PRICES)),
            side=one(["buy", "buy", "sell"]),
            kind=one(["market", "market", "limit", "stop", "stop_limit"]),
            force=one(["day", "day", "gtc", "opg", "cls", "ioc", "fok"]),
            size=one(["3", "40", "150", "0.5", "7.123456789", "$250", "$9999.99"]),
            near=one([0.95, 0.99, 1.0, 1.01, 1.05]),
            hours=one([0, 0.2, 1, 4, 18]),
        )
        if step % 9 == 0:
            one([machine.restart, lambda: machine.cancel("red", 0), machine.mend])()
        if step % 40 == 39:
            machine.act(one(sorted(PRICES)), one(ACTIONS[:3]), "P")
            machine.fault(one(KINDS), one(sorted(PRICES)))
        machine.cash_and_shares_are_what_the_activities_say()
        machine.orders_keep_their_bounds()
        statuses |= {
            order.status for account in machine.exchange.state.accounts.values() for order in account.orders.values()
        }
    kinds = Counter(
        activity.body["activity_type"]
        for account in machine.exchange.state.accounts.values()
        for activity in account.activities
    )
    machine.teardown()
    assert kinds["FILL"] > 40
    assert kinds["DIV"] > 10
    assert {"filled", "canceled", "expired", "new"} <= statuses
