"""The frame of forecasts: the table that replays return and the evaluation reads."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded

TEXT_COLUMNS = ("model", "team", "ticker")
TIME_COLUMNS = ("session", "target_session")
PRICE_COLUMNS = (
    "last_close",
    "predicted_close",
    "raw_predicted_close",
    "actual_close",
    "drift_predicted_close",
    "base_predicted_close",
)
DIVIDEND = "announced_dividend"
FORECAST_COLUMNS = (*TEXT_COLUMNS, *TIME_COLUMNS, *PRICE_COLUMNS, DIVIDEND)


def check_forecasts(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Check a frame of forecasts and sort it.

    One row is one forecast: made by `model` (of `team`, for `ticker`) after the close of `session`, for the close of
    `target_session`. Prices are in the ticker's currency: `last_close` (close of `session`, the naive forecast),
    `predicted_close` (the model's forecast after shrinkage), `raw_predicted_close` (before shrinkage), `actual_close`
    (close of `target_session`), `drift_predicted_close` (last close grown by the mean log return in training),
    `base_predicted_close` (the base of `models.base`; the last close if the model has none). `announced_dividend`
    is the dividend of `target_session` that the base subtracted, else 0.

    Args:
        forecasts: any index and row order; exactly the columns FORECAST_COLUMNS in any order; text as str, sessions as
            tz-naive datetime64, prices as numbers; no NaN.

    Returns:
        A new frame with a fresh 0..n-1 index, columns in the order of FORECAST_COLUMNS, prices as float64, rows
        sorted by model and session: the same rows in any order give the same frame.

    Raises:
        DataError: no rows, missing or unknown columns, wrong types, prices that are not finite and > 0, a
            `target_session` not after its `session`, two rows for one (model, session), or a model with more than
            one team or ticker.
    """
    _check_columns(forecasts)
    frame = forecasts.loc[:, list(FORECAST_COLUMNS)].astype(dict.fromkeys((*PRICE_COLUMNS, DIVIDEND), "float64"))
    frame = frame.sort_values(["model", "session"], ignore_index=True)
    _check_rows(frame)
    owners = frame.groupby("model", observed=True)[["team", "ticker"]].nunique()
    mixed = owners.index[(owners > 1).any(axis=1)].tolist()
    if mixed:
        raise _fault(f"models with more than one team or ticker: {bounded(mixed)}")
    return frame


def _check_columns(forecasts: pd.DataFrame) -> None:
    if forecasts.empty:
        raise DataError("there are no forecasts to judge", "widen the scenario: its start and days, or its models")
    missing = [name for name in FORECAST_COLUMNS if name not in forecasts.columns]
    unknown = [str(name) for name in forecasts.columns if name not in FORECAST_COLUMNS]
    if missing or unknown:
        raise _fault(f"columns missing: {bounded(missing) or 'none'}; unknown: {bounded(unknown) or 'none'}")
    _check_types(forecasts)


def _check_types(forecasts: pd.DataFrame) -> None:
    types = pd.api.types
    checks = {TEXT_COLUMNS: types.is_string_dtype, TIME_COLUMNS: types.is_datetime64_dtype}
    checks[(*PRICE_COLUMNS, DIVIDEND)] = types.is_numeric_dtype
    wrong = [name for names, is_right in checks.items() for name in names if not is_right(forecasts[name])]
    if wrong:
        raise _fault("wrong types: " + bounded([f"{name} is {forecasts[name].dtype}" for name in wrong]))


def _check_rows(frame: pd.DataFrame) -> None:
    prices = frame[list(PRICE_COLUMNS)].to_numpy()
    faults = {
        "dividends not finite and >= 0": ~(np.isfinite(frame[DIVIDEND]) & (frame[DIVIDEND] >= 0)).to_numpy(),
        "prices not finite and > 0": ~(np.isfinite(prices) & (prices > 0)).all(axis=1),
        "target_session not after session": ~(frame["target_session"] > frame["session"]).to_numpy(),
        "more than one row for a model and session": frame.duplicated(["model", "session"]).to_numpy(),
    }
    for fault, bad in faults.items():
        if bad.any():
            rows = frame.loc[bad]
            where = [f"{model}:{day:%Y-%m-%d}" for model, day in zip(rows["model"], rows["session"], strict=True)]
            raise _fault(f"{len(where)} forecasts with {fault}: {bounded(where)}")


def _fault(message: str) -> DataError:
    return DataError(f"the frame of forecasts is broken: {message}", "write it again with: mlops simulate")
