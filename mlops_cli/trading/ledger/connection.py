"""What every table of a ledger stands on: the connection, transactions, facts about the whole, and events."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self

from mlops_cli.trading.ledger.tables import ORDER, SCHEMA, SCHEMA_VERSION, marks, plain


class LedgerFile:
    """An open database of a ledger."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._db = connection

    @property
    def team(self) -> str:
        """Whose it is."""
        return self.meta("team") or ""

    def meta(self, key: str) -> str | None:
        """A fact about the whole ledger."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    @property
    def is_empty(self) -> bool:
        """Whether it has no tables yet: its first pass has just begun, or was killed there."""
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None

    def create(self, team: str) -> None:
        """Make the tables of an empty ledger, for a team."""
        if self.is_empty:
            with self._writing():
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self.set_meta("schema", str(SCHEMA_VERSION))
                self.set_meta("team", team)

    def set_meta(self, key: str, value: str) -> None:
        """Set such a fact."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def copy(self) -> Self:
        """The same ledger in memory: for a dry run."""
        memory = sqlite3.connect(":memory:", isolation_level=None)
        self._db.backup(memory)
        return type(self)(memory)

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def event(self, now: datetime, kind: str, ticker: str | None, words: str) -> None:
        """Write down something that happened."""
        self._db.execute(
            "INSERT INTO events(time, kind, ticker, text) VALUES (?, ?, ?, ?)", (now.isoformat(), kind, ticker, words)
        )

    def tell_once(self, now: datetime, kind: str, words: str) -> bool:
        """Write an event of which one is enough; whether it is new."""
        known = self._db.execute("SELECT 1 FROM events WHERE kind = ? AND text = ?", (kind, words)).fetchone()
        if known is None:
            self.event(now, kind, None, words)
        return known is None

    def last_event(self, *kinds: str) -> sqlite3.Row | None:
        """The newest event of these kinds."""
        query = f"SELECT * FROM events WHERE kind IN ({marks(len(kinds))}) ORDER BY rowid DESC LIMIT 1"
        found: sqlite3.Row | None = self._db.execute(query, kinds).fetchone()
        return found

    def rows(self, table: str) -> list[dict[str, Any]]:
        """A whole table, in its natural order."""
        return [plain(row) for row in self._db.execute(f"SELECT * FROM {table} ORDER BY {ORDER[table]}")]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._db:  # commits, or rolls back whatever was raised
            self._db.execute("BEGIN IMMEDIATE")
            yield
