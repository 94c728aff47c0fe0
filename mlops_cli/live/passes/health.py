"""Step `health`: does each model still forecast as it did, and do all of them together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pandas as pd

from mlops_cli.features.column_names import ANNOUNCED, width_columns
from mlops_cli.live.health.input_drift import LEAST_ROWS, in_words, moved_features
from mlops_cli.live.health.outcomes import COLUMNS
from mlops_cli.live.health.state import Health, ModelHealth, State
from mlops_cli.live.health.update import update
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.live.watch.calibrating import Calibrated, Calibrator
from mlops_cli.live.watch.operations import missed_sessions, served_since
from mlops_cli.live.watch.states import StateChange, append_history, changes, counts, read_states, write_states
from mlops_cli.live.watch.watched import Watched, judged_forecasts, watched_models
from mlops_cli.pipeline.stages.tables import read_table

MOST_EXPLAINED = 100
"""Models whose inputs one pass looks at, at some 0.1 s each."""

LEAST_ERRORS, MOST_ERRORS = 20, 0.01
"""From so many errors of the server on, and so large a share of its answers, people are told."""


def health_step(context: PassContext) -> StepOutcome:
    """Judge the forecasts that were settled since the last pass; calibrate first if there are new versions."""
    outcome = StepOutcome("health")
    project = context.project
    models = watched_models(project, context.branches.values(), outcome.fail)
    before = read_states(project)
    issued = judged_forecasts(project.journal, models, before.session)
    newest = _newest(issued, context.session)
    calibrated = Calibrator(project, models, before, newest, not context.dry_run, outcome.fail).current()
    if before.session is None and calibrated.calibration.models:
        before = before.model_copy(update={"session": calibrated.until})  # the references are not judged
    after = _explained(context, models, before, update(before, issued[list(COLUMNS)], calibrated.calibration))
    found = changes(before, after)
    if not context.dry_run:
        append_history(project, found, context.now)
        write_states(project, after)
    _tell(calibrated, after, found, outcome)
    _tell_operations(context, outcome)
    return outcome


def _newest(issued: pd.DataFrame, session: date) -> date:
    """The last target session whose closes are known, as far as forecasts were issued for it."""
    return session if issued.empty else issued["target_session"].max().date()


def _explained(context: PassContext, models: Mapping[str, Watched], before: Health, after: Health) -> Health:
    """The states, where the reasons of new alarms name the inputs that moved."""
    new = [
        label
        for label, model in after.models.items()
        if model.state is State.BROKEN and not _was_broken(before.models.get(label), model)
    ]
    explained = {}
    for label in new[:MOST_EXPLAINED]:
        words = _moved_inputs(context, models[label], after.models[label])
        if words:
            model = after.models[label]
            explained[label] = model.model_copy(update={"reason": f"{model.reason}; {words}"})
    return after.model_copy(update={"models": {**after.models, **explained}}) if explained else after


def _was_broken(old: ModelHealth | None, model: ModelHealth) -> bool:
    return old is not None and old.state is State.BROKEN and old.version == model.version


def _moved_inputs(context: PassContext, watched: Watched, model: ModelHealth) -> str:
    """Which inputs of a broken model are not as in its training, in words; empty if none moved."""
    table = read_table(context.project.features(watched.branch), watched.spec.name)
    if table is None or model.since is None:
        return ""
    manifest = watched.answering.manifest
    own = {ANNOUNCED, *width_columns(manifest.levels)}  # columns that no training sees
    columns = [name for name in manifest.inputs if name in table.columns and name not in own]
    days = pd.DatetimeIndex(table.index)
    training = table.loc[(days >= pd.Timestamp(manifest.train.first)) & (days <= pd.Timestamp(manifest.train.last))]
    # up to the alarm, so that it does not matter how many sessions a pass judges
    later = table.loc[(days > pd.Timestamp(manifest.trained_until)) & (days <= pd.Timestamp(model.since))]
    changed = later.loc[later.index >= pd.Timestamp(model.run.began or model.since)]
    recent = later.tail(min(max(len(changed), LEAST_ROWS), len(training) // 4))
    return in_words(moved_features(training[columns], recent[columns]))


def _tell(calibrated: Calibrated, health: Health, found: Sequence[StateChange], outcome: StepOutcome) -> None:
    numbers = counts(health)
    outcome.done = len(found)
    outcome.unchanged = len(health.models) - sum(change.model in health.models for change in found)
    outcome.figures |= {
        "session": health.session and str(health.session),
        "fleet": str(health.fleet.state),
        "models": numbers,
        "references": calibrated.built,
        "calibrated": calibrated.is_new,
    }
    fleet = f"the fleet: {health.fleet.state}" + (f": {health.fleet.reason}" if health.fleet.reason else "")
    listed = ", ".join(f"{number} {state}" for state, number in numbers.items())
    outcome.lines.append(f"{fleet}; models: {listed or 'none has a version yet'}")
    if calibrated.is_new:
        outcome.lines.append(f"calibrated: {calibrated.built} references are new")
    if health.fleet.state is State.BROKEN:
        text = f"the fleet of models is broken since {health.fleet.since}: {health.fleet.reason}"
        outcome.troubles.append(Trouble("health:fleet", text, "mlops models health"))
    for label, model in health.models.items():
        if model.state is State.BROKEN:
            text = f"{label} is broken since {model.since}: {model.reason}"
            command = f"mlops models health {label.partition('/')[2]}"
            outcome.troubles.append(Trouble(f"health:{label}", text, command))
            outcome.lines.append(text)


def _tell_operations(context: PassContext, outcome: StepOutcome) -> None:
    """Say which passes did not come, and whether servers answered with errors."""
    session = context.session
    exchanges = {spec.exchange for branch in context.branches.values() for spec in branch.models}
    exchange = min(exchange for exchange in exchanges if context.last_session(exchange) == session)
    missed = missed_sessions(context.project, exchange, session)
    if missed:
        days = str(missed[0]) if len(missed) == 1 else f"{missed[0]} to {missed[-1]}, {len(missed)} sessions"
        text = f"no pass came after the close of {days}: no forecasts were issued then"
        outcome.troubles.append(Trouble(f"pass:{missed[-1]}", text, "mlops doctor", is_event=True))
        outcome.lines.append(text)
    served = served_since(context.project, session, context.now, write=not context.dry_run)
    outcome.figures |= {"missed_sessions": len(missed), "served": served.answers, "served_errors": served.errors}
    if served.errors >= LEAST_ERRORS and served.share >= MOST_ERRORS:
        text = (
            f"the server answered {served.errors} of {served.answers} requests since the last pass with an error (5xx)"
        )
        outcome.troubles.append(Trouble("serving:errors", text, "GET /health and GET /metrics of the server"))
        outcome.lines.append(text)
