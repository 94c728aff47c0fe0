"""A load generator in asyncio: many connections, each of which sends its next request as soon as it has an answer.

`python tests/bench/serve_client.py ADDRESS FOLDER CONNECTIONS SECONDS` prints the same line as serve_load.lua.
It is slower than wrk and therefore understates a fast server, but it records every answer: the reliability tests use
`ask_for`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

Answer = tuple[int, float, bytes]  # status (0: the connection broke), seconds, head of the answer


@dataclass
class Requests:
    """Whole HTTP requests, as bytes, in the order in which they are sent.

    Attributes:
        heads: sent in this order, again and again.
        bodies: one is drawn at random for each request.
    """

    heads: Sequence[bytes]
    bodies: Sequence[bytes]
    _next: itertools.cycle[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._next = itertools.cycle(self.heads)

    def draw(self) -> bytes:
        """The next request."""
        return next(self._next) + random.choice(self.bodies)


def post(path: str, length: int, kind: str = "application/json") -> bytes:
    """Head of a POST request."""
    return f"POST {path} HTTP/1.1\r\nHost: [::1]\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()


async def ask_for(address: str, requests: Requests, connections: int, seconds: float) -> list[Answer]:
    """Send requests over several connections for some time. A connection that breaks is opened again.

    Returns:
        Every answer and every broken connection, in the order of time.
    """
    end = time.perf_counter() + seconds
    answers: list[Answer] = []
    asking = (_connection(address, requests, answers, end) for _ in range(connections))
    await asyncio.gather(*asking)
    return answers


async def _connection(address: str, requests: Requests, answers: list[Answer], end: float) -> None:
    parts = urlsplit(address)
    while time.perf_counter() < end:
        began = time.perf_counter()
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            while (began := time.perf_counter()) < end:
                writer.write(requests.draw())
                answers.append(await _answer(reader, began))
        except (OSError, asyncio.IncompleteReadError):
            answers.append((0, time.perf_counter() - began, b""))
            await asyncio.sleep(0.01)
        finally:
            if writer is not None:
                writer.close()


async def _answer(reader: asyncio.StreamReader, began: float) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.find(b"content-length:")
    if length < 0:
        raise OSError("an answer without Content-Length: this client reads no others")
    await reader.readexactly(int(head[length + 15 : head.index(b"\r\n", length)]))
    return int(head[9:12]), time.perf_counter() - began, head


def _read(folder: Path) -> Requests:
    kind, *paths = (folder / "head").read_text().split("\n")[:-1]
    bodies = (folder / "bodies").read_bytes().split(b"\n")[:-1]
    heads = [post(path, len(bodies[0]), kind) for path in paths]
    return Requests([heads[int(number) - 1] for number in (folder / "order").read_text().split()], bodies)


def main(address: str, folder: Path, connections: int, seconds: float) -> None:
    """Send requests and print the figures."""
    answers = asyncio.run(ask_for(address, _read(folder), connections, seconds))
    took = sorted(1e3 * time for status, time, _ in answers if status) or [0.0]
    figures = {
        "requests": sum(status > 0 for status, _, _ in answers),
        "seconds": seconds,
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[len(took) * 99 // 100],
        "refused": sum(status >= 400 for status, _, _ in answers),
        "broken": sum(status == 0 for status, _, _ in answers),
    }
    print("FIGURES", json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
