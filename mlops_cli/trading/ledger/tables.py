"""The ledger's tables, and rows that come back as the objects they were."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from mlops_cli.trading.contract.broker import BrokerOrder
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


@dataclass(frozen=True)
class Unbooked:
    """An order of which fewer shares are booked than the broker says were filled, or more."""

    ticker: str
    client_order_id: str
    submitted_at: str
    filled: Decimal
    booked: Decimal


def text(value: Decimal | None) -> str | None:
    """A decimal as it is stored: plain digits, so that equal numbers look equal."""
    return None if value is None else f"{value.normalize():f}" if value else "0"


def decimal(value: str | None) -> Decimal | None:
    """The other way round."""
    return None if value is None else Decimal(value)


def intent_values(intent: OrderIntent) -> tuple[Any, ...]:
    """An intent's columns, in the order of the table up to `reasons`."""
    return (
        intent.client_order_id,
        intent.team,
        intent.ticker,
        intent.session.isoformat(),
        intent.side,
        text(intent.qty),
        text(intent.notional),
        intent.type,
        text(intent.limit_price),
        intent.time_in_force,
        intent.model,
        intent.version,
        intent.forecast_bps,
        text(intent.price_seen),
        json.dumps(intent.reasons),
    )


def intent_of(row: sqlite3.Row) -> OrderIntent:
    """An intent from its row."""
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
    """A row for people and JSON."""
    return {key: json.loads(row[key]) if key in JSON_COLUMNS else row[key] for key in row.keys()}  # noqa: SIM118


def decision_values(one: Decision, time: str) -> tuple[Any, ...]:
    """A decision's columns, in the order of the table."""
    return (
        one.session.isoformat(),
        one.ticker,
        one.action,
        one.lots,
        one.wanted_lots,
        one.bound,
        one.forecast_bps,
        one.cost_bps,
        one.current_weight,
        one.target_weight,
        text(one.price),
        json.dumps(one.models),
        json.dumps(one.reasons),
        one.intent.client_order_id if one.intent else None,
        time,
    )


def order_values(one: BrokerOrder, now: datetime) -> tuple[Any, ...]:
    """An order's columns, in the order of the table."""
    return (
        one.id,
        one.client_order_id,
        one.ticker,
        one.side,
        one.type,
        one.time_in_force,
        one.status,
        int(one.final),
        text(one.qty),
        text(one.notional),
        text(one.limit_price),
        text(one.filled_qty),
        text(one.filled_average_price),
        one.submitted_at.isoformat(),
        now.isoformat(),
        0,
    )


def marks(count: int) -> str:
    """So many places for values in a statement."""
    return ", ".join("?" * count)
