"""The newest row of each model's feature table, read when the file is new."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mlops_cli.config.paths import Project
from mlops_cli.serving.catalog.load_catalog import Place
from mlops_cli.serving.contract.messages import Rows

_AT_ONCE = 16  # files read by one task of a thread


@dataclass(frozen=True, slots=True)
class LatestRow:
    """The last row of a feature table.

    Attributes:
        columns: names of the columns that hold a number.
        values: those numbers, float32 (1, len(columns)).
        session: its session.
        target_session: the exchange's next session.
        last_close: close of `session`.
    """

    columns: tuple[str, ...]
    values: Rows
    session: date
    target_session: date
    last_close: float


class LatestRows:
    """The newest rows of a project's feature tables."""

    def __init__(self, project: Project, executor: Executor) -> None:
        """Read below `project` in `executor`."""
        self._project = project
        self._executor = executor
        self._kept: dict[Place, tuple[int, LatestRow | str]] = {}
        self._paths: dict[Place, str] = {}

    async def get(self, places: Iterable[Place]) -> dict[Place, LatestRow | str]:
        """The newest row of each model, or why there is none."""
        found: dict[Place, LatestRow | str] = {}
        stale: list[tuple[Place, str, int]] = []
        for place in dict.fromkeys(places):
            path = self._path(place)
            changed = _changed(path)
            kept = self._kept.get(place)
            if kept is not None and kept[0] == changed:
                found[place] = kept[1]
            else:
                stale.append((place, path, changed))
        loop = asyncio.get_running_loop()
        chunks = [stale[start : start + _AT_ONCE] for start in range(0, len(stale), _AT_ONCE)]
        tasks = [loop.run_in_executor(self._executor, _read_all, [path for _, path, _ in chunk]) for chunk in chunks]
        for chunk, rows in zip(chunks, await asyncio.gather(*tasks), strict=True):
            for (place, _, changed), row in zip(chunk, rows, strict=True):
                self._kept[place] = changed, row
                found[place] = row
        return found

    def _path(self, place: Place) -> str:
        """As text, and kept: pathlib takes ten times as long to build it as the system to look the file up."""
        path = self._paths.get(place)
        if path is None:
            path = self._paths[place] = str(self._project.features(place[0]) / f"{place[1]}.parquet")
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
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:  # pyarrow's ArrowInvalid is a ValueError
        return f"{path.name}: damaged: {error}: remove it and run: mlops run"


def _row(path: Path, values: dict[str, Any]) -> LatestRow | str:
    session, target, close = values.pop("session"), values.pop("target_session"), values["last_close"]
    if target is None or not math.isfinite(close or math.nan):
        return f"{path.name}: the newest row has no close or no target session"
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is left out
        row = np.array([[math.nan if value is None else value for value in values.values()]]).astype(np.float32)
    finite = np.isfinite(row[0])
    columns = tuple(sys.intern(name) for name, good in zip(values, finite, strict=True) if good)
    return LatestRow(columns, np.ascontiguousarray(row[:, finite]), session.date(), target.date(), float(close))
