"""The trading floor: open orders meet the price's path, in the order in which they touch it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from mlops_cli.exchange.book import accounting
from mlops_cli.exchange.book.activities import fill
from mlops_cli.exchange.book.matching import Touch, allowance, match
from mlops_cli.exchange.book.records import SHARE, ZERO, Account, Order
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import Session

Span = tuple[float, float]


def match_orders(state: State, session: Session, span: Span, orders: Sequence[tuple[Account, Order]]) -> None:
    """Fill what can be filled within a span of a session, in the order in which it can."""
    turns: list[tuple[float, int, Account, Order, Touch]] = []
    for account, order in orders:
        touch = _touch(state, order, session, span) if order.is_open else None
        if touch is not None:
            turns.append((touch.share, order.sequence, account, order, touch))
    for _, _, account, order, touch in sorted(turns, key=lambda turn: turn[:2]):
        _fill(state, account, order, session, touch)


def _touch(state: State, order: Order, session: Session, span: Span) -> Touch | None:
    start, end = span
    if order.time_in_force == "opg" and end > 0:
        return None
    if order.time_in_force == "cls":
        start = 1.0
    if order.not_before is not None:
        start = max(start, session.share(order.not_before))
        if order.not_before > session.closes:
            return None
    path = state.market.path(order.symbol, session)
    if path is None or not path.traded or start > end or state.faults.standing("halt", order.symbol):
        return None
    waiting = not order.triggered
    touch = match(order, path, (start, end), state.rules, state.widening(order.symbol))
    if order.triggered and waiting:
        state.changed(order)
    return touch


def _fill(state: State, account: Account, order: Order, session: Session, touch: Touch) -> None:
    path = state.market.path(order.symbol, session)
    place = (account.id, order.symbol)
    taken = state.taken.get(place, ZERO)
    wanted = order.left(touch.price)
    if order.position_intent.endswith("close"):
        wanted = min(wanted, _closable(account, order))
        if wanted <= 0:  # another order was faster, or a delisting
            state.end(account, order, "canceled", state.settled)
            return
    shares = min(wanted, ZERO if path is None else allowance(path, state.rules, taken))
    if order.time_in_force == "fok" and shares < wanted:
        return
    partial = state.faults.strike("partial_fills", order.symbol) if not order.filled_qty else None
    if partial is not None:
        step = SHARE if wanted != wanted.to_integral_value() else Decimal(1)
        shares = min(shares, max(step, (wanted * Decimal(str(partial.fraction))).quantize(step, "ROUND_DOWN")))
        order.not_before = session.at(touch.share) + timedelta(seconds=partial.seconds)
    if shares <= 0:
        return
    at = min(session.at(touch.share), state.settled)
    state.taken[place] = taken + shares
    accounting.book(account, order, shares, touch.price)
    order.status, order.updated_at = "partially_filled", at
    if shares == wanted and order.qty in (None, order.filled_qty):
        order.filled_at = at
        state.end(account, order, "filled", at)
    state.record(account, fill(account, order, shares, touch.price, at))
    state.changed(order)


def _closable(account: Account, order: Order) -> Decimal:
    held = account.positions.get(order.symbol)
    return abs(held.qty) if held is not None and held.qty * order.sign < 0 else ZERO
