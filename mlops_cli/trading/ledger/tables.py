"""The ledger's tables, and the rows that its objects are stored in."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from mlops_cli.trading.contract.broker import AccountActivity, BrokerOrder, Fill
from mlops_cli.trading.contract.types import Decision, OrderIntent

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE decisions(
    session TEXT NOT NULL, ticker TEXT NOT NULL, action TEXT NOT NULL, lots INTEGER NOT NULL,
    wanted_lots INTEGER NOT NULL, bound TEXT, forecast_bps REAL, cost_bps REAL NOT NULL, current_weight REAL NOT NULL,
    target_weight REAL NOT NULL, price TEXT, models TEXT NOT NULL, reasons TEXT NOT NULL, client_order_id TEXT,
    decided_at TEXT NOT NULL, PRIMARY KEY(session, ticker));
CREATE TABLE passes(session TEXT PRIMARY KEY, decided_at TEXT NOT NULL);
CREATE TABLE intents(
    client_order_id TEXT PRIMARY KEY, team TEXT NOT NULL, ticker TEXT NOT NULL, session TEXT NOT NULL,
    side TEXT NOT NULL, qty TEXT, notional TEXT, type TEXT NOT NULL, limit_price TEXT, time_in_force TEXT NOT NULL,
    model TEXT NOT NULL, version TEXT NOT NULL, forecast_bps REAL NOT NULL, price_seen TEXT NOT NULL,
    reasons TEXT NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL DEFAULT '', written_at TEXT NOT NULL,
    changed_at TEXT NOT NULL);
CREATE INDEX intents_state ON intents(state);
CREATE TABLE orders(
    id TEXT PRIMARY KEY, client_order_id TEXT NOT NULL, ticker TEXT NOT NULL, side TEXT NOT NULL, type TEXT NOT NULL,
    time_in_force TEXT NOT NULL, status TEXT NOT NULL, final INTEGER NOT NULL, qty TEXT, notional TEXT,
    limit_price TEXT, filled_qty TEXT NOT NULL, filled_average_price TEXT, submitted_at TEXT NOT NULL,
    seen_at TEXT NOT NULL, booked INTEGER NOT NULL);
CREATE INDEX orders_open ON orders(final);
CREATE INDEX orders_unbooked ON orders(booked);
CREATE TABLE fills(
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL, ticker TEXT NOT NULL, side TEXT NOT NULL, qty TEXT NOT NULL,
    price TEXT NOT NULL, time TEXT NOT NULL);
CREATE INDEX fills_order ON fills(order_id);
CREATE TABLE activities(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, ticker TEXT NOT NULL, qty TEXT NOT NULL, cash TEXT NOT NULL,
    day TEXT NOT NULL, moved TEXT NOT NULL DEFAULT '0', settled INTEGER NOT NULL DEFAULT 0);
CREATE TABLE holdings(ticker TEXT PRIMARY KEY, qty TEXT NOT NULL);
CREATE TABLE blocks(ticker TEXT PRIMARY KEY, reason TEXT NOT NULL, since TEXT NOT NULL);
CREATE TABLE equity(session TEXT PRIMARY KEY, equity TEXT NOT NULL, cash TEXT NOT NULL, time TEXT NOT NULL);
CREATE TABLE events(id INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, ticker TEXT, text TEXT NOT NULL);
"""
ORDER = {
    "decisions": "session, ticker",
    "intents": "written_at, rowid",
    "orders": "submitted_at, rowid",
    "fills": "time, id",
    "activities": "day, id",
    "holdings": "ticker",
    "blocks": "ticker",
    "equity": "session",
    "events": "id",
}
JSON_COLUMNS = frozenset({"models", "reasons"})


Columns = dict[str, Any]
"""A row that is to be written, by column name."""


@dataclass(frozen=True)
class Unbooked:
    """An order whose booked fills are not what the broker says was filled: `booked` and `filled` shares."""

    ticker: str
    client_order_id: str
    submitted_at: str
    filled: Decimal
    booked: Decimal


def text(value: Decimal | None) -> str | None:
    """A decimal as it is stored: plain digits without trailing zeros, so that equal numbers are equal texts."""
    return None if value is None else f"{value.normalize():f}" if value else "0"


