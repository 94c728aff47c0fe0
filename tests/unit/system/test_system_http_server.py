"""The server's limits on connections: heads, bodies and answers that never end, and too many at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mlops_cli.system import http_connections as module
from mlops_cli.system.http_connections import Limits
from mlops_cli.system.http_server import Server, ServerTimes, http_server
from mlops_cli.system.sockets import listen

QUICK = Limits(connections=5, head_seconds=0.3, body_seconds=1.0, patience=0.5, slowest=1e6)
ANSWER_BYTES = 30_000_000
PATIENCE_SECONDS = 10


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length of the body; /early does not read it, /slow waits, /large answers with megabytes.

    /once answers in one write, and /broken tries that with a header that has a line break.
    """
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(1.0)
    body = b"x" * ANSWER_BYTES if scope["path"] == "/large" else str(size).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    if scope["path"] == "/broken":
        headers.append((b"x-name", b"a\r\nset-cookie: b"))
    if scope["path"] in ("/once", "/broken") and scope["extensions"][module.AT_ONCE](200, headers, body):
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Running:
    port: int
    server: Server

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    def ask(self, data: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> bytes:
        """Send bytes on a connection of their own; what comes back until it is closed, or answered."""
        with self.connect() as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(data)
            return read(connection)
        return b""


def read(connection: socket.socket) -> bytes:
    """An answer's head and what comes with it, or what comes before the connection is closed."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while b"\r\n\r\n" not in data:
            part = connection.recv(65_536)
            if not part:
                break
            data += part
    return data


def closed(connection: socket.socket) -> bool:
    """Whether the server closes it within the time that a test waits."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65_536):
            pass
    return True


@contextlib.contextmanager
def serving(limits: Limits) -> Iterator[Running]:
    listening = listen("127.0.0.1", 0, "")
    server = http_server(app, ServerTimes(keep_alive=5, drain=1), limits=limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Running(listening.getsockname()[1], server)
    finally:
        server.stop()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.05)
    with serving(QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def usual() -> Iterator[Running]:
    with serving(Limits()) as running:
        yield running


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "size"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\nhello", b"5"),
        (HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000, b"200000"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"5"),
        (CHUNKED + b"5\r\nhello\r\n0\r\nTrailer: yes\r\n\r\n", b"5"),
        (CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n", b"20000"),  # 120 kB around 20 kB
        (CHUNKED + b"2710\r\n" + b"x" * 10_000 + b"\r\n0\r\n\r\n", b"10000"),
        (HEAD + b"X: " + b"a" * 55_000 + b"\r\nContent-Length: 2\r\n\r\nab", b"2"),
        (HEAD + b"".join(b"X%d: a\r\n" % number for number in range(95)) + b"\r\n", b"0"),
        (b"GET / HTTP/1.0\r\n\r\n", b"0"),
        (b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"0"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"0"),
    ],
)
def test_requests_within_the_limits_are_answered(usual: Running, request_bytes: bytes, size: bytes) -> None:
    assert usual.ask(request_bytes).endswith(b"\r\n\r\n" + size)


def test_pipelined_requests_are_answered_although_they_are_large_together(usual: Running) -> None:
    one = HEAD + b"X: " + b"a" * 7_000 + b"\r\nContent-Length: 3\r\n\r\nabc"
    with usual.connect() as connection:
        connection.sendall(one * 30)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 30 or not answers.endswith(b"\r\n\r\n3"):
            answers += connection.recv(65_536)
    assert answers.count(b"HTTP/1.1 200") == 30


ENDLESS = {
    "a value": HEAD + b"X: ",
    "a name": HEAD,
    "a path": b"GET /",
    "a method": b"",
    "trailers": CHUNKED + b"1\r\nx\r\n0\r\nX: ",
}


@pytest.mark.parametrize("start", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_cut(usual: Running, start: bytes) -> None:
    began, sent = time.monotonic(), 0
    with usual.connect() as connection:
        try:
            connection.sendall(start)
            for _ in range(60):
                connection.sendall(b"a" * 1_000_000)
                sent += 1_000_000
        except OSError:  # it was cut while we sent
            pass
        else:
            pytest.fail("60 MB were taken")
    assert sent < 8_000_000, "more than the kernel holds"
    assert time.monotonic() - began < 2
    assert usual.ask().endswith(b"\r\n\r\n0")


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        HEAD + b"".join(b"X%d: %s\r\n" % (number, b"a" * 700) for number in range(99)) + b"\r\n",
        HEAD + b"a:\r\n" * 3_000,
        CHUNKED + b"1\r\nx\r\n0\r\n" + b"X: y\r\n" * 3_000,
    ],
)
def test_large_heads_are_refused_in_words(usual: Running, data: bytes) -> None:
    answer = usual.ask(data)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b'"error": "the headers of the request are too large or too many"' in answer


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET", HEAD, HEAD + b"X-A: b"])
def test_a_head_has_to_arrive_in_time(quick: Running, begun: bytes) -> None:
    with quick.connect() as connection:
        connection.sendall(begun)
        answer = read(connection)
    assert answer == b""


