"""The tables of the queue, and jobs as their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from mlops_cli.errors import ConfigError, printable
from mlops_cli.live.jobs.database import Columns, Database, Transaction, Value
from mlops_cli.live.jobs.job import Job, NoSuchJob

FORMAT = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs(
    number {key}, team TEXT NOT NULL, model TEXT NOT NULL, fingerprint TEXT NOT NULL, architecture TEXT NOT NULL,
    spec TEXT NOT NULL, data TEXT NOT NULL, state TEXT NOT NULL, submitted_at DOUBLE PRECISION NOT NULL,
    due_at DOUBLE PRECISION NOT NULL, token INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0, worker TEXT, batch TEXT, batch_size INTEGER NOT NULL DEFAULT 0,
    taken_at DOUBLE PRECISION, lease_until DOUBLE PRECISION, progress TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '', version TEXT, ended_at DOUBLE PRECISION, UNIQUE(team, model, fingerprint));
CREATE INDEX IF NOT EXISTS jobs_state ON jobs(state, team, number);
CREATE INDEX IF NOT EXISTS jobs_batch ON jobs(batch);
CREATE TABLE IF NOT EXISTS job_settings(name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_NAMES = [field.name for field in fields(Job)]
COLUMNS = ", ".join(_NAMES)
_TIMES = frozenset({"submitted_at", "due_at", "taken_at", "lease_until", "ended_at"})
_LONGEST_TEXT = 2000


class JobTable:
    """The table of jobs in a database; it is made if it is missing.

    Raises:
        ConfigError: a newer mlops made it, in another format.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.writing(alone=True) as transaction:
            for statement in _SCHEMA.format(key=database.dialect.key).split(";")[:-1]:
                transaction.run(statement)
            transaction.run("INSERT INTO job_settings VALUES ('format', ?) ON CONFLICT DO NOTHING", (FORMAT,))
            ((form,),) = transaction.run("SELECT value FROM job_settings WHERE name = 'format'")
        if form != FORMAT:
            raise ConfigError(f"the queue has format {form}; this mlops reads {FORMAT}", "update mlops")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _locked(self, transaction: Transaction, where: str, values: Sequence[Value]) -> list[Job]:
        """The jobs of a condition, locked, in the order of their numbers; without those that others have locked."""
        lock = self._database.dialect.skip_locked
        rows = transaction.run(f"SELECT {COLUMNS} FROM jobs j WHERE {where} ORDER BY number{lock}", values)
        return [job_of(row) for row in rows]


def select(transaction: Transaction, where: str, values: Sequence[Value]) -> list[Job]:
    """The jobs of the rest of a SELECT statement from WHERE on."""
    return [job_of(row) for row in transaction.run(f"SELECT {COLUMNS} FROM jobs WHERE {where}", values)]


def update(transaction: Transaction, changes: Columns, where: str, values: Sequence[Value]) -> list[Job]:
    """Set columns of all rows of a condition; returns the changed jobs."""
    assignments = ", ".join(f"{name} = ?" for name in changes)
    sql = f"UPDATE jobs SET {assignments} WHERE {where} RETURNING {COLUMNS}"
    return [job_of(row) for row in transaction.run(sql, (*changes.values(), *values))]


def insert(transaction: Transaction, row: Columns) -> Job:
    """Add a job; its other columns have their defaults."""
    sql = f"INSERT INTO jobs({', '.join(row)}) VALUES ({marks(len(row))}) RETURNING {COLUMNS}"
    ((values),) = transaction.run(sql, tuple(row.values()))
    return job_of(values)


def job_by_number(transaction: Transaction, number: int, team: str | None) -> Job:
    """A job; a `NoSuchJob` if there is none, or if it does not belong to `team` (None: any team)."""
    jobs = select(transaction, "number = ?", (number,)) if abs(number) < 2**63 else []
    if not jobs or team not in (None, jobs[0].team):
        raise NoSuchJob(number)
    return jobs[0]


def job_of(row: tuple[Any, ...]) -> Job:
    """The job that a row holds, with its columns in the order of `COLUMNS`."""
    values = dict(zip(_NAMES, row, strict=True))
    times = {name: None if values[name] is None else datetime.fromtimestamp(values[name], UTC) for name in _TIMES}
    return Job(**{**values, **times})


def marks(count: int) -> str:
    """Placeholders for `count` values."""
    return ", ".join("?" * count)


def storable(text: str) -> str:
    """A text that every database stores and every terminal shows, cut to 2,000 characters."""
    text = printable(text.encode("utf-8", "backslashreplace").decode())
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."
