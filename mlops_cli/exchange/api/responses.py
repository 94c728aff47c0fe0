"""Functions that all endpoints of the exchange use: to read a request, and to answer or refuse it in JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from mlops_cli.errors import MlopsError, ServiceError
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account, RefusedError
from mlops_cli.exchange.book.state import State

Endpoint = Callable[[Request], Awaitable[Response]]
MOST_BYTES = 100_000
EXACT: dict[tuple[str, str], Endpoint] = {}
"""Endpoints without parameters in their path, by method and path. A look-up here is faster than trying all routes."""


def exchange_of(request: Request) -> Exchange:
    """The exchange that serves a request."""
    exchange: Exchange = request.scope["exchange"]
    return exchange


def state_of(request: Request) -> State:
    """The state of the exchange that serves a request."""
    return exchange_of(request).state


def account_of(request: Request) -> Account:
    """The account of the request's key."""
    account: Account = request.scope["account"]
    return account


def answer(body: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def failure(error: MlopsError) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to a request that was refused, or that failed, such as by a damaged price table."""
    if isinstance(error, RefusedError):
        return error.status, error.body
    status = 503 if isinstance(error, ServiceError) else 500
    return status, {"code": status * 100_000 + 10_000, "message": str(error)}


async def json_body(request: Request) -> dict[str, Any]:
    """Read the JSON object in the body of a request, empty without a body; a `RefusedError` for another body."""
    content = await _content(request)
    try:
        body = orjson.loads(content) if content else {}
    except orjson.JSONDecodeError:  # also for one that is nested too deeply
        raise RefusedError(400, 40010000, "request body format is invalid") from None
    if not isinstance(body, dict):
        raise RefusedError(400, 40010000, "request body format is invalid")
    return body


async def _content(request: Request) -> bytes:
    """The body of a request; a `RefusedError` as soon as it is larger than `MOST_BYTES`."""
    content, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content += message.get("body", b"")
        if len(content) > MOST_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    return content


def _too_large() -> RefusedError:
    return RefusedError(413, 41310000, f"the body is larger than {MOST_BYTES:,} bytes")


def endpoint(routes: APIRouter, path: str, method: str) -> Callable[[Endpoint], Endpoint]:
    """Register a coroutine as a plain Starlette route: FastAPI's validation would take more time than the exchange."""

    def register(carry_out: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                return await carry_out(request)
            except MlopsError as error:
                status, body = failure(error)
                return answer(body, status)

        routes.add_route(path, guarded, methods=[method])
        if "{" not in path:
            EXACT[method, path] = guarded
        return carry_out

    return register
