"""What is noted about passes: a file for each session, and one about the last pass, by which one sees that it came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from mlops_cli.config.paths import Project
from mlops_cli.errors import ServiceError
from mlops_cli.live.passes.step import StepOutcome, Trouble
from mlops_cli.pipeline.stages.stage import ItemFailure, read_note
from mlops_cli.system.files import write_text

LAST = "last-pass.json"
CLOCK_MARGIN = timedelta(minutes=2)


def record_file(project: Project, session: date) -> Path:
    """The file about the passes after the close of a session."""
    return project.live / "passes" / f"{session}.json"


def read_record(project: Project, session: date) -> dict[str, Any]:
    """What the passes after a session did, by step under `steps`; empty if there was none."""
    return read_note(record_file(project, session)) or {}


def record_step(project: Project, session: date, now: datetime, outcome: StepOutcome) -> None:
    """Note what a step did. A second pass after the same session replaces what the first one noted for the step.

    Events that the first one found stay: the second does not find them again, and people may not have been told.
    """
    steps = read_record(project, session).get("steps", {})
    keys = {trouble.key for trouble in outcome.troubles}
    events = [trouble for trouble in _events(steps.get(outcome.step, {})) if trouble.key not in keys]
    noted = {**asdict(replace(outcome, troubles=[*outcome.troubles, *events])), "at": now.isoformat()}
    _write(record_file(project, session), {"session": str(session), "steps": {**steps, outcome.step: noted}})


def recorded_events(project: Project, session: date) -> dict[str, list[Trouble]]:
    """By step, the events that passes after a session have found."""
    return {name: _events(step) for name, step in read_record(project, session).get("steps", {}).items()}


def _events(step: Mapping[str, Any]) -> list[Trouble]:
    return [Trouble(**trouble) for trouble in step.get("troubles", ()) if trouble.get("is_event")]


def ended_steps(project: Project, session: date, began: datetime) -> list[StepOutcome]:
    """What the steps did that have ended, without an error, in the pass that began at this time; in their order."""
    steps = read_record(project, session).get("steps", {}).values()
    return [
        StepOutcome(
            **{
                **{name: value for name, value in values.items() if name != "at"},
                "failures": [ItemFailure(**failure) for failure in values["failures"]],
                "troubles": [Trouble(**trouble) for trouble in values["troubles"]],
            }
        )
        for values in steps
        if values["at"] == began.isoformat() and values["error"] is None
    ]


def begin_pass(project: Project, session: date, now: datetime) -> None:
    """Note that a pass has begun."""
    _write_last(project, {"began": now.isoformat(), "finished": None, "session": str(session), "ok": False})


def end_pass(project: Project, session: date, began: datetime, finished: datetime, *, ok: bool) -> None:
    """Note that a pass has ended."""
    values = {"began": began.isoformat(), "finished": finished.isoformat(), "session": str(session), "ok": ok}
    _write_last(project, values)


def last_pass(project: Project) -> dict[str, Any] | None:
    """What is known of the last pass; None before the first.

    `began`, `finished` (None: it was killed, or is running), `session`, `ok`, and `latest`: the latest time at which a
    pass ever began.
    """
    note = read_note(project.live / LAST) or {}
    return note if {"began", "finished", "session", "ok", "latest"} <= note.keys() else None


def check_clock(project: Project, now: datetime) -> None:
    """Refuse a time before that of earlier passes: what is issued would claim to have been made earlier than it was.

    Raises:
        ServiceError: the clock was set back.
    """
    last = last_pass(project)
    if last is not None and datetime.fromisoformat(last["latest"]) > now + CLOCK_MARGIN:
        latest = datetime.fromisoformat(last["latest"])
        raise ServiceError(
            f"the clock shows {now:%Y-%m-%d %H:%M} UTC, but a pass began at {latest:%Y-%m-%d %H:%M} UTC",
            f"set the clock; if it is right now, and was wrong then: rm {project.live / LAST}",
        )


def _write_last(project: Project, values: dict[str, Any]) -> None:
    before = last_pass(project)
    latest = max(values["began"], before["latest"], key=datetime.fromisoformat) if before else values["began"]
    _write(project.live / LAST, {**values, "latest": latest})


def finished_sessions(project: Project, steps: Sequence[str]) -> list[date]:
    """The sessions after which all of these steps ended, rising."""
    files = sorted((project.live / "passes").glob("*.json"))
    return [
        date.fromisoformat(path.stem) for path in files if set(steps) <= set((read_note(path) or {}).get("steps", {}))
    ]


def _write(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, default=str) + "\n")
