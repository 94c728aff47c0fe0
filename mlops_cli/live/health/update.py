"""States of health, session by session."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from mlops_cli.live.health import reasons
from mlops_cli.live.health.board import Board, Flags
from mlops_cli.live.health.calibration import Calibration
from mlops_cli.live.health.cusum import YEAR, evidence
from mlops_cli.live.health.fleet import FleetWatch, Tally
from mlops_cli.live.health.outcomes import Floats, read_outcomes
from mlops_cli.live.health.signal import UNKNOWN, common, moved, own_part
from mlops_cli.live.health.state import Health, ModelHealth, State

ALARM = 0.05
"""Share of false alarms among the alarms of a year."""

WATCH = 0.01
"""A model is watched if its present sum has at most this probability within a year."""

MOST_MISSED = 10
"""A model without a settled forecast for more sessions than this is not judged."""

BETTER = -1.645
"""A run whose mean signal has a t below this (the 5 % point of the normal distribution) got better, not worse."""


def update(health: Health, outcomes: pd.DataFrame, calibration: Calibration) -> Health:
    """Judge the sessions after the last judged one.

    The result is the same whether sessions come one at a time or all at once, if the calibration is the same.

    Args:
        health: the stored state; `Health()` at the very start.
        outcomes: settled forecasts, columns `outcomes.COLUMNS`. Rows of judged sessions, of versions that the
            calibration does not have, and of unknown models are left out: a session is judged once.
        calibration: of the versions in use. A model whose version is not that of the stored state was retrained: its
            alarm ends.

    Returns:
        The new state, of the models of the calibration.

    Raises:
        DataError: as `outcomes.read_outcomes`.
    """
    table = read_outcomes(outcomes, {name: usual.version for name, usual in calibration.models.items()})
    board = Board.of(health, calibration)
    fleet = FleetWatch(health.fleet, calibration.fleet, board.retrained)
    session = health.session
    for place, day in enumerate(table.sessions):
        if session is None or day.date() > session:
            session = day.date()
            _step(board, fleet, calibration, _Session(session, table.naive[place], table.loss[place]))
    others = {name: _not_judged(health, name, calibration) for name in calibration.not_judged}
    models = {**board.models(), **others}
    return Health(session=session, models={name: models[name] for name in sorted(models)}, fleet=fleet.health())


class _Session:
    """One session's errors: naive, and the models' less naive, shape (m,), NaN where there is no forecast."""

    def __init__(self, day: date, naive: Floats, loss: Floats) -> None:
        self.day, self.naive, self.loss = day, naive, loss


def _step(board: Board, fleet: FleetWatch, calibration: Calibration, session: _Session) -> None:
    usual = board.usual
    signal = session.loss / np.maximum(board.naive_error, usual.naive_error)
    board.naive_error = moved(board.naive_error, session.naive)
    standardised = (signal - usual.loss) / usual.spread
    shared = common(standardised) if calibration.fleet else UNKNOWN
    own = own_part(standardised, shared, fleet.growth(shared))
    _add(board, signal, (own - usual.own_mean) / usual.own_spread, session.day)
    fleet.add(shared)
    judged = (board.sessions > 0) & (board.missed <= MOST_MISSED)
    probability = _probability(board, calibration, board.peak)
    significant = judged & (_adjusted(probability, judged, calibration.fleet is not None) <= ALARM)
    broken = board.states == State.BROKEN
    now = _probability(board, calibration, board.cusum)
    suspect = judged & ~broken & (now <= WATCH)
    better = _got_better(board)
    new = suspect & significant & ~better
    fleet.judge(session.day, Tally(int(judged.sum()), int((broken & judged).sum()), int(new.sum())))
    if fleet.shock:
        _hold_back(board, ~broken, session.day)
        return
    if fleet.state is State.WATCH:
        new = np.zeros_like(new)  # first see whether it is a common shock
    for place in board.set_state(new, State.BROKEN, session.day):
        board.reasons[place] = reasons.changed(board.run_of(place), usual.loss[place], probability[place])
    for place in board.set_state(suspect & ~new, State.WATCH, session.day):
        words = reasons.better if better[place] else reasons.changed
        board.reasons[place] = words(board.run_of(place), usual.loss[place], now[place])
    _set_calm(board, judged, suspect | broken, session.day)


def _add(board: Board, signal: Floats, own: Floats, day: date) -> None:
    """Add one session to the sums; `own` is the standardised signal less the common part, NaN without forecast."""
    present = np.isfinite(own)
    board.missed = np.where(present, 0, board.missed + 1)
    board.sessions = board.sessions + present
    board.cusum[present] = np.maximum(0.0, board.cusum[present] + evidence(own[present]))
    year_ends = present & (board.sessions % YEAR == 0)
    board.peak = np.where(year_ends, board.cusum, np.maximum(board.peak, board.cusum))
    running = present & (board.cusum > 0)
    board.loss[running] += signal[running]
    board.total[running] += own[running]
    board.squares[running] += own[running] ** 2
    board.run[running] += 1
    board.began[running & (board.run == 1)] = day
    board.clear_runs(board.cusum == 0)


def _probability(board: Board, calibration: Calibration, heights: Floats) -> Floats:
    """Probability that an unchanged model gets to these heights within a year, by the length of its reference."""
    probability = np.ones(len(heights))
    for length, null in calibration.nulls.items():
        these = board.usual.sessions == length
        probability[these] = null.probability(heights[these])
    return probability


def _adjusted(probability: Floats, judged: Flags, independent: bool) -> Floats:
    """Probabilities adjusted for the number of judged models, 1 for the others.

    Benjamini & Hochberg (1995) where the common part was taken out, so that models are nearly independent; Benjamini &
    Yekutieli (2001), valid under any dependence, in small fleets.
    """
    adjusted = np.ones(len(probability))
    if judged.any():
        adjusted[judged] = false_discovery_control(probability[judged], method="bh" if independent else "by")
    return adjusted


def _got_better(board: Board) -> Flags:
    """Whether the signals of the run are significantly below those of the reference."""
    number = np.maximum(board.run, 1)
    mean = board.total / number
    spread = np.sqrt(np.maximum(board.squares / number - mean**2, 0.0))
    return board.total < BETTER * np.sqrt(number) * spread


def _hold_back(board: Board, where: Flags, day: date) -> None:
    """During a common shock models start anew each session, and nothing is said about them."""
    board.cusum[where] = 0.0
    board.peak[where] = 0.0
    board.clear_runs(where)
    board.reasons[board.set_state(where, State.NOT_JUDGED, day)] = reasons.SHOCK
    board.reasons[where] = reasons.SHOCK


def _set_calm(board: Board, judged: Flags, others: Flags, day: date) -> None:
    """Set the states of the models that are neither broken nor watched."""
    board.set_state(judged & ~others, State.HEALTHY, day)
    silent = ~judged & ~others
    board.set_state(silent, State.NOT_JUDGED, day)
    board.reasons[silent & (board.sessions > 0)] = reasons.missed(MOST_MISSED)
    board.reasons[silent & (board.sessions == 0)] = reasons.NO_FORECAST


def _not_judged(health: Health, name: str, calibration: Calibration) -> ModelHealth:
    """State of a model without a usable reference; an alarm of the same version stays."""
    old, now = health.models.get(name), calibration.not_judged[name]
    if old is not None and old.version == now.version and old.state == State.BROKEN:
        return old
    same = old is not None and old.version == now.version and old.reason == now.reason
    since = old.since if old is not None and same else health.session
    return ModelHealth(version=now.version, since=since, reason=now.reason)
