"""schemathesis sends whatever the server's own OpenAPI document allows, and what it forbids: no 500, ever."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation

from tests.fakes.live_servers import live, trained_project

OPERATIONS = 24
NAMES = (None, "red-aaa")  # any text, then one that gets past the first check into what comes after it
BODIES = ("POST /forecasts", "POST /v2/models/{name}/infer", "POST /jobs")
EXAMPLES = 12

fuzz = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live(trained_project(tmp_path_factory.mktemp("fuzz") / "p").root) as server:
        yield f"http://{server.host}"


def test_no_request_makes_the_server_fail(address: str) -> None:
    operations = _operations(address)
    assert len(operations) == OPERATIONS
    assert httpx.post(f"{address}/jobs", json={"team": "red", "ticker": "BBB"}).status_code == 202
    asked = 0
    for operation in operations:
        for name in NAMES:
            httpx.post(f"{address}/v2/repository/models/red-aaa/load")  # one of them unloads it
            httpx.post(f"{address}/jobs/1/cancel")  # one of them lets it wait, and its events would never end
            asked += _ask(address, operation.as_strategy(generation_mode=GenerationMode.POSITIVE), name)
    assert asked > EXAMPLES * OPERATIONS // 2


def test_no_wrong_request_makes_the_server_fail(address: str) -> None:
    # only where there is a body to be wrong: these are slow to make up
    wrong = [one for one in _operations(address) if one.label in BODIES]
    assert len(wrong) == len(BODIES)
    for operation in wrong:
        assert _ask(address, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), "red-aaa") >= EXAMPLES


def _operations(address: str) -> list[APIOperation]:
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    return [found.ok() for found in document.get_all_operations()]


def _ask(address: str, cases, name: str | None) -> int:
    asked = 0

    @fuzz
    @given(case=cases)
    def every(case: Case) -> None:
        nonlocal asked
        asked += 1
        if name is not None and "name" in case.path_parameters:
            case.path_parameters["name"] = name
        if name is not None and "number" in case.path_parameters:
            case.path_parameters["number"] = 1
        answer = case.call(base_url=address)
        assert answer.status_code < 500 or answer.status_code == 503, (case.as_curl_command(), answer.text)
        if answer.status_code >= 400:
            assert answer.json()["error"]

    every()
    return asked


def test_the_document_is_what_the_server_answers(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path, operations in paths.items():
            if "get" in operations and "{" not in path:
                assert client.get(path).status_code == 200, path
