"""What people see of a ledger: its tables, joined where one table alone does not say enough."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mlops_cli.trading.ledger.ledger import Ledger

COLUMNS = {
    "orders": ("client_order_id", "session", "ticker", "side", "qty", "notional", "state", "status", "filled_qty",
               "filled_average_price", "forecast_bps", "price_seen", "version", "note"),
    "fills": ("time", "ticker", "side", "qty", "price", "client_order_id", "id"),
    "positions": ("ticker", "qty", "blocked"),
    "equity": ("session", "equity", "cash", "time"),
    "decisions": ("session", "ticker", "action", "lots", "wanted_lots", "bound", "forecast_bps", "dividend",
                  "total_bps", "cost_bps", "intervals", "current_weight", "target_weight", "price", "client_order_id",
                  "reasons"),
    "events": ("time", "kind", "ticker", "text"),
    "activities": ("day", "kind", "ticker", "qty", "cash", "moved", "id"),
    "holdings": ("ticker", "qty"),
}  # fmt: skip
"""The columns that are shown of each view. `activities` and `holdings` (held at the start) are only exported."""

Row = dict[str, Any]


def view(ledger: Ledger, name: str) -> list[Row]:
    """The rows of a view in `COLUMNS`, oldest first, or by ticker.

    They have at least the view's columns, with values as they are stored (decimals and times are texts).
    """
    joined = {"orders": _orders, "fills": _fills, "positions": _positions, "decisions": _decisions}
    return joined[name](ledger) if name in joined else ledger.rows(name)


def _orders(ledger: Ledger) -> list[Row]:
    """Every intent, and what the broker says of its order; None where the broker has shown none."""
    orders = {row["client_order_id"]: row for row in ledger.rows("orders")}
    unseen: Row = {"status": None, "filled_qty": None, "filled_average_price": None}
    return [{**unseen, **orders.get(intent["client_order_id"], {}), **intent} for intent in ledger.rows("intents")]


def _decisions(ledger: Ledger) -> list[Row]:
    """Every decision; what a ledger did not record at that time is None, and the intervals are empty."""
    unrecorded: Row = {"dividend": None, "total_bps": None, "intervals": []}
    return [{**unrecorded, **decision} for decision in ledger.rows("decisions")]


def _fills(ledger: Ledger) -> list[Row]:
    """Every fill, with the name of its order; None where the ledger does not know the order."""
    names = {row["id"]: row["client_order_id"] for row in ledger.rows("orders")}
    return [{**fill, "client_order_id": names.get(fill["order_id"])} for fill in ledger.rows("fills")]


def _positions(ledger: Ledger) -> list[Row]:
    """Every ticker that is held or blocked, and the reason of its block; None where it is not blocked."""
    held = ledger.expected_positions()
    reasons = {row["ticker"]: row["reason"] for row in ledger.rows("blocks")}
    return [
        {"ticker": ticker, "qty": str(held.get(ticker, Decimal(0))), "blocked": reasons.get(ticker)}
        for ticker in sorted(held.keys() | reasons.keys())
    ]
