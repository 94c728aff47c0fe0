"""The dates of a walk-forward: when models are retrained, and which sessions the retrained models forecast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import pandas as pd

from mlops_cli.config.schemas.project import Retrain

_PERIODS = {"monthly": "M", "quarterly": "Q", "yearly": "Y"}


def target_sessions(table: pd.DataFrame, start: date, end: date) -> pd.DatetimeIndex:
    """Return the target sessions of a feature table in [start, end) whose close is known, in order."""
    targets = table.loc[table["next_close"].notna(), "target_session"]
    return pd.DatetimeIndex(targets[(targets >= pd.Timestamp(start)) & (targets < pd.Timestamp(end))])


def retraining_dates(sessions: Iterable[pd.Timestamp], every: Retrain) -> list[date]:
    """Return the dates at which models are retrained on all data before the date, earliest first.

    The first of `sessions` (target sessions, in any order) of each month, quarter or calendar year, or every N-th. The
    first session is always the first date. Empty without sessions.
    """
    index = pd.DatetimeIndex(sorted(set(sessions)))
    if index.empty:
        return []
    if every == "never":
        dates = index[:1]
    elif isinstance(every, int):
        dates = index[::every]
    else:
        dates = index[~index.to_period(_PERIODS[every]).duplicated()]
    return [day.date() for day in dates]


def segments(dates: Sequence[date], end: date) -> list[tuple[date, date]]:
    """Return for each date the span [date, next date) of target sessions; the last span ends before `end`."""
    return list(zip(dates, [*dates[1:], end], strict=False))


def join_forecasts(
    frozen: Mapping[str, pd.DataFrame], retrained: Mapping[str, pd.DataFrame], first: Mapping[str, date]
) -> pd.DataFrame:
    """Join the frozen models' forecasts before the first retraining with the later forecasts of the retrained models.

    `first` is the date of the first retraining by model. A model without a date keeps all its frozen forecasts.
    Models that are not in `retrained` are left out.

    Returns:
        One frame with the columns of both, a fresh index, and rows sorted by model and session; empty without models.
    """
    parts = []
    for model in sorted(retrained):
        early = frozen[model]
        if model in first:
            early = early.loc[early["target_session"] < pd.Timestamp(first[model])]
        parts += [part for part in (early, retrained[model]) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
