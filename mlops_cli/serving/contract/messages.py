"""What goes into the data plane and what comes out: the contract between it and any transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from mlops_cli.errors import MlopsError, ServiceError

Rung = Literal["full", "small", "cached", "delayed"]
RUNGS: tuple[Rung, ...] = get_args(Rung)
Rows = npt.NDArray[np.float32]


class UnknownModelError(MlopsError):
    """No model (or no version of it) of that name is served. HTTP 404."""

    exit_code = 6


class BadInputError(MlopsError):
    """The request's input is not what the model takes; says what was expected. HTTP 400."""

    exit_code = 2


class UnservableError(MlopsError):
    """The model is there but quarantined or unloaded: says why, and what to do. HTTP 503 without Retry-After."""

    exit_code = 6


class OverloadedError(ServiceError):
    """No room in the queue, or the deadline passed. HTTP 503 with Retry-After.

    Attributes:
        retry_after: seconds after which it is worth trying again, >= 1.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, f"try again in {retry_after} s")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Query:
    """One inference request.

    Attributes:
        model: name, possibly of an ensemble; `branch/name` where two branches hold a model of one name.
        rows: float32 (n, columns), raw feature values, finite; columns in the order of the model's inputs.
        version: exactly this version; None: as the model's route says.
        caller: a key that sticks to one side of a traffic split; None: no stickiness.
    """

    model: str
    rows: Rows
    version: str | None = None
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Forecasts of one request, and where they come from.

    Attributes:
        model: the name asked for.
        answered_by: the model that answered: the same, or its small variant.
        version: of `answered_by`.
        log_return: float32 (n,), shrunk forecast of the next session's log return.
        raw_log_return: float32 (n,), before shrinkage.
        rung: how it was answered.
        age: seconds since it was computed, 0.0 when just now.
        verdict: of that version, on held-out time: "skill", "no skill", "worse than naive", or None if not judged.
    """

    model: str
    answered_by: str
    version: str
    log_return: Rows
    raw_log_return: Rows
    rung: Rung
    age: float
    verdict: str | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The latest forecast of one model.

    Attributes:
        session: the last session of its features: made on its close.
        target_session: the session it is for.
        last_close: close of `session`.
        predicted_close: last_close * exp(log_return).
        log_return: shrunk.
    """

    model: str
    ticker: str
    team: str
    session: date
    target_session: date
    last_close: float
    predicted_close: float
    log_return: float
    answered_by: str
    version: str
    rung: Rung
    age: float
    verdict: str | None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version of one model in the repository index.

    Attributes:
        state: READY, UNAVAILABLE (not in memory: loads on demand), or QUARANTINED with a `reason`.
    """

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE", "QUARANTINED"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model without loading it: for metadata endpoints."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[str, ...]
    ticker: str
    team: str
    trained_until: date
    shrinkage: float
    verdict: str | None


class DataPlane(Protocol):
    """All model logic behind the transports. Lives in one event loop; methods are called from that loop only."""

    async def start(self) -> None:
        """Scan, prewarm, begin to watch the folders. Returns when every prewarmed model is loaded."""
        ...

    async def stop(self) -> None:
        """Finish what is queued, stop watching."""
        ...

    async def infer(self, query: Query) -> Answer:
        """Answer one request on the rung that the load allows.

        Raises:
            UnknownModelError, BadInputError, UnservableError, OverloadedError.
        """
        ...

    async def latest(self, models: Sequence[str] | None = None) -> tuple[list[Forecast], dict[str, str]]:
        """The latest forecast of these models (None: of all), and by name why the others have none."""
        ...

    def facts(self, model: str, version: str | None = None) -> ModelFacts:
        """Facts of a model. Raises UnknownModelError, UnservableError (quarantined)."""
        ...

    def names(self) -> list[str]:
        """Every name that can be asked for, ensembles included, sorted; quarantined ones too."""
        ...

    def models_of(self, ticker: str) -> list[str]:
        """Names of the models of a ticker (any case), ensembles included. Raises UnknownModelError."""
        ...

    def index(self) -> list[IndexEntry]:
        """Every version of every model, quarantined ones with their reason."""
        ...

    def ready(self, model: str | None = None, version: str | None = None) -> bool:
        """Whether the server (None), or this model, answers; False for unknown, quarantined and unloaded ones."""
        ...

    async def load(self, model: str) -> None:
        """Load now (and undo an unload). Raises UnknownModelError, UnservableError."""
        ...

    async def unload(self, model: str) -> None:
        """Drop from memory and answer no more until loaded. Requests under way finish. Raises UnknownModelError."""
        ...

    def features_of(self, model: str) -> Any:
        """The model's `FeatureSpec`, target and exchange as its manifest, for features from bars."""
        ...

    def measures(self) -> dict[str, float]:
        """Current load and memory, for /metrics.

        Keys: queue_delay_ms, loop_lag_ms, level (0..3), queued, resident_models, resident_bytes, memory_budget_bytes,
        and counts since the start: loads, evictions, shadow_rows, shadow_difference, shadow_failures.
        """
        ...
