"""The exchange's HTTP server. A gate before the endpoints handles time, keys, faults and the database."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from mlops_cli.errors import MlopsError
from mlops_cli.exchange.api import account_endpoints, data_endpoints, sim_endpoints, trading_endpoints
from mlops_cli.exchange.api.responses import EXACT, answer, failure
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.faults import Fault
from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.system import sockets
from mlops_cli.system.http_server import Server, ServerTimes, http_server
from mlops_cli.system.own_site import OwnSite

TIMES = ServerTimes(keep_alive=5, drain=1)
"""A server that stops does not wait longer for clients that a fault keeps waiting."""
LOOPBACK = OwnSite.of("127.0.0.1")
READABLE_TYPES = ("text/plain", "multipart/form-data")
"""Types of bodies that a page of another site may send without asking first, and that no program sends for JSON."""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port (0 for any free one); a `ServiceError` if it is taken, or the host is not this machine's.

    Clients can connect at once; they wait until `server` runs.
    """
    return sockets.listen(host, port, "give another --port (0 for any free one)")


def server(exchange: Exchange, site: OwnSite = LOOPBACK, ready: Callable[[], None] = lambda: None) -> Server:
    """A server to start with `run(sockets=[...])`. It stops on SIGTERM or Ctrl-C, or when its `should_exit` is set.

    `ready` is called once it answers.
    """
    return http_server(application(exchange, site), TIMES, ready)


def application(exchange: Exchange, site: OwnSite = LOOPBACK) -> Gate:
    """The whole application: Alpaca's trading and market data APIs under `/v2`, and `/sim` to steer the exchange.

    Requests of other sites than `site` are refused.
    """
    app = FastAPI(title="mlops exchange", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(account_endpoints.routes)
    app.include_router(trading_endpoints.routes)
    app.include_router(data_endpoints.routes)
    app.include_router(sim_endpoints.routes)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(405, _no_such_path)
    return Gate(app, exchange, site)


async def _no_such_path(request: Request, error: Exception) -> Response:
    return answer({"code": 40410000, "message": f"endpoint not found: {request.url.path}"}, 404)


class Gate:
    """Handles every request: a fault may strike; the exchange catches up with the clock, checks the key and answers.

    Requests that pages of other sites send through a browser are refused before that. Changes are written before the
    answer is sent. All requests run in one thread, one after another, and nothing else uses the exchange.
    """

    def __init__(self, app: FastAPI, exchange: Exchange, site: OwnSite) -> None:
        self._app = app
        self._exchange = exchange
        self._site = site

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _send(send, refusal.status, refusal.body)
            return
        if scope["path"].startswith("/sim"):
            await self._carry_out(scope, receive, send)
            return
        fault = self._exchange.state.faults.of_request(scope["method"], scope["path"])
        if fault is None:
            await self._carry_out(scope, receive, send)
        else:
            await self._spoil(fault, scope, receive, send)

    def _refusal(self, scope: Message) -> RefusedError | None:
        """Why a request is not even looked at; None if it is."""
        foreign = self._site.refusal(scope)
        if foreign is not None:
            return RefusedError(foreign.status, foreign.status * 100_000 + 10_000, f"{foreign.message}; {foreign.hint}")
        if scope["path"].startswith("/sim") and scope["method"] == "POST":
            kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1").lower().lstrip()
            if kind.startswith(READABLE_TYPES):
                return RefusedError(415, 41510000, f"the body must be JSON, not {kind[:40]}")
        return None

    async def _carry_out(self, scope: Message, receive: Receive, send: Send) -> None:
        exchange = scope["exchange"] = self._exchange
        try:
            exchange.catch_up()
            if scope["path"].startswith("/v2"):
                headers = dict(scope["headers"])
                key, secret = headers.get(b"apca-api-key-id", b""), headers.get(b"apca-api-secret-key", b"")
                scope["account"] = exchange.account(key.decode("latin-1"), secret.decode("latin-1"))
        except MlopsError as error:
            await _send(send, *failure(error))
            return
        committed = self._committed(send)
        exact = EXACT.get((scope["method"], scope["path"]))
        with contextlib.suppress(ClientDisconnect):  # the client left before it had sent its request
            if exact is None:
                await self._app(scope, receive, committed)
            else:
                response = await exact(Request(scope, receive))
                await response(scope, receive, committed)

    def _committed(self, send: Send) -> Send:
        """Write the changes before an answer starts: what was answered must last, even if this process is killed."""
        written = True

        async def committed(message: Message) -> None:
            nonlocal written
            if message["type"] == "http.response.start":
                try:
                    self._exchange.commit()
                except MlopsError as error:  # the changes stay in memory and are written with the next request
                    written = False
                    await _send(send, *failure(error))
            if written:
                await send(message)

        return committed

    async def _spoil(self, fault: Fault, scope: Message, receive: Receive, send: Send) -> None:
        if fault.when == "after":
            await self._carry_out(scope, receive, _nowhere)
        if fault.kind == "timeout":
            await _idle(fault.seconds, receive)
        if fault.kind in {"drop", "timeout"}:
            await _drop(receive, send)
            return
        words = {429: "too many requests.", 500: "internal server error occurred", 503: "service unavailable"}
        body = {"code": fault.status * 100_000 + 10000, "message": words.get(fault.status, "fault on demand")}
        await _send(send, fault.status, body)


async def _nowhere(message: Message) -> None:
    """Throw an answer away."""


async def _idle(seconds: float, receive: Receive) -> None:
    """Let the client wait, until it gives up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass


async def _drop(receive: Receive, send: Send) -> None:
    """Cut the connection without an answer. Without uvicorn there is no connection, and the answer just never comes."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


async def _send(send: Send, status: int, body: dict[str, Any]) -> None:
    content = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
