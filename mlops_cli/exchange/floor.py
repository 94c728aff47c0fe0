"""The trading floor: open orders meet the price's path, in the order in which they touch it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from mlops_cli.exchange import books
from mlops_cli.exchange.activities import fill
from mlops_cli.exchange.hours import Session
from mlops_cli.exchange.matching import Touch, allowance, match
from mlops_cli.exchange.model import SHARE, ZERO, Account, Order

if TYPE_CHECKING:
    from mlops_cli.exchange.engine import Exchange

Span = tuple[float, float]


def match_orders(exchange: Exchange, session: Session, span: Span, orders: Sequence[tuple[Account, Order]]) -> None:
    """Fill what can be filled within a span of a session, in the order in which it can."""
    turns: list[tuple[float, int, Account, Order, Touch]] = []
    for account, order in orders:
        touch = _touch(exchange, order, session, span) if order.is_open else None
        if touch is not None:
            turns.append((touch.share, order.sequence, account, order, touch))
    for _, _, account, order, touch in sorted(turns, key=lambda turn: turn[:2]):
        _fill(exchange, account, order, session, touch)


def _touch(exchange: Exchange, order: Order, session: Session, span: Span) -> Touch | None:
    start, end = span
    if order.time_in_force == "opg" and end > 0:
        return None
    if order.time_in_force == "cls":
        start = 1.0
    if order.not_before is not None:
        start = max(start, session.share(order.not_before))
        if order.not_before > session.closes:
            return None
    path = exchange.market.path(order.symbol, session)
    if path is None or not path.traded or start > end or exchange.faults.standing("halt", order.symbol):
        return None
    waiting = not order.triggered
    touch = match(order, path, (start, end), exchange.rules, exchange.widening(order.symbol))
    if order.triggered and waiting:
        exchange.changed(order)
    return touch


def _fill(exchange: Exchange, account: Account, order: Order, session: Session, touch: Touch) -> None:
    path = exchange.market.path(order.symbol, session)
    place = (account.id, order.symbol)
    taken = exchange.taken.get(place, ZERO)
    wanted = order.left(touch.price)
    if order.position_intent.endswith("close"):
        wanted = min(wanted, _closable(account, order))
        if wanted <= 0:  # another order was faster, or a delisting
            exchange.end(account, order, "canceled", exchange.settled)
            return
    shares = min(wanted, ZERO if path is None else allowance(path, exchange.rules, taken))
    if order.time_in_force == "fok" and shares < wanted:
        return
    partial = exchange.faults.strike("partial_fills", order.symbol) if not order.filled_qty else None
    if partial is not None:
        step = SHARE if wanted != wanted.to_integral_value() else Decimal(1)
        shares = min(shares, max(step, (wanted * Decimal(str(partial.fraction))).quantize(step, "ROUND_DOWN")))
        order.not_before = session.at(touch.share) + timedelta(seconds=partial.seconds)
    if shares <= 0:
        return
    at = min(session.at(touch.share), exchange.settled)
    exchange.taken[place] = taken + shares
    books.book(account, order, shares, touch.price)
    order.status, order.updated_at = "partially_filled", at
    if shares == wanted and order.qty in (None, order.filled_qty):
        order.filled_at = at
        exchange.end(account, order, "filled", at)
    exchange.record(account, fill(account, order, shares, touch.price, at))
    exchange.changed(order)


def _closable(account: Account, order: Order) -> Decimal:
    held = account.positions.get(order.symbol)
    return abs(held.qty) if held is not None and held.qty * order.sign < 0 else ZERO
