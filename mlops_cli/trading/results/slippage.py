"""Slippage of fills against the opening price, compared with the cost model and with the local exchange's fills."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.config.schemas.trading import Costs
from mlops_cli.exchange.book.matching import match
from mlops_cli.exchange.book.records import MarketRules, Order
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_path import PricePath
from mlops_cli.market.hours import NEW_YORK, Session
from mlops_cli.market.symbols import symbol_of
from mlops_cli.trading.contract.costs import BPS, expected_price
from mlops_cli.trading.decide.stocks import PRICE_GAP
from mlops_cli.trading.passes.liquidate import LIQUIDATION

OPEN_TO_CLOSE = (0.0, 1.0)
RESTATEMENT_TOLERANCE = 0.05
"""Largest |ln(close then / close now)| of one session; a larger one means a split in between."""


@dataclass(frozen=True)
class FilledOrder:
    """An order that was filled, in part or whole.

    Attributes:
        session: on which it was filled; by day in New York.
        price: average of its fills.
        close: of the session before, as its decision saw it; None for an order that no decision stands behind.
    """

    session: date
    ticker: str
    side: str
    type: str
    limit_price: Decimal | None
    qty: Decimal
    price: Decimal
    close: Decimal | None = None


Rows = Sequence[Mapping[str, Any]]


def filled_orders(orders: Rows, intents: Rows, fills: Rows) -> list[FilledOrder]:
    """Filled orders from the rows of a ledger's tables; orders without an intent of the team are left out."""
    meant = {row["client_order_id"]: row for row in intents}
    days = {row["order_id"]: datetime.fromisoformat(row["time"]).astimezone(NEW_YORK).date() for row in fills}
    own = [(row, meant[row["client_order_id"]]) for row in orders if row["client_order_id"] in meant]
    return [
        FilledOrder(
            session=days.get(row["id"]) or date.fromisoformat(intent["session"]),
            ticker=row["ticker"],
            side=row["side"],
            type=row["type"],
            limit_price=None if row["limit_price"] is None else Decimal(row["limit_price"]),
            qty=Decimal(row["filled_qty"]),
            price=Decimal(row["filled_average_price"]),
            close=_close_seen(intent),
        )
        for row, intent in own
        if row["filled_average_price"] and Decimal(row["filled_qty"]) > 0
    ]


def _close_seen(intent: Mapping[str, Any]) -> Decimal | None:
    return None if intent["model"] == LIQUIDATION else Decimal(intent["price_seen"])


def slippage_by_day(orders: Sequence[FilledOrder], market: Market, costs: Costs) -> list[dict[str, Any]]:
    """Compare filled orders with the local exchange's prices and with the cost model, session by session.

    Splits since the orders are seen by the closes that their decisions knew.

    Returns:
        Per session, rising, and at the end for `all`: `session`, `orders`, `traded` (dollars), and in basis points of
        what was traded at the opening price, above 0 where it was worse than that: `fills_bps` (as they were),
        `model_bps` (as the cost model says), `local_bps` (as the local exchange fills the same orders; None where it
        fills none of them). `unpriced`: orders without an opening price here, or with one that is not of the shares
        that they were in, left out of all else; `unfilled_here`: orders that the local exchange would not fill, left
        out of `local_bps`.
    """
    rows = [_row(order, market, costs) for order in orders]
    if not rows:
        return []
    frame = pd.DataFrame(rows)
    days = [_figures(str(session), group) for session, group in frame.groupby("session", sort=True)]
    return [*days, _figures("all", frame)]


def _path(order: FilledOrder, session: Session, market: Market) -> PricePath | None:
    """The price's path through the session, in the shares that the order was in; None where it cannot be told."""
    symbol = symbol_of(order.ticker)
    path = market.path(symbol, session) if market.has(symbol) else None
    if path is None or not path.traded:
        return None
    known = market.close_before(symbol, session.day)
    if order.close is not None and known and abs(math.log(float(order.close) / known)) > RESTATEMENT_TOLERANCE:
        split = float(order.close) / known
        first, second, third, last = (price * split for price in path.points)
        path = PricePath((first, second, third, last), path.volume / split)
    return path if abs(math.log(float(order.price) / path.price(0.0))) < PRICE_GAP else None


def _row(order: FilledOrder, market: Market, costs: Costs) -> dict[str, Any]:
    row = dict.fromkeys(("value", "traded", "fill", "model", "local"), np.nan) | {"session": order.session}
    session = next(iter(market.hours.between(order.session, order.session)), None)
    path = None if session is None else _path(order, session, market)
    if path is None or session is None:
        return row
    opening = path.price(0.0)
    signed = float(order.qty) * (1 if order.side == "buy" else -1)
    touch = match(_order(order, session), path, OPEN_TO_CLOSE, MarketRules())
    model = float(expected_price(Decimal(str(opening)), order.side, costs))
    return row | {
        "value": float(order.qty) * opening,
        "traded": float(order.qty) * float(order.price),
        "fill": signed * (float(order.price) - opening),
        "model": signed * (model - opening),
        "local": np.nan if touch is None else signed * (float(touch.price) - opening),
    }


def _figures(session: str, rows: pd.DataFrame) -> dict[str, Any]:
    priced = rows.dropna(subset=["value"])
    here = priced.dropna(subset=["local"])
    return {
        "session": session,
        "orders": len(rows),
        "traded": float(priced["traded"].sum()),
        "fills_bps": _bps(priced, "fill"),
        "model_bps": _bps(priced, "model"),
        "local_bps": _bps(here, "local"),
        "unpriced": len(rows) - len(priced),
        "unfilled_here": len(priced) - len(here),
    }


def _bps(rows: pd.DataFrame, column: str) -> float | None:
    value = float(rows["value"].sum())
    return float(BPS) * float(rows[column].sum()) / value if value > 0 else None


def _order(order: FilledOrder, session: Session) -> Order:
    """The same order, as the local exchange would have it."""
    made = datetime.combine(order.session, datetime.min.time(), UTC)
    return Order(
        id="",
        account="",
        client_order_id="",
        symbol=order.ticker,
        side=order.side,
        type=order.type,
        time_in_force="day",
        qty=order.qty,
        notional=None,
        limit_price=order.limit_price,
        stop_price=None,
        extended_hours=False,
        position_intent="",
        status="new",
        sequence=0,
        created_at=made,
        updated_at=made,
        expires_at=session.closes,
    )
