"""What goes into the data plane and what comes out of it.

What every request makes is a named tuple: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple, get_args

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
    """The input does not fit the model; the message says what was expected. HTTP 400."""

    exit_code = 2


class UnservableError(MlopsError):
    """The model is quarantined or unloaded; the message says why and what to do. HTTP 503 without Retry-After."""

    exit_code = 6


class OverloadedError(ServiceError):
    """The queue is full, or the deadline passed. HTTP 503 with Retry-After, in seconds >= 1."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, f"try again in {retry_after} s")
        self.retry_after = retry_after


class Query(NamedTuple):
    """One inference request.

    Attributes:
        model: name of a model or an ensemble; `branch/name` where two branches have a model of one name.
        rows: float32 (n, columns), raw feature values, finite; columns in the order of the model's inputs.
        version: exactly this version; None: the one that the model's route picks.
        caller: key of the caller, which always gets the same side of a traffic split; None: no key.
    """

    model: str
    rows: Rows
    version: str | None = None
    caller: str | None = None


class Answer(NamedTuple):
    """Forecasts of one request, and where they come from.

    Attributes:
        answered_by: the model that answered: the same, or its small variant.
        log_return: float32 (n,), shrunk forecast of the next session's log return.
        raw_log_return: float32 (n,), before shrinkage.
        rung: how the load bent the answer.
        age: seconds since it was computed; 0.0 for a new answer.
        verdict: of that version, on sessions that it has not seen: "skill", "no skill", "worse than naive"; None if it
            was not judged.
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
class ForecastBasis:
    """What a forecast is made on; attributes as in `Forecast`."""

    ticker: str
    team: str
    session: date
    target_session: date
    last_close: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one model for one session, made on the close of the last session of its features.

    `last_close` is this close, `log_return` is shrunk, and predicted_close = last_close * exp(log_return).
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

    @classmethod
    def of(cls, basis: ForecastBasis, answer: Answer) -> Forecast:
        """The forecast that an answer to one row gives."""
        log_return = float(answer.log_return[0])
        return cls(
            model=answer.model,
            ticker=basis.ticker,
            team=basis.team,
            session=basis.session,
            target_session=basis.target_session,
            last_close=basis.last_close,
            predicted_close=basis.last_close * math.exp(log_return),
            log_return=log_return,
            answered_by=answer.answered_by,
            version=answer.version,
            rung=answer.rung,
            age=answer.age,
            verdict=answer.verdict,
        )


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version of one model in the repository index.

    It is READY, UNAVAILABLE (not in memory, but loaded on demand), or QUARANTINED with a `reason` and a `hint` what to
    do about it.
    """

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE", "QUARANTINED"]
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts of a model that are known without loading it, for the metadata endpoints."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[str, ...]
    ticker: str
    team: str
    trained_until: date
    shrinkage: float
    verdict: str | None


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """A finished, complete version of a model, as its manifest describes it.

    Attributes:
        small: name of the model of the same branch that answers for it under load.
    """

    version: str
    sha: str
    folder: Path
    inputs: tuple[str, ...]
    ticker: str
    team: str
    trained_until: date
    shrinkage: float
    small: str | None
