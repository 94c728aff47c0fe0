"""`mlops jobs`: what it prints, its exit codes, and what reaches the queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlops_cli.cli.app import app
from mlops_cli.config.paths import Project
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from tests.fakes.config_projects import PARAMS, make_project

RED = {"configs/mine/red.yaml": "team: red\nticker: AAPL\n"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, RED)


def run(project: Project, *words: str) -> Result:
    return CliRunner().invoke(app, ["jobs", *words, "--project", str(project.root)])


def output(project: Project, *words: str) -> Any:
    done = run(project, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_submitting_twice_makes_one_job(project: Project) -> None:
    (first,) = output(project, "submit", "NVDA", "--team", "red")
    (again,) = output(project, "submit", "nvda", "--team", "red")
    assert (first["job"], first["model"], first["state"], first["new"]) == (1, "red-nvda", "waiting", True)
    assert (again["job"], again["new"]) == (1, False)


def test_several_tickers_and_a_suffix(project: Project) -> None:
    jobs = output(project, "submit", "NVDA", "AMD", "--team", "red", "--suffix", "wide")
    assert [job["model"] for job in jobs] == ["red-nvda-wide", "red-amd-wide"]


def test_a_model_file(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text("team: blue\nticker: ON\nfeatures: {returns: [1, 2]}\n")
    (job,) = output(project, "submit", "--file", str(file))
    assert (job["team"], job["ticker"]) == ("blue", "ON")
    assert output(project, "show", "1")["config"]["features"]["returns"] == [1, 2]


def test_the_tables_name_state_and_next_step(project: Project) -> None:
    done = run(project, "submit", "NVDA", "--team", "red")
    assert done.exit_code == 0
    assert "red-nvda" in done.stdout
    assert "mlops jobs work" in done.stderr
    listed = run(project, "list")
    assert "waiting" in listed.stdout
    assert listed.stderr == "1 waiting\n"
    assert run(project, "show", "1").stdout.startswith("job: 1\nteam: red\nmodel: red-nvda\n")


def test_an_empty_queue(project: Project) -> None:
    assert run(project, "list").stderr == "there are no jobs\n"
    assert output(project, "list") == []


def test_filters(project: Project) -> None:
    output(project, "submit", "NVDA", "AMD", "--team", "red")
    output(project, "submit", "NVDA", "--team", "blue")
    output(project, "cancel", "2")
    assert [job["job"] for job in output(project, "list")] == [3, 2, 1]
    assert [job["job"] for job in output(project, "list", "--team", "red", "--state", "waiting")] == [1]
    assert [job["job"] for job in output(project, "list", "--limit", "1")] == [3]
    assert run(project, "list", "--state", "happy").exit_code == 2


def test_cancel_and_retry(project: Project) -> None:
    output(project, "submit", "NVDA", "--team", "red")
    assert run(project, "cancel", "1").stdout == "job 1 (red-nvda): cancelled\n"
    assert run(project, "retry", "1").stdout == "job 1 (red-nvda): waiting\n"
    assert output(project, "cancel", "1")["state"] == "cancelled"


@pytest.mark.parametrize("word", ["show", "cancel", "retry"])
def test_an_unknown_job_and_one_of_another_team(project: Project, word: str) -> None:
    output(project, "submit", "NVDA", "--team", "red")
    for words in (("7",), ("1", "--team", "blue")):
        done = run(project, word, *words)
        assert done.exit_code == 3
        assert f"there is no job {words[0]}" in done.stderr
    assert run(project, word, "0").exit_code == 2


def test_what_has_ended_cannot_be_cancelled(project: Project) -> None:
    output(project, "submit", "NVDA", "--team", "red")
    queue = JobQueue(SqliteDatabase(project.jobs_database))
    assert queue.take("w", 1) is not None
    queue.finish(queue.show(1), "v1")
    queue.close()
    done = run(project, "cancel", "1")
    assert (done.exit_code, "job 1 is done" in done.stderr) == (3, True)
    assert output(project, "list")[0]["version"] == "v1"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("NVDA",), 3, "team: is missing"),
        (("NVDA", "--team", "red", "--file", "x.yaml"), 2, "either tickers or --file"),
        ((), 2, "either tickers or --file"),
        (("--file", "missing.yaml"), 3, "missing.yaml"),
        (("--file", "params.yaml", "--suffix", "x"), 2, "suffix: WORD"),
        (("a b/c", "--team", "red"), 3, "ticker"),
    ],
)
def test_wrong_requests(project: Project, words: tuple[str, ...], code: int, says: str) -> None:
    done = run(project, "submit", *words)
    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr
    assert output(project, "list") == []


def test_a_full_queue_ends_with_8(tmp_path: Path) -> None:
    project = make_project(tmp_path, RED, PARAMS + "live: {jobs: {waiting: 1}}\n")
    done = run(project, "submit", "NVDA", "AMD", "--team", "red")
    assert done.exit_code == 8
    assert "2 jobs would wait" in done.stderr
    assert output(project, "list") == []


def test_a_dead_postgres_ends_with_8_and_keeps_its_password(project: Project) -> None:
    pytest.importorskip("psycopg")
    project.env_file.write_text("MLOPS_JOBS_URL=postgresql://mlops:hush@127.0.0.1:1/jobs\n")
    for words in (("list",), ("submit", "NVDA", "--team", "red"), ("work",)):
        done = run(project, *words)
        assert done.exit_code == 8
        assert "127.0.0.1:1/jobs" in done.stderr
        assert "hush" not in done.stderr


def test_control_characters_of_a_reason_do_not_reach_the_terminal(project: Project) -> None:
    output(project, "submit", "NVDA", "--team", "red")
    queue = JobQueue(SqliteDatabase(project.jobs_database))
    assert queue.take("w", 1) is not None
    queue.fail(queue.show(1), "\x1b[31mred\nsecond line", final=True)
    queue.close()
    listed = run(project, "list").stdout
    assert "\x1b" not in listed
    assert "second line" not in listed
