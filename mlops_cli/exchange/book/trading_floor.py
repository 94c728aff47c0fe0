"""The trading floor: what happens to orders and accounts as time passes.

Sessions open and close, and in between orders are filled in the order in which the price reaches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from mlops_cli.exchange.book import accounting
from mlops_cli.exchange.book.activities import fill_activity
from mlops_cli.exchange.book.corporate_actions import apply, pay_listed_dividends
from mlops_cli.exchange.book.matching import Match, match, volume_left
from mlops_cli.exchange.book.records import IMMEDIATE, SHARE, ZERO, Account, Order, is_whole
from mlops_cli.exchange.book.state import AccountOrder, State
from mlops_cli.market.hours import Session

Span = tuple[float, float]
"""The beginning and end of a part of a session, as fractions of the session."""
AT_OPEN: Span = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Turn:
    """The moment at which an order can be filled."""

    account: Account
    order: Order
    match: Match

    @property
    def rank(self) -> tuple[float, int]:
        """Earlier matches come first, then earlier orders."""
        return self.match.fraction, self.order.sequence


def advance(state: State, to: datetime) -> None:
    """Match the new orders, then carry out everything that happens up to a time, in the order in which it happens.

    After a `DataError` (a price table that is needed is damaged) the state stays at the time before; nothing is lost,
    because the next call continues from there.
    """
    _match_new_orders(state)
    while state.now < to:
        session = state.hours.current(state.now)
        if session is None:
            _wait_for_opening(state, to)
        else:
            _trade(state, session, min(to, session.closes))


def _match_new_orders(state: State) -> None:
    if not state.new_orders:
        return
    session = state.hours.current(state.now)
    if session is not None:
        _read_prices(state, {order.symbol for _, order in state.new_orders})
    new_orders, state.new_orders = state.new_orders, []
    _reject(state, new_orders)
    if session is not None:
        fraction = session.fraction(state.now)
        _match_orders(state, session, (fraction, fraction), new_orders)
        for account, order in new_orders:
            _place(state, account, order)


def _reject(state: State, new_orders: Sequence[AccountOrder]) -> None:
    """Reject the orders that a fault has chosen."""
    for account, order in new_orders:
        if order.id in state.to_reject and order.is_open:
            state.to_reject.discard(order.id)
            state.end_order(account, order, "rejected", state.now)


def _place(state: State, account: Account, order: Order) -> None:
    """After its first match, an order waits in the book, or is canceled if it must be filled immediately."""
    if order.status == "pending_new":
        order.status = "new"
        state.changed(order)
    if order.is_open and order.time_in_force in IMMEDIATE:
        state.end_order(account, order, "canceled", state.now)


def _wait_for_opening(state: State, to: datetime) -> None:
    """While the market is closed, move to the next opening if it is due, else to `to`."""
    session = state.hours.next_open(state.now)
    if not state.now < session.opens <= to:
        state.move_to(to)
        return
    _read_prices(state, _symbols_in_use(state))
    state.move_to(session.opens)
    _open(state, session)


def _trade(state: State, session: Session, until: datetime) -> None:
    """During a session, move on and fill what the price reaches; at the end, close the session."""
    span = (session.fraction(state.now), session.fraction(until))
    _read_prices(state, _symbols_in_use(state))
    state.move_to(until)
    _match_orders(state, session, span, state.open_orders())
    if until == session.closes:
        _close(state, session)


def _symbols_in_use(state: State) -> set[str]:
    symbols = {symbol for account in state.accounts.values() for symbol in account.positions}
    symbols |= {order.symbol for _, order in state.open_orders()}
    for action in state.actions:
        symbols.add(action.symbol)
        if action.new_symbol is not None and state.market.has(action.new_symbol):
            symbols.add(action.new_symbol)
    return symbols


def _read_prices(state: State, symbols: set[str]) -> None:
    """Read the tables that the next step may need: once time has moved, nothing may fail."""
    for symbol in symbols:
        state.market.series(symbol)


def _open(state: State, session: Session) -> None:
    state.taken.clear()
    _apply_actions(state, session)
    for _, order in state.open_orders():
        if order.status == "accepted":
            order.status, order.updated_at = "new", state.now
            state.changed(order)
    _match_orders(state, session, AT_OPEN, state.open_orders())
    for account, order in state.open_orders():
        if order.time_in_force == "opg":
            state.end_order(account, order, "canceled", state.now)


def _apply_actions(state: State, session: Session) -> None:
    announced = set()
    # one after another: a change of name changes the actions after it
    while (due := next((action for action in state.actions if action.day <= session.day), None)) is not None:
        state.actions.remove(due)
        apply(state, due, session)
        announced |= {due.symbol} if due.kind == "dividend" else set()
    pay_listed_dividends(state, session.day, announced)
    state.forget_prices()


def _close(state: State, session: Session) -> None:
    for account, order in state.open_orders():
        if order.expires_at <= session.closes:
            state.end_order(account, order, "expired", session.closes)
    for account in state.accounts.values():
        account.equity[session.day] = state.worth(account).equity
        state.changed(account)


def _match_orders(state: State, session: Session, span: Span, orders: Sequence[AccountOrder]) -> None:
    """Fill the orders that can be filled within a part of a session, in the order in which they can."""
    turns = []
    for account, order in orders:
        first_match = _first_match(state, order, session, span) if order.is_open else None
        if first_match is not None:
            turns.append(_Turn(account, order, first_match))
    for turn in sorted(turns, key=lambda turn: turn.rank):
        _fill(state, session, turn)


def _first_match(state: State, order: Order, session: Session, span: Span) -> Match | None:
    start = _earliest(order, session, span)
    if start is None or state.faults.standing("halt", order.symbol) or not state.asset(order.symbol).tradable:
        return None
    path = state.market.path(order.symbol, session)
    if path is None or not path.traded:
        return None
    was_triggered = order.triggered
    first_match = match(order, path, (start, span[1]), state.rules, state.spread_factor(order.symbol))
    if order.triggered and not was_triggered:
        state.changed(order)
    return first_match


def _earliest(order: Order, session: Session, span: Span) -> float | None:
    """The fraction of the session from which on an order may be filled; None if that is not within the span."""
    start, end = span
    if order.time_in_force == "opg" and end > 0:
        return None
    if order.time_in_force == "cls":
        start = 1.0
    if order.not_before is not None:
        if order.not_before > session.closes:
            return None
        start = max(start, session.fraction(order.not_before))
    return start if start <= end else None


def _fill(state: State, session: Session, turn: _Turn) -> None:
    account, order, price = turn.account, turn.order, turn.match.price
    place = (account.id, order.symbol)
    unfilled = _unfilled_shares(account, order, price)
    if unfilled <= 0 and order.closes_position:  # another order has closed it before, or a delisting
        state.end_order(account, order, "canceled", state.now)
        return
    shares = min(unfilled, _volume_left(state, session, place))
    if order.time_in_force == "fok" and shares < unfilled:
        return
    shares = _partly(state, session, turn, unfilled, shares)
    if shares <= 0:
        return
    at = min(session.time_at(turn.match.fraction), state.now)
    state.taken[place] = state.taken.get(place, ZERO) + shares
    accounting.book_fill(account, order, shares, price)
    order.status, order.updated_at = "partially_filled", at
    if shares == unfilled and order.qty in (None, order.filled_qty):
        order.filled_at = at
        state.end_order(account, order, "filled", at)
    state.add_activity(account, fill_activity(account, order, shares, price, at))
    state.changed(order)


def _unfilled_shares(account: Account, order: Order, price: Decimal) -> Decimal:
    """Shares that an order still asks for. To close a position, they are no more than the position has."""
    unfilled = order.left(price)
    if not order.closes_position:
        return unfilled
    position = account.positions.get(order.symbol)
    closable = abs(position.qty) if position is not None and position.qty * order.sign < 0 else ZERO
    return min(unfilled, closable)


def _volume_left(state: State, session: Session, place: tuple[str, str]) -> Decimal:
    path = state.market.path(place[1], session)
    return ZERO if path is None else volume_left(path, state.rules, state.taken.get(place, ZERO))


def _partly(state: State, session: Session, turn: _Turn, unfilled: Decimal, shares: Decimal) -> Decimal:
    """Shares of a fill, which the fault `partial_fills` cuts down at an order's first fill."""
    order = turn.order
    fault = state.faults.strike("partial_fills", order.symbol) if not order.filled_qty else None
    if fault is None:
        return shares
    step = Decimal(1) if is_whole(unfilled) else SHARE
    part = (unfilled * Decimal(str(fault.fraction))).quantize(step, "ROUND_DOWN")
    order.not_before = session.time_at(turn.match.fraction) + timedelta(seconds=fault.seconds)
    return min(shares, max(step, part))
