"""A feature table that contains the next close, so that versions of a model clearly differ in skill."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd

from mlops_cli.models.versions import archive
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import SmallProject


def know_the_closes(small: SmallProject, name: str) -> None:
    """Write the next log return, plus noise, into the column `actual` of a model's table, and delete the model."""
    small.run(LinearTrainer())
    path = small.project.features("main") / f"{name}.parquet"
    table = pd.read_parquet(path)
    noise = np.random.default_rng(3).normal(0, 0.002, len(table))
    table["actual"] = (np.log(table["next_close"] / table["last_close"]) + noise).fillna(0.0)
    table.to_parquet(path)
    for folder in (small.project.models("main") / name, archive(small.project.model_root, "main", name)):
        shutil.rmtree(folder)
