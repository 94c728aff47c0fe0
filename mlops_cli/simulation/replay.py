"""Replay: forecast past sessions as the model would have at the time, and add the actual closes."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, ModelError
from mlops_cli.evaluation.frame import FORECAST_COLUMNS
from mlops_cli.features.build import ANNOUNCED
from mlops_cli.models.predict import Model


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
        The frame of `evaluation.frame`, in order of the table; only sessions whose close is known.

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
    shrunk, raw = model.log_returns(rows)
    last = rows["last_close"].to_numpy(np.float64)
    dividend = last * rows[ANNOUNCED].to_numpy(np.float64) if ANNOUNCED in manifest.inputs else np.zeros(len(rows))
    frame = pd.DataFrame(
        {
            "model": manifest.name,
            "team": manifest.team,
            "ticker": manifest.ticker,
            "session": rows.index.to_numpy(),
            "target_session": rows["target_session"].to_numpy(),
            "last_close": last,
            "predicted_close": last * np.exp(shrunk),
            "raw_predicted_close": last * np.exp(raw),
            "actual_close": rows["next_close"].to_numpy(np.float64),
            "drift_predicted_close": last * np.exp(manifest.drift),
            "base_predicted_close": last * np.exp(manifest.base_drift) - dividend,
            "announced_dividend": dividend,
        }
    )
    return frame[list(FORECAST_COLUMNS)]


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
