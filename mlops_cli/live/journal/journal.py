"""The journal of a project: forecasts as they were issued, never rewritten, and the closes that followed.

SQLite with a write-ahead log and `synchronous=FULL`: a batch is one transaction, so that a process that is killed
leaves all or nothing of it, and what was committed survives a power cut. Times are UTC and given by the caller, so that
the journal of a replay holds the replay's time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from mlops_cli.errors import bounded
from mlops_cli.live.journal.records import Actual, Forecast, IssuedForecast, IssueReport, Key, Refusal
from mlops_cli.live.journal.tables import (
    FORECAST,
    FORMAT,
    IS_OPEN,
    KIND,
    SCHEMA,
    SELECT_FORECASTS,
    actual_row,
    forecast_row,
    issued_of,
    key_of,
)
from mlops_cli.system.sqlite_files import insert, transaction

_BATCH = 20_000


@dataclass(frozen=True)
class Selection:
    """Which forecasts to read; None: all.

    Attributes:
        first: first session.
        last: last session.
        branch: name of a branch.
        models: names of models.
        tickers: tickers.
        teams: names of teams.
        is_open: only those that have no actual yet.
        sessions: only those made on these sessions.
    """

    first: date | None = None
    last: date | None = None
    branch: str | None = None
    models: Collection[str] | None = None
    tickers: Collection[str] | None = None
    teams: Collection[str] | None = None
    is_open: bool = False
    sessions: Collection[date] | None = None

    def where(self) -> tuple[str, list[str]]:
        """The conditions in SQL, and the values of their placeholders."""
        conditions = ["1"]
        values: list[str] = []
        for condition, value in (
            ("f.session >= ?", self.first),
            ("f.session <= ?", self.last),
            ("f.branch = ?", self.branch),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(str(value))
        days = None if self.sessions is None else [day.isoformat() for day in self.sessions]
        every = (("session", days), ("model", self.models), ("ticker", self.tickers), ("team", self.teams))
        for column, names in every:
            if names is not None:
                # one value for all names: SQLite limits the number of placeholders
                conditions.append(f"f.{column} IN (SELECT value FROM json_each(?))")
                values.append(_json(names))
        if self.is_open:
            conditions.append(IS_OPEN)
        return " AND ".join(conditions), values


ALL = Selection()


class Journal:
    """An open journal; see `opening`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def is_empty(self) -> bool:
        """Whether it has no tables yet: it was just created, or its creation was killed."""
        return self._db.execute("SELECT 1 FROM sqlite_master").fetchone() is None

    def create(self) -> None:
        """Make the tables, unless they exist."""
        if self.is_empty():
            with transaction(self._db):
                if self.is_empty():  # no other process was faster
                    for statement in SCHEMA:
                        self._db.execute(statement)
                    facts = {"kind": KIND, "format": str(FORMAT)}
                    insert(self._db, "meta", [{"key": key, "value": value} for key, value in facts.items()])

    def meta(self, key: str) -> str | None:
        """A fact about the journal (`kind`, `format`); None if it is not known, or this is no journal."""
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
            return None
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    # -- forecasts

    def issue(self, forecasts: Sequence[Forecast], now: datetime) -> IssueReport:
        """Journal a batch of forecasts in one transaction.

        What was issued stays as it is. A forecast that is in the journal already, with the same content, is counted as
        unchanged and keeps its time. One with other content is refused, and so is one that is not usable; the others of
        the batch are journaled all the same.

        Args:
            forecasts: of any models and sessions.
            now: when they are issued, with a time zone.
        """
        time = _utc(now)
        new: dict[Key, dict[str, Any]] = {}
        refused: list[Refusal] = []
        unchanged = 0
        with transaction(self._db):
            earlier = self._contents({forecast.session for forecast in forecasts})
            for forecast in forecasts:
                row = forecast_row(forecast, time)
                before = earlier.get(forecast.key)
                reason = _difference(before, row) if before else "; ".join(forecast.faults)
                if reason:
                    refused.append(Refusal(forecast.key, reason))
                elif before:
                    unchanged += 1
                else:
                    new[forecast.key] = row
                    earlier[forecast.key] = tuple(row[name] for name in FORECAST)
            insert(self._db, "forecasts", new.values())
        return IssueReport(len(new), unchanged, tuple(refused))

    def issued(self, sessions: Iterable[date]) -> set[Key]:
        """The forecasts of these sessions that are in the journal."""
        rows = self._db.execute(
            "SELECT session, branch, model FROM forecasts WHERE session IN (SELECT value FROM json_each(?))",
            (_json(day.isoformat() for day in sessions),),
        )
        return {key_of(*row) for row in rows}

    def _contents(self, sessions: Iterable[date]) -> dict[Key, tuple[Any, ...]]:
        """The stored values of FORECAST of these sessions."""
        rows = self._db.execute(
            f"SELECT {', '.join(FORECAST)} FROM forecasts WHERE session IN (SELECT value FROM json_each(?))",
            (_json(day.isoformat() for day in sessions),),
        )
        return {key_of(*row[:3]): row for row in map(tuple, rows)}

    # -- actuals

    def add_actuals(self, actuals: Sequence[Actual], now: datetime) -> int:
        """Add the closes that followed, in one transaction; an actual equal to the newest of its forecast is not added.

        Earlier actuals of a forecast stay in the journal; the newest counts.

        Args:
            actuals: of forecasts that are in the journal, each of them once.
            now: when they were seen, with a time zone.

        Returns:
            How many were added.
        """
        time = _utc(now)
        with transaction(self._db):
            newest = self._newest_actuals({actual.key.session for actual in actuals})
            rows = []
            for actual in actuals:
                before = newest.get(actual.key)
                if before is None:
                    rows.append(actual_row(actual, time, 0))
                elif before[1:] != (actual.actual_close, actual.table_close, actual.units):
                    rows.append(actual_row(actual, time, before[0] + 1))
            insert(self._db, "actuals", rows)
        return len(rows)

    def _newest_actuals(self, sessions: Iterable[date]) -> dict[Key, tuple[int, float, float, float]]:
        rows = self._db.execute(
            "SELECT session, branch, model, restatements, actual_close, table_close, units FROM actuals "
            "WHERE session IN (SELECT value FROM json_each(?)) ORDER BY restatements",
            (_json(day.isoformat() for day in sessions),),
        )
        return {key_of(*row[:3]): (row[3], row[4], row[5], row[6]) for row in rows}

    def history(self, key: Key) -> list[tuple[datetime, Actual]]:
        """All actuals of a forecast with the time at which each was seen, the oldest first."""
        rows = self._db.execute(
            "SELECT settled_at, actual_close, table_close, units FROM actuals "
            "WHERE session = ? AND branch = ? AND model = ? ORDER BY restatements",
            (key.session.isoformat(), key.branch, key.model),
        )
        return [(datetime.fromisoformat(time), Actual(key, *values)) for time, *values in rows]

    # -- reading

    def newest(self, selection: Selection = ALL) -> list[IssuedForecast]:
        """The newest forecast of each selected model, in order of branch and model."""
        where, values = selection.where()
        models = self._db.execute(
            f"SELECT max(f.session), f.branch, f.model FROM forecasts f WHERE {where} "
            "GROUP BY f.branch, f.model ORDER BY f.branch, f.model",
            values,
        ).fetchall()
        one_model = f"{SELECT_FORECASTS} WHERE f.session = ? AND f.branch = ? AND f.model = ?"
        return [issued_of(self._db.execute(one_model, tuple(row)).fetchone()) for row in models]

    def last_sessions(self, until: date | None = None) -> dict[str, date]:
        """By exchange, the last session that has forecasts; with `until`, the last one up to that day."""
        rows = self._db.execute(
            "SELECT exchange, max(session) FROM forecasts WHERE session <= ? GROUP BY exchange",
            (str(until or date.max),),
        )
        return {exchange: date.fromisoformat(session) for exchange, session in rows}

    def forecasts(self, selection: Selection = ALL) -> Iterator[IssuedForecast]:
        """The selected forecasts with their newest actuals, in order of session, branch and model."""
        for rows in self.batches(selection):
            yield from map(issued_of, rows)

    def batches(self, selection: Selection = ALL) -> Iterator[list[tuple[Any, ...]]]:
        """The same as rows of `tables.COLUMNS`, some thousand at a time: a year of a fleet is half a million."""
        where, values = selection.where()
        cursor = self._db.execute(f"{SELECT_FORECASTS} WHERE {where} ORDER BY f.session, f.branch, f.model", values)
        while rows := cursor.fetchmany(_BATCH):
            yield rows


def _difference(before: tuple[Any, ...], row: dict[str, Any]) -> str:
    """How a forecast differs from the one that was issued; empty if it does not."""
    changes = [
        f"{name} was {old}, is {row[name]}" for name, old in zip(FORECAST, before, strict=True) if old != row[name]
    ]
    return f"it was issued with other content: {bounded(changes, 3)}" if changes else ""


def _utc(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValueError("a time without time zone")
    return now.astimezone(UTC)


def _json(values: Iterable[str]) -> str:
    return json.dumps(list(values))
