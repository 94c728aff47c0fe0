"""The newest row of each model's feature table, read again when the file changes."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mlops_cli.config.paths import Project
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.serving.catalog.catalog import ModelKey
from mlops_cli.serving.contract.messages import Rows

_AT_ONCE = 16  # files that a thread reads in one task


@dataclass(frozen=True, slots=True)
class LatestRow:
    """The last row of a feature table: `values`, float32 (1, len(columns)), of the columns that hold a number.

    `announced` is the dividend of the target session over the last close, as the table has it; 0 without such a column.
    """

    columns: tuple[str, ...]
    values: Rows
    session: date
    target_session: date
    last_close: float
    announced: float = 0.0

    def widths(self, names: tuple[str, ...]) -> tuple[float, ...]:
        """The values of these columns; empty if one of them is missing."""
        if not all(name in self.columns for name in names):
            return ()
        return tuple(float(self.values[0, self.columns.index(name)]) for name in names)


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read from a file that changed at this time (ns): its last row, or why there is none."""

    row: LatestRow | str
    changed: int


class LatestRows:
    """The newest rows of a project's feature tables."""

    def __init__(self, project: Project, executor: Executor) -> None:
        """Read below `project` in `executor`."""
        self._project = project
        self._executor = executor
        self._read: dict[ModelKey, _Read] = {}
        self._paths: dict[ModelKey, str] = {}

    async def get(self, models: Iterable[ModelKey]) -> dict[ModelKey, LatestRow | str]:
        """The newest row of each model, or why there is none. Only files that changed are read again."""
        changed = {key: _changed(self._path(key)) for key in models}
        stale = [key for key, time in changed.items() if key not in self._read or self._read[key].changed != time]
        rows = await self._read_again(stale)
        for key, row in zip(stale, rows, strict=True):
            self._read[key] = _Read(row, changed[key])
        return {key: self._read[key].row for key in changed}

    def known(self, key: ModelKey) -> LatestRow | str | None:
        """The newest row of a model, or why there is none, as it was last read; None if it was never read."""
        read = self._read.get(key)
        return None if read is None else read.row

    async def _read_again(self, models: list[ModelKey]) -> Iterable[LatestRow | str]:
        paths = [self._path(key) for key in models]
        chunks = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
        loop = asyncio.get_running_loop()
        tasks = [loop.run_in_executor(self._executor, _read_all, chunk) for chunk in chunks]
        return chain.from_iterable(await asyncio.gather(*tasks))

    def _path(self, key: ModelKey) -> str:
        """The path as text. It is kept, because pathlib takes ten times as long as the file system's look-up."""
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = str(self._project.features(key.branch) / f"{key.name}.parquet")
        return path


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1


def _read_all(paths: list[str]) -> list[LatestRow | str]:
    return [_read(Path(path)) for path in paths]


def _read(path: Path) -> LatestRow | str:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            if not file.metadata.num_rows:
                return f"{path.name}: the feature table is empty"
            table = file.read_row_group(file.num_row_groups - 1, use_threads=False)
        return _row(path, table.slice(table.num_rows - 1).to_pylist()[0])
    except FileNotFoundError:
        return f"no feature table {path.parent.name}/{path.name}: run: mlops run"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # ArrowInvalid is a ValueError
        return f"{path.name}: damaged: {error}: remove it and run: mlops run"


def _row(path: Path, values: dict[str, Any]) -> LatestRow | str:
    session, target, close = values.pop("session"), values.pop("target_session"), values["last_close"]
    if target is None or not math.isfinite(close or math.nan):
        return f"{path.name}: the newest row has no close or no target session"
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and its column is left out
        row = np.array([[math.nan if value is None else value for value in values.values()]]).astype(np.float32)
    finite = np.isfinite(row[0])
    columns = tuple(sys.intern(name) for name, good in zip(values, finite, strict=True) if good)
    picked = np.ascontiguousarray(row[:, finite])
    announced = values.get(ANNOUNCED) or 0.0
    return LatestRow(columns, picked, session.date(), target.date(), float(close), float(announced))
