"""Port `Database`: transactions over the tables of the queue, in SQLite or Postgres.

Both understand the SQL of this room, with `?` for values. Where they differ, `Dialect` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Value = str | int | float | None
Columns = dict[str, Value]
"""Values by the name of their column."""


@dataclass(frozen=True)
class Dialect:
    """SQL that differs.

    Attributes:
        key: type of a primary key that numbers the rows and uses no number twice.
        skip_locked: ends a SELECT that locks the rows of the table `j` for this transaction, without those that
            another one has locked; empty where only one transaction writes at a time.
    """

    key: str
    skip_locked: str


class Transaction(Protocol):
    """An open transaction."""

    def run(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; returns its rows, none for statements that give none."""
        ...

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, by the clock of the database. It may jump."""
        ...


class Database(Protocol):
    """A database that holds a queue. Any of its threads may call it; each transaction is one thread's own.

    Its methods and its transactions raise:
        ServiceError: it is away, locked by another program, or its disk is full. Nothing was changed.
        DataError: it is damaged.
    """

    @property
    def dialect(self) -> Dialect:
        """The SQL of this database."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """A transaction that only reads, from one state of the database."""
        ...

    def writing(self, *, alone: bool = False) -> AbstractContextManager[Transaction]:
        """A transaction that is committed at the end of the block, and rolled back on any exception.

        With `alone`, no other transaction that is `alone` runs at the same time.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
