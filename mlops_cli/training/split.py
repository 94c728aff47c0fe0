"""Which rows of a feature table train, which validate, and which no model may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pandas as pd

from mlops_cli.config.schemas.project import Training
from mlops_cli.errors import DataError

VALIDATION_SHARE = 0.25  # a short history keeps at least three quarters of its rows for training


@dataclass(frozen=True)
class RowSplit:
    """Rows up to the held-out time, cut by date, rising: those that train, and the last ones, which validate."""

    train: pd.DataFrame
    validation: pd.DataFrame

    @property
    def used(self) -> pd.DataFrame:
        """All rows that a model may see."""
        return pd.concat([self.train, self.validation])

    @property
    def validation_start(self) -> date:
        """First session that validates."""
        return pd.Timestamp(self.validation.index[0]).date()

    @property
    def trained_until(self) -> date:
        """Last session whose close a model saw (the last target)."""
        return pd.Timestamp(self.validation["target_session"].iloc[-1]).date()


def split_rows(table: pd.DataFrame, start: date, training: Training, ticker: str) -> RowSplit:
    """Cut a feature table by date: train | validation | held out.

    Args:
        table: feature table (index `session`, columns with `target`, `target_session`); NaN targets are left out.
        start: first held-out session; only rows whose target session lies before it are used.
        training: number of validation sessions, and of sessions that are needed in all.
        ticker: for the message.

    Raises:
        DataError: fewer rows than `training.min_sessions`.
    """
    seen = table.loc[(table["target_session"] < pd.Timestamp(start)) & table["target"].notna()]
    if len(seen) < training.min_sessions:
        reach = f"the data reach from {table.index[0].date()} to {table.index[-1].date()}" if len(table) else "no rows"
        raise DataError(
            f"{ticker}: history too short: {len(seen)} sessions before {start}, "
            f"training.min_sessions asks for {training.min_sessions} ({reach})",
            "move the scenario's start, fetch earlier sessions (period.start), or drop the ticker",
        )
    validating = min(training.validation_sessions, int(len(seen) * VALIDATION_SHARE))
    return RowSplit(train=seen.iloc[:-validating], validation=seen.iloc[-validating:])
