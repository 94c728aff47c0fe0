"""The journal as the server sees it: adapter of the port `IssuedForecasts`. It imports no pandas."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Hashable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.journal.tables import COLUMNS, intervals_of
from mlops_cli.serving.contract.issued_forecasts import Issued, IssuedForecast, IssuedKey

JUST_NOW = 200_000_000
"""Nanoseconds: two changes of a file that are closer to each other may have the same time."""


class JournalForecasts:
    """The forecasts of a journal file, which may be missing."""

    def __init__(self, path: Path) -> None:
        """Read the journal at `path`; it need not exist yet."""
        self._path = path
        self._files = (str(path), f"{path}-wal")

    def state(self) -> Hashable:
        """The sizes and times of the file and its write-ahead log, and its inode.

        Within `JUST_NOW` of a change it is another one each time: a second change might not show otherwise.
        """
        found = [_facts(file) for file in self._files]
        changed = max(facts[-1] for facts in found)
        is_recent = abs(time.time_ns() - changed) < JUST_NOW
        return (*found, time.monotonic_ns() if is_recent else 0)

    def made_on(self, sessions: Collection[date]) -> Issued:
        """The forecasts of these sessions; none without a journal.

        Raises:
            DataError: the journal is damaged.
            ConfigError: another version of mlops wrote it, or it is no journal.
            ServiceError: another program has locked it.
        """
        if not self._path.exists():
            return {}
        with read_journal(self._path) as journal:
            return dict(_issued(row) for rows in journal.batches(Selection(sessions=sessions)) for row in rows)


def _facts(file: str) -> tuple[int, int, int]:
    """Inode, size and time of the last change of a file; zeros if it is missing or empty."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0, 0
    # an empty log comes and goes with each reader
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found.st_size else (0, 0, 0)


def _issued(row: Sequence[Any]) -> tuple[IssuedKey, IssuedForecast]:
    values = dict(zip(COLUMNS, row, strict=True))
    forecast = IssuedForecast(
        team=values["team"],
        ticker=values["ticker"],
        version=values["version"],
        row_hash=values["row_hash"],
        issued_at=datetime.fromisoformat(values["issued_at"]),
        target_session=date.fromisoformat(values["target_session"]),
        last_close=values["last_close"],
        predicted_close=values["predicted_close"],
        raw_predicted_close=values["raw_predicted_close"],
        log_return=values["log_return"],
        announced_dividend=values["announced_dividend"],
        intervals={each.level: (each.lower, each.upper) for each in intervals_of(values["intervals"])},
    )
    return IssuedKey(values["branch"], values["model"], date.fromisoformat(values["session"])), forecast
