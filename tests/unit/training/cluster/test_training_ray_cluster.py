"""Connecting to a cluster, how many tasks its nodes take, and which of their libraries differ."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import ServiceError
from mlops_cli.training.cluster.ray_cluster import TASK_BYTES, connected, count_places
from mlops_cli.training.cluster.ray_task import LIBRARIES, library_difference, library_versions

nodes = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "CPU": st.floats(0, 64),
            "GPU": st.floats(0, 8),
            "memory": st.floats(0, 64 * TASK_BYTES),
            "node:10.0.0.1": st.just(1.0),
        },
    ),
    max_size=5,
)


def node(cpus: float, memory: float, gpus: float | None = None) -> dict[str, float]:
    return {"CPU": cpus, "memory": memory * TASK_BYTES, **({} if gpus is None else {"GPU": gpus})}


@pytest.mark.parametrize(
    ("offered", "cpu", "cuda"),
    [
        ([], 0, 0),
        ([{}], 0, 0),
        ([node(4, 10)], 4, 0),
        ([node(4, 2.9)], 2, 0),
        ([node(4, 0.99)], 0, 0),
        ([node(0.5, 10)], 0, 0),
        ([node(4, 10, 1)], 4, 1),
        ([node(4, 10, 0.5)], 4, 0),
        ([node(1, 10, 4)], 1, 1),
        ([node(4, 10, 2), node(8, 3), {"GPU": 4.0}], 7, 2),
    ],
)
def test_a_task_needs_a_core_memory_and_with_cuda_a_gpu_of_one_node(offered, cpu, cuda):
    assert count_places(offered, cuda=False) == cpu
    assert count_places(offered, cuda=True) == cuda


@given(nodes, nodes)
def test_places_add_up_over_nodes_and_a_gpu_only_takes_away(one, other):
    for cuda in (False, True):
        assert count_places([*one, *other], cuda) == count_places(one, cuda) + count_places(other, cuda)
    assert count_places(one, cuda=True) <= count_places(one, cuda=False)


def test_the_installed_releases():
    releases = library_versions()
    assert set(releases) == set(LIBRARIES)
    assert releases["numpy"] == version("numpy")
    assert library_difference(releases, releases) == ""


def test_other_releases_are_named_with_those_that_are_needed():
    here, needed = (
        {"numpy": "2.1", "torch": "2.9", "ludwig": "0.17"},
        {"numpy": "2.2", "torch": "2.9", "ludwig": "0.18"},
    )
    assert library_difference(here, needed) == "numpy 2.1, ludwig 0.17, not numpy 2.2, ludwig 0.18"


def test_a_missing_library_is_named():
    assert library_difference({"torch": "missing"}, {"torch": "2.9"}) == "torch missing, not torch 2.9"


@pytest.mark.parametrize(("failures", "calls"), [(0, 1), (2, 3), (5, 3)])
def test_a_server_that_gives_up_while_it_sets_up_a_connection_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, calls: int
) -> None:
    asked: list[str] = []

    def init(**options: Any) -> None:
        asked.append(options["address"])
        if len(asked) <= failures:
            raise ConnectionAbortedError("Initialization failure from server")

    ray, grpc = pytest.importorskip("ray"), pytest.importorskip("grpc")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    refused = pytest.raises(ServiceError, match="Initialization failure") if failures == 5 else nullcontext()
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with refused, connected(f"ray://127.0.0.1:{port}", None):
            pass
    finally:
        server.stop(None)
    assert asked == [f"ray://127.0.0.1:{port}"] * calls
