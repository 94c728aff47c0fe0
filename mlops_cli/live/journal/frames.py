"""Forecasts of the journal as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.evaluation.frame import interval_columns, interval_levels
from mlops_cli.live.journal.records import Forecast
from mlops_cli.live.journal.tables import COLUMNS, FORECAST, forecast_values

Floats = NDArray[np.float64]
_TEXT = ("branch", "model", "team", "ticker", "exchange", "version", "row_hash")
_DAYS = ("session", "target_session", "previous_session")
_TIMES = ("target_closes_at", "issued_at", "settled_at")


def journal_frame(batches: Iterable[Sequence[tuple[Any, ...]]]) -> pd.DataFrame:
    """The rows of `Journal.batches` as a table.

    Returns:
        0..n-1 index; the columns of `tables.COLUMNS` (text as str, days as tz-naive datetime64, times as datetime64
        in UTC, numbers as float64, NaN or NaT where nothing is known) but for `intervals`; instead of them for each
        level, rising, `lower_95`, `upper_95` (prices) and `constant_95` (half width in log return), NaN where a
        forecast has no interval.
    """
    frames = [_typed(rows, COLUMNS) for rows in batches]
    if not frames:
        frames = [_typed([], COLUMNS)]
    return _with_levels_in_order(pd.concat(frames, ignore_index=True))


def frame_of(forecasts: Iterable[Forecast]) -> pd.DataFrame:
    """Forecasts that are not from the journal as a table: as `journal_frame`, without the times and the actuals."""
    return _with_levels_in_order(_typed([forecast_values(forecast) for forecast in forecasts], FORECAST))


def _typed(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(rows, columns=list(columns))
    place = columns.index("intervals")
    bounds = _bounds([row[place] for row in rows])
    types: dict[str, Any] = dict.fromkeys(_TEXT, "str")
    types |= dict.fromkeys(_DAYS, "datetime64[s]")
    numbers = (name for name in columns if name not in (*_TEXT, *_DAYS, *_TIMES, "intervals"))
    types |= dict.fromkeys(numbers, "float64")
    frame = frame.drop(columns="intervals").astype(types)
    times = {name: pd.to_datetime(frame[name], utc=True, format="ISO8601") for name in _TIMES if name in columns}
    return frame.assign(**times, **bounds)


def _bounds(texts: Sequence[str]) -> dict[str, Floats]:
    """The columns of the intervals of each row, given as stored."""
    intervals = json.loads(f"[{','.join(texts)}]")
    rows = np.repeat(np.arange(len(intervals)), [len(of_row) for of_row in intervals])
    values = np.array([interval for of_row in intervals for interval in of_row], np.float64).reshape(-1, 4)
    columns: dict[str, Floats] = {}
    for level in np.unique(values[:, 0]):
        at_level = values[:, 0] == level
        for name, column in zip(interval_columns(level), values[at_level, 1:].T, strict=True):
            columns[name] = np.full(len(intervals), np.nan)
            columns[name][rows[at_level]] = column
    return columns


def _with_levels_in_order(frame: pd.DataFrame) -> pd.DataFrame:
    others = [name for name in frame.columns if not str(name).startswith(("lower_", "upper_", "constant_"))]
    bounds = [name for level in interval_levels(frame) for name in interval_columns(level)]
    return frame[[*others, *bounds]]
