"""The state of the fleet: a common shock is told once, and not as the fault of each model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from mlops_cli.live.health import reasons
from mlops_cli.live.health.calibration import UsualFleet, UsualSeries
from mlops_cli.live.health.cusum import MOST, YEAR, shift_evidence
from mlops_cli.live.health.signal import SIZE_WEIGHT, Common, log_size
from mlops_cli.live.health.state import Evidence, FleetHealth, State

ALARM = 0.002
"""Probability of a false alarm of the fleet within a year, as the bootstrap sees it. The real one is higher, as one
series of sessions says little about slow changes of the market: docs/health.md has the measured rate."""

WATCH = 0.2
"""The fleet is watched if its present sum has at most this probability within a year. It is high, because alarms of
models wait meanwhile: when all models break, each would have its own alarm within some four sessions."""


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


class _Sum:
    """One sum of evidence of the fleet."""

    def __init__(self, stored: Evidence, usual: UsualSeries) -> None:
        self.cusum, self.peak, self.usual = stored.cusum, stored.peak, usual

    def add(self, value: float, year_ends: bool, shock: bool) -> None:
        """Add the evidence of one session; in a shock no more is kept than some ten ordinary sessions use up."""
        signal = (value - self.usual.mean) / self.usual.spread
        self.cusum = max(0.0, self.cusum + float(shift_evidence(np.array(signal))))
        self.cusum = min(self.cusum, MOST) if shock else self.cusum
        self.peak = self.cusum if year_ends else max(self.peak, self.cusum)

    def probability(self, height: float) -> float:
        """Of this height within a year, of either of the two sums (Bonferroni)."""
        return min(1.0, 2.0 * float(self.usual.null.probability(np.array(height))))

    def stored(self) -> Evidence:
        return Evidence(cusum=self.cusum, peak=self.peak)


class FleetWatch:
    """Carries the state of the fleet through sessions.

    Args:
        health: the state to go on from.
        usual: what is usual; None: the fleet is too small for a state of its own.
        retrained: models that got a new version since `health` was stored.
    """

    def __init__(self, health: FleetHealth, usual: UsualFleet | None, retrained: int) -> None:
        self.state, self.since, self.reason = health.state, health.since, health.reason
        self.shock = health.shock
        self.retrained = health.retrained + retrained if health.shock else 0
        self.sessions = health.sessions
        self.usual = usual
        self.sums = (_Sum(health.errors, usual.errors), _Sum(health.sizes, usual.sizes)) if usual else ()
        self.stored = health.errors, health.sizes
        self.size = health.size if health.size is not None else (usual.last_size if usual else None)

    def growth(self, shared: Common) -> float:
        """Take in the size of a session's signals; returns how much larger they are than usual."""
        if self.usual is None or self.size is None or not np.isfinite(shared.size):
            return 1.0
        self.size += SIZE_WEIGHT * (shared.size - self.size)
        return self.size / self.usual.size

    def add(self, shared: Common) -> None:
        """Take in the mean and the size of a session's signals."""
        if not self.sums or not np.isfinite(shared.mean):
            return
        self.sessions += 1
        year_ends = self.sessions % YEAR == 0
        errors, sizes = self.sums
        errors.add(shared.mean, year_ends, self.shock)
        sizes.add(log_size(shared), year_ends, self.shock)

    def judge(self, session: date, tally: Tally) -> None:
        """Set the state of the fleet after `add`."""
        self._end_shock(tally)
        at_once = bool(self.sums) and tally.new > tally.judged / 2
        chances = [part.probability(part.peak) for part in self.sums]
        if not self.shock and (at_once or min(chances, default=1.0) <= ALARM):
            self.shock = True
            if at_once:  # so that this shock too lasts until its evidence is used up
                for part in self.sums:
                    part.cusum = max(part.cusum, MOST)
            why = reasons.most(tally.new, tally.judged, True) if at_once else _why(chances)
            self._set(State.BROKEN, session, why)
        elif not self.shock:
            self._set_without_shock(session, tally)

    def health(self) -> FleetHealth:
        """The state to be stored."""
        errors, sizes = (part.stored() for part in self.sums) if self.sums else self.stored
        return FleetHealth(
            state=self.state,
            since=self.since,
            reason=self.reason,
            shock=self.shock,
            retrained=self.retrained,
            errors=errors,
            sizes=sizes,
            sessions=self.sessions,
            size=self.size,
        )

    def _end_shock(self, tally: Tally) -> None:
        """A shock ends when its evidence is used up, or when most models were retrained."""
        used_up = all(part.cusum == 0.0 for part in self.sums)
        if self.shock and (used_up or self.retrained > tally.judged / 2):
            self.shock = False
            self.retrained = 0
            for part in self.sums:
                part.cusum = part.peak = 0.0

    def _set_without_shock(self, session: date, tally: Tally) -> None:
        broken = tally.broken + tally.new
        now = [part.probability(part.cusum) for part in self.sums]
        if tally.judged and broken > tally.judged / 2:
            self._set(State.BROKEN, session, reasons.most(broken, tally.judged, False))
        elif not self.sums:
            self._set(State.NOT_JUDGED, session, reasons.SMALL_FLEET)
        elif min(now) <= WATCH:
            self._set(State.WATCH, session, _why(now))
        else:
            self._set(State.HEALTHY, session, "")

    def _set(self, state: State, session: date, reason: str) -> None:
        """A state keeps its first session and reason as long as it lasts."""
        if state != self.state or self.since is None:
            self.state, self.since, self.reason = state, session, reason


def _why(chances: list[float]) -> str:
    errors, sizes = chances
    return reasons.shock(errors <= sizes, min(errors, sizes))
