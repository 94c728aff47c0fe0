"""What goes into the data plane and what comes out of it.

What every request makes is a named tuple: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from mlops_cli.errors import MlopsError, ServiceError
from mlops_cli.features.column_names import WIDEST

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
        interval: whether the answer holds the prediction intervals. The rows need the columns of widths then; else
            they may leave these out.
        columns: names of the columns of `rows`, if they are not those of the version that is asked for.
    """

    model: str
    rows: Rows
    version: str | None = None
    caller: str | None = None
    interval: bool = False
    columns: tuple[str, ...] | None = None


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
        interval: float32 (n, 2 * levels), lower and upper bound of the log return by rising level; None if not asked.
    """

    model: str
    answered_by: str
    version: str
    log_return: Rows
    raw_log_return: Rows
    rung: Rung
    age: float
    verdict: str | None
    interval: Rows | None = None


DividendSource = Literal["project", "request", "unknown", "not subtracted"]
ForecastSource = Literal["journal", "computed"]
Superseded = Literal["retrained", "restated"]


class Age(NamedTuple):
    """How old the data of a forecast are.

    Attributes:
        sessions: how many have finished after the one of the data: 0 for data that are up to date; None if unknown.
        stale: whether it is more than 0.
    """

    sessions: int | None
    stale: bool | None


UNKNOWN_AGE = Age(None, None)


@dataclass(frozen=True, slots=True)
class ForecastBasis:
    """What a forecast is made on; attributes as in `Forecast`, and `widths` by level as the row has them."""

    ticker: str
    team: str
    session: date
    target_session: date
    last_close: float
    announced_dividend: float = 0.0
    dividend_source: DividendSource | None = None
    widths: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one model for one session, made on the close of the last session of its features.

    Attributes:
        last_close: this close.
        predicted_close: last_close * exp(log_return).
        log_return: shrunk.
        announced_dividend: what the target session pays, per share and as known at the last close; 0: nothing.
        ex_date: the target session where it pays a dividend.
        dividend_source: where the dividend comes from: the project's list, or the request; "unknown": the project has
            no list of the ticker's dividends; "not subtracted": the request gives one, but this model has a base that
            subtracts none. None where neither says that one is announced.
        expected_total_return: log return of someone who holds the share and gets the dividend.
        intervals: by level ("80"), lower and upper bound of the next close; None where there were too few sessions.
        source: "journal": it was issued, and is shown as it was issued; "computed": it was computed for this request.
        issued_at: when it was issued; None if it was computed.
        superseded: why a forecast computed now would be another one than the issued one: "retrained": another version
            of the model answers; "restated": the data that it was made from were corrected or split. None: it would
            not, or it is a computed one.
        data_age_sessions: how many sessions its exchange has finished since `session`; None if unknown.
        stale: whether it is made on data older than the last finished session of its exchange; None if unknown.
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
    announced_dividend: float
    ex_date: date | None
    dividend_source: DividendSource | None
    expected_total_return: float
    intervals: dict[str, tuple[float, float] | None]
    source: ForecastSource = "computed"
    issued_at: datetime | None = None
    superseded: Superseded | None = None
    data_age_sessions: int | None = None
    stale: bool | None = None

    @classmethod
    def of(cls, basis: ForecastBasis, answer: Answer, age: Age = UNKNOWN_AGE) -> Forecast:
        """The forecast that an answer to one row gives, which was made on data of this age."""
        log_return = float(answer.log_return[0])
        predicted_close = basis.last_close * math.exp(log_return)
        dividend = basis.announced_dividend
        return cls(
            model=answer.model,
            ticker=basis.ticker,
            team=basis.team,
            session=basis.session,
            target_session=basis.target_session,
            last_close=basis.last_close,
            predicted_close=predicted_close,
            log_return=log_return,
            answered_by=answer.answered_by,
            version=answer.version,
            rung=answer.rung,
            age=answer.age,
            verdict=answer.verdict,
            announced_dividend=dividend,
            ex_date=basis.target_session if dividend else None,
            dividend_source=basis.dividend_source,
            expected_total_return=math.log((predicted_close + dividend) / basis.last_close),
            intervals=_price_intervals(basis, answer),
            data_age_sessions=age.sessions,
            stale=age.stale,
        )


def _price_intervals(basis: ForecastBasis, answer: Answer) -> dict[str, tuple[float, float] | None]:
    if answer.interval is None:
        return {}
    bounds = [basis.last_close * math.exp(bound) for bound in answer.interval[0].tolist()]
    return {
        f"{level:g}": (bounds[2 * place], bounds[2 * place + 1]) if width < WIDEST else None
        for place, (level, width) in enumerate(basis.widths.items())
    }


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
    levels: tuple[float, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The inputs without which there is no forecast: all but the widths of intervals."""
        return self.inputs[: len(self.inputs) - len(self.levels)]


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """A finished, complete version of a model, as its manifest describes it.

    Attributes:
        inputs: the columns of its graph; the last ones, one for each level, are the widths of the intervals.
        small: name of the model of the same branch that answers for it under load.
        levels: of its intervals, in percent; empty for a model without intervals.
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
    levels: tuple[float, ...] = ()
    exchange: str = "XNYS"

    @property
    def needed(self) -> tuple[str, ...]:
        """The inputs without which there is no forecast: all but the widths of intervals."""
        return self.inputs[: len(self.inputs) - len(self.levels)]

    @property
    def widths(self) -> tuple[str, ...]:
        """The inputs without which there is no interval."""
        return self.inputs[len(self.inputs) - len(self.levels) :]
