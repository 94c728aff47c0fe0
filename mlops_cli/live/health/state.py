"""The stored state of health: of each model and of the fleet."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from mlops_cli.errors import DataError


class State(StrEnum):
    """What is said about a model or the fleet.

    `healthy`: as in the reference. `watch`: it may have got worse; no alarm. `broken`: an alarm. `not judged`: nothing
    can be said, and the reason tells why.
    """

    HEALTHY = "healthy"
    WATCH = "watch"
    BROKEN = "broken"
    NOT_JUDGED = "not judged"


class Run(BaseModel):
    """The sessions since the sum of evidence last was 0.

    Attributes:
        began: first of them; None if there are none.
        sessions: how many.
        loss: sum of the signal, in units of the naive error.
        total: sum of the standardised signal.
        squares: sum of its squares.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    began: date | None = None
    sessions: int = 0
    loss: float = 0.0
    total: float = 0.0
    squares: float = 0.0


class ModelHealth(BaseModel):
    """State of one model, and what the next session needs.

    Attributes:
        version: that is watched.
        state: see `State`.
        since: the session in which it got this state; None: before the first.
        reason: one sentence; empty while healthy.
        naive_error: weighted mean naive error, as a share of the last close; None if the model is not judged.
        cusum: sum of evidence.
        peak: its highest value in this year of the version.
        sessions: settled forecasts of this version that were judged.
        missed: sessions of the fleet since its last settled forecast.
        run: the sessions since the sum last was 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    state: State = State.NOT_JUDGED
    since: date | None = None
    reason: str = ""
    naive_error: float | None = None
    cusum: float = 0.0
    peak: float = 0.0
    sessions: int = 0
    missed: int = 0
    run: Run = Run()


class Evidence(BaseModel):
    """A sum of evidence.

    Attributes:
        cusum: at present.
        peak: its highest value in this year.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cusum: float = 0.0
    peak: float = 0.0


class FleetHealth(BaseModel):
    """State of all models together, and what the next session needs.

    Attributes:
        state: see `State`.
        since: as in `ModelHealth`.
        reason: as in `ModelHealth`.
        shock: whether most models got worse at once. During a shock no model raises an alarm.
        retrained: models with a new version since the shock began.
        errors: evidence that the models' mean signal got worse.
        sizes: evidence that the models' signals got larger.
        sessions: that were judged.
        size: weighted mean size of the models' signals; None: as after the references.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State = State.NOT_JUDGED
    since: date | None = None
    reason: str = ""
    shock: bool = False
    retrained: int = 0
    errors: Evidence = Evidence()
    sizes: Evidence = Evidence()
    sessions: int = 0
    size: float | None = None


class Health(BaseModel):
    """The state after some session. `model_dump_json` and `read_health` give it back to the bit.

    Attributes:
        session: the last target session that was judged; None before the first.
        models: by name.
        fleet: all models together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: date | None = None
    models: dict[str, ModelHealth] = {}
    fleet: FleetHealth = FleetHealth()


def read_health(text: str | bytes) -> Health:
    """Read what `model_dump_json` wrote.

    Raises:
        DataError: it is broken.
    """
    try:
        return Health.model_validate_json(text)
    except ValueError as error:
        hint = "remove it; health is then judged anew from the settled forecasts"
        raise DataError(f"the stored state of health is broken: {error}", hint) from error
