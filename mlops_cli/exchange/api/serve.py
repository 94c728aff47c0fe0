"""Serving an exchange over HTTP."""

from __future__ import annotations

import errno
import socket

import uvicorn

from mlops_cli.errors import ServiceError
from mlops_cli.exchange.api.app import application
from mlops_cli.exchange.book.engine import Exchange

STOP_SECONDS = 1  # for clients that a fault keeps waiting


def listen(host: str, port: int) -> socket.socket:
    """Take a port; 0 for any free one. From here on clients can connect, and wait until `server` runs.

    Raises:
        ServiceError: the port is taken, or the host is not this machine's.
    """
    try:
        # not socket.create_server: it cannot say which family a host name belongs to
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, socket.SOCK_STREAM)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(256)
    except OSError as error:
        elsewhere = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        hint = "give a --host of this machine" if elsewhere else "give another --port (0 for any free one)"
        raise ServiceError(f"{host}:{port}: {error.strerror}", hint) from error
    return taken


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
