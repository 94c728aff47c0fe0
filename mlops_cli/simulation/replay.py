"""Replay: a model's forecasts of past sessions, as it would have made them then, and the actual closes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, ModelError
from mlops_cli.evaluation.frame import FORECAST_COLUMNS
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.predict import Model


def replay(
    models: Iterable[Model], tables: Callable[[Model], pd.DataFrame], start: date, end: date | None
) -> pd.DataFrame:
    """Forecast every target session in [start, end) with models that were not trained on it.

    All rows are forecast at once. This is the same as session by session, because a model has no memory between rows,
    and a row of the feature table holds nothing later than its session. A test compares the two.

    Args:
        models: opened models with different names.
        tables: a model's feature table (index `session`; the inputs, `last_close`, `next_close`, `target_session`).
        start: first target session; no model may be trained on it or on later ones.
        end: the day after the last target session; None for all sessions there are.

    Returns:
        The frame of `evaluation.frame`, sorted by model and session; only sessions whose close is known.

    Raises:
        ModelError: a model was trained on sessions of the period.
        DataError: a model has no session with a known close in the period.
    """
    frames = [_replay_model(model, tables(model), start, end) for model in models]
    if not frames:
        return pd.DataFrame(columns=list(FORECAST_COLUMNS))
    return pd.concat(frames, ignore_index=True).sort_values(["model", "session"], ignore_index=True)


def check_unseen(manifest: Manifest, start: date) -> None:
    """Refuse to judge a model on sessions that it was trained on.

    Raises:
        ModelError: its last training target lies on or after `start`.
    """
    if manifest.trained_until >= start:
        raise ModelError(
            f"{manifest.name} was trained on closes up to {manifest.trained_until}, the period starts on {start}",
            "train for this scenario first: mlops run --set simulation.scenario=NAME",
        )


def _replay_model(model: Model, table: pd.DataFrame, start: date, end: date | None) -> pd.DataFrame:
    manifest = model.manifest
    check_unseen(manifest, start)
    within = table["target_session"] >= pd.Timestamp(start)
    if end is not None:
        within &= table["target_session"] < pd.Timestamp(end)
    rows = table.loc[within & table["next_close"].notna()]
    if rows.empty:
        reach = f"{table.index[0].date()} to {table.index[-1].date()}" if len(table) else "nothing"
        raise DataError(
            f"{manifest.name}: no session with a known close from {start} to {end or 'the end of the data'} "
            f"(the data hold {reach})",
            "change start and days of the scenario, or fetch these sessions: mlops ingest",
        )
    shrunk, raw = model.log_returns(rows)
    last = rows["last_close"].to_numpy(np.float64)
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
        }
    )
    return frame[list(FORECAST_COLUMNS)]
