"""HTTP connections within limits that uvicorn itself lacks.

Uvicorn bounds neither the head of a request (request line and headers) nor the time that a request takes to arrive. Its
`limit_concurrency` refuses all requests once too many connections are open, also those of callers that were there
before. Here, a connection whose request does not arrive in time is closed. When too many connections are open, the one
that has waited longest for its request is closed in favour of the new one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import psutil
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SWEEP_SECONDS = 1.0
SLICE_BYTES = 4096
"""A head is parsed in parts of this size: what the bound of its size may be exceeded by."""
LEAST_CONNECTIONS = 8
LEAST_FILES = 64
"""Kept free for models, databases, and connections that are accepted and refused in one turn of the event loop."""


@dataclass(frozen=True)
class Limits:
    """What connections may take.

    Attributes:
        connections: open at the same time in this process; fewer if the process may not open so many files.
        head_bytes: of request line and headers, and of the trailers behind a chunked body.
        headers: number of headers.
        head_seconds: for the head to arrive, from the connection or the first byte of the request on.
        body_seconds: for the body to arrive, from the end of the head on.
        patience: seconds for which a body, or the reader of an answer, may be slower than `slowest`.
        slowest: bytes per second.
    """

    connections: int = 1500
    head_bytes: int = 65_536
    headers: int = 100
    head_seconds: float = 15.0
    body_seconds: float = 60.0
    patience: float = 20.0
    slowest: float = 10_000.0


class Connections:
    """The open connections of a server, and the timer that closes those that take too long."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._most = 0  # known at the first connection, when the server has opened what it needs
        self.waiting: dict[BoundedHttp, None] = {}
        """Connections that are not being answered, in the order in which they began to wait for a request."""
        self._open: set[BoundedHttp] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: BoundedHttp) -> bool:
        """Count a new connection, and close another if there are too many; False if all others are being answered."""
        if not self._most:
            self._most = min(self.limits.connections, _files_to_spare(self.limits.connections))
        if len(self._open) >= self._most:
            oldest = next(iter(self.waiting), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.transport.abort()
        self._open.add(connection)
        self.waiting[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_SECONDS, self._sweep, connection.loop)
        return True

    def remove(self, connection: BoundedHttp) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        self.waiting.pop(connection, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [*self._open]:
            connection.check_time(now)
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._open else None


class BoundedHttp(HttpToolsProtocol):
    """A connection within `Limits`."""

    def __init__(self, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self._connections = connections
        self._limits = connections.limits
        self._since: float | None = None  # when the wait for a request, or for its body, began; None: it has arrived
        self._in_head = True
        self._in_trailers = False  # or at the beginning of a chunk
        self._head_bytes = 0
        self._body_bytes = 0
        self._unread_since: float | None = None
        self._unread_bytes = 0

    # what the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it with 503 if all others are being answered."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if not self._connections.add(self):
            self._refuse(503, "too many connections are open")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._since is None:
            self._since = self.loop.time()
        if len(data) <= SLICE_BYTES:
            self._parse(data)
            return
        place = 0
        while place < len(data) and not self.transport.is_closing():
            size = SLICE_BYTES if self._in_head or self._in_trailers else len(data)
            self._parse(data[place : place + size])
            place += size

    def pause_writing(self) -> None:
        """Note when the client stopped reading its answer."""
        super().pause_writing()
        self._unread_since, self._unread_bytes = self.loop.time(), self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self._unread_since = None

    # what the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._since, self._body_bytes = self.loop.time(), 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request has arrived."""
        self._in_head = False
        self._since = self.loop.time()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """A chunk of the body begins; without data, it is the last one, and trailers follow."""
        self._in_trailers = True
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        """A part of a body has arrived."""
        self._in_trailers = False
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has arrived."""
        if self.cycle is not None and self.cycle.response_complete:
            self._since = self.loop.time()  # it was answered before its end, and the wait for the next one begins
        else:
            self._since = None
            self._connections.waiting.pop(self, None)
        self._in_head, self._in_trailers, self._head_bytes = True, False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered; the connection waits for the next one."""
        if self.parser is not None:  # else the connection is closed
            self._connections.waiting[self] = None
        super().on_response_complete()

    # limits

    def check_time(self, now: float) -> None:
        """Close the connection if a request, or the reading of an answer, takes too long."""
        limits = self._limits
        if self._unread_since is not None:
            if now - self._unread_since > limits.patience + self._unread_bytes / limits.slowest:
                self.transport.abort()
        elif self._since is not None and self.flow.read_paused:
            self._since = now  # the server itself does not read
        elif self._since is not None and now - self._since > self._seconds():
            if self._in_head:
                self.transport.abort()  # nothing was asked yet that could be answered
            else:
                self._refuse(408, "the body of the request did not arrive in time")

    def _seconds(self) -> float:
        """The time that a head, or a body of which some bytes have arrived, may take in all."""
        if self._in_head:
            return self._limits.head_seconds
        return min(self._limits.body_seconds, self._limits.patience + self._body_bytes / self._limits.slowest)

    def _parse(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if not (self._in_head or self._in_trailers) or self.transport.is_closing():
            return
        if self._head_bytes > self._limits.head_bytes - SLICE_BYTES or len(self.headers or ()) > self._limits.headers:
            self._refuse(431, "the headers of the request are too large or too many")

    def _refuse(self, status: int, why: str) -> None:
        """Answer without the application, and close. If this request, or the one before it, is answered: only close."""
        cycle = self.cycle
        if cycle is not None and (not cycle.response_complete if self._in_head else cycle.response_started):
            self.transport.abort()
            return
        body = json.dumps({"error": why, "code": status * 100_000 + 10_000, "message": why}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nconnection: close\r\n"
        about = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(f"{head}{about}".encode() + body)
        self.transport.close()


def _files_to_spare(wanted: int) -> int:
    """How many connections leave a process half of the files that it may still open, and at least `LEAST_FILES`."""
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = psutil.Process().num_fds()
    enough = used + 2 * wanted
    if soft != resource.RLIM_INFINITY and soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (
        wanted
        if soft == resource.RLIM_INFINITY
        else max(LEAST_CONNECTIONS, min((soft - used) // 2, soft - used - LEAST_FILES))
    )
