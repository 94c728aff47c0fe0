"""The checks that decide whether an order enters the book: account, symbol, time of day, shares and money."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from decimal import Decimal

from mlops_cli.exchange.book import accounting
from mlops_cli.exchange.book.matching import to_price
from mlops_cli.exchange.book.order_requests import OrderRequest
from mlops_cli.exchange.book.records import (
    IMMEDIATE,
    Account,
    Order,
    Position,
    forbidden,
    is_whole,
    refused,
    unprocessable,
)
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import Hours, in_new_york

GOOD_TILL_CANCELED = timedelta(days=90)
AUCTION_CLOSED_UNTIL = time(19, 0)
BEFORE_OPEN, BEFORE_CLOSE = timedelta(minutes=2), timedelta(minutes=10)
LEAST_COST = Decimal(1)
_REPLACEABLE = ("qty", "time_in_force", "limit_price", "stop_price")


def expiry(time_in_force: str, hours: Hours, now: datetime) -> datetime:
    """The time at which an order that is accepted now expires."""
    if time_in_force == "gtc":
        return hours.next_close(now + GOOD_TILL_CANCELED).closes
    current = hours.current(now)
    if time_in_force == "opg" or current is None:
        return hours.next_open(now).closes
    return current.closes


def admit(state: State, account: Account, order: Order, request: OrderRequest) -> None:
    """Check an order (a `RefusedError` names the first mistake), and set its `position_intent` and `reserve`."""
    _check_permissions(state, account, order, request)
    _check_hour(state.hours, order, state.now)
    quote = state.quote(order.symbol)
    ask = to_price(0.0 if quote is None else quote.ask)
    shares = order.qty if order.qty is not None else order.left(ask)
    accounting.check_shares(account, order, shares)
    closed = _closed_position(account, order)
    _set_intent(order, request, closed)
    if request.fractional:
        _check_fraction(request, closed, shares, ask)
    if order.side == "sell" and closed is None:
        _check_short(state, account, request)
    _check_wash_trade(account, order)
    if closed is None:
        _reserve(state, account, order, ask)


def check_not_blocked(account: Account) -> None:
    """Raise a `RefusedError` if the account may do nothing at all."""
    if account.account_blocked:
        raise forbidden("account is blocked")


def _check_permissions(state: State, account: Account, order: Order, request: OrderRequest) -> None:
    check_not_blocked(account)
    if account.trading_blocked:
        raise forbidden("account is not authorized to trade")
    if account.configurations["suspend_trade"]:
        raise forbidden("new orders are rejected by user request")
    if request.fractional and not account.configurations["fractional_trading"]:
        raise forbidden("fractional trading is not enabled for this account")
    _check_asset(state, order.symbol, request)


def _check_asset(state: State, symbol: str, request: OrderRequest) -> None:
    if not state.market.has(symbol):
        raise unprocessable(f'asset "{symbol}" not found')
    if not state.market.listed(symbol, state.now):
        raise unprocessable(f'asset "{symbol}" is not active')
    if not state.asset(symbol).tradable:
        raise unprocessable(f"asset {symbol} is not tradable")
    if request.fractional and not state.asset(symbol).fractionable:
        raise forbidden(f'asset "{symbol}" is not fractionable')


def _check_hour(hours: Hours, order: Order, now: datetime) -> None:
    if order.time_in_force in IMMEDIATE and hours.current(now) is None:
        raise unprocessable(f"{order.time_in_force} orders are only accepted during market hours")
    today = hours.between(in_new_york(now).date(), in_new_york(now).date())
    if not today or in_new_york(now).time() >= AUCTION_CLOSED_UNTIL:
        return
    if order.time_in_force == "opg" and now >= today[0].opens - BEFORE_OPEN:
        raise unprocessable("opg orders are not accepted after 9:28am and before 7:00pm")
    if order.time_in_force == "cls" and now >= today[0].closes - BEFORE_CLOSE:
        raise unprocessable("cls orders are not accepted within 10 minutes of the close and before 7:00pm")


def _closed_position(account: Account, order: Order) -> Position | None:
    """The position that an order closes or reduces; None if it opens or enlarges one."""
    position = account.positions.get(order.symbol)
    return position if position is not None and position.qty * order.sign < 0 else None


def _set_intent(order: Order, request: OrderRequest, closed: Position | None) -> None:
    order.position_intent = f"{order.side}_to_{'open' if closed is None else 'close'}"
    if request.position_intent not in (None, order.position_intent):
        raise unprocessable(
            f"position intent mismatch, inferred: {order.position_intent}, specified: {request.position_intent}"
        )


def _check_fraction(request: OrderRequest, closed: Position | None, shares: Decimal, ask: Decimal) -> None:
    """Short positions consist of whole shares. A fraction costs 1 USD or more, unless it closes a whole position."""
    if closed is not None and closed.qty < 0:
        after = closed.qty + shares
        if request.qty is None or not is_whole(after):
            raise unprocessable("fractional orders cannot cover short positions in part")
    whole_position = closed is not None and shares == abs(closed.qty)
    if request.qty is not None and not whole_position and shares * (request.limit_price or ask) < LEAST_COST:
        raise forbidden(f"cost basis must be >= minimal amount of order {LEAST_COST}")


def _check_short(state: State, account: Account, request: OrderRequest) -> None:
    if account.configurations["no_shorting"] or state.worth(account).multiplier == accounting.CASH_ONLY:
        raise forbidden("account is not allowed to short")
    if request.fractional:
        raise unprocessable("fractional orders cannot be sold short")
    asset = state.asset(request.symbol)
    if not asset.shortable:
        raise unprocessable(f"asset {request.symbol} cannot be sold short")
    if not asset.easy_to_borrow and request.time_in_force != "day":
        raise unprocessable(f"only day orders are allowed for hard-to-borrow asset {request.symbol}")


def _check_wash_trade(account: Account, order: Order) -> None:
    """Refuse an order that could be filled against an open order of the same account."""
    for other in account.open_orders_in(order.symbol, "sell" if order.side == "buy" else "buy"):
        if _may_cross(order, other):
            kind = "limit" if other.type == "limit" else "market/stop"
            raise forbidden(
                "potential wash trade detected. use complex orders",
                existing_order_id=other.id,
                reject_reason=f"opposite side {kind} order exists",
            )


def _may_cross(order: Order, other: Order) -> bool:
    if other.type != "limit" or order.type != "limit":
        return True
    assert order.limit_price is not None
    assert other.limit_price is not None
    return (order.limit_price - other.limit_price) * order.sign >= 0


def _reserve(state: State, account: Account, order: Order, ask: Decimal) -> None:
    power = state.worth(account).buying_power
    order.reserve = accounting.cost(order, ask)
    if order.reserve > power:
        raise forbidden("insufficient buying power", buying_power=f"{power:.2f}", cost_basis=f"{order.reserve:.2f}")


def check_replacement(order: Order, changes: OrderRequest) -> None:
    """Raise a `RefusedError` if an order cannot be replaced, or not by this request."""
    if not order.is_open:
        raise unprocessable(f'order is already in "{order.status}" state')
    if order.status in ("accepted", "pending_new"):
        raise refused("unable to replace order, order isn't sent to exchange yet")
    if order.qty is None or changes.qty is None:
        raise unprocessable("notional orders cannot be replaced")
    if all(getattr(changes, name) == getattr(order, name) for name in _REPLACEABLE):
        raise unprocessable("order parameters are not changed")
    _check_new_size(order.qty, changes.qty, order.filled_qty)


def _check_new_size(old: Decimal, new: Decimal, filled: Decimal) -> None:
    if new != old and not (is_whole(old) and is_whole(new)):
        raise unprocessable("qty of fractional orders cannot be changed, and must be of whole shares for others")
    if new <= filled:
        raise unprocessable("qty must be > filled_qty")
