"""Objects that ledgers hold: intents, orders, fills, activities; with defaults for what a test ignores."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from mlops_cli.trading.contract.broker import AccountActivity, BrokerOrder, Fill
from mlops_cli.trading.contract.types import AccountState, Decision, Holding, OrderIntent, client_order_id

VERSION = "1a2b3c4d5e6f"
SESSION, NEXT_SESSION = date(2024, 1, 3), date(2024, 1, 4)
EVENING = datetime(2024, 1, 2, 21, 30, tzinfo=UTC)
"""Before `SESSION`: when its orders are decided and sent."""
OPENING = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
NEXT_EVENING = datetime(2024, 1, 3, 21, 30, tzinfo=UTC)


def an_intent(ticker: str = "AAPL", side: Any = "buy", qty: str = "10", **changes: Any) -> OrderIntent:
    """A market order of team red for `SESSION`."""
    session = changes.get("session", SESSION)
    values = {
        "team": "red",
        "ticker": ticker,
        "session": session,
        "side": side,
        "qty": Decimal(qty),
        "notional": None,
        "type": "market",
        "limit_price": None,
        "time_in_force": "day",
        "client_order_id": client_order_id("red", ticker, session, side, VERSION),
        "model": f"red-{ticker.lower()}",
        "version": VERSION,
        "forecast_bps": 50.0,
        "price_seen": Decimal(100),
        "reasons": ("forecast +50.00 bps",),
    }
    return OrderIntent(**{**values, **changes})


def a_decision(intent: OrderIntent | None, ticker: str = "AAPL", **changes: Any) -> Decision:
    """The decision of an intent; without one, to hold a ticker."""
    values = {
        "team": "red",
        "ticker": intent.ticker if intent else ticker,
        "session": intent.session if intent else SESSION,
        "action": intent.side if intent else "hold",
        "lots": 1 if intent else 0,
        "allowed": (0, 3),
        "wanted_lots": 2,
        "bound": "max weight" if intent else None,
        "forecast_bps": 50.0 if intent else None,
        "cost_bps": 4.3,
        "current_weight": 0.0,
        "target_weight": 0.1,
        "price": Decimal(100),
        "models": (("red-aapl", 50.0, VERSION, "skill"),),
        "reasons": ("forecast +50.00 bps",),
        "intent": intent,
        "total_bps": 50.0 if intent else None,
    }
    return Decision(**{**values, **changes})


def an_order(intent: OrderIntent, status: str = "accepted", filled: str = "0", **changes: Any) -> BrokerOrder:
    """The order of an intent as the broker shows it; its id is `id-<client_order_id>`."""
    values = {
        "id": f"id-{intent.client_order_id}",
        "client_order_id": intent.client_order_id,
        "ticker": intent.ticker,
        "side": intent.side,
        "type": intent.type,
        "time_in_force": intent.time_in_force,
        "status": status,
        "qty": intent.qty,
        "notional": intent.notional,
        "limit_price": intent.limit_price,
        "filled_qty": Decimal(filled),
        "filled_average_price": Decimal(100) if Decimal(filled) else None,
        "submitted_at": EVENING,
    }
    return BrokerOrder(**{**values, **changes})


def a_fill(intent: OrderIntent, qty: str, price: str = "100", number: int = 1, time: datetime = OPENING) -> Fill:
    """An execution of an intent's order."""
    order = f"id-{intent.client_order_id}"
    return Fill(f"{order}-{number}", order, intent.ticker, intent.side, Decimal(qty), Decimal(price), time)


def an_activity(
    kind: str, ticker: str = "AAPL", qty: str = "0", cash: str = "0", day: date = SESSION, name: str = ""
) -> AccountActivity:
    """A split, a dividend, a fee ..., booked the evening after `SESSION`."""
    return AccountActivity(
        name or f"{kind}-{ticker}-{day}", kind, ticker, Decimal(qty), Decimal(cash), day, NEXT_EVENING
    )


def an_account(equity: str = "100000", cash: str | None = None, last_equity: str | None = None) -> AccountState:
    """An account; all of its equity is cash unless told otherwise."""
    money = Decimal(cash if cash is not None else equity)
    return AccountState(Decimal(equity), money, Decimal(last_equity or equity), max(money, Decimal(0)))


def a_holding(ticker: str, qty: str, price: str = "100") -> Holding:
    """A position at one price."""
    return Holding(ticker, Decimal(qty), Decimal(qty) * Decimal(price), Decimal(price), Decimal(price))
