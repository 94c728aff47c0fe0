"""What is measured on the references: what is usual for each model and for the fleet, and the null distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from mlops_cli.errors import DataError
from mlops_cli.live.health.cusum import shift_evidence
from mlops_cli.live.health.null_peaks import REPLICATES, NullPeaks, null_peaks, standard
from mlops_cli.live.health.outcomes import Floats, Outcomes, read_outcomes
from mlops_cli.live.health.signal import SIZE_WEIGHT, WARM_UP, Common, common, log_size, naive_means, own_part

LENGTHS = (60, 120, 250, 500)
"""A reference counts with the largest of these numbers of sessions that it has; each has its null distribution."""

NOISE_SERIES = 50
"""Series of white noise whose null distribution is the least of the fleet's."""

LEAST_SPREAD = 1e-3
"""Least spread of a model's signal, in units of the naive error: models shrunk to the naive forecast have none."""

NEVER_MOVED = "its close never moved in the reference"
"""Why a model cannot be judged, other than that its reference is too short."""


class Usual(BaseModel):
    """What is usual for one model.

    Attributes:
        version: of the model.
        sessions: used of the reference, one of `LENGTHS`.
        naive_error: mean of the weighted mean naive error over the reference, as a share of the last close.
        last_naive_error: the weighted mean after the reference.
        loss: mean error beside the naive forecast, in units of the naive error: mean of the signal.
        spread: of the signal.
        own_mean: mean of the standardised signal less the fleet's common part.
        own_spread: spread of the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    sessions: int
    naive_error: float
    last_naive_error: float
    loss: float
    spread: float
    own_mean: float
    own_spread: float


class NotJudged(BaseModel):
    """A model that cannot be judged.

    Attributes:
        version: of the model.
        reason: why not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    reason: str


class UsualSeries(BaseModel):
    """What is usual for one figure of the fleet per session.

    Attributes:
        mean: over the references' sessions.
        spread: over the same.
        null: distribution of the peaks of its sum of evidence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    spread: float
    null: NullPeaks


class UsualFleet(BaseModel):
    """What is usual for the fleet.

    Attributes:
        errors: the sessions' trimmed means of the models' standardised signals.
        sizes: the logs of the sessions' sizes of these signals around their median.
        size: median over the sessions of the weighted mean size.
        last_size: that weighted mean after the reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    errors: UsualSeries
    sizes: UsualSeries
    size: float
    last_size: float


