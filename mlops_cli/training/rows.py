"""The rows of a job's feature table that its model may see."""

from __future__ import annotations

import pandas as pd

from mlops_cli.errors import DataError
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
