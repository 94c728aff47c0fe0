"""The outermost callable without a network: what it refuses, what it lets through, what it counts."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from mlops_cli.errors import ConfigError, DataError, MlopsError, ModelError
from mlops_cli.serving.contract.messages import (
    Answer,
    BadInputError,
    OverloadedError,
    Query,
    UnknownModelError,
    UnservableError,
)
from mlops_cli.serving.http.counters import Counters, exposition
from mlops_cli.serving.http.front import Access, Front
from mlops_cli.serving.http.refusals import RefusedError, refusal
from mlops_cli.serving.http.request_bodies import SMALL
from mlops_cli.serving.http.worker_files import WorkerFiles
from mlops_cli.system.own_site import OwnSite

LARGEST = 1_000_000
BODY = orjson.dumps(
    {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 2], "data": [0.5, 1.5, 2.5, 3.5]}]}
)


@dataclass
class Plane:
    """A data plane that answers with the sums of the rows, or fails as it is told to."""

    failure: MlopsError | None = None
    age: float = 0.0
    asked: list[Query] = field(default_factory=list)

    async def infer(self, query: Query) -> Answer:
        self.asked.append(query)
        if self.failure is not None:
            raise self.failure
        sums = query.rows.sum(axis=1)
        return Answer(query.model, "small-one", "0123456789ab", sums, 2 * sums, "small", self.age, None)

    def measures(self) -> dict[str, float]:
        return {"level": 1.0, "queued": 3.0}


@dataclass
class Asked:
    """A front, its parts, and what came of a request."""

    plane: Plane = field(default_factory=Plane)
    token: str | None = None
    counters: Counters = field(default_factory=Counters)
    passed: list[bytes] = field(default_factory=list)
    more_headers: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.front = Front(self.plane, self._app, self.counters, Access(self.token, OwnSite.of("127.0.0.1")), LARGEST)

    async def _app(self, _: Any, receive: Any, send: Any) -> None:
        self.passed.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(
        self, path: str, parts: Sequence[bytes] = (BODY,), **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        given += [(name.encode(), value.encode()) for name, value in self.more_headers]
        scope = {"type": "http", "method": "POST", "path": path, "headers": given, "client": ("10.0.0.1", 5)}
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages[-1]["more_body"] = False
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(0)
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.front(scope, receive, send)
        about = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], about, b"".join(message["body"] for message in sent[1:])


def test_an_answer_with_all_it_has_to_say() -> None:
    asked = Asked(Plane(age=1.25))
    status, headers, body = asyncio.run(asked.ask("/v2/models/red-acme/infer", x_mlops_caller="me"))
    assert status == 200
    assert json.loads(body) == {
        "model_name": "red-acme",
        "model_version": "0123456789ab",
        "parameters": {"rung": "small", "answered_by": "small-one", "age": 1.25},
        "outputs": [
            {"name": "log_return", "datatype": "FP32", "shape": [2], "data": [2.0, 6.0]},
            {"name": "raw_log_return", "datatype": "FP32", "shape": [2], "data": [4.0, 12.0]},
        ],
    }
    assert headers == {
        "x-mlops-model": "small-one",
        "x-mlops-version": "0123456789ab",
        "x-mlops-rung": "small",
        "x-mlops-verdict": "not judged",
        "x-mlops-age": "1.250",
        "content-length": str(len(body)),
        "content-type": "application/json",
    }
    (query,) = asked.plane.asked
    assert (query.model, query.version, query.caller) == ("red-acme", None, "me")
    np.testing.assert_array_equal(query.rows, np.array([[0.5, 1.5], [2.5, 3.5]], np.float32))


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        ("/v2/models/main/red-acme/infer", "main/red-acme", None),
        ("/v2/models/red-acme/versions/0123456789ab/infer", "red-acme", "0123456789ab"),
        ("/v2/models/main/red-acme/versions/1/infer", "main/red-acme", "1"),
        ("/v2/models/../../etc/passwd/infer", "../../etc/passwd", None),
    ],
)
def test_names_are_handed_on_as_they_are(path: str, model: str, version: str | None) -> None:
    asked = Asked()
    assert asyncio.run(asked.ask(path))[0] == 200
    (query,) = asked.plane.asked
    assert (query.model, query.version, query.caller) == (model, version, "10.0.0.1")


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (OverloadedError("the queue is full", 3), 503),
        (UnservableError("unloaded", "load it"), 503),
        (UnknownModelError("no model 'x'"), 404),
        (BadInputError("wrong shape"), 400),
        (DataError("too few bars"), 400),
        (ConfigError("no such window"), 400),
        (ModelError("damaged"), 503),
        (RefusedError(413, "too large"), 413),
        (MlopsError("a bug"), 500),
    ],
)
def test_failures_are_told_as_the_protocol_has_it(failure: MlopsError, status: int) -> None:
    found, headers, body = asyncio.run(Asked(Plane(failure)).ask("/v2/models/x/infer"))
    assert found == status == refusal(failure)[0]
    assert headers.get("retry-after") == ("3" if isinstance(failure, OverloadedError) else None)
    said = json.loads(body)
    assert said["error"].startswith(failure.message)
    assert failure.hint in said["error"]
    assert said.get("hint", "") == failure.hint


def test_other_paths_go_on_whole_and_are_counted() -> None:
    asked = Asked()
    assert asyncio.run(asked.ask("/forecasts", [b"a", b"bc"]))[0] == 204
    assert asked.passed == [b"abc"]
    assert asyncio.run(asked.ask("/v2/models/x/infer", [b"{}"]))[0] == 400
    assert asked.counters.statuses == {"204": 1, "400": 1}
    assert sum(asked.counters.buckets) == 1


def test_large_bodies_under_way_are_bounded_and_small_ones_pass() -> None:
    asked = Asked()

    async def crowd() -> list[int]:
        large = [asked.ask("/transform/x", [b"y" * LARGEST] * 1, content_length=str(LARGEST)) for _ in range(20)]
        small = [asked.ask("/transform/x", [b"y"], content_length="1") for _ in range(20)]
        return [status for status, _, _ in await asyncio.gather(*large, *small)]

    for _ in range(2):  # the room is given back
        found = asyncio.run(crowd())
        assert found[:20].count(204) == 8
        assert found[:20].count(503) == 12
        assert found[20:] == [204] * 20


def test_packed_bodies_take_the_room_that_they_may_grow_to() -> None:
    asked, packed = Asked(), gzip.compress(b"y" * LARGEST)

    async def crowd() -> list[int]:
        wanted = [
            asked.ask("/transform/x", [packed], content_length=str(len(packed)), content_encoding="gzip")
            for _ in range(20)
        ]
        return [status for status, _, _ in await asyncio.gather(*wanted)]

    for _ in range(2):
        found = asyncio.run(crowd())
        assert found.count(503) >= 10
        assert found.count(204) + found.count(503) == 20


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ([b"x"], {"content_length": str(LARGEST + 1)}),
        ([b"x"], {"content_length": "9" * 4000}),
        ([b"x" * (LARGEST // 2)] * 3, {"transfer_encoding": "chunked"}),
        ([b"x" * SMALL] * 100, {"content_length": "10"}),
    ],
)
def test_too_large_bodies_are_refused(parts: list[bytes], headers: dict[str, str]) -> None:
    assert asyncio.run(Asked().ask("/transform/x", parts, **headers))[0] == 413


def test_only_bearers_of_the_token_pass() -> None:
    asked = Asked(token="sesame")
    for authorization in ("", "Bearer", "Bearer sesam", "Bearer sesame2", "Basic sesame", "sesame"):
        assert asyncio.run(asked.ask("/v2/models/x/infer", authorization=authorization))[0] == 401
    assert asyncio.run(asked.ask("/v2/models/x/infer", authorization="bearer sesame"))[0] == 200
    assert asyncio.run(asked.ask("/v2/health/live"))[0] == 204


def test_without_a_token_pages_of_other_sites_are_turned_away() -> None:
    path, asked = "/v2/repository/models/x/unload", Asked()
    assert asyncio.run(asked.ask(path, origin="https://evil.example", host="localhost:8080"))[0] == 403
    assert asyncio.run(asked.ask(path, origin="null", host="localhost:8080"))[0] == 403
    assert asked.passed == []
    assert asyncio.run(asked.ask(path, origin="http://localhost:8080", host="localhost:8080"))[0] == 204
    assert asyncio.run(asked.ask(path, host="localhost:8080"))[0] == 204


def test_counters_of_all_workers_are_added_up_and_outlive_one(tmp_path: Path) -> None:
    for worker in (0, 1):
        counters = Counters()
        counters.answers["full"] += 5
        counters.took(0.0007)
        WorkerFiles(tmp_path, worker).publish(counters, Plane())  # type: ignore[arg-type]
    assert WorkerFiles(tmp_path, 1).resume().answers["full"] == 5
    assert WorkerFiles(tmp_path, 2).resume().answers["full"] == 0
    text = exposition(*WorkerFiles(tmp_path, 1).everyone()).decode()
    assert 'mlops_answers_total{rung="full"} 10.0' in text
    assert 'mlops_answers_total{rung="delayed"} 0.0' in text
    assert 'mlops_infer_seconds_bucket{le="0.0005"} 0.0' in text
    assert 'mlops_infer_seconds_bucket{le="0.001"} 2.0' in text
    assert 'mlops_queued{worker="1"} 3.0' in text


def test_a_server_loads_neither_pandas_nor_what_trains() -> None:
    rooms = ("process.worker", "data_plane", "process.smoke")
    program = "".join(f"import mlops_cli.serving.{room}\n" for room in rooms)
    program += "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "onnxruntime" in found
    assert set(found).isdisjoint({"pandas", "exchange_calendars", "talib", "scipy", "torch", "ludwig", "mlflow", "dvc"})


@pytest.mark.parametrize("more", [["open-sesame"], ["guess", "open-sesame"], ["open-sesame", "guess"]])
def test_a_token_is_sent_once(more: list[str]) -> None:
    asked = Asked(token="open-sesame", more_headers=[("authorization", f"Bearer {token}") for token in more])
    status, _, body = asyncio.run(asked.ask("/v2/models/x/infer"))
    assert status == (200 if len(more) == 1 else 401)
    assert len(more) == 1 or b"two headers Authorization" in body


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("inference-header-content-length", ["5", "7"]),
        ("content-encoding", ["gzip", "identity"]),
        ("host", ["localhost", "evil.example"]),
        ("x-mlops-caller", ["me", "you"]),
    ],
)
def test_headers_that_could_mean_two_things_are_refused(name: str, values: list[str]) -> None:
    asked = Asked(more_headers=[(name, value) for value in values])
    status, _, body = asyncio.run(asked.ask("/v2/models/x/infer"))
    assert status == 400
    assert name.encode() in body


def test_other_headers_may_repeat() -> None:
    asked = Asked(more_headers=[("accept", "a"), ("accept", "b")])
    assert asyncio.run(asked.ask("/v2/models/x/infer"))[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/repository/models/x/load", 413),
        ("/v2/repository/index", 413),
        ("/health", 413),
        ("/forecasts", 204),
        ("/transform/x", 204),
    ],
)
def test_only_requests_that_carry_data_have_large_bodies(path: str, status: int) -> None:
    assert asyncio.run(Asked().ask(path, [b" " * (SMALL + 1)]))[0] == status
    assert asyncio.run(Asked().ask(path, [b" " * SMALL]))[0] == 204


def test_large_requests_are_answered_like_small_ones() -> None:
    rows = np.random.default_rng(0).normal(size=(22_000, 2)).round(3)
    body = orjson.dumps(
        {"inputs": [{"name": "features", "datatype": "FP32", "shape": [22_000, 2], "data": rows.ravel().tolist()}]}
    )
    status, _, answer = asyncio.run(Asked().ask("/v2/models/x/infer", [body]))
    assert status == 200
    given = json.loads(answer)["outputs"][0]["data"]
    np.testing.assert_allclose(given, rows.astype(np.float32).sum(axis=1), rtol=1e-5)
