"""What all of the exchange's endpoints share: reading a request, and answering or refusing it in JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from mlops_cli.errors import MlopsError, ServiceError
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account, RefusedError, refused

Endpoint = Callable[[Request], Awaitable[Response]]
PLAIN_JSON = "application/json"
MOST_DIGITS = 18
EXACT: dict[tuple[str, str], Endpoint] = {}
"""Endpoints without parameters in their path, by method and path: found without trying one route after another."""


def exchange_of(request: Request) -> Exchange:
    """The exchange that is asked."""
    exchange: Exchange = request.scope["exchange"]
    return exchange


def account_of(request: Request) -> Account:
    """The account of the request's key."""
    account: Account = request.scope["account"]
    return account


def answer(body: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status, media_type=PLAIN_JSON)


def failure(error: MlopsError) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to a request that was refused, or that failed: a damaged price table, say."""
    if isinstance(error, RefusedError):
        return error.status, error.body
    status = 503 if isinstance(error, ServiceError) else 500
    return status, {"code": status * 100_000 + 10_000, "message": str(error)}


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object; empty where there is no body.

    Raises:
        RefusedError: it is none.
    """
    content = await request.body()
    try:
        body = orjson.loads(content) if content else {}
    except orjson.JSONDecodeError:
        raise RefusedError(400, 40010000, "request body format is invalid") from None
    if not isinstance(body, dict):
        raise RefusedError(400, 40010000, "request body format is invalid")
    return body


def whole(
    request: Request, name: str, default: int, most: int, refusal: Callable[[str], RefusedError] = refused
) -> int:
    """A whole number in the query, from 1; cut to `most`.

    Raises:
        RefusedError: it is no such number; `refusal` makes it of a message.
    """
    text = request.query_params.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and int(text) > 0):
        raise refusal(f"invalid {name}: {text[:40]!r}")
    return min(int(text), most)


def endpoint(routes: APIRouter, path: str, method: str) -> Callable[[Endpoint], Endpoint]:
    """Register a coroutine as a plain Starlette route: nothing but its own code between socket and answer."""

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
