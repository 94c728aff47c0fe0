"""Endpoints of Alpaca's trading API v2 for orders and positions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api import views
from mlops_cli.exchange.api.responses import account_of, answer, endpoint, exchange_of, json_body, whole
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import (
    TIMES_IN_FORCE,
    Ticket,
    check_supported,
    client_id,
    number,
    read_ticket,
)
from mlops_cli.exchange.book.records import (
    SHARE,
    Account,
    Order,
    Position,
    RefusedError,
    not_found,
    refused,
    unprocessable,
)
from mlops_cli.market.hours import parse_time

routes = APIRouter()
MOST_ORDERS = 500


@endpoint(routes, "/v2/orders", "POST")
async def post_order(request: Request) -> Response:
    """Take an order."""
    ticket = read_ticket(await json_body(request))
    exchange = exchange_of(request)
    ticket.symbol = views.symbol_of(exchange, ticket.symbol)
    return answer(views.order_view(exchange.submit(account_of(request), ticket)))


@endpoint(routes, "/v2/orders", "GET")
async def get_orders(request: Request) -> Response:
    """Orders: open ones, newest first, unless asked otherwise."""
    account, query = account_of(request), request.query_params
    status = query.get("status") or "open"
    if status not in ("open", "closed", "all"):
        raise refused(f"invalid status: {status[:40]!r}")
    found = list(account.open_orders.values()) if status == "open" else list(account.orders.values())
    found = [order for order in found if status != "closed" or not order.is_open]
    found = _beside(account, _of_request(found, query), query)
    found.sort(key=lambda order: order.sequence, reverse=query.get("direction", "desc") != "asc")
    return answer([views.order_view(order) for order in found[: whole(request, "limit", 50, MOST_ORDERS)]])


def _beside(account: Account, orders: list[Order], query: Mapping[str, str]) -> list[Order]:
    """Those submitted after or before the order that is named, by which clients page."""
    after, before = (account.orders.get(query.get(name) or "") for name in ("after_order_id", "before_order_id"))
    if after is not None:
        orders = [order for order in orders if order.sequence > after.sequence]
    if before is not None:
        orders = [order for order in orders if order.sequence < before.sequence]
    return orders


def _of_request(orders: list[Order], query: Mapping[str, str]) -> list[Order]:
    symbols = {symbol for symbol in query.get("symbols", "").split(",") if symbol}
    side, after, until = query.get("side"), query.get("after"), query.get("until")
    try:
        first = parse_time(after) if after else None
        last = parse_time(until) if until else None
    except ValueError:
        raise refused("invalid after or until") from None
    return [
        order
        for order in orders
        if (not symbols or order.symbol in symbols)
        and side in (None, "", order.side)
        and (first is None or order.created_at > first)
        and (last is None or order.created_at < last)
    ]


@endpoint(routes, "/v2/orders", "DELETE")
async def delete_orders(request: Request) -> Response:
    """Cancel every open order."""
    exchange, account = exchange_of(request), account_of(request)
    canceled = [exchange.cancel(account, order_id).id for order_id in [*account.open_orders]]
    return answer([{"id": order_id, "status": 200} for order_id in canceled], 207)


@endpoint(routes, "/v2/orders:by_client_order_id", "GET")
async def get_order_by_client_id(request: Request) -> Response:
    """An order by the client's own id."""
    wanted = request.query_params.get("client_order_id", "")
    order = account_of(request).by_client_id.get(wanted)
    if order is None:
        raise not_found(f"order not found for {wanted}")
    return answer(views.order_view(order))


@endpoint(routes, "/v2/orders/{order_id}", "GET")
async def get_order(request: Request) -> Response:
    """An order."""
    return answer(views.order_view(exchange_of(request).order(account_of(request), _order_id(request))))


@endpoint(routes, "/v2/orders/{order_id}", "DELETE")
async def delete_order(request: Request) -> Response:
    """Cancel an order."""
    exchange_of(request).cancel(account_of(request), _order_id(request))
    return Response(status_code=204)


