"""Measurements of `mlops serve` alone: first requests, many models in little memory, and all forecasts at once."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from tests.bench.bench_processes import BenchError
from tests.bench.serve_load import infer_bodies
from tests.bench.serve_models import Collection
from tests.bench.serve_peers import Server, ours, running

HEADERS = {"Content-Type": "application/json"}
ASKED = 20  # number of requests for all forecasts


@dataclass(frozen=True)
class Cold:
    """Times of the first request to every model of a collection, sent one after another.

    Attributes:
        starts: seconds until the server was ready, at its first start and after a restart.
        first: milliseconds of each request at the first start.
        again: milliseconds of each request after a restart.
    """

    starts: list[float]
    first: list[float]
    again: list[float]


@dataclass(frozen=True)
class Cycled:
    """Measurements of asking all models of a collection in turn, several times.

    Attributes:
        start_bytes: memory before the first request.
        bytes: largest memory, measured after every round.
        resident: models in memory at the end.
        milliseconds: of each request after the first round.
    """

    start_bytes: int
    bytes: int
    resident: int
    milliseconds: list[float]


def cold_loads(collection: Collection, folder: Path) -> Cold:
    """Ask every model once in a server that has just started, then again after a restart."""
    shutil.rmtree(collection.root / ".mlops", ignore_errors=True)
    bodies = infer_bodies(collection.rows)
    starts, milliseconds = [], []
    for turn in ("first", "again"):
        with running(ours(), collection, folder / turn) as server, connected(server) as client:
            starts.append(server.start_seconds)
            milliseconds.append(_ask_each(client, collection, bodies))
    return Cold(starts, *milliseconds)


def cycle(collection: Collection, rounds: int, folder: Path) -> Cycled:
    """Ask all models in turn for several rounds: the worst order for a least-recently-used cache."""
    bodies = infer_bodies(collection.rows)
    with running(ours(), collection, folder) as server, connected(server) as client:
        start = most = server.memory
        later: list[float] = []
        for turn in range(rounds):
            took = _ask_each(client, collection, bodies)
            later += took if turn else []
            most = max(most, server.memory)
        resident = int(metrics(client).get("mlops_resident_models", 0))
    return Cycled(start, most, resident, later)


def all_forecasts(collection: Collection, folder: Path) -> list[float]:
    """Milliseconds of `GET /forecasts`. The first request loads every model and reads every feature table."""
    milliseconds = []
    with running(ours(), collection, folder) as server, connected(server) as client:
        for _ in range(ASKED):
            began = time.perf_counter()
            answer = json.loads(_ask(client, "GET", "/forecasts"))
            milliseconds.append(1e3 * (time.perf_counter() - began))
            if len(answer["forecasts"]) != len(collection.names):
                raise BenchError(f"{len(answer['forecasts'])} forecasts of {len(collection.names)} models")
    return milliseconds


def metrics(client: http.client.HTTPConnection) -> dict[str, float]:
    """All values of `/metrics`, summed over all labels except the rung."""
    totals: dict[str, float] = {}
    for line in _ask(client, "GET", "/metrics").decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            key = name if "rung=" in name else name.split("{")[0]
            totals[key] = totals.get(key, 0.0) + float(value)
    return totals


@contextmanager
def connected(server: Server) -> Iterator[http.client.HTTPConnection]:
    """A connection that is kept open."""
    parts = urlsplit(server.address)
    assert parts.hostname is not None
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as client:
        yield client


def _ask_each(client: http.client.HTTPConnection, collection: Collection, bodies: Sequence[str]) -> list[float]:
    """Milliseconds of one request to every model."""
    milliseconds = []
    for index, name in enumerate(collection.names):
        began = time.perf_counter()
        _ask(client, "POST", f"/v2/models/{name}/infer", bodies[index % len(bodies)])
        milliseconds.append(1e3 * (time.perf_counter() - began))
    return milliseconds


def _ask(client: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> bytes:
    client.request(method, path, body, HEADERS)
    answer = client.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise BenchError(f"{method} {path}: {answer.status}: {content[:500].decode(errors='replace')}")
    return content


def p99(values: Iterable[float]) -> float:
    """The 99th percentile."""
    return float(np.percentile(list(values), 99))
