"""The sentences that say why a model or the fleet has its state."""

from __future__ import annotations

import math

from mlops_cli.live.health.state import Run

NO_FORECAST = "no forecast of this version is settled yet"
SHOCK = "most models got worse at once: see the state of the fleet"
SMALL_FLEET = "too few models with a common reference to tell a common shock from faults of single models"
LEAST_PROBABILITY = 1e-6


def missed(sessions: int) -> str:
    """Why a model without recent forecasts is not judged."""
    return f"none of its forecasts was settled in the last {sessions} sessions"


def changed(run: Run, usual_loss: float, probability: float) -> str:
    """What changed in a run of sessions.

    Args:
        run: at least one session.
        usual_loss: mean signal in the reference, in units of the naive error.
        probability: that an unchanged model gets this far within a year.
    """
    mean = run.total / run.sessions
    spread = math.sqrt(max(run.squares / run.sessions - mean**2, 0.0))
    return (
        f"its error less the naive error was {run.loss / run.sessions:+.1%} of the naive error in {_sessions(run)}, "
        f"{usual_loss:+.1%} in the reference, and varied {spread:.1f} times as much; {_chance(probability)}"
    )


def better(run: Run, usual_loss: float, probability: float) -> str:
    """Why a model whose errors suddenly shrank is watched; arguments as those of `changed`."""
    return (
        f"its error less the naive error was {run.loss / run.sessions:+.1%} of the naive error in {_sessions(run)}, "
        f"{usual_loss:+.1%} in the reference: "
        f"better than before, look for prices that it should not know; {_chance(probability)}"
    )


def shock(of_errors: bool, probability: float) -> str:
    """Why the fleet is broken or watched: its mean signal, or the size of its signals."""
    what = "errors beside the naive errors got worse" if of_errors else "errors are much further from the naive errors"
    return f"the models' {what}, all together; {_chance(probability)}"


def most(number: int, judged: int, at_once: bool) -> str:
    """Why the fleet is broken: more than half of the models."""
    return f"{number} of {judged} models got worse at once" if at_once else f"{number} of {judged} models are broken"


def _sessions(run: Run) -> str:
    number = "the session" if run.sessions == 1 else f"the {run.sessions} sessions"
    return f"{number} from {run.began:%Y-%m-%d}" if run.began else number


def _chance(probability: float) -> str:
    if probability < LEAST_PROBABILITY:
        return f"less than 1 in {1 / LEAST_PROBABILITY:,.0f} get this far within a year without a change"
    return f"1 in {1 / probability:,.0f} gets this far within a year without a change"
