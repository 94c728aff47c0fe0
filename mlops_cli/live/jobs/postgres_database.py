"""The queue in Postgres, for workers on several machines. It needs the package psycopg (version 3)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.live.jobs.database import Dialect, Value

if TYPE_CHECKING:
    import psycopg

_ALONE = 7_046_029_254_386_353_131
"""Key of the advisory lock of transactions that are `alone`; any number that no other program uses."""
_CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "mlops jobs",
    "keepalives_idle": 30,
    "tcp_user_timeout": 30_000,  # milliseconds without an answer after which a connection counts as lost
    # a session that stands still must not hold its locks for ever
    "options": "-c synchronous_commit=on -c statement_timeout=60s -c lock_timeout=30s"
    " -c idle_in_transaction_session_timeout=60s",
}


class PostgresDatabase:
    """A Postgres database, given by its URL. A lost connection is opened again by the next transaction.

    Raises:
        ConfigError: psycopg is not installed, or the URL is wrong.
        ServiceError: the server does not answer, or refuses.
    """

    dialect = Dialect(key="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", skip_locked=" FOR UPDATE OF j SKIP LOCKED")

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError:
            hint = "install it: pip install 'psycopg[binary]'"
            raise ConfigError("a queue in Postgres needs the package psycopg", hint) from None
        self._psycopg = psycopg
        self._url = url
        self._lock = threading.Lock()  # one connection for all threads
        self._open: psycopg.Connection[tuple[Any, ...]] | None = None
        with self._lock, self._explained():
            self._connection()

    @contextmanager
    def reading(self) -> Iterator[PostgresDatabase]:
        """See `Database`."""
        with self._lock, self._explained(), self._connection().transaction():
            self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield self

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[PostgresDatabase]:
        """See `Database`."""
        with self._lock, self._explained(), self._connection().transaction():
            if alone:
                self.run("SELECT pg_advisory_xact_lock(?)", (_ALONE,))
            yield self

    def run(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """See `Transaction`."""
        if self._open is None:
            raise RuntimeError("a statement outside of a transaction")
        # never on a new connection: the statements before it are lost with the old one
        cursor = self._open.execute(sql.replace("?", "%s"), tuple(values))
        return cursor.fetchall() if cursor.description else []

    def now(self) -> float:
        """See `Transaction`. It is the clock of the server, whatever the clocks of the workers say."""
        ((seconds,),) = self.run("SELECT extract(epoch FROM clock_timestamp())::double precision")
        return float(seconds)

    def close(self) -> None:
        """See `Database`."""
        if self._open is not None:
            self._open.close()

    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._open is None or self._open.closed:
            self._open = self._psycopg.connect(self._url, autocommit=True, **_CONNECTION)
        return self._open

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (self._psycopg.errors.InsufficientPrivilege, self._psycopg.errors.InvalidSchemaName) as error:
            hint = "the user needs to create tables in the database, and to read and write them"
            raise ServiceError(f"{self._place}: {_one_line(error)}", hint) from error
        except self._psycopg.ProgrammingError as error:
            if self._open is not None:  # a mistake in the SQL of this room is a bug
                raise
            hint = "write it as postgresql://USER@HOST:5432/DATABASE"
            raise ConfigError("the address of the queue's database cannot be read", hint) from error
        except (self._psycopg.OperationalError, self._psycopg.InterfaceError, self._psycopg.InternalError) as error:
            with suppress(self._psycopg.Error):
                self.close()
            hint = "no job is lost: see that Postgres runs and can be reached, then run again"
            raise ServiceError(f"{self._place}: the queue cannot be used now: {_one_line(error)}", hint) from error

    @property
    def _place(self) -> str:
        """Host and database, without user and password."""
        parts = urlsplit(self._url)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
