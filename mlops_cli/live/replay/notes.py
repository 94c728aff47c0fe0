"""What happened in a replay, evening by evening, in a database: each evening in one transaction, once it is over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

from mlops_cli.live.replay.evenings import Evening
from mlops_cli.system.sqlite_files import SqliteFile, insert, transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS evenings(session TEXT PRIMARY KEY, at TEXT NOT NULL, failed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events(
    session TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY(session, kind, model, text));
CREATE TABLE IF NOT EXISTS seen(kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(kind, name));
CREATE TABLE IF NOT EXISTS parts(team TEXT NOT NULL, model TEXT NOT NULL, idle TEXT NOT NULL, PRIMARY KEY(team, model));
CREATE TABLE IF NOT EXISTS alerts(session TEXT NOT NULL, line TEXT NOT NULL, PRIMARY KEY(session, line));
"""
VERSION, ANSWERS, HEALTH = "version", "answers", "health"
TRAINED, PROMOTED, ROLLED_BACK = "trained", "promoted", "rolled back"


class Event(NamedTuple):
    """Something that happened to a model, or to the fleet (model is empty), in the pass after a session."""

    session: str
    kind: str
    model: str
    text: str


@dataclass(frozen=True)
class Observed:
    """The state of a replay after a pass; models are `branch/name`.

    Attributes:
        versions: every version that a model has or had, and until when it was trained, by (model, version).
        answers: by model, the version whose forecast was issued in this pass.
        health: state and reason by model, or of the fleet under the empty name.
        reason: tells why a model's champion is what it is; empty where that is not recorded.
    """

    versions: Mapping[tuple[str, str], str]
    answers: Mapping[str, str]
    health: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    reason: Callable[[str], str] = lambda _: ""


class Notes:
    """The open database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def finished(self) -> set[date]:
        """The sessions whose pass has ended."""
        return {date.fromisoformat(day) for (day,) in self._db.execute("SELECT session FROM evenings")}

    def failures(self) -> int:
        """How many items failed, over all passes."""
        (count,) = self._db.execute("SELECT coalesce(sum(failed), 0) FROM evenings").fetchone()
        return int(count)

    def versions(self) -> set[tuple[str, str]]:
        """Model and version of all that were seen."""
        names = self._db.execute("SELECT name FROM seen WHERE kind = ?", (VERSION,))
        return {(model, version) for model, _, version in (name.rpartition(":") for (name,) in names)}

    def begin(self, observed: Observed) -> None:
        """Note the state before the first pass, unless a pass has ended."""
        with transaction(self._db):
            if not self.finished():
                self._see(observed)

    def finish(self, evening: Evening, observed: Observed, failed: int) -> list[Event]:
        """Note that a pass has ended, and what is different since the one before; returns that."""
        session = str(evening.session)
        with transaction(self._db):
            before = {(kind, name): value for kind, name, value in self._db.execute("SELECT * FROM seen")}
            events = list(_events(session, before, observed))
            self._see(observed)
            insert(self._db, "events", [event._asdict() for event in events], on_conflict="IGNORE")
            noted = {"session": session, "at": evening.now.isoformat(), "failed": failed}
            insert(self._db, "evenings", [noted], on_conflict="REPLACE")
        return events

    def _see(self, observed: Observed) -> None:
        seen = [{"kind": kind, "name": name, "value": value} for (kind, name), value in _state(observed).items()]
        insert(self._db, "seen", seen, on_conflict="REPLACE")

    def alert(self, evening: Evening, lines: Sequence[str]) -> None:
        """Keep alerts, each once for a session: a pass that is killed may send them again."""
        rows = [{"session": str(evening.session), "line": line} for line in lines]
        with transaction(self._db):
            insert(self._db, "alerts", rows, on_conflict="IGNORE")

    def take_part(self, team: str, idle: Mapping[str, str]) -> None:
        """Keep why each of a team's models does not trade; empty if it does. The newest reason counts."""
        rows = [{"team": team, "model": model, "idle": reason} for model, reason in idle.items()]
        with transaction(self._db):
            insert(self._db, "parts", rows, on_conflict="REPLACE")

    def parts(self, team: str) -> dict[str, str]:
        """By model of a team, why it does not trade; empty if it does."""
        return dict(self._db.execute("SELECT model, idle FROM parts WHERE team = ? ORDER BY model", (team,)))

    def events(self) -> list[Event]:
        """All that happened, by session, kind and model."""
        order = "ORDER BY session, kind, model, text"
        return [Event(*row) for row in self._db.execute(f"SELECT session, kind, model, text FROM events {order}")]

    def alerts(self) -> list[tuple[str, str]]:
        """Session and line of all alerts."""
        return [tuple(row) for row in self._db.execute("SELECT session, line FROM alerts ORDER BY session, line")]


@contextmanager
def open_notes(path: Path) -> Iterator[Notes]:
    """Open the database, and create it if it is missing.

    Raises:
        DataError: it is damaged, or the disk is full.
    """
    with SqliteFile(path, "the notes of the replay", "begin the replay anew: add --restart").writing() as connection:
        connection.executescript(_SCHEMA)
        yield Notes(connection)


def _state(observed: Observed) -> dict[tuple[str, str], str]:
    state = {(VERSION, f"{model}:{version}"): until for (model, version), until in observed.versions.items()}
    state |= {(ANSWERS, model): version for model, version in observed.answers.items()}
    return state | {(HEALTH, model): said for model, (said, _) in observed.health.items()}


def _events(session: str, before: Mapping[tuple[str, str], str], observed: Observed) -> Iterator[Event]:
    """What is different from before."""
    for (model, version), until in observed.versions.items():
        if (VERSION, f"{model}:{version}") not in before:
            yield Event(session, TRAINED, model, f"{version}, trained until {until}")
    for model, version in observed.answers.items():
        earlier = before.get((ANSWERS, model))
        if earlier not in (None, version):
            # a version that is older than the one before it, or as old, was taken back
            now, then = (before.get((VERSION, f"{model}:{each}")) for each in (version, earlier))
            kind = ROLLED_BACK if now is not None and then is not None and now <= then else PROMOTED
            yield Event(session, kind, model, f"{earlier} to {version}: {observed.reason(model)}".rstrip(": "))
    yield from _health_events(session, before, observed)


def _health_events(session: str, before: Mapping[tuple[str, str], str], observed: Observed) -> Iterator[Event]:
    for model, (state, reason) in observed.health.items():
        earlier = before.get((HEALTH, model))
        if earlier not in (None, state):
            yield Event(session, HEALTH, model, f"{earlier} to {state}: {reason}".rstrip(": "))
