"""Endpoints of Alpaca's trading API v2 for orders and positions."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api import views
from mlops_cli.exchange.api.queries import select_orders
from mlops_cli.exchange.api.responses import account_of, answer, endpoint, exchange_of, json_body, state_of
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import OrderRequest, number, read_order_request, read_replacement
from mlops_cli.exchange.book.records import (
    SHARE,
    Account,
    Order,
    Position,
    RefusedError,
    is_whole,
    not_found,
    refused,
    unprocessable,
)

routes = APIRouter()


@endpoint(routes, "/v2/orders", "POST")
async def post_order(request: Request) -> Response:
    """Accept an order."""
    order_request = read_order_request(await json_body(request))
    order_request.symbol = views.find_symbol(state_of(request), order_request.symbol)
    return answer(views.order_view(exchange_of(request).submit(account_of(request), order_request)))


@endpoint(routes, "/v2/orders", "GET")
async def get_orders(request: Request) -> Response:
    """List orders; without parameters the open ones, newest first."""
    orders = select_orders(account_of(request), request.query_params)
    return answer([views.order_view(order) for order in orders])


@endpoint(routes, "/v2/orders", "DELETE")
async def delete_orders(request: Request) -> Response:
    """Cancel all open orders."""
    exchange, account = exchange_of(request), account_of(request)
    canceled = [exchange.cancel(account, order_id).id for order_id in [*account.open_orders]]
    return answer([{"id": order_id, "status": 200} for order_id in canceled], 207)


@endpoint(routes, "/v2/orders:by_client_order_id", "GET")
async def get_order_by_client_id(request: Request) -> Response:
    """Show the order that has this id of the client."""
    client_order_id = request.query_params.get("client_order_id", "")
    order = account_of(request).by_client_id.get(client_order_id)
    if order is None:
        raise not_found(f"order not found for {client_order_id}")
    return answer(views.order_view(order))


@endpoint(routes, "/v2/orders/{order_id}", "GET")
async def get_order(request: Request) -> Response:
    """Show an order."""
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
    return answer(views.order_view(exchange.replace(account, old.id, read_replacement(body, old))))


def _order_id(request: Request) -> str:
    text = str(request.path_params["order_id"])
    try:
        return str(UUID(text))
    except ValueError:
        raise refused(f"order_id is malformed: {text[:40]!r}") from None


@endpoint(routes, "/v2/positions", "GET")
async def get_positions(request: Request) -> Response:
    """List all positions."""
    state, account = state_of(request), account_of(request)
    return answer([views.position_view(state, account, position) for position in account.positions.values()])


@endpoint(routes, "/v2/positions", "DELETE")
async def delete_positions(request: Request) -> Response:
    """Close every position: send one order for each."""
    exchange, account = exchange_of(request), account_of(request)
    if request.query_params.get("cancel_orders", "").lower() == "true":
        for order_id in [*account.open_orders]:
            exchange.cancel(account, order_id)
    closed = []
    for position in [*account.positions.values()]:
        try:
            order = _close(exchange, account, position, abs(position.qty))
            closed.append({"symbol": position.symbol, "status": 200, "body": views.order_view(order)})
        except RefusedError as error:  # open orders hold its shares, or the symbol is delisted
            closed.append({"symbol": position.symbol, "status": error.status, "body": error.body})
    return answer(closed, 207)


@endpoint(routes, "/v2/positions/{symbol}", "GET")
async def get_position(request: Request) -> Response:
    """Show a position."""
    return answer(views.position_view(state_of(request), account_of(request), _position(request)))


@endpoint(routes, "/v2/positions/{symbol}", "DELETE")
async def delete_position(request: Request) -> Response:
    """Close a position or a part of it: send an order."""
    position, query = _position(request), request.query_params
    shares = shares_to_close(position, number(query, "qty"), number(query, "percentage"))
    return answer(views.order_view(_close(exchange_of(request), account_of(request), position, shares)))


def shares_to_close(position: Position, qty: Decimal | None, percentage: Decimal | None) -> Decimal:
    """The shares that a request closes: `qty`, a percentage or all; a `RefusedError` for both, or more than 100%."""
    held = abs(position.qty)
    if percentage is None:
        return held if qty is None else qty
    if qty is not None:
        raise refused("only one of qty or percentage is accepted")
    if percentage > 100:
        raise refused("percentage must be between 0 and 100")
    step = Decimal(1) if is_whole(held) else SHARE
    return (held * percentage / 100).quantize(step, "ROUND_DOWN")


def _position(request: Request) -> Position:
    symbol = views.find_symbol(state_of(request), request.path_params["symbol"])
    position = account_of(request).positions.get(symbol)
    if position is None:
        raise not_found("position does not exist")
    return position


def _close(exchange: Exchange, account: Account, position: Position, shares: Decimal) -> Order:
    if shares <= 0:
        raise unprocessable("nothing of the position is left to close")
    side = "sell" if position.qty > 0 else "buy"
    request = OrderRequest(position.symbol, side, type="market", time_in_force="day", qty=shares)
    return exchange.submit(account, request)
