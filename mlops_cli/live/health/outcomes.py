"""Forecasts whose closes are known, as a table of sessions by models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_cli.errors import DataError, bounded

Floats = NDArray[np.float64]

PRICES = ("last_close", "predicted_close", "actual_close")
COLUMNS = ("model", "version", "target_session", *PRICES)
_HINT = "pass forecasts whose actual close is known, one per model and target session"


@dataclass(frozen=True)
class Outcomes:
    """Errors of settled forecasts.

    Attributes:
        sessions: target sessions, rising, shape (t,).
        models: names, rising, shape (m,).
        naive: absolute error of the naive forecast as a share of the last close, shape (t, m); NaN: no forecast.
        loss: absolute error of the model less that of the naive forecast, the same unit, shape and NaN.
    """

    sessions: pd.DatetimeIndex
    models: tuple[str, ...]
    naive: Floats
    loss: Floats


def read_outcomes(rows: pd.DataFrame, versions: dict[str, str]) -> Outcomes:
    """Check forecasts and arrange their errors by session and model.

    Args:
        rows: columns `COLUMNS`; others are ignored. Any order, any index.
        versions: the version of each model that is watched. Rows of other models and versions are left out.

    Returns:
        The errors; the models are all keys of `versions`.

    Raises:
        DataError: a column is missing, a price is not finite and > 0, a row has no target session, or a model has two
            rows for one session.
    """
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise DataError(f"settled forecasts lack the columns {bounded(missing)}", _HINT)
    rows = rows.astype({"model": "str", "version": "str"})
    rows = rows[rows["model"].map(versions) == rows["version"]]
    _check(rows)
    models = tuple(sorted(versions))
    sessions, places = np.unique(rows["target_session"].to_numpy("datetime64[ns]"), return_inverse=True)
    columns = pd.Index(models).get_indexer(pd.Index(rows["model"]))
    last, predicted, actual = (rows[name].to_numpy("float64") for name in PRICES)
    naive = np.full((len(sessions), len(models)), np.nan)
    loss = naive.copy()
    naive[places, columns] = np.abs(last - actual) / last
    loss[places, columns] = (np.abs(predicted - actual) - np.abs(last - actual)) / last
    return Outcomes(pd.DatetimeIndex(sessions), models, naive, loss)


def wholly_settled(outcomes: pd.DataFrame, unsettled: pd.Series) -> pd.DataFrame:
    """Leave out sessions for which closes are still to come, because a session is judged only once.

    On one day, exchanges close at different times. So a session waits until all its forecasts are settled, or until a
    later session has settled ones: a ticker whose trading is halted makes the others wait for one session only.

    Args:
        outcomes: settled forecasts, columns `COLUMNS`.
        unsettled: target sessions of the forecasts without a known close, any order.

    Returns:
        The rows of `outcomes` that can be judged.
    """
    days = outcomes["target_session"]
    waiting = days.isin(unsettled) & (days == days.max())
    settled: pd.DataFrame = outcomes.loc[~waiting]
    return settled


def _check(rows: pd.DataFrame) -> None:
    prices = rows[list(PRICES)].to_numpy("float64")
    faults = {
        "no target session": rows["target_session"].isna().to_numpy(),
        "prices that are not finite and > 0": ~(np.isfinite(prices) & (prices > 0)).all(axis=1),
        "more than one row for a model and session": rows.duplicated(["model", "target_session"]).to_numpy(),
    }
    for fault, bad in faults.items():
        if bad.any():
            where = [f"{row.model}:{str(row.target_session)[:10]}" for row in rows.loc[bad].itertuples()]
            raise DataError(f"{len(where)} settled forecasts with {fault}: {bounded(where)}", _HINT)
