"""Do passes come, and do servers answer? By what earlier passes and running servers have written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from mlops_cli.config.paths import Project
from mlops_cli.market.sessions import sessions
from mlops_cli.pipeline.stages.stage import read_note
from mlops_cli.system.files import write_text

SERVERS, COUNTS = "servers", "serving-counts.json"
KEPT = timedelta(days=14)
"""How long the counts of a server that has ended are kept."""


def missed_sessions(project: Project, exchange: str, session: date) -> list[date]:
    """The sessions before this one, and after the last pass that issued forecasts, for which no pass came, rising.

    Empty before the first pass.
    """
    came = [
        day
        for path in (project.live / "passes").glob("*.json")
        if (day := date.fromisoformat(path.stem)) < session and "issue" in (read_note(path) or {}).get("steps", {})
    ]
    if not came:
        return []
    return [day.date() for day in sessions(exchange, max(came) + timedelta(days=1), session - timedelta(days=1))]


@dataclass(frozen=True)
class ServedCounts:
    """HTTP answers of the servers: how many, and how many of them were errors of the server (5xx)."""

    answers: int = 0
    errors: int = 0

    @property
    def share(self) -> float:
        """Share of errors."""
        return self.errors / self.answers if self.answers else 0.0


def served_since(project: Project, session: date, now: datetime, *, write: bool) -> ServedCounts:
    """What the servers of a project answered since the passes after an earlier session.

    Args:
        project: whose servers.
        session: of this pass. A second pass after the same session counts from the same moment.
        now: when it began; counts of servers that ended long ago are removed.
        write: False for a dry run.
    """
    live = project.live
    counts = _counts(live / SERVERS, now if write else None)
    note = read_note(live / COUNTS) or {}
    before: Mapping[str, Any] = (
        note.get("before", {}) if note.get("session") == str(session) else note.get("counts", {})
    )
    if write and (counts or note):
        text = json.dumps({"session": str(session), "before": before, "counts": counts}, indent=2)
        write_text(live / COUNTS, text + "\n")
    answers = errors = 0
    for server, (answered, failed) in counts.items():
        earlier = before.get(server, (0, 0))
        answers += max(0, answered - int(earlier[0]))
        errors += max(0, failed - int(earlier[1]))
    return ServedCounts(answers, errors)


def _counts(folder: Path, now: datetime | None) -> dict[str, tuple[int, int]]:
    """Answers and errors of each server, since it started; with `now`, the files of old ones are removed."""
    counts = {}
    for path in sorted(folder.glob("*.json")):
        note = read_note(path)
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # somebody else's file
            statuses = {str(status): int(count) for status, count in (note or {})["statuses"].items()}
            if now is not None and datetime.fromisoformat((note or {})["at"]) < now - KEPT:
                path.unlink(missing_ok=True)
                continue
            failed = sum(count for status, count in statuses.items() if status.startswith("5"))
            counts[path.stem] = sum(statuses.values()), failed
    return counts
