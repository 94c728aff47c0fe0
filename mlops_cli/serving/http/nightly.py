"""What a server says about the nightly pass, from the files that the pass writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def nightly_facts(live: Path, now: datetime | None = None) -> dict[str, Any]:
    """When the last pass came, and the state of the models.

    Args:
        live: folder of what passes note.
        now: the time; None for that of this machine.

    Returns:
        `last_pass`: `session`, `finished` (None: it was killed, or is running), `ok` and `age_hours` since it began;
        `fleet`: `session`, `state`, `since`, `reason` and `models` (how many have each state). None where no pass has
        written the file, or it is damaged.
    """
    last, fleet = _read(live / "last-pass.json"), _read(live / "fleet.json")
    return {"last_pass": _last_pass(last, now or datetime.now(UTC)), "fleet": fleet}


def _last_pass(last: dict[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    try:
        if last is None:
            return None
        age = now - datetime.fromisoformat(last["began"])
        facts = {name: last[name] for name in ("session", "finished", "ok")}
    except (KeyError, TypeError, ValueError):
        return None
    return {**facts, "age_hours": round(age.total_seconds() / 3600, 2)}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
