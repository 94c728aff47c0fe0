"""Forecasts of the journal as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from mlops_cli.evaluation.frame import interval_columns, interval_levels
from mlops_cli.live.journal.records import Forecast
from mlops_cli.live.journal.tables import COLUMNS, FORECAST, intervals_of

_TEXT = ("branch", "model", "team", "ticker", "exchange", "version", "row_hash")
_DAYS = ("session", "target_session", "previous_session")
_TIMES = ("issued_at", "settled_at")


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
    rows = [tuple(getattr(forecast, name) for name in FORECAST) for forecast in forecasts]
    return _with_levels_in_order(_typed(rows, FORECAST))


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


def _bounds(intervals: Sequence[Any]) -> dict[str, pd.Series]:
    """The columns of the intervals of each row, given as stored or as a tuple."""
    values: dict[str, dict[int, float]] = {}
    for place, stored in enumerate(intervals):
        for level, *bounds in intervals_of(stored) if isinstance(stored, str) else stored:
            for name, bound in zip(interval_columns(level), bounds, strict=True):
                if bound is not None:
                    values.setdefault(name, {})[place] = bound
                else:
                    values.setdefault(name, {})
    index = range(len(intervals))
    return {name: pd.Series(column, dtype="float64").reindex(index) for name, column in values.items()}


def _with_levels_in_order(frame: pd.DataFrame) -> pd.DataFrame:
    others = [name for name in frame.columns if not str(name).startswith(("lower_", "upper_", "constant_"))]
    bounds = [name for level in interval_levels(frame) for name in interval_columns(level)]
    return frame[[*others, *bounds]]
