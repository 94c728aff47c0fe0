"""A small exchange without HTTP: one symbol, five sessions with round prices, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

from mlops_cli.exchange.api.action_requests import read_action
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import read_order_request
from mlops_cli.exchange.book.records import Account, MarketRules, Order
from tests.fakes.exchange_server import new_exchange
from tests.fakes.price_tables import xnys_sessions

EXACT = MarketRules(spread_bps=0, slippage_bps=0, volume_limit=1.0)
FRIDAY_EVENING = "2024-06-28T23:30:00+00:00"
# open, high, low, close, volume of Friday, Monday, Tuesday, the half day, and the Friday after Independence Day
BARS = (
    (100, 101, 99, 100, 1000),
    (102, 110, 98, 105, 1000),
    (104, 106, 90, 92, 1000),
    (92, 94, 91, 93, 1000),
    (93, 95, 92, 94, 1000),
)
BEGAN = datetime(2024, 6, 28, 13, 30, tzinfo=UTC)


def table(bars: Sequence[tuple[int, ...]] = BARS) -> pd.DataFrame:
    """A price table of the sessions from 28 June 2024 on."""
    sessions = xnys_sessions()
    place = sessions.get_loc(pd.Timestamp("2024-06-28"))
    rows = [(*bar[:4], bar[3], bar[4]) for bar in bars]
    columns = ["open", "high", "low", "close", "adj_close", "volume"]
    return pd.DataFrame(rows, sessions[place : place + len(rows)], columns, dtype="float64")


def exchange_with(rules: MarketRules = EXACT, **tables: pd.DataFrame) -> tuple[Exchange, Account]:
    """An exchange on Friday evening, and an account; it has the symbol AAA unless tables are given."""
    exchange = new_exchange(tables or {"AAA": table()}, FRIDAY_EVENING, rules=rules)
    return exchange, exchange.account("key", "secret")


def send(exchange: Exchange, account: Account, **body: Any) -> Order:
    """Send an order: to buy ten shares of AAA at the market, unless the body says otherwise."""
    standard = {"symbol": "AAA", "side": "buy", "type": "market", "time_in_force": "day"}
    size = {} if "notional" in body else {"qty": 10}
    return exchange.submit(account, read_order_request({**standard, **size, **body}))


def until(exchange: Exchange, time: str) -> None:
    """Move the clock to a time in UTC, and the exchange with it."""
    exchange.state.clock.advance(datetime.fromisoformat(time).replace(tzinfo=UTC))
    exchange.catch_up()


def announce(exchange: Exchange, **body: Any) -> None:
    """Announce a corporate action of AAA."""
    exchange.state.actions.append(read_action({"symbol": "AAA", **body}))


def new_order(**changes: Any) -> Order:
    """An open order for ten shares of AAA at the market that belongs to no exchange."""
    values: dict[str, Any] = {
        "id": "order",
        "account": "account",
        "client_order_id": "client",
        "symbol": "AAA",
        "side": "buy",
        "type": "market",
        "time_in_force": "day",
        "qty": Decimal(10),
        "notional": None,
        "limit_price": None,
        "stop_price": None,
        "extended_hours": False,
        "position_intent": "buy_to_open",
        "status": "new",
        "sequence": 1,
        "created_at": BEGAN,
        "updated_at": BEGAN,
        "expires_at": BEGAN,
    }
    return Order(**{**values, **changes})


def new_account(**changes: Any) -> Account:
    """An account without orders that belongs to no exchange."""
    return Account(
        **{"id": "account", "key": "key", "secret_hash": "", "number": "PA1", "created_at": BEGAN, **changes}
    )
