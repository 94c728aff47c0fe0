"""`mlops serve` as processes: how it starts, refuses to start, shares, survives, and ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fakes.cli import Cli, kill
from tests.fakes.live_servers import Live, live, trained_project

ROW = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 1], "data": [0.1]}]}
INFER = "/v2/models/dull-aaa/infer"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_project(tmp_path_factory.mktemp("processes") / "p").root


def until(wanted: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not wanted():
        assert time.monotonic() < deadline, f"never saw {what}"
        time.sleep(0.05)


def workers(server: Live) -> list[psutil.Process]:
    return [child for child in psutil.Process(server.tree.process.pid).children() if child.status() != "zombie"]


def ask_anew(server: Live) -> int:
    """Over a connection of its own, so that any worker may get it."""
    with server.http() as client:
        return client.post(INFER, json=ROW).status_code


def test_workers_share_what_they_are_told_and_replace_a_dead_one(root: Path) -> None:
    with live(root, "--workers", "2") as server:
        assert len(workers(server)) == 2
        with server.http() as client:
            assert client.post("/v2/repository/models/dull-aaa/unload").status_code == 200
        # every worker, whichever is asked, within a second
        until(lambda: {ask_anew(server) for _ in range(10)} == {503}, "the model unloaded everywhere")
        with server.http() as client:
            assert client.post("/v2/repository/models/dull-aaa/load").status_code == 200
        until(lambda: {ask_anew(server) for _ in range(10)} == {200}, "the model loaded everywhere")

        before = answers(server)
        first, second = workers(server)
        kill(first)
        assert {ask_anew(server) for _ in range(5)} == {200}
        until(lambda: len(workers(server)) == 2, "another worker")
        assert second in workers(server)
        until(lambda: measured_workers(server) == 2, "measures of both")
        assert answers(server) >= before
        assert any("starts again" in line for line in server.said)
        server.tree.process.terminate()
        assert server.tree.process.wait(30) == 0
        server.tree.gone(5)


def answers(server: Live) -> float:
    with server.http() as client:
        line = next(
            one for one in client.get("/metrics").text.splitlines() if one.startswith('mlops_answers_total{rung="full"')
        )
    return float(line.rsplit(" ", 1)[1])


def measured_workers(server: Live) -> int:
    with server.http() as client:
        return sum(one.startswith("mlops_level{") for one in client.get("/metrics").text.splitlines())


def test_workers_end_with_a_parent_that_is_killed(root: Path) -> None:
    with live(root, "--workers", "2") as server:
        kill(psutil.Process(server.tree.process.pid))
        server.tree.gone(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_begun_is_finished_before_the_end(root: Path, number: signal.Signals) -> None:
    with live(root) as server, server.http() as client:
        arrived, found = threading.Event(), []

        def slowly():
            body = json.dumps(ROW).encode()
            yield body[:10]
            arrived.set()
            time.sleep(1)
            yield body[10:]

        asking = threading.Thread(target=lambda: found.append(client.post(INFER, content=slowly()).status_code))
        asking.start()
        assert arrived.wait(10)
        time.sleep(0.2)
        server.tree.process.send_signal(number)
        asking.join(20)
        assert found == [200]
        assert server.tree.process.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            ask_anew(server)


def test_callers_beyond_this_machine_need_a_token(root: Path) -> None:
    refused = Cli(root).mlops("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 3
    assert "MLOPS_API_TOKEN" in refused.stderr
    with live(root, "--host", "0.0.0.0", MLOPS_API_TOKEN="open-sesame") as server:
        address = f"http://127.0.0.1:{server.host.rsplit(':', 1)[1]}"
        with httpx.Client(base_url=address) as client:
            for path in ("/forecasts", "/metrics", "/health", "/v2", "/v2/models/dull-aaa", "/nothing"):
                assert client.get(path).status_code == 401
            for wrong in (
                "Bearer no",
                "Basic open-sesame",
                "open-sesame",
                "Bearer open-sesam\xe9".encode("latin-1"),
                "",
            ):
                answer = client.post(INFER, json=ROW, headers={"authorization": wrong})
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
            for path in ("/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
                assert client.get(path).status_code == 200
            known = {"authorization": "Bearer open-sesame"}
            assert client.post(INFER, json=ROW, headers=known).status_code == 200
            assert client.get("/forecasts", headers=known).status_code == 200
    with live(root, "--host", "0.0.0.0", "--no-auth", MLOPS_API_TOKEN="open-sesame") as server:
        assert httpx.get(f"http://127.0.0.1:{server.host.rsplit(':', 1)[1]}/forecasts").status_code == 200


def test_a_taken_port_and_no_model_are_told(root: Path, tmp_path: Path) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = Cli(root).mlops("serve", "--port", str(port))
    assert refused.returncode == 8
    assert f"127.0.0.1:{port}" in refused.stderr
    (tmp_path / "params.yaml").write_text("branches: {}\n")
    for options in ((), ("--workers", "2"), ("--smoke",)):
        refused = Cli(tmp_path).mlops("serve", "--port", "0", *options)
        assert refused.returncode == 6, refused.stderr
        assert "mlops run" in refused.stderr


def test_smoke_asks_every_model_and_writes_the_same_file_again(root: Path) -> None:
    done = Cli(root).mlops("serve", "--smoke", "--keep-going")
    assert done.returncode == 0, done.stderr
    assert "6 models answered, 0 failed" in done.stdout
    written = (root / "serving.json").read_bytes()
    found = json.loads(written)
    assert [one["name"] for one in found["models"]][:2] == ["dull-aaa", "dull-bbb"]
    for one in found["models"]:
        manifest = json.loads((root / "models" / "main" / one["name"] / "manifest.json").read_text())
        assert one["sha256"] == manifest["files"]["model.onnx"]
        assert one["version"] == one["sha256"][:12]
        assert one["latest"]["version"] == one["version"]
    assert Cli(root).mlops("serve", "--smoke").returncode == 0
    assert (root / "serving.json").read_bytes() == written


def test_smoke_names_a_broken_model(root: Path) -> None:
    graph = root / "models" / "main" / "dull-bbb" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:50])
    try:
        done = Cli(root).mlops("serve", "--smoke")
        assert done.returncode == 9
        assert "dull-bbb" in done.stderr
        assert Cli(root).mlops("serve", "--smoke", "--keep-going").returncode == 0
        assert list(json.loads((root / "serving.json").read_text())["failures"]) == ["dull-bbb"]
    finally:
        graph.write_bytes(whole)
