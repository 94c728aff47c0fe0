"""Branches and feature tables made without files of a project: for tests of single parts of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.schemas.project import ModelSpec, Period, Training
from mlops_cli.config.schemas.source import Source
from mlops_cli.features.build import input_columns
from mlops_cli.pipeline.stages.tables import write_table
from tests.fakes.train_jobs import feature_table

TRAINING = Training(validation_sessions=40, min_sessions=100)


class Progress:
    """Progress port: remembers what it was told."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []
        self.texts: list[str] = []
        self.count = 0

    def start(self, stage: str, total: int) -> None:
        self.started.append((stage, total))

    def doing(self, text: str) -> None:
        self.texts.append(text)

    def done(self, count: int = 1) -> None:
        self.count += count


def branch_of(*models: ModelSpec, **changes: Any) -> Branch:
    """A branch `main` of these models."""
    values: dict[str, Any] = {
        "name": "main",
        "models": models,
        "source": Source(kind="csv"),
        "period": Period(),
        "training": TRAINING,
        "seed": 7,
        "scenario": "mine",
        "keep_versions": 3,
    }
    return Branch(**{**values, **changes})


def write_features(folder: Path, spec: ModelSpec, *, seed: int = 0, sessions: int = 300) -> pd.DataFrame:
    """Write a model's feature table and its note as stage `featurize` does; the same arguments give the same table."""
    table = feature_table(spec.features, spec.target, sessions, seed)
    write_table(folder, spec.name, table)
    inputs = list(input_columns(spec.features, spec.target))
    (folder / f"{spec.name}.json").write_text(json.dumps({"inputs": inputs}))
    return table
