"""The files of health: the states, what they are compared with, a summary for the server, and all changes of states."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from mlops_cli.config.paths import Project
from mlops_cli.errors import DataError
from mlops_cli.live.health.calibration import Calibration, read_calibration
from mlops_cli.live.health.state import Health, read_health
from mlops_cli.system.files import write_text

HEALTH, CALIBRATION, HISTORY = "health.json", "calibration.json", "health-history.jsonl"
FLEET_FILE = "fleet.json"
FLEET = "the fleet"
_TAIL = 1_000_000
"""Bytes at the end of the history in which a change of this session is looked for."""


def read_states(project: Project) -> Health:
    """The stored states of health, by `watched.label_of` a model; without models before the first pass.

    Raises:
        DataError: the file is broken.
    """
    try:
        return read_health((project.live / HEALTH).read_bytes())
    except FileNotFoundError:
        return Health()


def write_states(project: Project, health: Health) -> None:
    """Write the states, and a summary of the fleet that a server can read fast."""
    write_text(project.live / HEALTH, health.model_dump_json())
    fleet = {
        "session": health.session and str(health.session),
        "state": str(health.fleet.state),
        "since": health.fleet.since and str(health.fleet.since),
        "reason": health.fleet.reason,
        "models": counts(health),
    }
    write_text(project.live / FLEET_FILE, json.dumps(fleet, indent=2) + "\n")


def stored_calibration(project: Project) -> Calibration | None:
    """The calibration of the last pass; None if there is none, or it is broken: it is then made anew."""
    try:
        return read_calibration((project.live / CALIBRATION).read_bytes())
    except (FileNotFoundError, DataError):
        return None


def write_calibration(project: Project, calibration: Calibration) -> None:
    """Write a calibration."""
    write_text(project.live / CALIBRATION, calibration.model_dump_json())


def counts(health: Health) -> dict[str, int]:
    """How many models have each state; states that no model has are left out."""
    numbers = Counter(str(model.state) for model in health.models.values())
    return dict(sorted(numbers.items()))


@dataclass(frozen=True)
class StateChange:
    """A change of the state of a model, or of the fleet.

    Attributes:
        session: the last judged target session.
        model: label, or `FLEET`.
        version: that is watched; empty for the fleet.
        before: state; None: it was not watched before.
        after: state.
        reason: why; empty while healthy.
        retrained_from: the version before, if this one is new.
    """

    session: date | None
    model: str
    version: str
    before: str | None
    after: str
    reason: str
    retrained_from: str | None = None

    def to_json(self, now: datetime) -> str:
        """A line of the history."""
        return json.dumps({"at": now.isoformat(), **asdict(self)}, default=str)


def changes(before: Health, after: Health) -> list[StateChange]:
    """What changed between two states of health, in order of the models; the fleet last."""
    found = []
    for label, model in after.models.items():
        old = before.models.get(label)
        retrained = old is not None and old.version != model.version
        if old is None or retrained or old.state != model.state:
            state, version = (str(old.state), old.version if retrained else None) if old else (None, None)
            found.append(
                StateChange(after.session, label, model.version, state, str(model.state), model.reason, version)
            )
    if before.fleet.state != after.fleet.state:
        fleet = after.fleet
        found.append(
            StateChange(after.session, FLEET, "", str(before.fleet.state), str(fleet.state), fleet.reason, None)
        )
    return found


def append_history(project: Project, found: Sequence[StateChange], now: datetime) -> None:
    """Add changes to the history. Those that a killed pass has added for the same session are not added again."""
    path = project.live / HISTORY
    there = {_key(line) for line in _lines(path, _TAIL)}
    new = [change for change in found if _key(json.loads(change.to_json(now))) not in there]
    if not new:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        broken = file.tell() > 0 and not _ends_with_newline(path)  # the line of a killed pass
        text = "".join(change.to_json(now) + "\n" for change in new)
        file.write(b"\n" * broken + text.encode())
        file.flush()
        os.fsync(file.fileno())


def read_history(project: Project, label: str) -> list[dict[str, Any]]:
    """All changes of a model (or of `FLEET`), the oldest first; keys as `StateChange`, and `at`."""
    return [line for line in _lines(project.live / HISTORY) if line.get("model") == label]


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in ("session", "model", "version", "before", "after"))


def _lines(path: Path, tail: int | None = None) -> list[dict[str, Any]]:
    """The whole lines of the history, or of its last bytes."""
    try:
        with path.open("rb") as file:
            if tail is not None:
                file.seek(max(0, path.stat().st_size - tail))
            texts = file.read().splitlines()
    except FileNotFoundError:
        return []
    lines = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # cut off by the seek, or by a kill
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
