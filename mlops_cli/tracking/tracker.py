"""Port `Tracker`: records what was trained and tested. A tracker that cannot record never stops a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ModelKey = tuple[str, str]
"""A model's name, and the fingerprint of its training."""


@dataclass(frozen=True)
class TrainedModel:
    """One trained model, as tracked.

    Attributes:
        fingerprint: hex hash of everything that decides the training; the same fingerprint means the same training.
        params: settings of the training; may be nested (`{"ludwig": {"trainer": {"epochs": 10}}}`).
        epochs: losses per epoch, first epoch first; empty for models that have none.
        validation: metrics on the validation period; `mae_ratio` (lower is better) decides which model is champion.
        folder: holds `model.onnx` and, optionally, `manifest.json`; None if they were removed since the training.
    """

    name: str
    team: str
    ticker: str
    branch: str
    fingerprint: str
    params: Mapping[str, Any]
    epochs: Sequence[Mapping[str, float]]
    validation: Mapping[str, float]
    folder: Path | None

    @property
    def key(self) -> ModelKey:
        """Name and fingerprint."""
        return self.name, self.fingerprint


@dataclass(frozen=True)
class RunContext:
    """Which `mlops run` a stage belongs to, and which code and data it uses (see `provenance`; may be empty).

    `key` is the same in every stage of one `mlops run` (letters, digits, `.`, `:`, `_`, `-`); empty: a run of its own.
    """

    key: str = ""
    branch: str = ""
    git_commit: str = ""
    data_hash: str = ""
    command: str = ""


class Tracker(Protocol):
    """Keeps a record of trainings and tests.

    `record_training` and `record_test` may be called again with the same content, as a stage does that starts again
    after a crash: nothing is recorded twice. When the record cannot be reached, no method raises: the first call logs
    one warning (logger `mlops.tracking`), and later calls do nothing. Both return whether all is recorded.
    """

    name: str

    def prepare(self) -> None:
        """Start, in the background, what takes seconds before the first thing can be recorded; returns at once."""
        ...

    def record_training(self, models: Sequence[TrainedModel], context: RunContext) -> bool:
        """Record models that were just trained.

        Raises:
            ModelError: the tracker stores models, and a model's folder holds no `model.onnx`.
        """
        ...

    def record_test(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> bool:
        """Record metrics on sessions that the models have not seen, by the training they belong to."""
        ...

    def catch_up(self) -> int:
        """Record what could not be recorded by earlier calls, of earlier processes too; returns how many trainings."""
        ...

    def count_trainings(self, models: Sequence[str]) -> int:
        """How many different trainings of these models are recorded; 0 where the record cannot be reached."""
        ...


@dataclass(frozen=True)
class Tracking:
    """A tracker, and the context of what it is told."""

    tracker: Tracker
    context: RunContext


class NullTracker:
    """The tracker where tracking is off: it records nothing."""

    name = "none"

    def prepare(self) -> None:
        """Do nothing."""

    def record_training(self, models: Sequence[TrainedModel], context: RunContext) -> bool:
        """Record nothing; that is all there is to record."""
        return True

    def record_test(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> bool:
        """Record nothing; that is all there is to record."""
        return True

    def catch_up(self) -> int:
        """Record nothing: what waits is left for the time when tracking is on again."""
        return 0

    def count_trainings(self, models: Sequence[str]) -> int:
        """Return 0, as nothing is recorded."""
        return 0
