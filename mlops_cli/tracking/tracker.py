"""Port `Tracker`: told what was trained and tested; whatever it does, it never stops a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ModelKey = tuple[str, str]
"""A model's name and the fingerprint of the training it came from."""


@dataclass(frozen=True)
class TrainedModel:
    """One trained model, as tracked.

    Attributes:
        name: the model's name; the registered model is called so too.
        team: who owns it.
        ticker: what it forecasts.
        branch: the part of the collection it belongs to.
        fingerprint: hex hash of all that went into the training; same fingerprint = same training.
        params: what was asked for; may be nested (`{"ludwig": {"trainer": {"epochs": 10}}}`).
        epochs: losses per epoch, first epoch first; empty for models that have none.
        validation: metrics on the validation period; `mae_ratio` (lower is better) decides who is champion.
        folder: holds `model.onnx` and, optionally, `manifest.json`.
    """

    name: str
    team: str
    ticker: str
    branch: str
    fingerprint: str
    params: Mapping[str, Any]
    epochs: Sequence[Mapping[str, float]]
    validation: Mapping[str, float]
    folder: Path

    @property
    def key(self) -> ModelKey:
        """Name and fingerprint."""
        return self.name, self.fingerprint


@dataclass(frozen=True)
class RunContext:
    """Which `mlops run` a stage belongs to, and which code and data it works with.

    Attributes:
        key: the same in every stage of one `mlops run` (letters, digits, `.`, `:`, `_`, `-`); empty: a run of its own.
        branch: the part of the collection at work.
        git_commit: see `provenance.git_commit`; may be empty.
        data_hash: see `provenance.data_hash`; may be empty.
        command: what was typed, e.g. `mlops train --branch red-aapl`.
    """

    key: str = ""
    branch: str = ""
    git_commit: str = ""
    data_hash: str = ""
    command: str = ""


class Tracker(Protocol):
    """Keeps a record of trainings and tests.

    `trained` and `tested` may be repeated with the same content (a stage that starts again after a crash tells all it
    knows): the record does not grow. Nothing here raises when the place that keeps the record is out of reach: it warns
    once (logger `mlops.tracking`) and the calls after that do nothing.
    """

    name: str

    def prepare(self) -> None:
        """Say that something will be recorded soon; returns at once, and what takes seconds is done meanwhile."""
        ...

    def trained(self, models: Sequence[TrainedModel], context: RunContext) -> None:
        """Record models that were just trained.

        Raises:
            ModelError: a model's folder holds no `model.onnx`, though the tracker keeps it.
        """
        ...

    def tested(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> None:
        """Record metrics on held-out time, each set beside the training it belongs to."""
        ...

    def trials(self, models: Sequence[str]) -> int:
        """How many different trainings of these models are on record; 0 where there is no record, or none in reach."""
        ...


class NullTracker:
    """Tracking is off."""

    name = "none"

    def prepare(self) -> None:
        """Nothing to do."""

    def trained(self, models: Sequence[TrainedModel], context: RunContext) -> None:
        """Keep nothing."""

    def tested(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> None:
        """Keep nothing."""

    def trials(self, models: Sequence[str]) -> int:
        """Nothing was kept."""
        return 0
