"""Whether an order may enter the book: the account, the symbol, the hour, and the money."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from decimal import Decimal

from mlops_cli.exchange import books
from mlops_cli.exchange.hours import Hours, local
from mlops_cli.exchange.matching import to_price
from mlops_cli.exchange.model import Account, Order, forbidden, unprocessable
from mlops_cli.exchange.state import State
from mlops_cli.exchange.tickets import Ticket

GOOD_TILL_CANCELED = timedelta(days=90)
AUCTION_CLOSED_UNTIL = time(19, 0)
BEFORE_OPEN, BEFORE_CLOSE = timedelta(minutes=2), timedelta(minutes=10)
LEAST_EQUITY_TO_SHORT = Decimal(2000)


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
    books.check_shares(account, order, shares)
    position = account.positions.get(order.symbol)
    closes = position is not None and position.qty * order.sign < 0
    order.position_intent = f"{order.side}_to_{'close' if closes else 'open'}"
    if order.side == "sell" and not closes:
        _check_short(state, account, ticket)
    _check_wash_trade(account, order)
    if not closes:
        power = state.worth(account).buying_power
        order.reserve = books.cost(order, ask)
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
    worth = state.worth(account)
    if account.configurations["no_shorting"] or worth.multiplier == 1 or worth.equity < LEAST_EQUITY_TO_SHORT:
        raise forbidden("account is not allowed to short")
    if ticket.fractional:
        raise unprocessable("fractional orders cannot be sold short")


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
