"""A server on this machine whose every answer is one of the kinds that hostile or broken servers give."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DRIP_SECONDS = 0.05
ENDLESS = 2**40


class OddHandler(BaseHTTPRequestHandler):
    """Answers with one of `KINDS`."""

    protocol_version = "HTTP/1.1"
    server: OddServer

    def go(self) -> None:
        """Read the request, and answer as the server's kind says."""
        self.rfile.read(int(self.headers.get("content-length", 0) or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        try:
            KINDS[self.server.kind](self)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_DELETE = go

    def send(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Send a whole answer, whose length may be said to be another."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, data: Callable[[int], bytes]) -> None:
        """Send a few bytes at a time until nobody listens or the server is stopped."""
        sent = 0
        while not self.server.stopped.wait(DRIP_SECONDS):
            self.wfile.write(data(sent))
            self.wfile.flush()
            sent += 1

    def flood(self) -> None:
        """Send megabytes until nobody listens."""
        while not self.server.stopped.is_set():
            self.wfile.write(b" " * 2**20)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _drip_body(answer: OddHandler) -> None:
    answer.send(b"", length=ENDLESS)
    answer.drip(lambda _: b" ")


def _drip_headers(answer: OddHandler) -> None:
    answer.wfile.write(b"HTTP/1.1 200 OK\r\n")
    answer.drip(lambda sent: f"X-{sent}: 1\r\n".encode() if sent < 90 else b"x")


def _drip_status(answer: OddHandler) -> None:
    answer.drip(lambda sent: b"HTTP/1.1 200 OK"[sent : sent + 1] or b"K")


def _drip_chunks(answer: OddHandler) -> None:
    answer.send_response(200)
    answer.send_header("Transfer-Encoding", "chunked")
    answer.end_headers()
    answer.drip(lambda _: b"1\r\n \r\n")


def _continues(answer: OddHandler) -> None:
    answer.drip(lambda _: b"HTTP/1.1 100 Continue\r\n\r\n")


def _flood(answer: OddHandler) -> None:
    answer.send(b"", length=3 * 2**30)
    answer.flood()


def _flood_without_length(answer: OddHandler) -> None:
    answer.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    answer.flood()


def _flood_of_a_redirect(answer: OddHandler) -> None:
    answer.send(b"", 302, 3 * 2**30, Location="/elsewhere")
    answer.flood()


def _packed(answer: OddHandler) -> None:
    pack = zlib.compressobj(wbits=31)
    body = b"".join([*(pack.compress(b" " * 2**20) for _ in range(256)), pack.flush()])
    answer.send(body, Content_Encoding="gzip")


KINDS: dict[str, Callable[[OddHandler], None]] = {
    "drip-body": _drip_body,
    "drip-headers": _drip_headers,
    "drip-status": _drip_status,
    "drip-chunks": _drip_chunks,
    "continues": _continues,
    "flood": _flood,
    "flood-without-length": _flood_without_length,
    "flood-redirect": _flood_of_a_redirect,
    "packed": _packed,
    "deep": lambda answer: answer.send(b"[" * 100_000),
    "deep-refusal": lambda answer: answer.send(b'{"message":' * 100_000, 422),
    "long-number": lambda answer: answer.send(b"9" * 5_000),
    "html": lambda answer: answer.send(b"<html>" + b"x" * 5_000),
    "empty": lambda answer: answer.send(b""),
    "ok": lambda answer: answer.send(b'{"ok": true}'),
}
SLOW = ("drip-body", "drip-headers", "drip-status", "drip-chunks", "continues")
LARGE = ("flood", "flood-without-length", "packed")


class OddServer(ThreadingHTTPServer):
    """The server; `kind` may be changed at any time, `asked` has each request."""

    daemon_threads = True

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), OddHandler)
        self.kind = kind
        self.asked: list[str] = []
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def odd_server(kind: str = "ok") -> Iterator[OddServer]:
    """Serve until the block ends."""
    server = OddServer(kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
