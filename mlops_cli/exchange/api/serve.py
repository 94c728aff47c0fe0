"""Serving an exchange over HTTP."""

from __future__ import annotations

import socket

import uvicorn

from mlops_cli.exchange.api.app import application
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.system import sockets

STOP_SECONDS = 1  # for clients that a fault keeps waiting


def listen(host: str, port: int) -> socket.socket:
    """Take a port; 0 for any free one. From here on clients can connect, and wait until `server` runs.

    Raises:
        ServiceError: the port is taken, or the host is not this machine's.
    """
    return sockets.listen(host, port, "give another --port (0 for any free one)")


def server(exchange: Exchange) -> uvicorn.Server:
    """A server to `run(sockets=[...])`; stops on Ctrl-C, or when its `should_exit` is set."""
    config = uvicorn.Config(
        application(exchange),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)
