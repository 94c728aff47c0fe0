"""One pass: its steps one after another, each noted when it ended. It may be killed anywhere and run again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from mlops_cli.errors import EXIT_SOME_FAILED, ConfigError, MlopsError, ServiceError
from mlops_cli.live.passes.alert import alert_step
from mlops_cli.live.passes.check import check_step
from mlops_cli.live.passes.health import health_step
from mlops_cli.live.passes.ingest import ingest_step
from mlops_cli.live.passes.issue import issue_step
from mlops_cli.live.passes.judge import judge_step
from mlops_cli.live.passes.record import begin_pass, check_clock, end_pass, record_step
from mlops_cli.live.passes.retrain import retrain_step
from mlops_cli.live.passes.settle import settle_step
from mlops_cli.live.passes.step import PassContext, Step, StepOutcome, Trouble
from mlops_cli.live.passes.trade import trade_step
from mlops_cli.system.locks import file_lock

STEPS: Mapping[str, Step] = {
    "ingest": ingest_step,
    "check": check_step,
    "settle": settle_step,
    "health": health_step,
    "retrain": retrain_step,
    "judge": judge_step,
    "issue": issue_step,
    "trade": trade_step,
    "alert": alert_step,
}
"""All steps, in order."""


@dataclass(frozen=True)
class PassResult:
    """What a pass did: the session after whose close it ran, and what became of each step."""

    session: date
    outcomes: tuple[StepOutcome, ...]

    @property
    def exit_code(self) -> int:
        """0, or 9 if a step or an item failed."""
        failed = any(outcome.error or outcome.failures for outcome in self.outcomes)
        return EXIT_SOME_FAILED if failed else 0


def chosen_steps(only: Collection[str], skip: Collection[str], steps: Mapping[str, Step] = STEPS) -> dict[str, Step]:
    """The steps to run: those of `only`, or else all, without those of `skip`.

    Raises:
        ConfigError: a name is no step, or no step is left.
    """
    unknown = [name for name in (*only, *skip) if name not in steps]
    if unknown:
        raise ConfigError(f"{unknown[0]}: there is no such step", f"steps: {', '.join(steps)}")
    chosen = {name: step for name, step in steps.items() if (not only or name in only) and name not in skip}
    if not chosen:
        raise ConfigError("--only and --skip leave no step", f"steps: {', '.join(steps)}")
    return chosen


def run_pass(
    context: PassContext, steps: Mapping[str, Step], clock: Callable[[], datetime] | None = None
) -> PassResult:
    """Run steps one after another. A step that fails as a whole does not stop the later ones.

    Args:
        context: what the pass works on; its `outcomes` fill.
        steps: by name, in order.
        clock: gives the time at the end of the pass; None: the time at which it began, as in a replay.

    Raises:
        ServiceError: another pass is running, or the clock was set back.
        ConfigError: an exchange has no calendar.
    """
    project, session = context.project, context.session
    busy = ServiceError("another pass is running", "wait until it has ended: it does what this one would do")
    with file_lock(project.live / "lock", busy):
        check_clock(project, context.now)
        if not context.dry_run:
            begin_pass(project, session, context.now)
        bugs: list[Exception] = []
        for name, step in steps.items():
            context.progress.start(name, 0)
            context.outcomes.append(_run(name, step, context, bugs))
            if not context.dry_run:
                record_step(project, session, context.now, context.outcomes[-1])
        result = PassResult(session, tuple(context.outcomes))
        if not context.dry_run:
            finished = clock() if clock else context.now
            end_pass(project, session, context.now, finished, ok=result.exit_code == 0)
    if bugs:
        raise bugs[0]
    return result


def _run(name: str, step: Step, context: PassContext, bugs: list[Exception]) -> StepOutcome:
    """Run a step. A bug in it must not keep orders and alerts from the later steps; `run_pass` raises it in the end."""
    try:
        return step(context)
    except Exception as error:  # noqa: BLE001 - `run_pass` raises it
        if not isinstance(error, MlopsError | OSError):  # OSError: the disk is full
            bugs.append(error)
        outcome = StepOutcome(name, error=str(error) or type(error).__name__)
        text = f"step {name} failed: {(str(error) or type(error).__name__).splitlines()[0]}"
        outcome.troubles.append(Trouble(f"step:{name}", text, f"mlops live --only {name}"))
        return outcome
