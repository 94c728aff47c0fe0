"""The base of a ledger: its SQLite connection, transactions, inserts, facts about the whole ledger, and events."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Self

from mlops_cli.system.sqlite_files import insert, transaction
from mlops_cli.trading.ledger.tables import ADDED, ORDER, SCHEMA, SCHEMA_VERSION, placeholders, plain


class LedgerFile:
    """An open database of a ledger."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._db = connection

    @property
    def team(self) -> str:
        """The team whose ledger this is."""
        return self.meta("team") or ""

    def meta(self, key: str) -> str | None:
        """One metadata value of the ledger (`team`, `account`, `opened_at` ...); None if it was never set."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    @property
    def is_empty(self) -> bool:
        """Whether it has no tables yet: its first pass has just begun, or was killed before creating them."""
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None

    def create(self, team: str) -> None:
        """Make the tables of an empty ledger, for a team, or add the columns that an older ledger lacks."""
        if self.is_empty:
            with self._writing():
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self.set_meta("schema", str(SCHEMA_VERSION))
                self.set_meta("team", team)
        for table, additions in ADDED.items():
            present = {row["name"] for row in self._db.execute(f"PRAGMA table_info({table})")}
            for column in additions:
                if column.split()[0] not in present:
                    self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")

    def set_meta(self, key: str, value: str) -> None:
        """Set a fact about the whole ledger; replaces an earlier value."""
        self._insert("meta", [{"key": key, "value": value}], on_conflict="REPLACE")

    def copy(self) -> Self:
        """A copy in memory, which a dry run may write to."""
        memory = sqlite3.connect(":memory:", isolation_level=None)
        self._db.backup(memory)
        return type(self)(memory)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def event(self, now: datetime, kind: str, ticker: str | None, words: str) -> None:
        """Write an event: its time, its kind (`halted`, `refused` ...), the ticker it concerns, if any, and a text."""
        self._insert("events", [{"time": now.isoformat(), "kind": kind, "ticker": ticker, "text": words}])

    def tell_once(self, now: datetime, kind: str, words: str, ticker: str | None = None) -> bool:
        """Write an event unless one with this kind and text exists; returns whether it was written."""
        earlier = self._db.execute("SELECT 1 FROM events WHERE kind = ? AND text = ?", (kind, words)).fetchone()
        if earlier is None:
            self.event(now, kind, ticker, words)
        return earlier is None

    def last_event(self, *kinds: str) -> sqlite3.Row | None:
        """The newest event of these kinds; None if there is none."""
        query = f"SELECT * FROM events WHERE kind IN ({placeholders(len(kinds))}) ORDER BY rowid DESC LIMIT 1"
        newest: sqlite3.Row | None = self._db.execute(query, kinds).fetchone()
        return newest

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table as dictionaries, in the order of `tables.ORDER`, JSON columns decoded."""
        return [plain(row) for row in self._db.execute(f"SELECT * FROM {table} ORDER BY {ORDER[table]}")]

    def _insert(self, table: str, rows: Iterable[Mapping[str, Any]], *, on_conflict: str = "ABORT") -> None:
        insert(self._db, table, rows, on_conflict=on_conflict)

    def _writing(self) -> AbstractContextManager[None]:
        return transaction(self._db)
