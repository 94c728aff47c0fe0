"""The ledger's tables, and the rows that its objects are stored in."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlops_cli.trading.contract.broker import BrokerOrder
from mlops_cli.trading.contract.types import Decision, OrderIntent

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE decisions(
    session TEXT NOT NULL, ticker TEXT NOT NULL, action TEXT NOT NULL, lots INTEGER NOT NULL,
    wanted_lots INTEGER NOT NULL, bound TEXT, forecast_bps REAL, cost_bps REAL NOT NULL, current_weight REAL NOT NULL,
    target_weight REAL NOT NULL, price TEXT, models TEXT NOT NULL, reasons TEXT NOT NULL, client_order_id TEXT,
    decided_at TEXT NOT NULL, dividend REAL, total_bps REAL, intervals TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY(session, ticker));
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
ADDED = {"decisions": ("dividend REAL", "total_bps REAL", "intervals TEXT NOT NULL DEFAULT '[]'")}
"""Columns that older ledgers of this format lack; they are added, and an older mlops can still write."""
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
JSON_COLUMNS = frozenset({"models", "reasons", "intervals"})

Columns = dict[str, Any]
"""A row to write, by column name."""


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


def columns(record: DataclassInstance, *left_out: str) -> Columns:
    """Each field of a dataclass under its own name, as it is stored, but for those left out."""
    names = [field.name for field in fields(record) if field.name not in left_out]
    return {name: _stored(getattr(record, name)) for name in names}


def _stored(value: Any) -> Any:
    match value:
        case Decimal():
            return text(value)
        case date():  # times too
            return value.isoformat()
        case tuple():
            return json.dumps(value)
        case _:
            return value


def intent_row(intent: OrderIntent, time: str) -> Columns:
    """The row of `intents` for an intent that was just written at `time` and not sent yet."""
    return {**columns(intent), "state": "written", "written_at": time, "changed_at": time}


def intent_of(row: sqlite3.Row) -> OrderIntent:
    """The intent that a row of `intents` holds."""
    values = {field.name: row[field.name] for field in fields(OrderIntent)}
    values |= {name: decimal(row[name]) for name in ("qty", "notional", "limit_price", "price_seen")}
    values |= {"session": date.fromisoformat(row["session"]), "reasons": tuple(json.loads(row["reasons"]))}
    return OrderIntent(**values)


def plain(row: sqlite3.Row) -> dict[str, Any]:
    """A row as a dictionary, its JSON columns decoded."""
    return {key: json.loads(row[key]) if key in JSON_COLUMNS else row[key] for key in row.keys()}  # noqa: SIM118


def decision_row(decision: Decision, time: str) -> Columns:
    """The row of `decisions` for a decision made at `time`."""
    order = decision.intent.client_order_id if decision.intent else None
    return {**columns(decision, "team", "allowed", "intent"), "client_order_id": order, "decided_at": time}


def order_row(order: BrokerOrder, now: datetime) -> Columns:
    """The row of `orders` for an order as the broker showed it at `now`; its fills are not booked yet."""
    return {**columns(order), "final": int(order.final), "seen_at": now.isoformat(), "booked": 0}


def placeholders(count: int) -> str:
    """Placeholders for `count` values of an `IN (...)` list."""
    return ", ".join("?" * count)
