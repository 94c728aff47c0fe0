"""Entries of an account's history, in the words of the API."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from mlops_cli.exchange.book.records import Account, Activity, Order, Position
from mlops_cli.market.hours import local


def plain(value: Decimal) -> str:
    """A decimal without an exponent or idle zeros.

    >>> plain(Decimal("1.500")), plain(Decimal("100"))
    ('1.5', '100')
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def stamp(at: datetime | None) -> str | None:
    """UTC, RFC 3339."""
    return None if at is None else at.replace(tzinfo=None).isoformat() + "Z"


def activity(account: Account, at: datetime, body: dict[str, Any]) -> Activity:
    """An entry; ids rise with the time, as Alpaca's do."""
    stamp = at.strftime("%Y%m%d%H%M%S") + f"{at.microsecond // 1000:03d}"
    number = f"{stamp}::{uuid4()}"
    return Activity(number, account.id, at, {"id": number, "account_id": account.id, **body})


def fill(account: Account, order: Order, shares: Decimal, price: Decimal, at: datetime) -> Activity:
    """A fill that is already booked."""
    done = order.status == "filled"
    body = {
        "activity_type": "FILL",
        "transaction_time": stamp(at),
        "type": "fill" if done else "partial_fill",
        "price": plain(price),
        "qty": plain(shares),
        "side": order.side,
        "symbol": order.symbol,
        "leaves_qty": "0" if done else plain(order.left(price)),
        "order_id": order.id,
        "cum_qty": plain(order.filled_qty),
        "order_status": order.status,
    }
    return activity(account, at, body)


def booking(account: Account, kind: str, at: datetime, amount: Decimal, position: Position | None = None) -> Activity:
    """Anything but a trade: DIV, SPLIT, REORG, JNLC; `amount` in USD."""
    body: dict[str, Any] = {
        "activity_type": kind,
        "date": f"{local(at).date().isoformat()}T00:00:00Z",
        "net_amount": plain(amount),
        "description": "",
        "status": "executed",
        "created_at": stamp(at),
    }
    if position is not None:
        body |= {"symbol": position.symbol, "qty": plain(position.qty)}
        body |= {"per_share_amount": plain(amount / position.qty)} if kind == "DIV" else {}
    return activity(account, at, body)
