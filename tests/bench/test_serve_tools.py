"""The tools of the serving benchmark: both load generators with the real floor server; no process is left behind."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.bench.bench_processes import BenchError
from tests.bench.serve_compare import ServerFigures
from tests.bench.serve_load import Figures, infer_bodies, load, orders, write_load
from tests.bench.serve_models import Collection
from tests.bench.serve_peers import Peer, Server, floor, running
from tests.bench.serve_tables import load_rows, target_rows
from tests.fakes.served_projects import COLUMNS, served_project

NAMES = ("red-a", "red-b")
ROWS = np.random.default_rng(7).standard_normal((50, len(COLUMNS))).astype(np.float32)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    root = served_project(tmp_path_factory.mktemp("served") / "p", NAMES)
    return Collection(root, NAMES, ROWS)


@pytest.fixture(scope="module")
def server(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(floor("asgi"), collection, tmp_path_factory.mktemp("floor") / "run") as figures:
        yield figures


@pytest.mark.parametrize("generator", ["wrk", "client"])
def test_both_generators_get_every_answer(
    server: Server, tmp_path: Path, generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if generator == "client":
        monkeypatch.setenv("PATH", "")
    elif shutil.which("wrk") is None:
        pytest.skip("no wrk on this machine")
    paths = [f"/v2/models/{name}/infer" for name in NAMES]
    what = write_load(tmp_path / "load", paths, orders(2)["uniform"], infer_bodies(ROWS), "application/json")
    figures = load(server.address, what, 4, 1)
    assert figures.requests > 50
    assert (figures.refused, figures.broken) == (0, 0)
    assert 0 < figures.p50_ms <= figures.p99_ms
    assert server.memory > 10e6


def test_a_server_that_does_not_start_is_reported_and_nothing_is_left(collection: Collection, tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    broken = Peer(
        "broken", lambda collection, port, folder: [sys.executable, "-c", "import sys; sys.exit('the reason')"]
    )
    with (
        pytest.raises(BenchError, match=r"(?s)ended with code 1.*the reason"),
        running(broken, collection, tmp_path / "r"),
    ):
        pass
    assert not set(psutil.Process().children(recursive=True)) - before


def test_uniform_and_zipf_ask_as_they_say() -> None:
    asked = orders(1000)
    uniform, zipf = (np.bincount(asked[kind], minlength=1000) / len(asked[kind]) for kind in ("uniform", "Zipf"))
    assert uniform.max() < 0.005
    assert 0.15 < zipf[0] < 0.21
    assert 0.4 < zipf[:10].sum() < 0.55


def test_tables_say_who_met_what() -> None:
    cells = {("uniform", 8): 10.0, ("uniform", 64): 50.0}

    def figures(rate: int) -> ServerFigures:
        return ServerFigures(
            1.0, 300_000_000, {cell: [Figures(rate, 1.0, 1.0, p99, 0, 0)] for cell, p99 in cells.items()}
        )

    servers = {"mlops serve": figures(900), "floor, bare ASGI": figures(1000), "MLServer 1.7.1": figures(400)}
    rows = [row.cells() for row in target_rows(servers, None, 1000)]
    assert [row[2] for row in rows] == [
        ">= 0.8 x: met",
        ">= 3 x: missed",
        "<= 10 ms: met",
        ">= 0.8 x: met",
        ">= 3 x: missed",
        "<= 60 ms: met",
        "<= 500 MB: met",
    ]
    texts = [row.cells() for row in load_rows({1000: servers}, None)]
    assert texts[0][1] == "900 req/s; 1 / 10 ms"
    assert texts[0][3] == "0.900 x the bare floor"
