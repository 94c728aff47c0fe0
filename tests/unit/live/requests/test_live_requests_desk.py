"""The desk over a real queue: jobs as callers see them, the errors of the port, and a database that is away."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.jobs.submissions import Limits
from mlops_cli.live.requests.desk import QueueDesk
from mlops_cli.live.requests.intake import Intake
from mlops_cli.live_wiring import job_desk
from mlops_cli.serving.contract.job_desk import JobsAwayError, JobsFullError, JobStateError, UnknownJobError
from tests.fakes.config_projects import PARAMS, make_project

NVDA = {"ticker": "NVDA"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, {"configs/mine/red.yaml": "team: red\nticker: AAPL\n"})


@pytest.fixture
def desk(project: Project) -> Iterator[QueueDesk]:
    with closing(job_desk(project)) as found:
        yield found


def test_a_request_becomes_a_job_and_again_the_same_one(desk: QueueDesk) -> None:
    first, again = desk.submit("red", NVDA), desk.submit("red", NVDA)
    (view,) = first.jobs
    assert (view.job, view.team, view.model, view.ticker, view.state) == (1, "red", "red-nvda", "NVDA", "waiting")
    assert (first.new, again.new, again.jobs) == ([1], [], [view])
    assert desk.job(1, "red") == view
    assert desk.jobs(None, ["waiting"], 10) == [view]


def test_nobody_sees_or_changes_the_jobs_of_another_team(desk: QueueDesk) -> None:
    desk.submit("red", NVDA)
    calls: list[Callable[[int, str | None], object]] = [desk.job, desk.cancel, desk.retry]
    for call in calls:
        with pytest.raises(UnknownJobError, match="there is no job 1"):
            call(1, "blue")
    assert desk.jobs("blue", [], 10) == []
    assert desk.job(1, None).state == "waiting"


def test_what_does_not_fit_the_state_is_said(project: Project, desk: QueueDesk) -> None:
    desk.submit("red", NVDA)
    assert desk.cancel(1, "red").state == "cancelled"
    assert desk.retry(1, "red").state == "waiting"
    queue = JobQueue(SqliteDatabase(project.jobs_database))
    assert queue.take("w", 1) is not None
    with pytest.raises(JobStateError, match="job 1 is running"):
        desk.retry(1, "red")
    queue.finish(queue.show(1), "v1")
    queue.close()
    with pytest.raises(JobStateError, match="job 1 is done"):
        desk.cancel(1, None)


def test_wrong_requests_keep_all_their_mistakes(desk: QueueDesk) -> None:
    with pytest.raises(ConfigError) as error:
        desk.submit("red", {"tickr": "NVDA", "features": {"returns": [0]}})
    assert len(error.value.message.splitlines()) >= 2
    assert desk.jobs(None, [], 10) == []


@pytest.mark.parametrize(
    "ludwig",
    [
        {"preprocessing": {"split": {"path": "/etc/passwd"}}},
        {"backend": {"type": "ray"}},
        {"combiner": {"custom_class": "os.system"}},
        {"trainer": {"pretrained_weights": "https://example.org/x"}},
    ],
)
def test_a_config_that_reaches_outside_the_project_is_refused(desk: QueueDesk, ludwig: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"ludwig\."):
        desk.submit("red", {**NVDA, "ludwig": ludwig})
    assert desk.jobs(None, [], 10) == []


def test_a_full_queue_says_when_to_come_back(project: Project) -> None:
    queue = JobQueue(SqliteDatabase(project.jobs_database), Limits(waiting=3, waiting_of_team=2))
    desk = QueueDesk(lambda: queue, lambda: Intake(project))
    desk.submit("red", {"tickers": ["A", "B"]})
    with pytest.raises(JobsFullError, match="3 jobs of team red") as error:
        desk.submit("red", {"ticker": "C"})
    assert error.value.retry_after >= 1
    assert desk.submit("blue", {"ticker": "C"}).new == [3]
    assert desk.submit("red", {"tickers": ["A", "B"]}).new == []
    queue.close()


def test_the_limits_are_those_of_params(tmp_path: Path) -> None:
    params = PARAMS + "live: {jobs: {waiting: 1}}\n"
    project = make_project(tmp_path, {"configs/mine/red.yaml": "team: red\nticker: AAPL\n"}, params)
    with closing(job_desk(project)) as desk, pytest.raises(JobsFullError):
        desk.submit("red", {"tickers": ["A", "B"]})


def test_a_locked_database_is_away_and_comes_back(project: Project) -> None:
    desk = QueueDesk(
        lambda: JobQueue(SqliteDatabase(project.jobs_database, busy_seconds=0.05)), lambda: Intake(project)
    )
    project.jobs_database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(project.jobs_database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JobsAwayError, match="locked the queue"):
            desk.submit("red", NVDA)
        other.execute("ROLLBACK")
    assert desk.submit("red", NVDA).new == [1]


def test_a_damaged_database_and_a_wrong_address_are_no_fault_of_the_caller(project: Project, desk: QueueDesk) -> None:
    project.jobs_database.parent.mkdir(parents=True)
    project.jobs_database.write_bytes(b"no database" * 1000)
    with pytest.raises(JobsAwayError, match="damaged"):
        desk.jobs(None, [], 1)

    def wrong() -> JobQueue:
        raise ConfigError("a queue in Postgres needs the package psycopg")

    with pytest.raises(JobsAwayError, match="psycopg"):
        QueueDesk(wrong, lambda: Intake(project)).jobs(None, [], 1)


def test_a_dead_postgres_is_away_for_callers_and_a_service_error_for_commands(project: Project) -> None:
    pytest.importorskip("psycopg")
    project.env_file.write_text("MLOPS_JOBS_URL=postgresql://mlops:hush@127.0.0.1:1/jobs\n")
    with pytest.raises(JobsAwayError) as error:
        job_desk(project).submit("red", NVDA)
    assert "hush" not in error.value.message + error.value.hint
    assert isinstance(error.value, ServiceError)
    assert error.value.exit_code == 8


def test_opening_the_desk_touches_no_database(project: Project) -> None:
    project.env_file.write_text("MLOPS_JOBS_URL=postgresql://127.0.0.1:1/jobs\n")
    job_desk(project)
    assert not project.jobs_database.exists()


def test_a_server_that_is_asked_for_no_training_loads_neither_pandas_nor_calendars(project: Project) -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_cli.config.paths import Project; "
        "import mlops_cli.serving.process.worker; from mlops_cli.live_wiring import server_parts; "
        "server_parts(Project(Path(sys.argv[1]))).desk.jobs(None, [], 1); "
        "print(sorted({'pandas', 'exchange_calendars'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(project.root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