def decimal(value: str | None) -> Decimal | None:
    """The decimal of a stored text; None for NULL."""
    return None if value is None else Decimal(value)


def intent_row(intent: OrderIntent, time: str) -> Columns:
    """The row of `intents` for an intent that was just written at `time` and not sent yet."""
    return {
        "client_order_id": intent.client_order_id,
        "team": intent.team,
        "ticker": intent.ticker,
        "session": intent.session.isoformat(),
        "side": intent.side,
        "qty": text(intent.qty),
        "notional": text(intent.notional),
        "type": intent.type,
        "limit_price": text(intent.limit_price),
        "time_in_force": intent.time_in_force,
        "model": intent.model,
        "version": intent.version,
        "forecast_bps": intent.forecast_bps,
        "price_seen": text(intent.price_seen),
        "reasons": json.dumps(intent.reasons),
        "state": "written",
        "written_at": time,
        "changed_at": time,
    }


def intent_of(row: sqlite3.Row) -> OrderIntent:
    """The intent that a row of `intents` holds."""
    return OrderIntent(
        team=row["team"],
        ticker=row["ticker"],
        session=date.fromisoformat(row["session"]),
        side=row["side"],
        qty=decimal(row["qty"]),
        notional=decimal(row["notional"]),
        type=row["type"],
        limit_price=decimal(row["limit_price"]),
        time_in_force=row["time_in_force"],
        client_order_id=row["client_order_id"],
        model=row["model"],
        version=row["version"],
        forecast_bps=row["forecast_bps"],
        price_seen=Decimal(row["price_seen"]),
        reasons=tuple(json.loads(row["reasons"])),
    )


def plain(row: sqlite3.Row) -> dict[str, Any]:
    """A row as a dictionary, its JSON columns decoded."""
    return {key: json.loads(row[key]) if key in JSON_COLUMNS else row[key] for key in row.keys()}  # noqa: SIM118


def decision_row(decision: Decision, time: str) -> Columns:
    """The row of `decisions` for a decision made at `time`."""
    return {
        "session": decision.session.isoformat(),
        "ticker": decision.ticker,
        "action": decision.action,
        "lots": decision.lots,
        "wanted_lots": decision.wanted_lots,
        "bound": decision.bound,
        "forecast_bps": decision.forecast_bps,
        "cost_bps": decision.cost_bps,
        "current_weight": decision.current_weight,
        "target_weight": decision.target_weight,
        "price": text(decision.price),
        "models": json.dumps(decision.models),
        "reasons": json.dumps(decision.reasons),
        "client_order_id": decision.intent.client_order_id if decision.intent else None,
        "decided_at": time,
    }


def order_row(order: BrokerOrder, now: datetime) -> Columns:
    """The row of `orders` for an order as the broker showed it at `now`; its fills are not booked yet."""
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        "side": order.side,
        "type": order.type,
        "time_in_force": order.time_in_force,
        "status": order.status,
        "final": int(order.final),
        "qty": text(order.qty),
        "notional": text(order.notional),
        "limit_price": text(order.limit_price),
        "filled_qty": text(order.filled_qty),
        "filled_average_price": text(order.filled_average_price),
        "submitted_at": order.submitted_at.isoformat(),
        "seen_at": now.isoformat(),
        "booked": 0,
    }


def fill_row(fill: Fill) -> Columns:
    """The row of `fills` for an execution."""
    return {
        "id": fill.id,
        "order_id": fill.order_id,
        "ticker": fill.ticker,
        "side": fill.side,
        "qty": text(fill.qty),
        "price": text(fill.price),
        "time": fill.time.isoformat(),
    }


def activity_row(activity: AccountActivity) -> Columns:
    """The row of `activities` for a split, a dividend, a fee ...; it has moved no shares yet."""
    return {
        "id": activity.id,
        "kind": activity.kind,
        "ticker": activity.ticker,
        "qty": text(activity.qty),
        "cash": text(activity.cash),
        "day": activity.day.isoformat(),
    }


def marks(count: int) -> str:
    """Placeholders for `count` values of an `IN (...)` list."""
    return ", ".join("?" * count)
