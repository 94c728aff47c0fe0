"""Listening sockets of this project's servers."""

from __future__ import annotations

import errno
import socket

from mlops_cli.errors import ServiceError


def listen(host: str, port: int, hint: str, backlog: int = 256) -> socket.socket:
    """Take a port. From here on clients can connect, and wait until a server accepts them.

    Args:
        host: name or address of this machine, IPv4 or IPv6.
        port: 0 for any free one.
        hint: what to type if the port is taken.
        backlog: how many connections may wait.

    Raises:
        ServiceError: the port is taken or none, or the host is not this machine's.
    """
    if not 0 <= port < 2**16:  # getaddrinfo would take the remainder
        raise ServiceError(f"cannot listen on {host}:{port}: there is no such port", "give a --port from 0 to 65535")
    listener = None
    try:
        # not socket.create_server: it cannot say which family a host name belongs to
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError as error:
        if listener is not None:
            listener.close()
        elsewhere = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        hint = "give a --host of this machine" if elsewhere else hint
        raise ServiceError(f"cannot listen on {host}:{port}: {error}", hint) from error
    return listener
