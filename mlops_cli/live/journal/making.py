"""Forecasts for the journal, from a model and its feature table: those of tonight, or those of the past once more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.evaluation.frame import interval_columns
from mlops_cli.features.column_names import WIDEST
from mlops_cli.features.row_hash import row_hash
from mlops_cli.live.journal.records import Forecast, PriceInterval
from mlops_cli.market.sessions import opening_hours
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.predict import Forecasts
from mlops_cli.simulation.replay import forecast_columns

_SAME_NAMES = (
    "model", "team", "ticker", "last_close", "predicted_close", "raw_predicted_close", "drift_predicted_close",
    "base_predicted_close", "announced_dividend",
)  # fmt: skip
Forecaster = Callable[[pd.DataFrame], Forecasts]
"""Forecasts the rows of a feature table: `Model.forecasts`, or a session that many models share."""


def newest_forecast(manifest: Manifest, branch: str, table: pd.DataFrame, forecaster: Forecaster) -> Forecast:
    """The forecast of the last row of a feature table; see `forecasts_of`."""
    (forecast,) = forecasts_of(manifest, branch, table, pd.DatetimeIndex(table.index[-1:]), forecaster)
    return forecast


def forecasts_of(
    manifest: Manifest, branch: str, table: pd.DataFrame, sessions: pd.DatetimeIndex, forecaster: Forecaster
) -> list[Forecast]:
    """The forecasts of some sessions, computed as `simulation.replay` does.

    Args:
        manifest: of the model.
        branch: its branch.
        table: its feature table (index `session`, rising; the inputs, `last_close`, `next_close`, `target_session`).
        sessions: sessions in the index of `table`; others are left out, because there is nothing to forecast from.
        forecaster: forecasts the rows.

    Returns:
        In order of the table. The constant intervals of all are made of the year before the first of them.

    Raises:
        DataError: `table` has no rows.
        ModelError: the model cannot forecast them.
    """
    if table.empty:
        raise DataError(f"{manifest.name}: its feature table is empty", "run: mlops ingest, mlops featurize")
    places = np.flatnonzero(table.index.isin(sessions))
    if not len(places):
        return []
    rows = table.iloc[places]
    # the target session of a row is not later than the next row
    columns = forecast_columns(manifest, rows, forecaster(rows), table.iloc[: places[0]])
    values = [{name: _at(column, place) for name, column in columns.items()} for place in range(len(rows))]
    earlier = [None if place == 0 else int(place) - 1 for place in places]
    return [
        _forecast(manifest, branch, row, row_hash, _session_before(table, place))
        for row, row_hash, place in zip(values, row_hashes(rows, manifest.inputs), earlier, strict=True)
    ]


def _forecast(
    manifest: Manifest, branch: str, values: dict[str, Any], row_hash: str, before: tuple[date | None, float | None]
) -> Forecast:
    """The forecast of a row; `before`: the session before it in the feature table, and its close."""
    session, target = (pd.Timestamp(values[name]).date() for name in ("session", "target_session"))
    return Forecast(
        session=session,
        branch=branch,
        exchange=manifest.exchange,
        version=manifest.version,
        target_session=target,
        target_closes_at=closing_time(manifest.exchange, target),
        log_return=math.log(values["predicted_close"] / values["last_close"]),
        shrinkage=1.0 if manifest.shrinkage is None else manifest.shrinkage,
        intervals=tuple(_intervals(values, manifest.levels)),
        previous_session=before[0],
        previous_close=before[1],
        row_hash=row_hash,
        **{name: values[name] for name in _SAME_NAMES},
    )


def _at(column: Any, place: int) -> Any:
    """A value of a column that is an array, or one value for all rows, as a Python value."""
    if not isinstance(column, np.ndarray):
        return column
    return column[place] if column.dtype.kind == "M" else column[place].item()


def _session_before(table: pd.DataFrame, place: int | None) -> tuple[date | None, float | None]:
    if place is None:
        return None, None
    return pd.Timestamp(table.index[place]).date(), float(table["last_close"].iloc[place])


def closing_time(exchange: str, session: date) -> datetime:
    """When a session of an exchange closes, in UTC.

    Raises:
        ConfigError: the exchange has no calendar.
        DataError: its calendar has no such session.
    """
    try:
        return _closing_times(exchange)[session]
    except KeyError:
        raise DataError(
            f"{exchange}: {session} is no session of its calendar", "build the features again: mlops featurize"
        ) from None


@lru_cache(maxsize=32)
def _closing_times(exchange: str) -> dict[date, datetime]:
    return {hours.day: hours.closes.astimezone(UTC) for hours in opening_hours(exchange)}


def row_hashes(rows: pd.DataFrame, inputs: Sequence[str]) -> list[str]:
    """The hash of each feature row; see `features.row_hash`.

    A width that the rows lack (the levels of the project have changed) counts as `WIDEST`, as in `Model.forecasts`.
    """
    with np.errstate(over="ignore"):
        values = rows.reindex(columns=list(inputs), fill_value=WIDEST).to_numpy("<f4")
    days = (pd.DatetimeIndex(days).date for days in (rows.index, rows["target_session"]))
    return [row_hash(inputs, session, target, row) for session, target, row in zip(*days, values, strict=True)]


def _intervals(values: dict[Any, Any], levels: Sequence[float]) -> Iterator[PriceInterval]:
    for level in levels:
        lower, upper, constant = (values.get(name, math.nan) for name in interval_columns(level))
        if math.isfinite(lower):
            yield PriceInterval(level, lower, upper, constant if math.isfinite(constant) else None)
