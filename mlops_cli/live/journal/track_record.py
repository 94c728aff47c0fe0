"""The live track record: settled forecasts in the form that the evaluation judges, and their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.evaluation.frame import DIVIDEND, PRICE_COLUMNS, forecast_columns, interval_columns, interval_levels
from mlops_cli.evaluation.summary import summarise
from mlops_cli.live.journal.staleness import stale_when_issued


def track_record(frame: pd.DataFrame) -> pd.DataFrame:
    """The settled forecasts of a journal as the frame of `evaluation.frame.check_forecasts`.

    Prices are in the units of the price table when it was last settled, so that a split does not give the forecasts
    before it more weight than those after it. Forecasts that were stale when they were issued are left out: the close
    that they forecast was known by then.

    Args:
        frame: of `frames.journal_frame`.

    Returns:
        0..n-1 index. A model has its name, or `branch/name` if two branches have models of this name, and the team and
        the ticker of its newest settled forecast. A level that no settled forecast has is left out.
    """
    rows = frame[frame["actual_close"].notna().to_numpy() & ~stale_when_issued(frame)]
    levels = [level for level in interval_levels(rows) if rows[interval_columns(level)[0]].notna().any()]
    columns = forecast_columns(levels)
    prices = [*PRICE_COLUMNS, DIVIDEND, *(name for level in levels for name in interval_columns(level)[:2])]
    units = rows["units"]
    record = rows.assign(model=_labels(rows), **{name: rows[name] * units for name in prices})
    owners = record.sort_values("session").groupby("model", observed=True)[["team", "ticker"]].last()
    record = record.assign(**{name: record["model"].map(owners[name]) for name in owners.columns})
    return record[columns].reset_index(drop=True)


def scores(frame: pd.DataFrame) -> dict[str, Any]:
    """Judge the track record, with the tests that judge a replay.

    Args:
        frame: of `frames.journal_frame`.

    Returns:
        `counts`: `issued`, `settled`, `waiting` (without an actual), `stale` (when issued; they are not judged) and
        `restated` (their actual was replaced at least once) forecasts; `judged`, how many are, with `first_target` and
        `last_target` of those (ISO dates); `summary`: `evaluation.summary.summarise` of `track_record`.

    Raises:
        DataError: no forecast can be judged yet.
    """
    record = track_record(frame)
    if record.empty:
        raise _none_yet(frame)
    newest = frame.assign(model=_labels(frame)).sort_values("session").groupby("model", observed=True)["shrinkage"]
    targets = record["target_session"]
    return {
        "counts": {
            **counts(frame),
            "judged": len(record),
            "first_target": str(targets.min().date()),
            "last_target": str(targets.max().date()),
        },
        "summary": summarise(record, {str(name): float(value) for name, value in newest.last().items()}),
    }


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """How many forecasts of `frames.journal_frame` there are of each kind; see `scores`."""
    settled = frame["actual_close"].notna()
    return {
        "issued": len(frame),
        "settled": int(settled.sum()),
        "waiting": int((~settled).sum()),
        "stale": int(stale_when_issued(frame).sum()),
        "restated": int((frame["restatements"] > 0).sum()),
    }


def _labels(rows: pd.DataFrame) -> np.ndarray:
    branches = rows.groupby("model", observed=True)["branch"].transform("nunique")
    names: np.ndarray = rows["model"].where(branches == 1, rows["branch"] + "/" + rows["model"]).to_numpy()
    return names


def _none_yet(frame: pd.DataFrame) -> DataError:
    if frame.empty:
        return DataError("the journal holds no forecast of this selection", "select others, or issue forecasts first")
    waiting = frame.loc[frame["actual_close"].isna(), "target_session"]
    hint = f"the next close that it waits for is of {waiting.min().date()}" if len(waiting) else "all were stale"
    return DataError(f"none of {len(frame)} forecasts of the journal can be judged yet", hint)