class Calibration(BaseModel):
    """All that judging needs of the references. `model_dump_json` and `model_validate_json` give it back to the bit.

    Attributes:
        models: those that can be judged, by name.
        not_judged: the others, by name.
        nulls: distribution of a model's peaks by the length of its reference.
        fleet: None if fewer than `signal.MIN_FLEET` models have at least `LENGTHS[0]` sessions in common.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, Usual]
    not_judged: dict[str, NotJudged]
    nulls: dict[int, NullPeaks]
    fleet: UsualFleet | None


@dataclass(frozen=True)
class _Signals:
    """Standardised signals of the references.

    Attributes:
        naive_error: mean of E of each model, shape (m,).
        loss: mean of the signal, shape (m,).
        spread: of the signal, shape (m,).
        own: without the common part, shape (t, m), NaN outside of the references.
        shared: the common part of each session.
        sizes: weighted mean size of each session, shape (t,), NaN where too few models have a forecast.
    """

    naive_error: Floats
    loss: Floats
    spread: Floats
    own: Floats
    shared: list[Common]
    sizes: Floats


def calibrate(
    references: pd.DataFrame, versions: dict[str, str], seed: int = 0, replicates: int = REPLICATES
) -> Calibration:
    """Measure what is usual on forecasts that were made out of sample, before the time that is judged.

    Args:
        references: settled forecasts of each model, columns `outcomes.COLUMNS`: the last 520 sessions count, of which
            the first 20 only start the mean naive error. They must not be forecasts of rows that the model was trained
            on: those are better than any later ones. A version without forecasts of its own may have those of its
            predecessor, under its own name.
        versions: the version in use of every model that is to be judged.
        seed: of the bootstrap. Equal references and seed give an equal calibration.
        replicates: of the bootstrap, per length of reference.

    Raises:
        DataError: as `outcomes.read_outcomes`.
    """
    outcomes = read_outcomes(references, versions)
    before, after = naive_means(outcomes.naive)
    lengths = _lengths(before)
    reasons = _reasons(outcomes, lengths)
    fit = np.array([name not in reasons for name in outcomes.models], dtype=bool)
    not_judged = {name: NotJudged(version=versions[name], reason=reason) for name, reason in reasons.items()}
    if not fit.any():
        return Calibration(models={}, not_judged=not_judged, nulls={}, fleet=None)
    before = np.where(_newest(before, lengths), before, np.nan)[:, fit]
    signals = _signals(outcomes.loss[:, fit], before)
    means, spreads = standard(signals.own)
    names = np.array(outcomes.models)[fit].tolist()
    columns = {
        "sessions": lengths[fit],
        "naive_error": signals.naive_error,
        "last_naive_error": after[fit],
        "loss": signals.loss,
        "spread": signals.spread,
        "own_mean": means,
        "own_spread": spreads,
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    models = {
        name: Usual(version=versions[name], **dict(zip(columns, row, strict=True)))
        for name, row in zip(names, rows, strict=True)
    }
    standardised = (signals.own - means) / spreads
    series = [column[np.isfinite(column)] for column in standardised.T]
    nulls = {
        int(length): null_peaks(series, int(length), np.random.default_rng([seed, int(length)]), replicates)
        for length in np.unique(lengths[fit])
    }
    return Calibration(models=models, not_judged=not_judged, nulls=nulls, fleet=_fleet(signals, seed, replicates))


def read_calibration(text: str | bytes) -> Calibration:
    """Read what `model_dump_json` wrote.

    Raises:
        DataError: it is broken.
    """
    try:
        return Calibration.model_validate_json(text)
    except ValueError as error:
        raise DataError(f"the stored calibration of health is broken: {error}", "calibrate again") from error


def _lengths(before: Floats) -> np.ndarray:
    """How many sessions of each model count; 0: too few."""
    steps = np.array([0, *LENGTHS])
    return steps[np.searchsorted(LENGTHS, np.isfinite(before).sum(axis=0), side="right")]


def _reasons(outcomes: Outcomes, lengths: np.ndarray) -> dict[str, str]:
    """Why models cannot be judged, by name."""
    known = np.isfinite(outcomes.naive).sum(axis=0)
    moves = np.nan_to_num(outcomes.naive).sum(axis=0)
    reasons = {}
    for place, name in enumerate(outcomes.models):
        if lengths[place] == 0:
            least = LENGTHS[0] + WARM_UP
            reasons[name] = f"its reference has {known[place]} settled forecasts; at least {least} are needed"
        elif moves[place] == 0:
            reasons[name] = NEVER_MOVED
    return reasons


def _newest(before: Floats, lengths: np.ndarray) -> np.ndarray:
    """Which entries, shape (t, m), are among the newest `lengths` of their model that give a signal."""
    known = np.isfinite(before)
    newer = known[::-1].cumsum(axis=0)[::-1]
    return known & (newer <= lengths)


def _signals(loss: Floats, before: Floats) -> _Signals:
    """Signals where `before` is known, shape (t, m)."""
    naive_error = np.nanmean(before, axis=0)
    signal = loss / np.maximum(before, naive_error)
    mean, spread = np.nanmean(signal, axis=0), np.maximum(np.nanstd(signal, axis=0, ddof=1), LEAST_SPREAD)
    signal = (signal - mean) / spread
    shared = [common(row) for row in signal]
    sizes = _weighted_sizes(np.array([part.size for part in shared]))
    usual_size = _median_size(sizes)
    parts = zip(signal, shared, sizes / usual_size, strict=True)
    own = np.array([own_part(row, part, growth) for row, part, growth in parts])
    return _Signals(naive_error, mean, spread, own, shared, sizes)


def _weighted_sizes(sizes: Floats) -> Floats:
    """Exponentially weighted means of the sessions' sizes, which include the session itself; NaN where unknown."""
    weighted = np.full_like(sizes, np.nan)
    known = np.flatnonzero(np.isfinite(sizes))
    mean = float(sizes[known[:WARM_UP]].mean()) if known.size else np.nan
    for place in known:
        mean += SIZE_WEIGHT * (sizes[place] - mean)
        weighted[place] = mean
    return weighted


def _median_size(sizes: Floats) -> float:
    """The usual size; 1 if there is none, or if most models always equal the naive forecast."""
    known = sizes[np.isfinite(sizes)]
    usual = float(np.median(known)) if known.size else 0.0
    return usual if usual > 0 else 1.0


def _fleet(signals: _Signals, seed: int, replicates: int) -> UsualFleet | None:
    known = [part for part in signals.shared if np.isfinite(part.mean)][-LENGTHS[-1] :]
    if len(known) < LENGTHS[0]:
        return None
    random = np.random.default_rng([seed, 0])
    # One series shows few extremes: it is never taken as calmer than white noise.
    noise = list(random.normal(size=(NOISE_SERIES, len(known))))
    least = null_peaks(noise, len(known), random, replicates, shift_evidence)

    def usual(values: list[float]) -> UsualSeries:
        mean, spread = float(np.mean(values)), max(float(np.std(values, ddof=1)), LEAST_SPREAD)
        series = (np.array(values) - mean) / spread
        null = null_peaks([series], len(known), random, replicates, shift_evidence)
        return UsualSeries(mean=mean, spread=spread, null=null.at_least(least))

    return UsualFleet(
        errors=usual([part.mean for part in known]),
        sizes=usual([log_size(part) for part in known]),
        size=_median_size(signals.sizes),
        last_size=float(signals.sizes[np.isfinite(signals.sizes)][-1]),
    )
