"""The frame of forecasts: the table that replays return and the evaluation reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
_LOWER = re.compile(r"lower_(\d{1,2}(?:\.\d+)?)")


def check_forecasts(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Check a frame of forecasts and sort it.

    One row is one forecast: made by `model` (of `team`, for `ticker`) after the close of `session`, for the close of
    `target_session`. Prices are in the ticker's currency: `last_close` (close of `session`, the naive forecast),
    `predicted_close` (the model's forecast after shrinkage), `raw_predicted_close` (before shrinkage), `actual_close`
    (close of `target_session`), `drift_predicted_close` (last close grown by the mean log return in training),
    `base_predicted_close` (the base of `models.base`; the last close if the model has none). `announced_dividend`
    is the dividend of `target_session` that the base subtracted, else 0.

    A frame may hold intervals of any levels (`interval_columns`), here of 95 %: `lower_95` and `upper_95`, the bounds
    of the close, and `constant_95`, half the width (in log return) of an interval of constant width to compare with.
    They are NaN where a forecast has no interval.

    Args:
        forecasts: any index and row order; exactly the columns FORECAST_COLUMNS and those of its levels, in any order;
            text as str, sessions as tz-naive datetime64, prices as numbers; no NaN but in intervals.

    Returns:
        A new frame with a fresh 0..n-1 index, columns in the order of `forecast_columns`, numbers as float64, rows
        sorted by model and session: the same rows in any order give the same frame.

    Raises:
        DataError: no rows, missing or unknown columns, wrong types, prices that are not finite and > 0, an interval
            with one bound or with bounds in the wrong order, a `target_session` not after its `session`, two rows for
            one (model, session), or a model with more than one team or ticker.
    """
    columns = _check_columns(forecasts)
    numbers = [name for name in columns if name not in (*TEXT_COLUMNS, *TIME_COLUMNS)]
    frame = forecasts.loc[:, columns].astype(dict.fromkeys(numbers, "float64"))
    frame = frame.sort_values(["model", "session"], ignore_index=True)
    _check_rows(frame)
    owners = frame.groupby("model", observed=True)[["team", "ticker"]].nunique()
    mixed = owners.index[(owners > 1).any(axis=1)].tolist()
    if mixed:
        raise _fault(f"models with more than one team or ticker: {bounded(mixed)}")
    return frame


def interval_levels(forecasts: pd.DataFrame) -> tuple[float, ...]:
    """Levels of the intervals of a frame, in percent and rising; empty if it has none."""
    matches = [_LOWER.fullmatch(str(name)) for name in forecasts.columns]
    return tuple(sorted(float(match[1]) for match in matches if match))


def interval_columns(level: float) -> tuple[str, str, str]:
    """Names of the columns of one level: lower bound, upper bound, half width of the constant interval."""
    return f"lower_{level:g}", f"upper_{level:g}", f"constant_{level:g}"


def forecast_columns(levels: Sequence[float]) -> list[str]:
    """The columns of a frame with intervals of these levels (rising), in order."""
    names = [interval_columns(level) for level in levels]
    bounds = [name for lower, upper, _ in names for name in (lower, upper)]
    return [*FORECAST_COLUMNS, *bounds, *(constant for _, _, constant in names)]


def with_base_columns(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of the base to forecasts that an older version stored: its models had no base."""
    if forecasts.empty or "base_predicted_close" in forecasts.columns:
        return forecasts
    return forecasts.assign(base_predicted_close=forecasts["last_close"], announced_dividend=0.0)


def _check_columns(forecasts: pd.DataFrame) -> list[str]:
    """Columns of the checked frame, in order."""
    if forecasts.empty:
        raise DataError("there are no forecasts to judge", "widen the scenario: its start and days, or its models")
    columns = forecast_columns(interval_levels(forecasts))
    missing = [name for name in columns if name not in forecasts.columns]
    unknown = [str(name) for name in forecasts.columns if name not in columns]
    if missing or unknown:
        raise _fault(f"columns missing: {bounded(missing) or 'none'}; unknown: {bounded(unknown) or 'none'}")
    _check_types(forecasts, columns)
    return columns


def _check_types(forecasts: pd.DataFrame, columns: Sequence[str]) -> None:
    types = pd.api.types
    checks = dict.fromkeys(columns, types.is_numeric_dtype)
    checks |= dict.fromkeys(TEXT_COLUMNS, types.is_string_dtype)
    checks |= dict.fromkeys(TIME_COLUMNS, types.is_datetime64_dtype)
    wrong = [name for name, is_right in checks.items() if not is_right(forecasts[name])]
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
    for level in interval_levels(frame):
        lower, upper, constant = (frame[name].to_numpy() for name in interval_columns(level))
        in_order = np.isfinite(lower) & np.isfinite(upper) & (lower <= upper)
        faults[f"a broken {level:g} % interval"] = ~(in_order | (np.isnan(lower) & np.isnan(upper)))
        faults[f"a broken width constant_{level:g}"] = ~((constant >= 0) & (constant < np.inf)) & (~np.isnan(constant))
    for fault, bad in faults.items():
        if bad.any():
            rows = frame.loc[bad]
            where = [f"{model}:{day:%Y-%m-%d}" for model, day in zip(rows["model"], rows["session"], strict=True)]
            raise _fault(f"{len(where)} forecasts with {fault}: {bounded(where)}")


def _fault(message: str) -> DataError:
    return DataError(f"the frame of forecasts is broken: {message}", "write it again with: mlops simulate")
