"""The HTTP server of an exchange."""

from __future__ import annotations

import socket

import uvicorn

from mlops_cli.exchange.api.app import application
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.system import sockets

STOP_SECONDS = 1
"""How long a server that stops waits for clients that a fault keeps waiting."""


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port (0 for any free one); a `ServiceError` if it is taken, or the host is not this machine's.

    Clients can connect at once; they wait until `server` runs.
    """
    return sockets.listen(host, port, "give another --port (0 for any free one)")


def server(exchange: Exchange) -> uvicorn.Server:
    """A server to start with `run(sockets=[...])`. It stops on Ctrl-C, or when its `should_exit` is set."""
    config = uvicorn.Config(
        application(exchange),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)
