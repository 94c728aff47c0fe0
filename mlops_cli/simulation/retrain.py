"""When models are trained anew while a scenario goes on, and which sessions each of them forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import pandas as pd

from mlops_cli.config.schemas.project import Retrain


def target_sessions(table: pd.DataFrame, start: date, end: date) -> pd.DatetimeIndex:
    """Return the target sessions of a feature table in [start, end) whose close is known, rising."""
    targets = table.loc[table["next_close"].notna(), "target_session"]
    return pd.DatetimeIndex(targets[(targets >= pd.Timestamp(start)) & (targets < pd.Timestamp(end))])


def retraining_dates(sessions: Iterable[pd.Timestamp], retrain: Retrain) -> list[date]:
    """Return the sessions from which on the models forecast that were trained on everything before them.

    Args:
        sessions: target sessions of a scenario, in any order, repeats allowed.
        retrain: how often.

    Returns:
        The first session of each month or quarter of the period, or every N-th session; the first session of the
        period is always among them. Rising; empty without sessions.
    """
    index = pd.DatetimeIndex(sorted(set(sessions)))
    if index.empty:
        return []
    if retrain == "never":
        kept = index[:1]
    elif isinstance(retrain, int):
        kept = index[::retrain]
    else:
        kept = index[~index.to_period("M" if retrain == "monthly" else "Q").duplicated()]
    return [day.date() for day in kept]


def segments(dates: Sequence[date], end: date) -> list[tuple[date, date]]:
    """Return per date the target sessions [date, next date) that its models forecast; the last one reaches to `end`."""
    return list(zip(dates, [*dates[1:], end], strict=False))


def stitch(
    frozen: Mapping[str, pd.DataFrame], retrained: Mapping[str, pd.DataFrame], first: Mapping[str, date]
) -> pd.DataFrame:
    """Join the forecasts of the frozen models before the first retraining with those of the retrained ones after it.

    Args:
        frozen: forecasts of the whole period, by model.
        retrained: forecasts from the first retraining on, by model; models that are not here are left out.
        first: the day of the first retraining, by model; models without one stay frozen to the end.

    Returns:
        One frame with the columns of both and a fresh index, rows by model and session; empty without models.
    """
    parts = []
    for model in sorted(retrained):
        rows = frozen[model]
        kept = rows.loc[rows["target_session"] < pd.Timestamp(first[model])] if model in first else rows
        parts += [part for part in (kept, retrained[model]) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
