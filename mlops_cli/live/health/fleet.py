"""The state of the fleet: a common shock is told once, and not as the fault of each model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from mlops_cli.live.health import reasons
from mlops_cli.live.health.calibration import UsualFleet
from mlops_cli.live.health.cusum import YEAR, evidence
from mlops_cli.live.health.signal import SIZE_WEIGHT, Common
from mlops_cli.live.health.state import FleetHealth, State

ALARM = 0.01
"""Probability of a false alarm of the fleet within a year."""

WATCH = 0.05
"""The fleet is watched if its present sum has at most this probability within a year."""


@dataclass(frozen=True)
class Tally:
    """How many models there are in a session.

    Attributes:
        judged: of which something can be said.
        broken: with an alarm that was raised before.
        new: that would raise an alarm now.
    """

    judged: int
    broken: int
    new: int


class FleetWatch:
    """Carries the state of the fleet through sessions.

    Args:
        health: the state to go on from.
        usual: what is usual; None: the fleet is too small for a state of its own.
        retrained: models that got a new version since `health` was stored.
    """

    def __init__(self, health: FleetHealth, usual: UsualFleet | None, retrained: int) -> None:
        self.usual = usual
        self.state, self.since, self.reason = health.state, health.since, health.reason
        self.shock = health.shock
        self.retrained = health.retrained + retrained if health.shock else 0
        self.cusum, self.peak, self.sessions = health.cusum, health.peak, health.sessions
        self.size = health.size if health.size is not None else (usual.last_size if usual else None)

    def growth(self, shared: Common) -> float:
        """Take in the size of a session's signals; returns how much larger they are than usual."""
        if self.usual is None or self.size is None or not np.isfinite(shared.size):
            return 1.0
        self.size += SIZE_WEIGHT * (shared.size - self.size)
        return self.size / self.usual.size

    def add(self, shared: Common) -> None:
        """Take in the median signal of a session."""
        if self.usual is None or not np.isfinite(shared.median):
            return
        signal = np.array((shared.median - self.usual.median) / self.usual.spread)
        self.cusum = max(0.0, self.cusum + float(evidence(signal)))
        self.sessions += 1
        self.peak = self.cusum if self.sessions % YEAR == 0 else max(self.peak, self.cusum)

    def judge(self, session: date, tally: Tally) -> None:
        """Set the state of the fleet after `add`."""
        self._end_shock(tally)
        at_once = self.usual is not None and tally.new > tally.judged / 2
        probability = self._probability(self.peak)
        if not self.shock and (at_once or probability <= ALARM):
            self.shock = True
            # the evidence of models that got worse at once: it is used up like that of the median
            self.cusum = max(self.cusum, self._height()) if at_once else self.cusum
            why = reasons.most(tally.new, tally.judged, True) if at_once else reasons.shock(probability)
            self._set(State.BROKEN, session, why)
        elif not self.shock:
            self._set_without_shock(session, tally)

    def health(self) -> FleetHealth:
        """The state to be stored."""
        return FleetHealth(
            state=self.state,
            since=self.since,
            reason=self.reason,
            shock=self.shock,
            retrained=self.retrained,
            cusum=self.cusum,
            peak=self.peak,
            sessions=self.sessions,
            size=self.size,
        )

    def _end_shock(self, tally: Tally) -> None:
        """A shock ends when its evidence is used up, or when most models were retrained."""
        if self.shock and (self.cusum == 0.0 or self.retrained > tally.judged / 2):
            self.shock = False
            self.retrained = 0
            self.cusum = self.peak = 0.0

    def _set_without_shock(self, session: date, tally: Tally) -> None:
        broken = tally.broken + tally.new
        now = self._probability(self.cusum)
        if tally.judged and broken > tally.judged / 2:
            self._set(State.BROKEN, session, reasons.most(broken, tally.judged, False))
        elif self.usual is None:
            self._set(State.NOT_JUDGED, session, reasons.SMALL_FLEET)
        elif now <= WATCH:
            self._set(State.WATCH, session, reasons.shock(now))
        else:
            self._set(State.HEALTHY, session, "")

    def _height(self) -> float:
        return 0.0 if self.usual is None else self.usual.null.quantiles[-1]

    def _probability(self, height: float) -> float:
        return 1.0 if self.usual is None else float(self.usual.null.probability(np.array(height)))

    def _set(self, state: State, session: date, reason: str) -> None:
        """Since and reason stay as long as the state does; the fleet's first reason is why it was called so."""
        if state != self.state or not self.reason:
            self.since = session if state != self.state or self.since is None else self.since
            self.state, self.reason = state, reason
