"""Our facts in MLflow's words: flat parameters, metrics with a step, tags. Pure; knows MLflow's limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from mlops_cli.tracking.tracker import RunContext, TrainedModel

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunTag

MAX_KEY = 240  # MLflow takes 250; the rest is for the number behind keys that collide
MAX_PARAM = 6000
MAX_TAG = 5000  # what MLflow's REST API takes
MAX_DIGEST = 36

RUN_KEY = "mlops.run"
MODEL = "mlops.model"
FINGERPRINT = "mlops.fingerprint"
PARENT = "mlflow.parentRunId"


def clean_key(text: str) -> str:
    """`text` as MLflow takes it for the name of a parameter or metric: safe characters, no path, not too long.

    >>> clean_key("../window: [1, 5]")
    '_window_ _1_ 5_'
    """
    return re.sub(r"[^\w. -]", "_", text, flags=re.ASCII)[:MAX_KEY].lstrip(".") or "_"


def flat(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested mappings as dotted keys, values as text cut at 6,000 characters; keys that collide are numbered.

    >>> flat({"trainer": {"epochs": 10}, "team": "red"})
    {'trainer.epochs': '10', 'team': 'red'}
    """
    result: dict[str, str] = {}
    for path, value in _leaves(params, ""):
        key = clean_key(path)
        free = key if key not in result else next(k for n in count(2) if (k := f"{key}_{n}") not in result)
        result[free] = str(value)[:MAX_PARAM]
    return result


def _leaves(params: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def params_of(model: TrainedModel, already: Mapping[str, str]) -> list[Param]:
    """The parameters of a training but those a run has `already`, which MLflow refuses to change."""
    from mlflow.entities import Param

    return [Param(key, value) for key, value in flat(model.params).items() if key not in already]


def training_metrics(model: TrainedModel, at: int) -> list[Metric]:
    """Losses with the epoch (from 1) as step, and the validation metrics as `validation/<name>`.

    Args:
        model: what was trained.
        at: milliseconds since 1970; the same `at` makes writing twice harmless, MLflow drops exact repeats.
    """
    from mlflow.entities import Metric

    losses = [
        Metric(clean_key(name), float(value), at, step)
        for step, epoch in enumerate(model.epochs, start=1)
        for name, value in epoch.items()
    ]
    return losses + grouped_metrics("validation", model.validation, at)


def grouped_metrics(group: str, values: Mapping[str, float], at: int) -> list[Metric]:
    """Metrics called `<group>/<name>`, which MLflow's pages draw together; step 0, `at` in ms since 1970."""
    from mlflow.entities import Metric

    return [Metric(f"{group}/{clean_key(name)}", float(value), at, 0) for name, value in values.items()]


def child_tags(model: TrainedModel, parent: str, context: RunContext) -> dict[str, str]:
    """What a child run is found and read by."""
    return {
        PARENT: parent,
        MODEL: model.name,
        FINGERPRINT: model.fingerprint,
        "mlops.team": model.team,
        "mlops.ticker": model.ticker,
        "mlops.branch": model.branch,
        "mlops.data_hash": context.data_hash,
        **source_tags(context),
    }


def source_tags(context: RunContext) -> dict[str, str]:
    """The code behind a run, under the names that MLflow's own pages show."""
    return {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": context.command[:MAX_TAG],
        "mlflow.source.git.commit": context.git_commit,
    }


def test_tags(context: RunContext) -> list[RunTag]:
    """The code and data of a test, which may be later ones than those of the training."""
    from mlflow.entities import RunTag

    return [RunTag("mlops.test.git_commit", context.git_commit), RunTag("mlops.test.data_hash", context.data_hash)]


def training_input(model: TrainedModel, context: RunContext) -> DatasetInput:
    """The training's input as an MLflow dataset, whose digest is the fingerprint.

    Datasets are the one thing by which MLflow finds many runs with one question (`digest IN (...)`; tags only know
    `=`, and each such question reads the tag of every run there is).
    """
    from mlflow.entities import Dataset, DatasetInput

    source = json.dumps({"branch": model.branch, "md5": context.data_hash})
    return DatasetInput(Dataset(model.name, model.fingerprint[:MAX_DIGEST], source_type="dvc", source=source))


def with_fingerprints(fingerprints: Sequence[str]) -> str:
    """Filter for `search_runs`: runs whose input has one of these fingerprints."""
    digests = ", ".join(f"'{fingerprint[:MAX_DIGEST]}'" for fingerprint in fingerprints)
    return f"dataset.digest IN ({digests})"


def with_models(names: Sequence[str]) -> str:
    """Filter for `search_runs`: trainings of these models."""
    return f"dataset.name IN ({', '.join(f"'{name}'" for name in names)})"
