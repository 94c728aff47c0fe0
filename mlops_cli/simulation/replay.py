"""Replay: forecast past sessions as the model would have at the time, and add the actual closes."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.errors import DataError, ModelError
from mlops_cli.evaluation.frame import FORECAST_COLUMNS
from mlops_cli.features.column_names import ANNOUNCED, WIDEST, width_columns
from mlops_cli.features.intervals import conformal_rank
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.predict import Forecasts, Model

Vector = npt.NDArray[np.float64]
Column = str | float | npt.NDArray[Any]
CONSTANT_SESSIONS = 252  # before the period, of whose moves the constant intervals are made


def replay(model: Model, table: pd.DataFrame, start: date, end: date | None) -> pd.DataFrame:
    """Forecast every target session in [start, end) with a model that was not trained on it.

    All rows are forecast at once. One session at a time would give the same forecasts, because a model forecasts each
    row on its own, from inputs known at the close of its session. A test compares the two.

    Args:
        model: the opened model.
        table: its feature table (index `session`; the inputs, `last_close`, `next_close`, `target_session`).
        start: first target session; the model may not be trained on it or on later ones.
        end: the day after the last target session; None for all later sessions.

    Returns:
        The frame of `evaluation.frame`, in order of the table; only sessions whose close is known. For each level of
        the model's intervals it has three columns more: `lower_80` and `upper_80`, prices, NaN where there were too few
        sessions for an interval; and `constant_80`, the half width in log return of an interval of the same width on
        all days, to compare with: the conformal quantile of the moves of the year before `start`.

    Raises:
        ModelError: the model was trained on sessions of the period.
        DataError: there is no session with a known close in the period.
    """
    manifest = model.manifest
    if manifest.trained_until >= start:
        raise ModelError(
            f"{manifest.name} was trained on closes up to {manifest.trained_until}, but the period starts on {start}",
            "train for this scenario first: mlops run --set simulation.scenario=NAME",
        )
    rows = _rows(manifest.name, table, start, end)
    before = table.loc[table["target_session"] < pd.Timestamp(start)]
    return pd.DataFrame(forecast_columns(manifest, rows, model.forecasts(rows), before))


def forecast_columns(
    manifest: Manifest, rows: pd.DataFrame, forecasts: Forecasts, before: pd.DataFrame
) -> dict[str, Column]:
    """The columns of `replay` for a model's forecasts of some rows of its feature table.

    Args:
        manifest: of the model.
        rows: the rows, n; `next_close` may be NaN, and `actual_close` then is.
        forecasts: of these rows.
        before: the rows before, of whose last year the constant intervals are made.

    Returns:
        By name and in order, one value for all rows or an array (n,).
    """
    last = rows["last_close"].to_numpy(np.float64)
    dividend = last * _shares(rows, manifest.inputs)
    columns: dict[str, Column] = {
        "model": manifest.name,
        "team": manifest.team,
        "ticker": manifest.ticker,
        "session": rows.index.to_numpy(),
        "target_session": rows["target_session"].to_numpy(),
        "last_close": last,
        "predicted_close": last * np.exp(forecasts.log_return),
        "raw_predicted_close": last * np.exp(forecasts.raw_log_return),
        "actual_close": rows["next_close"].to_numpy(np.float64),
        "drift_predicted_close": last * np.exp(manifest.drift),
        "base_predicted_close": last * np.exp(manifest.base_drift) - dividend,
        "announced_dividend": dividend,
    }
    columns = {name: columns[name] for name in FORECAST_COLUMNS}
    levels = manifest.levels if forecasts.interval is not None else ()
    return columns | _bounds(rows, forecasts, levels) | _constant_widths(before, manifest.inputs, levels)


def _shares(rows: pd.DataFrame, inputs: tuple[str, ...]) -> Vector:
    """The announced dividends that the model subtracts, over the last close."""
    return rows[ANNOUNCED].to_numpy(np.float64) if ANNOUNCED in inputs else np.zeros(len(rows))


def _bounds(rows: pd.DataFrame, forecasts: Forecasts, levels: tuple[float, ...]) -> dict[str, Column]:
    """Lower and upper prices of the intervals of each level."""
    if forecasts.interval is None:
        return {}
    last = rows["last_close"].to_numpy(np.float64)[:, None]
    prices = last * np.exp(forecasts.interval)
    columns: dict[str, Column] = {}
    for place, (level, width) in enumerate(zip(levels, width_columns(levels), strict=True)):
        narrow = rows[width].to_numpy() < WIDEST
        columns[f"lower_{level:g}"] = np.where(narrow, prices[:, 2 * place], np.nan)
        columns[f"upper_{level:g}"] = np.where(narrow, prices[:, 2 * place + 1], np.nan)
    return columns


def _constant_widths(before: pd.DataFrame, inputs: tuple[str, ...], levels: tuple[float, ...]) -> dict[str, Column]:
    """Half width of the constant interval of each level, from rows before the period; NaN if they are too few."""
    if not levels:
        return {}
    last, following = (before[name].to_numpy(np.float64) for name in ("last_close", "next_close"))
    known = np.flatnonzero(~np.isnan(following))[-CONSTANT_SESSIONS:]
    moves = np.sort(np.abs(np.log(following / last + _shares(before, inputs)))[known])
    ranks = {level: conformal_rank(len(moves), level / 100.0) for level in levels}
    return {
        f"constant_{level:g}": float(moves[rank - 1]) if rank <= len(moves) else math.nan
        for level, rank in ranks.items()
    }


def _rows(name: str, table: pd.DataFrame, start: date, end: date | None) -> pd.DataFrame:
    """The rows with a known close whose target session is in [start, end)."""
    within = table["target_session"] >= pd.Timestamp(start)
    if end is not None:
        within &= table["target_session"] < pd.Timestamp(end)
    rows = table.loc[within & table["next_close"].notna()]
    if rows.empty:
        reach = f"{table.index[0].date()} to {table.index[-1].date()}" if len(table) else "nothing"
        raise DataError(
            f"{name}: no session with a known close from {start} to {end or 'the end of the data'} "
            f"(the data hold {reach})",
            "change start and days of the scenario, or fetch these sessions: mlops ingest",
        )
    return rows
