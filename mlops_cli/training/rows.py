"""The rows of a feature table: which train, which validate, which no model may see, and how Ludwig reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.config.schemas.project import Training
from mlops_cli.errors import DataError
from mlops_cli.training.ludwig_config import HISTORY, SPLIT, TARGET, TICKER, history_inputs
from mlops_cli.training.trainer import TrainJob

VALIDATION_SHARE = 0.25  # a short history keeps at least three quarters of its rows for training
SMALLEST_HALF = 10  # fewer validation rows than two of these are not halved


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
    def unseen_validation(self) -> pd.DataFrame:
        """The second half of the validation rows, which the training of a model with a base does not see.

        A training that stops at its best epoch on some rows looks better on these rows than on others. With a base as
        strong as announced dividends and drift, a shrinkage chosen on the same rows lets too much of that through.
        All validation rows where there are too few to halve.
        """
        half = len(self.validation) // 2
        return self.validation.iloc[half if half >= SMALLEST_HALF else 0 :]

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


def read_rows(job: TrainJob) -> pd.DataFrame:
    """Read the rows whose target is known and lies before `job.end`, rising.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        table = pd.read_parquet(job.features)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError(f"{job.spec.name}: {job.features} cannot be read: {error}", "run: mlops featurize") from error
    return table.loc[(table["target_session"] < pd.Timestamp(job.end)) & table["target"].notna()]


def training_rows(job: TrainJob) -> pd.DataFrame:
    """The job's rows in the form Ludwig reads: input columns, `history` as text, target, split 0/1 by date.

    Those of a pooled job also say their ticker.

    Raises:
        DataError: the feature table is missing or damaged.
    """
    seen = read_rows(job)
    steps = history_inputs(job.inputs)
    plain = [name for name in job.inputs if name not in steps]
    rows = seen[[*plain, TARGET]].astype(np.float32)
    if steps:
        values = seen[steps].to_numpy(np.float32)
        rows[HISTORY] = [" ".join(f"{value:.9g}" for value in row) for row in values]
    if job.spec.pool:
        rows[TICKER] = job.spec.ticker
    rows[SPLIT] = np.where(seen.index < pd.Timestamp(job.validation_start), 0, 1)
    return rows.reset_index(drop=True)


def raw_inputs(job: TrainJob, rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    """The raw inputs of `training_rows`, (rows, columns), with the text of `history` parsed."""
    inputs = rows.reindex(columns=list(job.inputs)).to_numpy(np.float32, copy=True)
    steps = history_inputs(job.inputs)
    if steps:
        first = job.inputs.index(steps[0])
        inputs[:, first : first + len(steps)] = np.array([text.split() for text in rows[HISTORY]], dtype=np.float32)
    return inputs