def test_a_second_head_has_to_arrive_in_time_too(quick: Running) -> None:
    with quick.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HT")
        assert closed(connection)
    with quick.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
        assert read(connection).startswith(b"HTTP/1.1 200")
        assert closed(connection)


@pytest.mark.parametrize("body", [b"", b"{", b"x" * 400])
@pytest.mark.parametrize("path", [b"/", b"/early"])
def test_a_body_has_to_arrive_in_time(quick: Running, body: bytes, path: bytes) -> None:
    with quick.connect() as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n" + body)
        answer = read(connection)
        assert answer.startswith(b"HTTP/1.1 200" if path == b"/early" else b"HTTP/1.1 408"), answer
        assert closed(connection)


def test_a_body_that_drips_is_cut_at_the_end_of_its_time(quick: Running) -> None:
    began = time.monotonic()
    with quick.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(HEAD + b"Content-Length: 100000000\r\n\r\n")
        while time.monotonic() - began < 5:
            connection.sendall(b"x" * 1_000)
            time.sleep(0.02)
    assert 0.4 < time.monotonic() - began < 2


def test_an_idle_connection_is_used_again_after_an_early_answer(quick: Running) -> None:
    early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n"
    with quick.connect() as connection:
        for _ in range(3):
            connection.sendall(early)
            assert read(connection).startswith(b"HTTP/1.1 200")
            connection.sendall(b"x" * 500)
        assert closed(connection), "and it does not stay open for good"


def test_a_slow_answer_is_not_cut(quick: Running) -> None:
    began = time.monotonic()
    assert quick.ask(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began >= 1.0


def test_a_client_that_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.05)
    with serving(Limits(patience=0.3, slowest=1e8)) as running, running.connect() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.5)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1_000_000):
                received += len(part)
        assert received < ANSWER_BYTES


def test_a_client_that_reads_gets_it_all(usual: Running) -> None:
    with usual.connect() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = 0
        while part := connection.recv(1_000_000):
            received += len(part)
    assert received > ANSWER_BYTES


def test_those_who_wait_longest_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Limits(connections=5)) as running, contextlib.ExitStack() as opened:
        half_open = [opened.enter_context(running.connect()) for _ in range(5)]
        for connection in half_open:
            connection.sendall(b"GET / HT")
        time.sleep(0.2)
        assert running.ask().endswith(b"\r\n\r\n0")
        assert closed(half_open[0]), "the oldest"
        half_open[4].sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert read(half_open[4]).endswith(b"\r\n\r\n0")


def test_where_all_are_being_answered_a_new_one_is_refused_at_once() -> None:
    with serving(Limits(connections=3)) as running, contextlib.ExitStack() as opened:
        busy = [opened.enter_context(running.connect()) for _ in range(3)]
        for connection in busy:
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        with running.connect() as refused:
            assert read(refused).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert all(read(connection).startswith(b"HTTP/1.1 200") for connection in busy)
        assert running.ask().endswith(b"\r\n\r\n0")


def once(method: bytes = b"GET", more: bytes = b"", version: bytes = b"1.1") -> bytes:
    return method + b" /once HTTP/" + version + b"\r\nHost: x\r\n" + more + b"\r\n"


def test_an_answer_in_one_write_has_what_an_answer_in_messages_has(usual: Running) -> None:
    def head(answer: bytes) -> set[bytes]:
        return {line.partition(b":")[0] for line in answer.split(b"\r\n") if line}

    in_messages, at_once = usual.ask(), usual.ask(once())
    assert head(at_once) == head(in_messages) >= {b"HTTP/1.1 200 OK", b"date", b"content-length"}
    assert at_once.endswith(b"\r\n\r\n0")


def test_answers_in_one_write_keep_the_order_of_pipelined_requests(usual: Running) -> None:
    requests = b"".join(once(b"POST", b"Content-Length: %d\r\n" % size) + b"x" * size for size in range(10, 40))
    with usual.connect() as connection:
        connection.sendall(requests)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 30 or not answers.endswith(b"\r\n\r\n39"):
            answers += connection.recv(65_536)
    sizes = [int(answer.rpartition(b"\r\n\r\n")[2]) for answer in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert sizes == list(range(10, 40))


@pytest.mark.parametrize(
    ("request_bytes", "end"),
    [
        (once(b"HEAD"), b"\r\n\r\n"),
        (once(more=b"Connection: close\r\n"), b"connection: close\r\n\r\n0"),
        (once(version=b"1.0"), b"connection: close\r\n\r\n0"),
    ],
)
def test_where_one_write_will_not_do_messages_answer(usual: Running, request_bytes: bytes, end: bytes) -> None:
    assert usual.ask(request_bytes).endswith(end)


def test_no_line_break_gets_into_the_headers(usual: Running) -> None:
    answer = usual.ask(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"set-cookie" not in answer
