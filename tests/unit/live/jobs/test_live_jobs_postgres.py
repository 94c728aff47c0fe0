from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.live.jobs.postgres_database import PostgresDatabase
from mlops_cli.live.jobs.queue import JobQueue
from tests.fakes.job_queues import job_request
from tests.fakes.postgres_server import PostgresServer, missing_for_postgres, postgres_server

MISSING = missing_for_postgres()
needs_postgres = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
SECRET = "s3cret"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def test_without_psycopg_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match="needs the package psycopg") as error:
        PostgresDatabase("postgresql://localhost/x")
    assert "pip install" in error.value.hint


@needs_postgres
def test_a_server_that_does_not_answer_is_told_without_the_password() -> None:
    with pytest.raises(ServiceError, match=r"postgresql://127.0.0.1:9/jobs: the queue cannot be used now") as error:
        PostgresDatabase(f"postgresql://me:{SECRET}@127.0.0.1:9/jobs")
    assert SECRET not in str(error.value)
    assert "see that Postgres runs" in error.value.hint


@needs_postgres
@pytest.mark.parametrize("url", ["not an address", f"postgresql://me:{SECRET}@127.0.0.1:9/jobs?nonsense=1"])
def test_an_address_that_cannot_be_read_is_told_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match="address of the queue's database") as error:
        PostgresDatabase(url)
    assert SECRET not in str(error.value)


@needs_postgres
def test_a_database_that_does_not_exist_is_told(server: PostgresServer) -> None:
    with pytest.raises(ServiceError, match='"nowhere" does not exist'):
        PostgresDatabase(server.url.replace("/postgres", "/nowhere"))


@needs_postgres
def test_a_dead_server_is_told_and_comes_back_with_every_job(server: PostgresServer) -> None:
    queue = JobQueue(PostgresDatabase(server.url))
    (submitted,) = queue.submit([job_request("aapl")])
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(ServiceError, match="no job is lost"):
                queue.submit([job_request("msft")])
    finally:
        server.start()
    assert queue.show(submitted.job.number) == submitted.job
    assert queue.submit([job_request("msft")])[0].new
    queue.close()


@needs_postgres
def test_a_connection_that_is_cut_in_a_transaction_leaves_nothing_behind(server: PostgresServer) -> None:
    database, other = PostgresDatabase(server.url), PostgresDatabase(server.url)
    queue = JobQueue(database)
    before = len(queue.jobs())

    def cut() -> None:
        with database.writing() as transaction:
            ((session,),) = transaction.run("SELECT pg_backend_pid()")
            transaction.run("DELETE FROM jobs")
            with other.writing() as killing:
                killing.run("SELECT pg_terminate_backend(?)", (session,))
            transaction.run("SELECT 1")

    with pytest.raises(ServiceError):
        cut()
    assert len(queue.jobs()) == before
    database.close()
    other.close()


@needs_postgres
@pytest.mark.parametrize(
    ("grant", "words"), [("GRANT USAGE ON SCHEMA other TO reader", "permission denied"), ("SELECT 1", "no schema")]
)
def test_a_user_who_may_not_make_tables_is_told(server: PostgresServer, grant: str, words: str) -> None:
    with closing(PostgresDatabase(server.url)) as owner, owner.writing() as transaction:
        transaction.run("DROP SCHEMA IF EXISTS other")
        transaction.run("DROP ROLE IF EXISTS reader")
        transaction.run("CREATE ROLE reader LOGIN")
        transaction.run("CREATE SCHEMA other")
        transaction.run("ALTER ROLE reader SET search_path = other")
        transaction.run(grant)
    url = server.url.replace("//postgres@", "//reader@")
    with closing(PostgresDatabase(url)) as guest, pytest.raises(ServiceError, match=words) as error:
        JobQueue(guest)
    assert "create tables" in error.value.hint
