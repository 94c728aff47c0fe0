"""The baselines as trainers: `naive` forecasts no change, `drift` the mean log return of the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import onnx
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.models.graph import constant_return_graph
from mlops_cli.training.rows import read_rows
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob


class BaselineTrainer:
    """The trainer `naive` or `drift`."""

    def __init__(self, kind: Literal["naive", "drift"]) -> None:
        self.name: str = kind

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        """Write one constant graph per job."""
        for job in jobs:
            progress(f"training {job.spec.name}")
            try:
                forecast = 0.0 if self.name == "naive" else mean_log_return(job)
            except DataError as error:
                yield FailedJob(job, str(error), error.exit_code)
                continue
            onnx.save(constant_return_graph(len(job.inputs), forecast), job.folder / "model.onnx")
            yield Fitted(job, facts={"log_return": forecast})


def mean_log_return(job: TrainJob) -> float:
    """Mean of log(next close / last close) over the job's training rows.

    Raises:
        DataError: the feature table is missing or damaged.
    """
    rows = read_rows(job)
    train = rows.loc[rows.index < pd.Timestamp(job.validation_start)]
    return float(np.log(train["next_close"] / train["last_close"]).mean())
