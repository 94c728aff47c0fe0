"""The queue in a real Postgres, from the setting MLOPS_JOBS_URL to commands, requests and a worker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.config.paths import Project
from mlops_cli.live.jobs.worker import WorkerSettings
from mlops_cli.live.requests.desk import QueueDesk
from mlops_cli.live_wiring import job_desk, job_queue, run_job_worker
from mlops_cli.serving.contract.job_desk import JobsAwayError
from tests.fakes.postgres_server import PostgresServer, missing_for_postgres, postgres_server
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import small_project

DRIFT = {"ticker": "NEW", "trainer": "drift", "features": {"returns": [1]}}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    missing = missing_for_postgres()
    if missing is not None:
        pytest.skip(missing)
    with postgres_server() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: PostgresServer) -> Project:
    made = small_project(tmp_path / "p", ("AAA",), sessions=420)
    made.prices("NEW", random_prices(420, 9))
    params = made.root / "params.yaml"
    params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 150"))
    made.project.env_file.write_text(f"MLOPS_JOBS_URL={server.url}\n")
    database = job_queue(made.project)
    for job in database.jobs(limit=1000):
        if job.state in ("waiting", "running"):
            database.cancel(job.number)
    database.close()
    return made.project


@pytest.fixture
def desk(project: Project) -> Iterator[QueueDesk]:
    with closing(job_desk(project)) as found:
        yield found


def command(project: Project, *words: str) -> Any:
    done = CliRunner().invoke(app, ["jobs", *words, "--json", "--project", str(project.root)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_commands_requests_and_a_worker_share_the_queue(project: Project, desk: QueueDesk) -> None:
    (view,) = desk.submit("red", DRIFT).jobs
    assert view.job in [job["job"] for job in command(project, "list")]
    done = command(project, "work", "--until-empty")
    assert done == {"installed": 1, "failed": 0, "dropped": 0}
    assert desk.job(view.job, "red").state == "done"
    assert not project.jobs_database.exists()


def test_a_server_that_goes_away_and_comes_back_loses_nothing(
    project: Project, desk: QueueDesk, server: PostgresServer
) -> None:
    (view,) = desk.submit("blue", DRIFT).jobs
    server.stop()
    try:
        with pytest.raises(JobsAwayError):
            desk.submit("blue", {**DRIFT, "suffix": "late"})
        with pytest.raises(JobsAwayError):
            desk.job(view.job, None)
        listed = CliRunner().invoke(app, ["jobs", "list", "--project", str(project.root)])
        assert listed.exit_code == 8
    finally:
        server.start()
    assert desk.job(view.job, None).state == "waiting"
    assert desk.submit("blue", DRIFT).new == []
    assert command(project, "work", "--until-empty")["installed"] == 1


def test_a_worker_waits_while_the_server_is_away(project: Project, desk: QueueDesk, server: PostgresServer) -> None:
    told: list[str] = []
    stop = threading.Event()
    settings = WorkerSettings(poll=0.05, longest_pause=0.2, stop=stop, tell=told.append)
    worker = threading.Thread(target=run_job_worker, args=(project, settings, ConsoleProgress()))
    worker.start()
    try:
        time.sleep(0.5)
        server.stop()
        deadline = time.monotonic() + 30
        while not any(line.startswith("waiting: ") for line in told):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.start()
        (view,) = desk.submit("green", DRIFT).jobs
        while desk.job(view.job, None).state != "done":
            assert time.monotonic() < deadline + 60
            time.sleep(0.1)
    finally:
        stop.set()
        worker.join(30)
    assert not worker.is_alive()
