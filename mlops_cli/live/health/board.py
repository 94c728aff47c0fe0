"""The states of all models as arrays, so that a session costs no loop over models."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import numpy as np
from numpy.typing import NDArray

from mlops_cli.live.health.calibration import Calibration, Usual
from mlops_cli.live.health.outcomes import Floats
from mlops_cli.live.health.reasons import NO_FORECAST
from mlops_cli.live.health.state import Health, ModelHealth, Run, State

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class UsualColumns:
    """`calibration.Usual` of all models as arrays of shape (m,); the attributes mean the same."""

    sessions: Counts
    naive_error: Floats
    loss: Floats
    spread: Floats
    own_mean: Floats
    own_spread: Floats

    @classmethod
    def of(cls, models: list[Usual]) -> UsualColumns:
        """Gather them."""
        columns = {field.name: np.array([getattr(usual, field.name) for usual in models]) for field in fields(cls)}
        return cls(**columns)


@dataclass
class Board:
    """States of the models that can be judged. All arrays have shape (m,), and sessions change them in place.

    Attributes:
        names: rising.
        versions: that are watched.
        usual: what is usual for each.
        states: `State` of each, dtype object.
        since: date or None, dtype object.
        reasons: str, dtype object.
        began: first session of the run, date or None, dtype object.
        naive_error: weighted mean naive error.
        cusum: sum of evidence.
        peak: its highest value in this year.
        loss: sum of the signal over the run.
        total: sum of the standardised signal over the run.
        squares: sum of its squares over the run.
        run: sessions of the run.
        sessions: judged in all.
        missed: since the last settled forecast.
        retrained: how many models had another version in the state from which the board was made.
    """

    names: tuple[str, ...]
    versions: tuple[str, ...]
    usual: UsualColumns
    states: NDArray[np.object_]
    since: NDArray[np.object_]
    reasons: NDArray[np.object_]
    began: NDArray[np.object_]
    naive_error: Floats
    cusum: Floats
    peak: Floats
    loss: Floats
    total: Floats
    squares: Floats
    run: Counts
    sessions: Counts
    missed: Counts
    retrained: int

    @classmethod
    def of(cls, health: Health, calibration: Calibration) -> Board:
        """Go on from a stored state; a model with a new version starts anew, but keeps its mean naive error."""
        names = tuple(sorted(calibration.models))
        usual = [calibration.models[name] for name in names]
        olds = [health.models.get(name) for name in names]
        models = [_started(old, now, health.session) for old, now in zip(olds, usual, strict=True)]
        numbers = [
            (part.naive_error, part.cusum, part.peak, part.run.loss, part.run.total, part.run.squares)
            for part in models
        ]
        naive_error, cusum, peak, loss, total, squares = np.array(numbers, dtype=np.float64).reshape(-1, 6).T.copy()
        counts = [(part.run.sessions, part.sessions, part.missed) for part in models]
        run, sessions, missed = np.array(counts, dtype=np.int64).reshape(-1, 3).T.copy()
        others = [(part.state, part.since, part.reason, part.run.began) for part in models]
        states, since, reasons, began = np.array(others, dtype=object).reshape(-1, 4).T.copy()
        return cls(
            names=names,
            versions=tuple(part.version for part in models),
            usual=UsualColumns.of(usual),
            states=states,
            since=since,
            reasons=reasons,
            began=began,
            naive_error=naive_error,
            cusum=cusum,
            peak=peak,
            loss=loss,
            total=total,
            squares=squares,
            run=run,
            sessions=sessions,
            missed=missed,
            retrained=sum(map(_is_retrained, olds, usual)),
        )

    def run_of(self, place: int) -> Run:
        """The run of one model."""
        return Run(
            began=self.began[place],
            sessions=int(self.run[place]),
            loss=float(self.loss[place]),
            total=float(self.total[place]),
            squares=float(self.squares[place]),
        )

    def set_state(self, where: Flags, state: State, session: date | None) -> NDArray[np.intp]:
        """Give models a state; returns the places of those for which it is new, whose reasons must then be set."""
        new = np.flatnonzero(where & (self.states != state))
        self.states[new] = state
        self.since[new] = session
        self.reasons[new] = ""
        return new

    def clear_runs(self, where: Flags) -> None:
        """Forget the sessions of the run of some models."""
        for column in (self.loss, self.total, self.squares, self.run):
            column[where] = 0
        self.began[where] = None

    def models(self) -> dict[str, ModelHealth]:
        """The states to be stored."""
        return {
            name: ModelHealth(
                version=self.versions[place],
                state=self.states[place],
                since=self.since[place],
                reason=self.reasons[place],
                naive_error=float(self.naive_error[place]),
                cusum=float(self.cusum[place]),
                peak=float(self.peak[place]),
                sessions=int(self.sessions[place]),
                missed=int(self.missed[place]),
                run=self.run_of(place),
            )
            for place, name in enumerate(self.names)
        }


def _is_retrained(old: ModelHealth | None, usual: Usual) -> bool:
    return old is not None and old.version != usual.version


def _started(old: ModelHealth | None, usual: Usual, session: date | None) -> ModelHealth:
    """The state from which a model goes on."""
    if old is not None and old.version == usual.version and old.naive_error is not None:
        return old
    naive_error = usual.last_naive_error if old is None or old.naive_error is None else old.naive_error
    return ModelHealth(version=usual.version, since=session, reason=NO_FORECAST, naive_error=naive_error)
