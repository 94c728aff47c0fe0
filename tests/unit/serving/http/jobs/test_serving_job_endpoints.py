"""Training on request over HTTP: status codes, headers, whose jobs a caller sees, and streams that end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from mlops_cli.errors import ConfigError, MlopsError
from mlops_cli.serving.contract.job_desk import JobsAwayError, JobsFullError, JobStateError, UnknownJobError
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.serving.http.app import build
from mlops_cli.serving.http.counters import Counters
from mlops_cli.serving.http.front import Access
from mlops_cli.serving.http.jobs.job_office import JobOffice
from mlops_cli.serving.http.request_bodies import SMALL
from mlops_cli.serving.http.service import Service
from mlops_cli.serving.http.worker_files import WorkerFiles
from tests.fakes.job_desks import VIEW, ToldDesk

DONE = replace(VIEW, state="done", tries=1, version="0123456789ab")
TOKENS = Access("common-token", teams={"token-of-red": "red", "token-of-blue": "blue"})


class Server:
    """The whole server in this process; its data plane is never asked."""

    def __init__(self, folder: Path, desk: ToldDesk | None, access: Access | None = None) -> None:
        service = Service(cast(DataPlane, None), Counters(), WorkerFiles(folder), 1, 1_000_000)
        self.desk = desk
        self._parts = service, access or Access()

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            office = JobOffice(self.desk, poll=0.01) if self.desk is not None else None
            app = build(*self._parts, office)
            transport = httpx.ASGITransport(app=cast(Any, app))
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                answer = await client.request(method, path, **request)
            if office is not None:
                office.close()
            return answer

        return asyncio.run(call())


@pytest.fixture
def desk() -> ToldDesk:
    return ToldDesk()


@pytest.fixture
def server(tmp_path: Path, desk: ToldDesk) -> Server:
    return Server(tmp_path, desk)


def bearer(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_new_job_is_accepted_and_a_known_one_is_shown(server: Server, desk: ToldDesk) -> None:
    answer = server.ask("POST", "/jobs", json={"ticker": "NVDA", "team": "red"})
    assert answer.status_code == 202
    assert answer.headers["location"] == "/jobs/1"
    assert answer.json()["new"] == [1]
    assert answer.json()["jobs"][0] | {"submitted_at": "", "due_at": ""} == {
        "job": 1, "team": "red", "model": "red-nvda", "ticker": "NVDA", "state": "waiting", "data": "2024-01-05",
        "submitted_at": "", "due_at": "", "taken_at": None, "ended_at": None, "tries": 0, "failures": 0,
        "progress": "", "reason": "", "version": None,
    }  # fmt: skip
    assert desk.asked == [("submit", None, {"ticker": "NVDA", "team": "red"})]
    desk.answers = [DONE]
    again = server.ask("POST", "/jobs", json={"ticker": "NVDA", "team": "red"})
    assert (again.status_code, again.json()["new"], again.json()["jobs"][0]["version"]) == (200, [], "0123456789ab")


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ConfigError("job: ticker: is missing\njob: features: no such set", "correct it"), 400, None),
        (JobsFullError("10001 jobs would wait", 42), 429, "42"),
        (JobsAwayError("the queue cannot be used now"), 503, "10"),
        (UnknownJobError("there is no job 7"), 404, None),
        (JobStateError("job 7 is done"), 409, None),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("GET", "/jobs/7"), ("GET", "/jobs/7/events")])
def test_errors_have_their_status(
    tmp_path: Path, error: MlopsError, status: int, retry_after: str | None, method: str, path: str
) -> None:
    answer = Server(tmp_path, ToldDesk([error])).ask(method, path, json={"ticker": "NVDA"})
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert error.message in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"ticker": NaN}', b"[" * 60_000, b"\xff\xfe"])
def test_what_is_no_json_is_refused_before_the_desk_sees_it(server: Server, desk: ToldDesk, body: bytes) -> None:
    answer = server.ask("POST", "/jobs", content=body)
    assert answer.status_code == 400
    assert "no JSON" in answer.json()["error"]
    assert desk.asked == []


def test_bodies_are_bounded(server: Server, desk: ToldDesk) -> None:
    assert server.ask("POST", "/jobs", content=b" " * (SMALL + 1)).status_code == 413
    assert desk.asked == []


@pytest.mark.parametrize(
    "path", ["/jobs/0", "/jobs/-1", "/jobs/x", f"/jobs/{2**63}", "/jobs?state=happy", "/jobs?limit=0"]
)
def test_wrong_parameters(server: Server, desk: ToldDesk, path: str) -> None:
    assert server.ask("GET", path).status_code == 422
    assert desk.asked == []


@pytest.mark.parametrize(
    ("token", "team"), [("common-token", None), ("token-of-red", "red"), ("token-of-blue", "blue")]
)
def test_the_team_is_that_of_the_token(tmp_path: Path, token: str, team: str | None) -> None:
    desk = ToldDesk()
    server = Server(tmp_path, desk, TOKENS)
    for method, path in [
        ("POST", "/jobs"), ("GET", "/jobs"), ("GET", "/jobs/5"), ("POST", "/jobs/5/cancel"), ("POST", "/jobs/5/retry"),
    ]:  # fmt: skip
        desk.asked.clear()
        assert server.ask(method, path, json={}, headers=bearer(token)).status_code in (200, 202)
        assert desk.asked[0][1 if path == "/jobs" else 2] == team, path


@pytest.mark.parametrize("token", ["", "token-of-green", "token-of-re", "token-of-redd", "ünï"])
@pytest.mark.parametrize("path", ["/jobs", "/jobs/1", "/jobs/1/events", "/health"])
def test_without_a_valid_token_there_is_no_answer(tmp_path: Path, token: str, path: str) -> None:
    desk = ToldDesk()
    headers = {"Authorization": f"Bearer {token}".encode()}
    answer = Server(tmp_path, desk, TOKENS).ask("GET", path, headers=headers)
    assert answer.status_code == 401
    assert desk.asked == []


def test_tokens_of_teams_are_enough(tmp_path: Path) -> None:
    server = Server(tmp_path, ToldDesk(), Access(teams={"token-of-red": "red"}))
    assert server.ask("GET", "/jobs").status_code == 401
    assert server.ask("GET", "/jobs", headers=bearer("token-of-red")).status_code == 200


def test_a_team_cannot_look_at_the_jobs_of_another(tmp_path: Path) -> None:
    desk = ToldDesk()
    server = Server(tmp_path, desk, TOKENS)
    server.ask("GET", "/jobs?team=blue&state=dead&state=waiting&limit=7", headers=bearer("token-of-red"))
    server.ask("GET", "/jobs?team=blue", headers=bearer("common-token"))
    assert desk.asked == [("jobs", "red", ("dead", "waiting"), 7), ("jobs", "blue", (), 100)]


def test_a_stream_tells_every_change_once_and_ends_with_the_job(tmp_path: Path) -> None:
    running = replace(VIEW, state="running", tries=1, progress="train: 0 of 1")
    desk = ToldDesk([VIEW, VIEW, running, running, JobsAwayError("away"), running, DONE])
    answer = Server(tmp_path, desk).ask("GET", "/jobs/1/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = [event.split("\n") for event in answer.text.split("\n\n")[:-1]]
    assert {lines[0] for lines in events} == {"event: job"}
    assert [json.loads(lines[1].removeprefix("data: "))["state"] for lines in events] == ["waiting", "running", "done"]


def test_a_stream_ends_when_the_job_is_forgotten(tmp_path: Path) -> None:
    answer = Server(tmp_path, ToldDesk([VIEW, UnknownJobError("there is no job 1")])).ask("GET", "/jobs/1/events")
    assert answer.text.count("event: job") == 1


def test_a_server_without_a_desk_has_no_such_endpoints(tmp_path: Path) -> None:
    assert Server(tmp_path, None).ask("GET", "/jobs").status_code == 404


def test_the_document_describes_the_endpoints(server: Server) -> None:
    document = server.ask("GET", "/openapi.json").json()
    paths = {path: set(document["paths"][path]) for path in document["paths"] if path.startswith("/jobs")}
    assert paths == {
        "/jobs": {"get", "post"}, "/jobs/{number}": {"get"}, "/jobs/{number}/cancel": {"post"},
        "/jobs/{number}/retry": {"post"}, "/jobs/{number}/events": {"get"},
    }  # fmt: skip
    assert {"200", "202", "400", "401", "429", "503"} <= set(document["paths"]["/jobs"]["post"]["responses"])
