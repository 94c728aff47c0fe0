"""The rows of a job's feature table that its model may see."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.training.ludwig_config import HISTORY, SPLIT, TARGET, TICKER, history_inputs
from mlops_cli.training.trainer import TrainJob


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
