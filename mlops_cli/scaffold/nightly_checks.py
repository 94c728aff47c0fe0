"""Checks of the nightly pass: does it come, and what did it find? They read its files alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.check import Check

MOST_MISSED = 1
"""Sessions that may have ended since the last pass: tonight's pass may still be to come."""
LONGEST_PASS = timedelta(hours=6)
PASS = "nightly pass"
DEFAULT_EXCHANGE = "XNYS"
_COMMAND = "mlops live; then see whether it is still scheduled: mlops schedule show"


def nightly_checks(project: Project, exchanges: Collection[str], now: datetime | None = None) -> Iterator[Check]:
    """Check that passes come, and the state of the models; nothing in a project without a pass and a schedule.

    Args:
        project: to be checked.
        exchanges: of its models.
        now: the time; None for that of this machine.
    """
    moment = now or datetime.now(UTC)
    last = _read(project.live / "last-pass.json")
    try:
        if last is not None:
            yield _last_pass(last, exchanges, moment)
        elif (scheduled := _scheduled(project)) is not None:
            yield _first_pass(scheduled, exchanges, moment)
    except (KeyError, TypeError, ValueError):  # of a damaged file
        path = project.live / "last-pass.json"
        yield Check(PASS, "failed", f"{path} is damaged", f"rm {path}, then: mlops live")
    fleet = _read(project.live / "fleet.json")
    if fleet is not None:
        yield _fleet(fleet)


def sessions_since(exchanges: Collection[str], day: date, now: datetime) -> int:
    """How many sessions have ended after a day: of the exchange that has most of them."""
    import pandas as pd

    from mlops_cli.market.sessions import last_finished_session, sessions

    counts = [0]
    for exchange in exchanges or (DEFAULT_EXCHANGE,):
        try:
            end = last_finished_session(exchange, pd.Timestamp(now))
            counts.append(len(sessions(exchange, day + timedelta(days=1), end)))
        except ConfigError:  # no such calendar: the check of the configs says so
            continue
    return max(counts)


def _last_pass(last: dict[str, Any], exchanges: Collection[str], now: datetime) -> Check:
    session = date.fromisoformat(last["session"])
    missed = sessions_since(exchanges, session, now)
    after = f"the last one came after the close of {session}"
    if missed > MOST_MISSED:
        return Check(PASS, "failed", f"{after}; {missed} sessions have ended since", _COMMAND)
    if last["finished"] is None:
        began = datetime.fromisoformat(last["began"])
        if now - began > LONGEST_PASS:
            words = f"the one that began on {began:%Y-%m-%d} at {began:%H:%M} UTC has not ended: it was killed"
            return Check(PASS, "failed", words, "mlops live")
        return Check(PASS, "ok", f"one is running since {began:%H:%M} UTC")
    if not last["ok"]:
        return Check(PASS, "warning", f"{after}, and not all of it succeeded", "mlops live")
    return Check(PASS, "ok", after)


def _first_pass(scheduled: datetime, exchanges: Collection[str], now: datetime) -> Check:
    missed = sessions_since(exchanges, scheduled.date(), now)
    words = f"scheduled on {scheduled:%Y-%m-%d}"
    if missed > MOST_MISSED:
        return Check(PASS, "failed", f"{words}; {missed} sessions have ended since, and none came", _COMMAND)
    return Check(PASS, "ok", f"{words}; the first one is still to come")


def _fleet(fleet: dict[str, Any]) -> Check:
    """The states of the models, of the summary that the pass writes."""
    numbers = fleet.get("models") or {}
    listed = ", ".join(f"{number} {state}" for state, number in numbers.items()) or "none yet"
    words = f"{listed}; the fleet: {fleet.get('state')}"
    if fleet.get("state") == "broken" or numbers.get("broken"):
        return Check("models in use", "warning", words, "mlops models health --state broken")
    return Check("models in use", "ok", words)


def _scheduled(project: Project) -> datetime | None:
    """When the nightly pass was scheduled last, by the rules that rotate its log; None if it was not."""
    rules = project.state / "logs" / "rotation.conf"
    try:
        if "/live.log" not in rules.read_text(encoding="utf-8", errors="replace"):
            return None
        return datetime.fromtimestamp(rules.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON file; None if it is missing, and empty if it is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
