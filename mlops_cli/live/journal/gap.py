"""The gap between what was issued live and what a replay of the same sessions gives today, and its causes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

NONE = "none"
RESTATED = "restated row"
UNITS = "other units"
VERSION = "other version"
RESTATED_VERSION = "restated row and other version"
NOT_ISSUED = "not issued"
NOT_REPLAYED = "not replayed"
UNEXPLAINED = "unexplained"
CAUSES = (NONE, UNITS, RESTATED, VERSION, RESTATED_VERSION, NOT_ISSUED, NOT_REPLAYED, UNEXPLAINED)

KEY = ["branch", "model", "session"]
ROUNDING = 1e-6
"""Differences of log returns below this come from float32, in which the graph computes."""
_COMPARED = ("version", "row_hash", "last_close", "log_return", "predicted_close")


def gap(issued: pd.DataFrame, replayed: pd.DataFrame) -> pd.DataFrame:
    """Compare issued forecasts with those that the feature tables of today give.

    Args:
        issued: of `frames.journal_frame`.
        replayed: of `frames.frame_of`: forecasts of the same models and sessions, made today (`making.forecasts_of`),
            with the version that issued them where it still exists.

    Returns:
        One row per model and session that is in either, in order of branch, model and session; columns KEY and
        `ticker`; `version`, `last_close`, `predicted_close`, `log_return` as issued and, with the suffix `_now`, as
        replayed (NaN where there is none); `difference`: of the log returns, issued minus replayed, which no split
        changes; `cause`, one of CAUSES:

        - `none`: the same row, version and forecast;
        - `other units`: the same row, but its last close is another one: the prices were split since;
        - `restated row`: the inputs of the model differ from those that it was issued from;
        - `other version`: another version of the model was replayed;
        - `restated row and other version`;
        - `not issued`: the journal lacks the forecast: the pass did not come, or the model failed;
        - `not replayed`: the session is no longer in the feature table, or the model is gone;
        - `unexplained`: another forecast from the same row and version. This should never happen.
    """
    now = replayed[[*KEY, "ticker", *_COMPARED]]
    then = issued[[*KEY, "ticker", *_COMPARED]]
    both = then.merge(now, on=KEY, how="outer", suffixes=("", "_now"), validate="one_to_one", indicator=True)
    both["ticker"] = both["ticker"].fillna(both["ticker_now"])
    both["difference"] = both["log_return"] - both["log_return_now"]
    both["cause"] = _causes(both)
    names = ("version", "last_close", "predicted_close", "log_return")
    columns = [column for name in names for column in (name, f"{name}_now")]
    return both.sort_values(KEY, ignore_index=True)[[*KEY, "ticker", *columns, "difference", "cause"]]


def gap_figures(table: pd.DataFrame) -> dict[str, Any]:
    """The gap in numbers.

    Args:
        table: of `gap`.

    Returns:
        `n` (rows), `causes` (rows by cause, only those that occur, in order of CAUSES) and, of the rows that are in
        both, `mean_difference` and `largest_difference` (absolute, in log return); None if there are none.
    """
    counts = table["cause"].value_counts()
    differences = table["difference"].dropna().abs()
    return {
        "n": len(table),
        "causes": {cause: int(counts[cause]) for cause in CAUSES if cause in counts},
        "mean_difference": float(differences.mean()) if len(differences) else None,
        "largest_difference": float(differences.max()) if len(differences) else None,
    }


def _causes(both: pd.DataFrame) -> np.ndarray:
    row = (both["row_hash"] != both["row_hash_now"]).to_numpy()
    version = (both["version"] != both["version_now"]).to_numpy()
    units = ((both["last_close_now"] / both["last_close"] - 1.0).abs() > ROUNDING).to_numpy()
    differs = (both["difference"].abs() > ROUNDING).to_numpy()
    return np.select(
        [
            (both["_merge"] == "right_only").to_numpy(),
            (both["_merge"] == "left_only").to_numpy(),
            row & version,
            row,
            version,
            differs,
            units,
        ],
        [NOT_ISSUED, NOT_REPLAYED, RESTATED_VERSION, RESTATED, VERSION, UNEXPLAINED, UNITS],
        NONE,
    )
