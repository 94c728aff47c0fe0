"""Training on request from end to end: a running server, workers that are killed, and a forecast of the new model.

Everything is real: processes, HTTP, files, signals. The models are baselines, so that a training takes no time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import ServiceError
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.requests.intake import Intake
from mlops_cli.models.versions import model_versions
from mlops_cli.system.locks import file_lock
from tests.fakes.cli import Cli, Tree
from tests.fakes.crashing_worker import CRASHED, TRIES, queue_of
from tests.fakes.live_servers import Live, live
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import SmallProject, small_project

LEASE = 2.0
PATIENCE = 60.0
TOKENS = {
    "MLOPS_API_TOKEN": "common-token",
    "MLOPS_API_TOKEN_RED": "token-of-red",
    "MLOPS_API_TOKEN_BLUE": "token-of-blue",
}


@pytest.fixture
def made(tmp_path: Path) -> SmallProject:
    """A project with one trained model, and prices of tickers that no config names."""
    made = small_project(tmp_path / "p", ("AAA",), sessions=700)
    made.config("linear", "team: red\nticker: AAA\ntrainer: drift\nfeatures: {returns: [1]}\n")
    params = made.root / "params.yaml"
    params.write_text(f"{params.read_text()}live: {{jobs: {{lease_seconds: {LEASE}}}}}\n")
    for seed, ticker in enumerate(("NEW", "TWO"), 10):
        made.prices(ticker, random_prices(700, seed))
    for report in made.run():
        assert not report.failures
    return made


def until[T](look: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"never saw {what}")


def client_of(server: Live, token: str | None = None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"http://{server.host}", timeout=30, headers=headers)


def ask_for(client: httpx.Client, ticker: str, team: str | None = "red", **keys: Any) -> httpx.Response:
    body = {"ticker": ticker, "trainer": "drift", "features": {"returns": [1]}, **keys}
    return client.post("/jobs", json=body if team is None else {**body, "team": team})


def state_of(client: httpx.Client, number: int) -> str:
    return str(client.get(f"/jobs/{number}").json()["state"])


def forecast(client: httpx.Client, ticker: str) -> dict[str, Any] | None:
    answer = client.get(f"/forecasts/{ticker}")
    forecasts = answer.json()["forecasts"] if answer.status_code == 200 else []
    return forecasts[0] if forecasts else None


def followed(server: Live, number: int, seen: list[dict[str, Any]]) -> threading.Thread:
    """A caller who follows a job until its stream ends."""

    def follow() -> None:
        with client_of(server) as client, client.stream("GET", f"/jobs/{number}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line.removeprefix("data: ")))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def worker(made: SmallProject) -> Iterator[Callable[[], Tree]]:
    """Starts workers; they are gone in the end."""
    started = []

    def start() -> Tree:
        context = Cli(made.root).start("mlops", "jobs", "work")
        started.append(context)
        return context.__enter__()

    yield start
    for context in started:
        context.__exit__(None, None, None)


def hold(project: Project) -> Any:
    """Keep every worker from fetching prices, so that its job runs for as long as the test likes."""
    return file_lock(project.state / "locks" / "requested.lock", ServiceError("busy"), 5)


def test_a_ticker_asked_for_over_http_is_served_although_its_worker_was_killed(
    made: SmallProject, worker: Callable[[], Tree]
) -> None:
    with live(made.root, "--workers", "2") as server, client_of(server) as client:
        assert client.get("/forecasts/NEW").status_code == 404
        asked = ask_for(client, "NEW")
        assert asked.status_code == 202, asked.text
        number = asked.json()["jobs"][0]["job"]
        seen: list[dict[str, Any]] = []
        follower = followed(server, number, seen)
        with hold(made.project):
            first = worker()
            until(lambda: state_of(client, number) == "running", "the job running")
            first.process.kill()
            first.process.wait(30)
        assert ask_for(client, "NEW").status_code == 200  # the same job
        worker()
        answer = until(lambda: forecast(client, "NEW"), "a forecast of the new model")
        assert (answer["model"], answer["ticker"]) == ("red-new", "NEW")
        follower.join(PATIENCE)
        assert not follower.is_alive()
        assert [seen[0]["state"], seen[-1]["state"]] == ["waiting", "done"]
        assert (seen[-1]["tries"], seen[-1]["failures"]) == (2, 1)
        (version,) = model_versions(made.project.model_root, "requested", "red-new")
        assert seen[-1]["version"] == version.version == answer["version"]
        inputs = {"name": "features", "datatype": "FP32", "shape": [1, len(version.manifest.inputs)]}
        body = {"inputs": [{**inputs, "data": [0.0] * len(version.manifest.inputs)}]}
        assert client.post("/v2/models/red-new/infer", json=body).status_code == 200
        assert forecast(client, "AAA") is not None
    listed = Cli(made.root).mlops("models", "list", "--json")
    assert {model["name"]: model["branch"] for model in json.loads(listed.stdout)} == {
        "red-aaa": "main",
        "red-new": "requested",
    }


def test_a_worker_that_is_told_to_stop_gives_its_jobs_back_at_once(
    made: SmallProject, worker: Callable[[], Tree]
) -> None:
    cli = Cli(made.root)
    submitted = cli.mlops("jobs", "submit", "NEW", "TWO", "--team", "red", "--json")
    assert [job["state"] for job in json.loads(submitted.stdout)] == ["waiting", "waiting"]
    queue = JobQueue(SqliteDatabase(made.project.jobs_database))
    with hold(made.project):
        stopped = worker()
        until(lambda: queue.show(1).state == "running", "the job running")
        stopped.process.terminate()
        output = stopped.output()
    assert stopped.process.returncode == 0, output
    assert [(job.state, job.failures) for job in queue.jobs()] == [("waiting", 0)] * 2
    assert queue.show(1).due_at.timestamp() <= time.time()
    queue.close()


def test_teams_see_their_own_jobs_and_a_flood_of_one_leaves_room_for_the_other(made: SmallProject) -> None:
    """Nothing is lost: every job that was accepted is there, and every refused request may come again later."""
    params = made.root / "params.yaml"
    params.write_text(params.read_text().replace("jobs: {", "jobs: {waiting: 250, waiting_of_team: 200, "))
    with live(made.root, "--workers", "2", **TOKENS) as server:
        assert httpx.get(f"http://{server.host}/jobs").status_code == 401
        with client_of(server, "token-of-red") as red, client_of(server, "token-of-blue") as blue:

            def submit(number: int) -> httpx.Response:
                return ask_for(red, f"T{number}", team=None)

            with ThreadPoolExecutor(8) as callers:
                answers = list(callers.map(submit, range(300)))
            assert Counter(answer.status_code for answer in answers) == {202: 200, 429: 100}
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
            accepted = {answer.json()["jobs"][0]["job"] for answer in answers if answer.status_code == 202}
            listed = red.get("/jobs", params={"limit": 1000}).json()["jobs"]
            assert {job["job"] for job in listed} == accepted
            assert ask_for(blue, "NEW", team=None).status_code == 202
            assert ask_for(blue, "NEW", team="red").status_code == 400
            assert [job["team"] for job in blue.get("/jobs").json()["jobs"]] == ["blue"]
            other = min(accepted)
            for method, path in (("GET", f"/jobs/{other}"), ("POST", f"/jobs/{other}/cancel")):
                assert blue.request(method, path).status_code == 404
            assert red.post(f"/jobs/{other}/cancel").json()["state"] == "cancelled"
            assert ask_for(red, "ONEMORE", team=None).status_code == 202
        with client_of(server, "common-token") as operator:
            teams = Counter(job["team"] for job in operator.get("/jobs", params={"limit": 1000}).json()["jobs"])
            assert teams == {"red": 201, "blue": 1}


def test_a_job_that_ends_every_worker_is_a_dead_letter_and_takes_no_other_with_it(made: SmallProject) -> None:
    project = made.project
    with closing(queue_of(project)) as queue:
        body = {"tickers": ["TWO", "NEW"], "trainer": "drift", "features": {"returns": [1]}}
        queue.submit(Intake(project).requests("red", body))
        command = [sys.executable, "-m", "tests.fakes.crashing_worker", str(made.root), "red-two"]
        ends = []
        while not ends or ends[-1] == CRASHED:
            assert len(ends) < 10
            ends.append(subprocess.run(command, check=False, timeout=PATIENCE).returncode)
        bad, good = queue.show(1), queue.show(2)
    # together, then the bad one alone until it is given up
    assert ends == [CRASHED] * (1 + TRIES) + [0]
    assert (good.state, good.failures) == ("done", 0)
    assert (bad.state, bad.failures) == ("dead", TRIES)
    assert "ended without an answer" in bad.reason


@pytest.mark.soak
def test_ten_thousand_submissions_over_http(made: SmallProject) -> None:
    with live(made.root, "--workers", "2") as server, client_of(server) as client, ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda number: ask_for(client, f"T{number}"), range(10_000)))
        counts = Counter(answer.status_code for answer in answers)
        assert counts == {202: 5_000, 429: 5_000}
        accepted = {answer.json()["jobs"][0]["job"] for answer in answers if answer.status_code == 202}
        assert forecast(client, "AAA") is not None
        assert ask_for(client, "NEW", team="blue").status_code == 202
    with closing(queue_of(made.project)) as queue:
        assert queue.counts("red") == {"waiting": 5_000}
        assert {job.number for job in queue.jobs("red", limit=10_000)} == accepted


@pytest.mark.slow
@pytest.mark.ludwig
def test_ludwig_trains_the_requests_of_one_architecture_as_one_fleet_and_they_are_served(made: SmallProject) -> None:
    cli = Cli(made.root)
    made.prices("SIX", random_prices(700, 12))
    file = cli.write("wide.yaml", "team: red\ntickers: [NEW, TWO, SIX]\nsuffix: wide\nludwig: {trainer: {epochs: 3}}\n")
    assert cli.mlops("jobs", "submit", "--file", str(file)).returncode == 0
    with live(made.root) as server, client_of(server) as client:
        done = cli.mlops("jobs", "work", "--until-empty", "--verbose", "--json")
        assert json.loads(done.stdout) == {"installed": 3, "failed": 0, "dropped": 0}, done.stderr
        assert "3 models together" in done.stderr
        for ticker in ("NEW", "TWO", "SIX"):
            answer = until(lambda ticker=ticker: forecast(client, ticker), f"a forecast of {ticker}")
            assert answer["model"] == f"red-{ticker.lower()}-wide"
            assert set(answer["intervals"]) == {"80", "95"}
