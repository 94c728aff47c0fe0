"""Step `retrain`: trains new versions of the models that are due, on everything that is known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
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
DEATHS = 2
"""Processes that may end without a word while they train a model, before it is left out for a while."""
PAUSE = timedelta(days=7)
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
    died: dict[str, list[str]] = field(default_factory=dict)
    """By label, the sessions of the passes that ended without a word while they trained it; noted before each try."""

    @classmethod
    def read(cls, path: Path) -> _Notes:
        note = read_note(path) or {}
        return cls(*(dict(note.get(name, {})) for name in ("failed", "checked", "begun", "died")))

    def left_out(self, session: date) -> set[str]:
        """The models whose training has ended the process twice or more, the last time in the week before a session."""
        return {
            label
            for label, sessions in self.died.items()
            if len(sessions) >= DEATHS and session - date.fromisoformat(sessions[-1]) < PAUSE
        }

    def tried(self, session: date, labels: Collection[str]) -> _Notes:
        """The notes while these models are trained, which stay if the process ends without a word."""
        died = self.died | {label: [*self.died.get(label, []), str(session)] for label in labels}
        return replace(self, begun={str(session): sorted(labels)}, died=died)

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")


def retrain_step(context: PassContext) -> StepOutcome:
    """Train what is due, the sickest first. Each version is installed as soon as it is finished.

    A model that could not be trained keeps its old version, and is tried again in the next pass. Models whose training
    took the process down twice are left out for a week: the steps after this one must have their turn.
    """
    outcome = StepOutcome("retrain")
    path = context.project.live / NOTES
    notes = _Notes.read(path)
    due, checked = find_due(list(context.branches.values()), _circumstances(context, notes), outcome.fail)
    out = set() if context.is_replay else notes.left_out(context.session)
    chosen, waiting = _choose(context, [item for item in due if item.label not in out], notes)
    _tell_left_out([item for item in due if item.label in out], outcome)
    models = sum(len(branch.models) for branch in context.branches.values())
    outcome.unchanged = models - len(due)
    outcome.figures |= {"due": _counts(due), "waiting": len(waiting)}
    if context.dry_run:
        outcome.done = len(chosen)
        _tell(chosen, waiting, outcome, "would be trained")
        return outcome
    trained = _train_all(context, chosen, notes, outcome)
    others = {item.label for item in due} - {item.label for item in chosen}
    died = {label: sessions for label, sessions in notes.died.items() if label in others}
    updated = _Notes(_failed(notes.failed, chosen, trained), checked, died=died)
    if chosen or updated != notes:
        updated.write(path)
    _tell(trained, waiting, outcome, "trained")
    return outcome


def _train_all(context: PassContext, chosen: Sequence[Due], notes: _Notes, outcome: StepOutcome) -> list[Due]:
    """Train what was chosen; if the process is killed meanwhile, the notes say during which trainings."""
    path = context.project.live / NOTES
    trained: list[Due] = []
    during = notes.tried(context.session, [item.label for item in chosen])
    if context.is_replay:  # a kill is no fault of the models there
        during = replace(during, died={})
    if chosen:
        during.write(path)
    try:
        for name in context.branches:
            trained += _train(context, name, chosen, outcome)
    except (KeyboardInterrupt, SystemExit, MlopsError, OSError):  # no training has ended the process
        replace(during, died=notes.died).write(path)
        raise
    return trained


def _tell_left_out(items: Sequence[Due], outcome: StepOutcome) -> None:
    if items:
        text = (
            f"{len(items)} models are left out for {PAUSE.days} days, and keep their old versions, because mlops was "
            f"killed {DEATHS} times while it trained them: {bounded([item.spec.name for item in items])}"
        )
        outcome.lines.append(text)
        outcome.troubles.append(Trouble("retrain killed", text, "mlops live --only retrain, with more memory"))


def _failed(before: Mapping[str, int], chosen: Sequence[Due], trained: Sequence[Due]) -> dict[str, int]:
    """How many passes in a row could not train each model."""
    done = {item.label for item in trained}
    failed = {label: count for label, count in before.items() if label not in done}
    return failed | {item.label: before.get(item.label, 0) + 1 for item in chosen if item.label not in done}


def _choose(context: PassContext, due: Sequence[Due], notes: _Notes) -> tuple[list[Due], list[Due]]:
    """What this pass trains and what waits; after a kill, what is left of what was chosen then."""
    begun = notes.begun.get(str(context.session))
    if begun is None:
        return choose(due, context.branches, context.params.live.retrain)
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
        failed={
            label: notes.failed.get(label, 0) + len(notes.died.get(label, ())) for label in {*notes.failed, *notes.died}
        },
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
    # in the version itself too: a pass that finds it without a champion, after a kill, says the same
    facts = {spec.name: {"why": _why(by_name.get(spec.name))} for spec in branch.models}
    for result in train_live(training, by_name.keys(), facts):
        if isinstance(result, ItemFailure):
            outcome.extend([result])
        elif _install(context, name, result, by_name.get(result.name), outcome):
            outcome.done += 1
            if result.name in by_name:
                trained.append(by_name[result.name])
    return trained


def _install(context: PassContext, name: str, staged: StagedVersion, due: Due | None, outcome: StepOutcome) -> bool:
    try:
        install_live(context.project, context.branches[name], staged, context.params.live.promotion, _why(due))
    except MlopsError as error:
        outcome.fail(staged.name, error)
        return False
    return True


def _why(due: Due | None) -> str:
    return due.why if due else "trained with its pool"


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
