"""Parameters, metrics, tags and datasets as MLflow takes them, within its limits. No input or output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from mlops_cli.tracking.tracker import RunContext, TrainedModel

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunTag

MAX_KEY = 240  # MLflow's limit is 250; the rest is for a number that is added to equal keys
MAX_PARAM = 6000
MAX_TAG = 5000  # limit of MLflow's REST API
MAX_DIGEST = 36

RUN_KEY = "mlops.run"
MODEL = "mlops.model"
FINGERPRINT = "mlops.fingerprint"
PARENT = "mlflow.parentRunId"


def clean_key(text: str) -> str:
    """Turn `text` into a valid name of a parameter or metric: safe characters, no path, not too long.

    >>> clean_key("../window: [1, 5]")
    '_window_ _1_ 5_'
    """
    return re.sub(r"[^\w. -]", "_", text, flags=re.ASCII)[:MAX_KEY].lstrip(".") or "_"


def flat(params: Mapping[str, Any]) -> dict[str, str]:
    """Flatten nested mappings to dotted keys; values become text of at most 6,000 characters, equal keys are numbered.

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
    """The parameters of a training, without those that a run has already: MLflow refuses to change them."""
    from mlflow.entities import Param

    return [Param(key, value) for key, value in flat(model.params).items() if key not in already]


def training_metrics(model: TrainedModel, at: int) -> list[Metric]:
    """Losses with the epoch (from 1) as step, and the validation metrics as `validation/<name>`; `at` in ms since 1970.

    With the same `at`, writing twice is harmless: MLflow drops exact repeats.
    """
    from mlflow.entities import Metric

    losses = [
        Metric(clean_key(name), float(value), at, step)
        for step, epoch in enumerate(model.epochs, start=1)
        for name, value in epoch.items()
    ]
    return losses + grouped_metrics("validation", model.validation, at)


def grouped_metrics(group: str, values: Mapping[str, float], at: int) -> list[Metric]:
    """Metrics named `<group>/<name>`, which MLflow's pages show together; step 0, `at` in ms since 1970."""
    from mlflow.entities import Metric

    return [Metric(f"{group}/{clean_key(name)}"[:MAX_KEY], float(value), at, 0) for name, value in values.items()]


def child_tags(model: TrainedModel, parent: str, context: RunContext) -> dict[str, str]:
    """Tags of a child run: its parent, its model, and the code and data behind it."""
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
    """Tags for the command and code of a run, under the names that MLflow's pages show."""
    return {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": context.command[:MAX_TAG],
        "mlflow.source.git.commit": context.git_commit,
    }


def test_tags(context: RunContext) -> list[RunTag]:
    """Tags for the code and data of a test, which may be later than those of the training."""
    from mlflow.entities import RunTag

    return [RunTag("mlops.test.git_commit", context.git_commit), RunTag("mlops.test.data_hash", context.data_hash)]


def training_input(model: TrainedModel, context: RunContext) -> DatasetInput:
    """The training's input as an MLflow dataset, whose digest is the fingerprint.

    Only by datasets can many runs be found in one search (`digest IN (...)`). Tags can only be compared with `=`, and
    each such search reads the tag of every run.
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
