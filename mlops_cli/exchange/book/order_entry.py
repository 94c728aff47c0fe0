"""Whether an order may enter the book: the account, the symbol, the hour, and the money."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from decimal import Decimal

from mlops_cli.exchange.book import accounting
from mlops_cli.exchange.book.matching import to_price
from mlops_cli.exchange.book.order_requests import Ticket
from mlops_cli.exchange.book.records import Account, Order, Position, forbidden, refused, unprocessable
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import Hours, local

GOOD_TILL_CANCELED = timedelta(days=90)
AUCTION_CLOSED_UNTIL = time(19, 0)
BEFORE_OPEN, BEFORE_CLOSE = timedelta(minutes=2), timedelta(minutes=10)
LEAST_COST = Decimal(1)


def expiry(time_in_force: str, hours: Hours, now: datetime) -> datetime:
    """When an order taken now ends by itself."""
    if time_in_force == "gtc":
        return hours.next_close(now + GOOD_TILL_CANCELED).closes
    current = hours.current(now)
    if time_in_force == "opg" or current is None:
        return hours.next_open(now).closes
    return current.closes


def admit(state: State, account: Account, order: Order, ticket: Ticket) -> None:
    """Check an order against everything but itself, and say whether it opens or closes a position.

    Raises:
        RefusedError: the first reason not to take it.
    """
    if account.configurations["suspend_trade"]:
        raise forbidden("new orders are rejected by user request")
    if not state.market.has(order.symbol):
        raise unprocessable(f'asset "{order.symbol}" not found')
    if not state.market.listed(order.symbol, state.settled):
        raise unprocessable(f'asset "{order.symbol}" is not active')
    if ticket.fractional and not account.configurations["fractional_trading"]:
        raise forbidden("fractional trading is not enabled for this account")
    _check_hour(state.hours, order, state.settled)
    ask = to_price((state.quote(order.symbol) or (0.0, 0.0, None))[1])
    shares = order.qty if order.qty is not None else order.left(ask)
    accounting.check_shares(account, order, shares)
    position = account.positions.get(order.symbol)
    closes = position is not None and position.qty * order.sign < 0
    order.position_intent = f"{order.side}_to_{'close' if closes else 'open'}"
    if ticket.position_intent not in (None, order.position_intent):
        found = f"inferred: {order.position_intent}, specified: {ticket.position_intent}"
        raise unprocessable(f"position intent mismatch, {found}")
    if ticket.fractional:
        _check_parts(ticket, position if closes else None, shares, ask)
    if order.side == "sell" and not closes:
        _check_short(state, account, ticket)
    _check_wash_trade(account, order)
    if not closes:
        power = state.worth(account).buying_power
        order.reserve = accounting.cost(order, ask)
        if order.reserve > power:
            raise forbidden("insufficient buying power", buying_power=f"{power:.2f}", cost_basis=f"{order.reserve:.2f}")


def _check_hour(hours: Hours, order: Order, now: datetime) -> None:
    session = hours.current(now)
    if order.time_in_force in ("ioc", "fok") and session is None:
        raise unprocessable(f"{order.time_in_force} orders are only accepted during market hours")
    today = hours.between(local(now).date(), local(now).date())
    if not today or local(now).time() >= AUCTION_CLOSED_UNTIL:
        return
    if order.time_in_force == "opg" and now >= today[0].opens - BEFORE_OPEN:
        raise unprocessable("opg orders are not accepted after 9:28am and before 7:00pm")
    if order.time_in_force == "cls" and now >= today[0].closes - BEFORE_CLOSE:
        raise unprocessable("cls orders are not accepted within 10 minutes of the close and before 7:00pm")


def _check_short(state: State, account: Account, ticket: Ticket) -> None:
    if account.configurations["no_shorting"] or state.worth(account).multiplier == accounting.CASH_ONLY:
        raise forbidden("account is not allowed to short")
    if ticket.fractional:
        raise unprocessable("fractional orders cannot be sold short")


def _check_parts(ticket: Ticket, closed: Position | None, shares: Decimal, ask: Decimal) -> None:
    """Short positions are of whole shares, and what is left of a long one may be closed however little it is."""
    if closed is not None and closed.qty < 0:
        after = closed.qty + shares
        if ticket.qty is None or after != after.to_integral_value():
            raise unprocessable("fractional orders cannot cover short positions in part")
    whole_position = closed is not None and shares == abs(closed.qty)
    if ticket.qty is not None and not whole_position and shares * (ticket.limit_price or ask) < LEAST_COST:
        raise forbidden(f"cost basis must be >= minimal amount of order {LEAST_COST}")


def check_replacement(order: Order, changes: Ticket) -> None:
    """Check whether an order can be replaced at all, and by this one.

    Raises:
        RefusedError: the first reason why not.
    """
    if not order.is_open:
        raise unprocessable(f'order is already in "{order.status}" state')
    if order.status in ("accepted", "pending_new"):
        raise refused("unable to replace order, order isn't sent to exchange yet")
    if order.qty is None or changes.qty is None:
        raise unprocessable("notional orders cannot be replaced")
    names = ("qty", "time_in_force", "limit_price", "stop_price")
    if all(getattr(changes, name) == getattr(order, name) for name in names):
        raise unprocessable("order parameters are not changed")
    parts = changes.fractional or order.qty != order.qty.to_integral_value()
    if parts and changes.qty != order.qty:
        raise unprocessable("qty of fractional orders cannot be changed, and must be of whole shares for others")
    if changes.qty <= order.filled_qty:
        raise unprocessable("qty must be > filled_qty")


def _check_wash_trade(account: Account, order: Order) -> None:
    for other in account.open_in(order.symbol, "sell" if order.side == "buy" else "buy"):
        crossing = True
        if other.type == "limit" and order.type == "limit":
            assert order.limit_price is not None
            assert other.limit_price is not None
            crossing = (order.limit_price - other.limit_price) * order.sign >= 0
        if crossing:
            kind = "limit" if other.type == "limit" else "market/stop"
            raise forbidden(
                "potential wash trade detected. use complex orders",
                existing_order_id=other.id,
                reject_reason=f"opposite side {kind} order exists",
            )
