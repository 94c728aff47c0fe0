"""HTTP connections within limits that uvicorn itself lacks.

Uvicorn bounds neither the head of a request (request line and headers) nor the time that a request takes to arrive. Its
`limit_concurrency` refuses all requests once too many connections are open, also those of callers that were there
before. Here, a connection whose request does not arrive in time is closed. When too many connections are open, the one
that has waited longest for its request is closed in favour of the new one.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import psutil
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

SWEEP_SECONDS = 1.0
SLICE_BYTES = 4096
"""A head is parsed in parts of this size: what the bound of its size may be exceeded by."""
AT_ONCE = "mlops.answer_at_once"
"""Key in the `extensions` of a scope: a function that sends a whole answer, see `BoundedHttp._answer`."""
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LARGEST_REST = 10_000_000
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
        body_seconds: for the whole request to arrive.
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
        self._open: dict[BoundedHttp, None] = {}  # in the order in which they came
        self._most = 0  # known at the first connection, when the server has opened what it needs
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: BoundedHttp) -> bool:
        """Count a new connection, and close others if there are too many; False if all of them are being answered."""
        if not self._most:
            self._most = min(self.limits.connections, _files_to_spare(self.limits.connections))
        if len(self._open) >= self._most and not self._make_room():
            return False
        self._open[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_SECONDS, self._sweep, connection.loop)
        return True

    def remove(self, connection: BoundedHttp) -> None:
        """Forget a connection that is closed."""
        self._open.pop(connection, None)

    def _make_room(self) -> bool:
        """Close some of the connections without a whole request: those that began to wait first, and idle ones last."""
        waiting = [connection for connection in self._open if connection.is_waiting]
        waiting.sort(key=lambda connection: (connection.since is None, connection.since))
        for connection in waiting[: 1 + self._most // 20]:  # several, because looking for them takes time
            self.remove(connection)
            connection.transport.abort()
        return bool(waiting)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [*self._open]:
            connection.check_time(now)
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._open else None


class BoundedHttp(HttpToolsProtocol):
    """A connection within `Limits`.

    A request that arrives as a whole, as most do, costs one comparison more than without limits.
    """

    def __init__(self, connections: Connections, **settings: Any) -> None:
        super().__init__(**settings)
        self.since: float | None = None
        """When the wait for the rest of a request began; None where nothing of one has arrived, or all of it."""
        self._connections = connections
        self._limits = connections.limits
        self._begun: Any = None  # the scope of the request that is arriving
        self._received = 0  # bytes of it
        self._in_chunks = False
        self._trailers = 0  # bytes that may be trailers: none of them was body
        self._body: tuple[int, int] = (0, 0)
        self._unread_since: float | None = None
        self._unread_bytes = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the connection waits for a request or a part of it, and is not being answered."""
        return self.since is not None or self.cycle is None or self.cycle.response_complete

    # what the event loop and the parser call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it with 503 if all others are being answered."""
        super().connection_made(transport)
        self.since = self.loop.time()
        if not self._connections.add(self):
            self._refuse(503, "too many connections are open")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; a head and chunks in slices, because their bounds are checked between them."""
        if len(data) <= SLICE_BYTES:
            self._parse(data)
            return
        place = 0
        while place < len(data) and not self.transport.is_closing():
            size = len(data) if self._in_body and not self._in_chunks else SLICE_BYTES
            self._parse(data[place : place + size])
            place += size

    def on_headers_complete(self) -> None:
        """Start a request. Its scope says how it can be answered at once (`_answer`)."""
        super().on_headers_complete()
        at_once: Any = partial(self._answer, self.cycle)
        self.scope["extensions"] = {AT_ONCE: at_once}

    def on_chunk_header(self) -> None:
        """A chunk of a body begins; the last one is empty, and trailers follow it."""
        self._in_chunks, self._trailers = True, 0

    def pause_writing(self) -> None:
        """Note when the client stopped reading its answer."""
        super().pause_writing()
        self._unread_since, self._unread_bytes = self.loop.time(), self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self._unread_since = None

    def _answer(self, cycle: Any, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole answer in one write, which is quicker than the two messages of ASGI.

        Args:
            cycle: the request that is answered.
            status: HTTP status; not 204 or 304, which have no body.
            headers: in lower case, with the `content-length` of `body`, and no `connection`.
            body: of any length.

        Returns:
            Whether it was sent. If not, it has to be sent by messages: the caller reads slowly, asks for no body, or
            the connection will be closed behind the answer.
        """
        if cycle.response_started or cycle.disconnected or not cycle.keep_alive:
            return False
        if cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
        head = b"".join(lines)
        if _CONTROL.search(head.replace(b"\r\n", b"")) or head.count(b"\n") != len(lines):
            raise RuntimeError("a header has a line break or another control character")
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join((STATUS_LINE[status], head, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True

    # limits

    def check_time(self, now: float) -> None:
        """Close the connection if a request, or the reading of an answer, takes too long."""
        limits = self._limits
        if self._unread_since is not None:
            if now - self._unread_since > limits.patience + self._unread_bytes / limits.slowest:
                self.transport.abort()
        elif self.since is not None and self.flow.read_paused:
            self.since = now  # the server itself does not read
        elif self.since is not None and now - self.since > self._seconds():
            if self._in_body:
                self._refuse(408, "the body of the request did not arrive in time")
            else:
                self.transport.abort()  # nothing was asked yet that could be answered

    def _seconds(self) -> float:
        """The time that a head, or a request of which some bytes have arrived, may take in all."""
        if not self._in_body:
            return self._limits.head_seconds
        return min(self._limits.body_seconds, self._limits.patience + self._received / self._limits.slowest)

    @property
    def _in_body(self) -> bool:
        """Whether the head of the present request has arrived, and its body has not."""
        return self.cycle is not None and self.cycle.more_body and self.scope is self.cycle.scope

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and not cycle.more_body and self.scope is cycle.scope:
            self.since = None  # a request has arrived, and nothing of another one
            self._in_chunks = False
        else:
            self._check_size(len(data))

    def _check_size(self, size: int) -> None:
        """Refuse a request whose head or trailers are too large; `size` bytes of it have just arrived."""
        if self.since is None or self.scope is not self._begun:
            self.since, self._received, self._begun = self.loop.time(), 0, self.scope
        self._received += size
        if not self._in_body:
            large = self._received > self._limits.head_bytes - SLICE_BYTES
            large = large or len(self.headers or ()) > self._limits.headers
        else:
            large = self._in_chunks and self._too_many_trailers(size)
        if large and not self.transport.is_closing():
            self._refuse(431, "the headers of the request are too large or too many")

    def _too_many_trailers(self, size: int) -> bool:
        """Whether what has arrived since the beginning of a chunk is no body, and too large for trailers."""
        body, self._body = self._body, (id(self.cycle.body), len(self.cycle.body))
        self._trailers = self._trailers + size if body == self._body else 0
        answered = self.cycle.response_complete  # then the rest of the body is thrown away, and looks like trailers
        most = _LARGEST_REST if answered else self._limits.head_bytes - SLICE_BYTES
        return self._trailers > most or len(self.headers) > 2 * self._limits.headers

    def _refuse(self, status: int, why: str) -> None:
        """Answer without the application, and close. If this request, or the one before it, is answered: only close."""
        cycle = self.cycle
        if cycle is not None and (cycle.response_started if self._in_body else not cycle.response_complete):
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
