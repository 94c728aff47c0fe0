"""Shrinkage of forecasts to their base, chosen on validation and pooled over the models of a group.

The total log return that a network forecasts, r, becomes mu + lambda * (r - mu) with lambda in [0, 1]. Without a base
mu is 0, and lambda = 0 is the naive forecast. Daily closes are so close to a random walk that unshrunk models lose to
it; pooling the choice over a group keeps the estimate from chasing the noise of one stock.

mu, the drift of a model, is half the mean log total return of its own stock and half the mean of these over the group:
the stocks of a group have had similar drifts, and a stock's own mean is mostly noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops_cli.features.intervals import LEAST

Vector = npt.NDArray[np.float64]
GRID: Vector = np.round(np.linspace(0.0, 1.0, 21), 2)
MOST_WIDER = 10.0
"""Largest `width_factor`. An unknown interval (`WIDEST`) times more than this is no number in float32 any more."""
OWN = 0.5  # weight of a stock's own mean in its drift; the rest is that of the group


@dataclass(frozen=True)
class MeanReturns:
    """Mean daily log total returns of a stock: over the rows before those that choose the shrinkage, and over all.

    All are the rows that a model may see.
    """

    train: float
    used: float


@dataclass(frozen=True)
class ValidationForecasts:
    """One model's unshrunk forecasts of its validation rows; all shape (n,), float64, finite.

    Attributes:
        last_close: close of the session on which the forecast was made, price units, > 0.
        actual_close: close of the next session, price units, > 0.
        log_return: predicted log return, of total return if the model has a base.
        sessions: target sessions, datetime64, rising.
        dividend: announced dividend of the next session, price units; None if the model's base subtracts none.
        means: mean returns of the stock; None if the model's base has no drift.
    """

    last_close: Vector
    actual_close: Vector
    log_return: Vector
    sessions: npt.NDArray[np.datetime64]
    dividend: Vector | None = None
    means: MeanReturns | None = None

    @property
    def has_base(self) -> bool:
        """Whether the model is shrunk to a base, and not to "no change"."""
        return self.dividend is not None or self.means is not None

    def mae_ratio(self, shrinkage: float, drift: float = 0.0) -> float:
        """MAE of the shrunk forecast over MAE of the naive one, in price units; 1 if the close never changed."""
        naive = np.abs(self.actual_close - self.last_close).mean()
        return 1.0 if naive == 0 else float(self.absolute_errors(shrinkage, drift).mean() / naive)

    def width_factor(self, shrinkage: float, drift: float = 0.0) -> float:
        """How many times as wide as planned the intervals of the shrunk forecast must be; 1 to `MOST_WIDER`.

        The widths are made of the errors of "only the announced dividend changes the close" (`features.intervals`). A
        model with larger errors, such as one that is not shrunk, or that has a drift although its stock hardly moves,
        gets intervals that are wider by the ratio of the two MAEs on the validation rows. It gets no narrower ones: a
        small gain on some rows may be luck.
        """
        planned = max(self.absolute_errors(0.0, 0.0).mean(), LEAST * float(self.last_close.mean()))
        return min(MOST_WIDER, max(1.0, float(self.absolute_errors(shrinkage, drift).mean() / planned)))

    def absolute_errors(self, shrinkage: float, drift: float) -> Vector:
        """Absolute errors of the shrunk forecast in price units, one per row."""
        forecast = self.last_close * np.exp(drift + shrinkage * (self.log_return - drift))
        if self.dividend is not None:
            forecast = forecast - self.dividend
        return np.abs(self.actual_close - forecast)


def choose_shrinkage(group: Sequence[ValidationForecasts], drifts: Sequence[float] = ()) -> float:
    """Return the lambda of `GRID` with the lowest mean MAE ratio over the group's models; ties go to the smaller one.

    `drifts`: mu of each model, of its training rows only, so that no validation row is known; empty: all 0.

    Raises:
        ValueError: the group is empty.
    """
    if not group:
        raise ValueError("a group needs at least one model")
    models = list(zip(group, drifts or [0.0] * len(group), strict=True))
    losses = np.array([[model.mae_ratio(value, drift) for value in GRID] for model, drift in models]).mean(axis=0)
    return float(GRID[int(np.argmin(losses))])


def choose_cautiously(group: Sequence[ValidationForecasts], drifts: Sequence[float]) -> float:
    """The smallest lambda of `GRID` whose loss is within one standard error of the best one's.

    The rule of one standard error (Breiman, Friedman, Olshen & Stone 1984): the network must earn its distance from the
    base. The loss of a day is the mean of the models' errors in units of their naive MAE; the standard error is that of
    the daily differences to the best lambda, because the stocks of one day move together.

    Raises:
        ValueError: the group is empty.
    """
    best = choose_shrinkage(group, drifts)
    losses = _daily_losses(group, drifts)
    differences = losses - losses[:, [int(np.flatnonzero(best == GRID)[0])]]
    if len(differences) < 2:
        return best
    errors = differences.std(axis=0, ddof=1) / np.sqrt(len(differences))
    return float(GRID[int(np.flatnonzero(differences.mean(axis=0) <= errors)[0])])


def _daily_losses(group: Sequence[ValidationForecasts], drifts: Sequence[float]) -> Vector:
    """Mean over the models of error / naive MAE: (days, lambdas of `GRID`). Stocks that never moved are left out."""
    days, losses = [], []
    for model, drift in zip(group, drifts, strict=True):
        naive = np.abs(model.actual_close - model.last_close).mean()
        if naive > 0:
            days.append(model.sessions)
            losses.append(np.stack([model.absolute_errors(value, drift) for value in GRID], axis=1) / naive)
    if not days:
        return np.empty((0, len(GRID)))
    unique, places = np.unique(np.concatenate(days), return_inverse=True)
    sums = np.zeros((len(unique), len(GRID)))
    np.add.at(sums, places, np.concatenate(losses))
    return sums / np.bincount(places)[:, None]


def pooled_drifts(means: Sequence[float | None]) -> list[float]:
    """The drift mu of each model of a group, from the mean returns of their stocks; 0 where the base has no drift."""
    known = [mean for mean in means if mean is not None]
    pooled = float(np.mean(known)) if known else 0.0
    return [0.0 if mean is None else OWN * mean + (1.0 - OWN) * pooled for mean in means]
