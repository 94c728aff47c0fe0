"""The activities in an account's history, in the words of Alpaca's API."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from mlops_cli.exchange.book.records import Account, Activity, Order, Position
from mlops_cli.market.hours import in_new_york


def plain(value: Decimal) -> str:
    """A decimal as text, without an exponent and without zeros at its end.

    >>> plain(Decimal("1.500")), plain(Decimal("100"))
    ('1.5', '100')
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def timestamp(at: datetime | None) -> str | None:
    """A UTC time as RFC 3339 text."""
    return None if at is None else at.replace(tzinfo=None).isoformat() + "Z"


def fill_activity(account: Account, order: Order, shares: Decimal, price: Decimal, at: datetime) -> Activity:
    """The activity of a fill at `price` (USD); the order already counts the shares."""
    complete = order.status == "filled"
    body = {
        "activity_type": "FILL",
        "transaction_time": timestamp(at),
        "type": "fill" if complete else "partial_fill",
        "price": plain(price),
        "qty": plain(shares),
        "side": order.side,
        "symbol": order.symbol,
        "leaves_qty": "0" if complete else plain(order.left(price)),
        "order_id": order.id,
        "cum_qty": plain(order.filled_qty),
        "order_status": order.status,
    }
    return _activity(account, at, body)


def booking(
    account: Account,
    kind: str,
    at: datetime,
    amount: Decimal,
    position: Position | None = None,
    description: str = "",
) -> Activity:
    """The activity of a booking of some USD that is no trade.

    Args:
        account: that it concerns.
        kind: DIV (dividend), SPLIT, NC (change of name), SPIN (spin-off), REORG (a delisted company is paid out) or
            JNLC (cash paid in or out), perhaps with a sub-type, such as SPLIT/RSPLIT.
        at: its time.
        amount: cash that came, in USD.
        position: the one that it concerns, as it is after the booking; for NC and SPIN, the shares that came.
        description: for people.
    """
    kind, _, sub_type = kind.partition("/")
    body: dict[str, Any] = {
        "activity_type": kind,
        "date": f"{in_new_york(at).date().isoformat()}T00:00:00Z",
        "net_amount": plain(amount),
        "description": description,
        "status": "executed",
        "created_at": timestamp(at),
    }
    if sub_type:
        body["activity_sub_type"] = sub_type
    if position is not None:
        body |= {"symbol": position.symbol, "qty": plain(position.qty)}
        body |= {"per_share_amount": plain(amount / position.qty)} if kind == "DIV" else {}
    return _activity(account, at, body)


def _activity(account: Account, at: datetime, body: dict[str, Any]) -> Activity:
    """Ids begin with the time, so that they rise with it, as Alpaca's do."""
    activity_id = f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03d}::{uuid4()}"
    return Activity(activity_id, account.id, at, {"id": activity_id, "account_id": account.id, **body})