@endpoint(routes, "/v2/orders/{order_id}", "PATCH")
async def patch_order(request: Request) -> Response:
    """Replace an order."""
    exchange, account, body = exchange_of(request), account_of(request), await json_body(request)
    old = exchange.order(account, _order_id(request))
    force = body.get("time_in_force") or old.time_in_force
    if force not in TIMES_IN_FORCE:
        raise refused(f"invalid time_in_force: {str(force)[:40]!r}")
    if body.get("trail") or body.get("notional"):
        raise unprocessable("trailing_stop and notional orders cannot be replaced at this exchange")
    check_supported(body)
    changes = Ticket(
        old.symbol,
        old.side,
        old.type,
        force,
        number(body, "qty") or old.qty,
        old.notional,
        number(body, "limit_price") or old.limit_price,
        number(body, "stop_price") or old.stop_price,
        client_id(body),
        old.extended_hours,
        old.position_intent,
    )
    return answer(views.order_view(exchange.replace(account, old.id, changes)))


def _order_id(request: Request) -> str:
    text = str(request.path_params["order_id"])
    try:
        return str(UUID(text))
    except ValueError:
        raise refused(f"order_id is malformed: {text[:40]!r}") from None


@endpoint(routes, "/v2/positions", "GET")
async def get_positions(request: Request) -> Response:
    """All positions."""
    exchange, account = exchange_of(request), account_of(request)
    return answer([views.position_view(exchange, account, held) for held in account.positions.values()])


@endpoint(routes, "/v2/positions", "DELETE")
async def delete_positions(request: Request) -> Response:
    """Send orders that close every position."""
    exchange, account = exchange_of(request), account_of(request)
    if request.query_params.get("cancel_orders", "").lower() == "true":
        for order_id in [*account.open_orders]:
            exchange.cancel(account, order_id)
    closed = []
    for held in [*account.positions.values()]:
        try:
            order = _close(exchange, account, held, abs(held.qty))
            closed.append({"symbol": held.symbol, "status": 200, "body": views.order_view(order)})
        except RefusedError as error:  # open orders hold its shares, or it is delisted
            closed.append({"symbol": held.symbol, "status": error.status, "body": error.body})
    return answer(closed, 207)


@endpoint(routes, "/v2/positions/{symbol}", "GET")
async def get_position(request: Request) -> Response:
    """One position."""
    exchange, account = exchange_of(request), account_of(request)
    return answer(views.position_view(exchange, account, _position(request)))


@endpoint(routes, "/v2/positions/{symbol}", "DELETE")
async def delete_position(request: Request) -> Response:
    """Send an order that closes a position, or a part of it."""
    exchange, account, query = exchange_of(request), account_of(request), request.query_params
    held = _position(request)
    shares, percentage = number(query, "qty"), number(query, "percentage")
    if shares is not None and percentage is not None:
        raise refused("only one of qty or percentage is accepted")
    if percentage is not None:
        if percentage > 100:
            raise refused("percentage must be between 0 and 100")
        step = SHARE if held.qty != held.qty.to_integral_value() else Decimal(1)
        shares = (abs(held.qty) * percentage / 100).quantize(step, "ROUND_DOWN")
    return answer(views.order_view(_close(exchange, account, held, abs(held.qty) if shares is None else shares)))


def _position(request: Request) -> Position:
    symbol = views.symbol_of(exchange_of(request), request.path_params["symbol"])
    held = account_of(request).positions.get(symbol)
    if held is None:
        raise not_found("position does not exist")
    return held


def _close(exchange: Exchange, account: Account, held: Position, shares: Decimal) -> Order:
    side = "sell" if held.qty > 0 else "buy"
    if shares <= 0:
        raise unprocessable("nothing of the position is left to close")
    return exchange.submit(account, Ticket(held.symbol, side, "market", "day", shares, None, None, None, None))
