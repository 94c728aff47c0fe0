"""Step `retrain`: trains new versions of the models that are due, on everything that is known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path

from mlops_cli.errors import MlopsError, bounded
from mlops_cli.live.passes.check import read_seen
from mlops_cli.live.passes.judge import read_judged
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.live.watch.choosing import choose
from mlops_cli.live.watch.due import RANK, Circumstances, Due, Prices, find_due
from mlops_cli.live.watch.states import read_states
from mlops_cli.pipeline.stages.stage import ItemFailure, read_note
from mlops_cli.pipeline.versions.live_install import StagedVersion, install_live
from mlops_cli.pipeline.versions.live_training import LiveTraining, train_live
from mlops_cli.system.files import write_text

NOTES = "retrain.json"
WORDS = {
    "features": "could not forecast",
    "degraded": "broken",
    "config": "with new settings",
    "new_data_restated": "with corrected prices",
    "drift": "with inputs that moved",
    "age": "too old",
}


@dataclass
class _Notes:
    """What the step notes for the next pass; see `live.watch.due.Circumstances`."""

    failed: dict[str, int] = field(default_factory=dict)
    checked: dict[str, str] = field(default_factory=dict)
    begun: dict[str, list[str]] = field(default_factory=dict)
    """By session, what a pass has chosen; a pass that is run again after a kill trains these, and no more."""

    @classmethod
    def read(cls, path: Path) -> _Notes:
        note = read_note(path) or {}
        return cls(*(dict(note.get(name, {})) for name in ("failed", "checked", "begun")))

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")


def retrain_step(context: PassContext) -> StepOutcome:
    """Train what is due, the sickest first. Each version is installed as soon as it is finished.

    A model that could not be trained keeps its old version, and is tried again in the next pass.
    """
    outcome = StepOutcome("retrain")
    path = context.project.live / NOTES
    notes = _Notes.read(path)
    due, checked = find_due(list(context.branches.values()), _circumstances(context, notes), outcome.fail)
    chosen, waiting = _choose(context, due, notes)
    models = sum(len(branch.models) for branch in context.branches.values())
    outcome.unchanged = models - len(due)
    outcome.figures |= {"due": _counts(due), "waiting": len(waiting)}
    if context.dry_run:
        outcome.done = len(chosen)
        _tell(chosen, waiting, outcome, "would be trained")
        return outcome
    if chosen:
        begun = {str(context.session): sorted(item.label for item in chosen)}
        replace(notes, begun=begun).write(path)
    trained = [item for name in context.branches for item in _train(context, name, chosen, outcome)]
    updated = _Notes(_failed(notes.failed, chosen, trained), checked)
    if chosen or updated != notes:
        updated.write(path)
    _tell(trained, waiting, outcome, "trained")
    return outcome


def _failed(before: Mapping[str, int], chosen: Sequence[Due], trained: Sequence[Due]) -> dict[str, int]:
    """How many passes in a row could not train each model."""
    done = {item.label for item in trained}
    failed = {label: count for label, count in before.items() if label not in done}
    return failed | {item.label: before.get(item.label, 0) + 1 for item in chosen if item.label not in done}


def _choose(context: PassContext, due: Sequence[Due], notes: _Notes) -> tuple[list[Due], list[Due]]:
    """What this pass trains and what waits; after a kill, what is left of what was chosen then."""
    begun = notes.begun.get(str(context.session))
    if begun is None:
        return choose(due, context.branches, context.params.live.retrain.at_most)
    return [item for item in due if item.label in begun], [item for item in due if item.label not in begun]


def _circumstances(context: PassContext, notes: _Notes) -> Circumstances:
    prices = {
        branch: {ticker: Prices(seen.last, seen.restated) for ticker, seen in tickers.items()}
        for branch, tickers in read_seen(context).items()
    }
    return Circumstances(
        project=context.project,
        live=context.params.live,
        judged_after=context.params.serving.promotion.sessions,
        session=context.session,
        last_session=cache(context.last_session),
        prices=prices,
        health=read_states(context.project),
        failed=notes.failed,
        checked=notes.checked,
        judged=read_judged(context.project),
    )


def _train(context: PassContext, name: str, chosen: Sequence[Due], outcome: StepOutcome) -> list[Due]:
    """Train and install the chosen models of one branch; returns them, without the others of their pools."""
    due = [item for item in chosen if item.branch == name]
    if not due:
        return []
    branch = context.branches[name]
    last = max(context.last_session(spec.exchange) for spec in branch.models)
    training = LiveTraining(context.project, branch, last + timedelta(days=1), context.tools.trainer, context.progress)
    by_name: Mapping[str, Due] = {item.spec.name: item for item in due}
    trained = []
    for result in train_live(training, by_name.keys()):
        if isinstance(result, ItemFailure):
            outcome.extend([result])
        elif _install(context, name, result, by_name.get(result.name), outcome):
            outcome.done += 1
            if result.name in by_name:
                trained.append(by_name[result.name])
    return trained


def _install(context: PassContext, name: str, staged: StagedVersion, due: Due | None, outcome: StepOutcome) -> bool:
    why = due.why if due else "trained with its pool"
    try:
        install_live(context.project, context.branches[name], staged, context.params.live.promotion, why)
    except MlopsError as error:
        outcome.fail(staged.name, error)
        return False
    return True


def _counts(due: Sequence[Due]) -> dict[str, int]:
    counts = Counter(item.reason for item in due)
    return {reason: counts[reason] for reason in RANK if counts[reason]}  # type: ignore[index]


def _tell(done: Sequence[Due], waiting: Sequence[Due], outcome: StepOutcome, word: str) -> None:
    for reason in RANK:
        names = [item.spec.name for item in done if item.reason == reason]
        if names:
            outcome.lines.append(f"{len(names)} {word}, {WORDS[reason]}: {bounded(names)}")
    if waiting:
        outcome.lines.append(f"{len(waiting)} more are due and wait for the next pass (live.retrain.at_most)")
    if outcome.failures:
        failed = sorted({failure.model for failure in outcome.failures})
        text = f"{len(failed)} models could not be trained, and keep their old versions: {bounded(failed)}"
        outcome.lines.append(text)
        outcome.troubles.append(Trouble("retrain", text, "mlops live --only retrain"))
