"""Compare all servers on one collection of models, asked in turn."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from mlops_cli.models.manifest import read_manifest
from tests.bench.bench_processes import BenchError
from tests.bench.serve_load import Figures, form_bodies, infer_bodies, load, orders, write_load
from tests.bench.serve_models import Collection, Seed
from tests.bench.serve_peers import Peer, Server, ours, running
from tests.bench.serve_single import connected, metrics

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
WARM_SECONDS = 2

Cell = tuple[str, int]  # which models are asked, and the number of connections


@dataclass
class ServerFigures:
    """The measurements of one server with one collection.

    Attributes:
        start_seconds: time until it was ready.
        bytes: memory after every model was asked once.
        runs: by cell, one for each round.
        rungs: number of answers by degradation step, if the server reports it.
    """

    start_seconds: int
    bytes: int = 0
    runs: dict[Cell, list[Figures]] = field(default_factory=dict)
    rungs: dict[str, int] = field(default_factory=dict)

    def rate(self, cell: Cell) -> float:
        """Requests per second, the median of the rounds."""
        return median(run.rate for run in self.runs[cell])

    def p50(self, cell: Cell) -> float:
        """Milliseconds, the median of the rounds."""
        return median(run.p50_ms for run in self.runs[cell])

    def p99(self, cell: Cell) -> float:
        """Milliseconds, the median of the rounds."""
        return median(run.p99_ms for run in self.runs[cell])

    def lost(self, cell: Cell) -> int:
        """Requests of all rounds that were refused or never answered."""
        return sum(run.refused + run.broken for run in self.runs[cell])


def compare_servers(
    peers: Sequence[Peer], collection: Collection, cells: Sequence[Cell], rounds: int, seconds: int, folder: Path
) -> tuple[dict[str, ServerFigures], dict[str, str]]:
    """Start all servers, then measure every cell in turn, so that other work on the machine affects all servers alike.

    Args:
        peers: servers to compare.
        collection: models that each server serves.
        cells: loads.
        rounds: per cell.
        seconds: per load.
        folder: for all files; created.

    Returns:
        The measurements, and the reasons why other servers were not measured, both by name of the server.
    """
    paths = [f"/v2/models/{name}/infer" for name in collection.names]
    bodies = infer_bodies(collection.rows)
    asked = {"each": np.arange(len(paths)), **orders(len(paths))}
    loads = {kind: write_load(folder / kind.lower(), paths, order, bodies, JSON) for kind, order in asked.items()}
    measured: dict[str, ServerFigures] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for index, peer in enumerate(peers):
            say(f"{len(paths)} models: starting {peer.name}")
            try:
                server = stack.enter_context(running(peer, collection, folder / f"server{index}"))
                load(server.address, loads["each"], 8, WARM_SECONDS)
            except BenchError as error:
                failed[peer.name] = str(error)
            else:
                servers[peer.name] = server
                measured[peer.name] = ServerFigures(server.start_seconds, server.memory)
        for name, cell, figures in _take_turns(servers, loads, cells, rounds, seconds):
            if isinstance(figures, BenchError):
                failed[name] = str(figures)
            else:
                measured[name].runs.setdefault(cell, []).append(figures)
        if ours().name in servers:
            measured[ours().name].rungs = _rungs(servers[ours().name])
    return {name: server for name, server in measured.items() if name not in failed}, failed


def measure_ludwig(peer: Peer, seed: Seed, collection: Collection, seconds: int, folder: Path) -> ServerFigures:
    """Measure `ludwig serve`, which serves one model, with the same rows."""
    say(f"starting {peer.name}")
    columns = read_manifest(seed.folder).inputs
    bodies = form_bodies(collection.rows, columns)
    what = write_load(folder / "form", ["/predict"], np.zeros(1, dtype=int), bodies, FORM)
    with running(peer, collection, folder / "server") as server:
        load(server.address, what, 1, WARM_SECONDS)
        measured = ServerFigures(server.start_seconds, server.memory)
        for connections in (1, 8, 64):
            measured.runs["one", connections] = [load(server.address, what, connections, seconds)]
    return measured


def _take_turns(
    servers: Mapping[str, Server], loads: Mapping[str, Path], cells: Sequence[Cell], rounds: int, seconds: int
) -> Iterator[tuple[str, Cell, Figures | BenchError]]:
    """Figures by server and cell. A server that fails is left out from then on."""
    left = dict(servers)
    for cell in cells:
        say(f"{cell[0]}, {cell[1]} connections")
        for _ in range(rounds):
            for name, server in list(left.items()):
                try:
                    yield name, cell, load(server.address, loads[cell[0]], cell[1], seconds)
                except BenchError as error:
                    del left[name]
                    yield name, cell, error


def _rungs(server: Server) -> dict[str, int]:
    with connected(server) as client:
        return {name: int(value) for name, value in metrics(client).items() if "rung=" in name}


def say(text: str) -> None:
    """Print progress to stderr."""
    print(f"serve: {text}", file=sys.stderr, flush=True)
