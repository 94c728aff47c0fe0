"""Train jobs over generated prices, with their feature tables on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_cli.config.schemas.project import FeatureSpec, ModelSpec, Target, Training
from mlops_cli.features.build import build_features, input_columns
from mlops_cli.features.extras import NO_EXTRAS, Extras
from mlops_cli.training.rows import split_rows
from mlops_cli.training.trainer import TrainJob
from tests.fakes.price_tables import random_prices, xnys_sessions

NUMBERS = FeatureSpec(returns=(1, 5), volatility=(5,))
HISTORY = FeatureSpec(returns=(1, 5), history=8)
HELD_OUT = 30
"""Sessions of each table that no model may see."""


def model_spec(name: str = "red-acme", **changes: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "name": name,
        "team": "red",
        "ticker": "ACME",
        "exchange": "XNYS",
        "trainer": "ludwig",
        "features": NUMBERS,
        "target": "log_return",
        "file": f"configs/{name}.yaml",
    }
    return ModelSpec(**{**values, **changes})


def feature_table(
    features: FeatureSpec, target: Target, sessions: int = 300, prices: int = 0, extras: Extras = NO_EXTRAS
) -> pd.DataFrame:
    return build_features(random_prices(sessions, prices), features, target, xnys_sessions(), "ACME", extras)


def make_job(folder: Path, spec: ModelSpec, *, prices: int = 0, seed: int = 7, sessions: int = 300) -> TrainJob:
    """Write the feature table of `spec` and make its (empty) model folder; the same arguments give the same job."""
    table = feature_table(spec.features, spec.target, sessions, prices)
    start = table.index[-HELD_OUT].date()
    split = split_rows(table, start, Training(validation_sessions=50, min_sessions=100), spec.ticker)
    features = folder / f"{spec.name}.parquet"
    table.to_parquet(features)
    models = folder / "models" / spec.name
    models.mkdir(parents=True)
    inputs = input_columns(spec.features, spec.target)
    return TrainJob(spec, features, inputs, split.validation_start, start, seed, models)


def same_job(job: TrainJob, name: str) -> TrainJob:
    """The same job under another name, in a folder of its own."""
    folder = job.folder.with_name(name)
    folder.mkdir()
    return replace(job, spec=job.spec.model_copy(update={"name": name}), folder=folder)


def poisoned_job(job: TrainJob, name: str) -> TrainJob:
    """The same job, but every number in the rows from `job.end` on is absurd."""
    table = pd.read_parquet(job.features)
    hidden = table["target_session"] >= pd.Timestamp(job.end)
    numbers = table.columns.drop("target_session")
    table.loc[hidden, numbers] = 1e6
    features = job.features.with_name(f"{name}.parquet")
    table.to_parquet(features)
    return replace(same_job(job, name), features=features)
