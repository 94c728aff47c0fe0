"""Step `judge`: compares new versions with those before them on the closes that neither was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache

from mlops_cli.config.paths import Project
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.live.watch.due import sessions_between
from mlops_cli.live.watch.watched import label_of
from mlops_cli.pipeline.stages.stage import ItemFailure, read_note
from mlops_cli.pipeline.versions.challenge import Judgement
from mlops_cli.pipeline.versions.live_judging import Pair, judge_pairs, pairs
from mlops_cli.system.files import write_text

NOTES = "judged.json"


def read_judged(project: Project) -> dict[str, str]:
    """By model's label, the two versions that were last compared, and the last session then; see `Pair.mark`."""
    return dict(read_note(project.live / NOTES) or {})


def judge_step(context: PassContext) -> StepOutcome:
    """Judge each model's newest version as soon as enough closes are known, then again after each session."""
    outcome = StepOutcome("judge")
    project, policy = context.project, context.params.live.promotion
    rule = context.params.serving.promotion
    before = read_judged(project)
    models = [(branch.name, spec.name) for branch in context.branches.values() for spec in branch.models]
    compared = pairs(project, models, policy, outcome.fail, dry_run=context.dry_run)
    ready = _ready(context, compared)
    todo = [pair for label, (pair, mark) in ready.items() if before.get(label) != mark]
    outcome.unchanged = len(compared) - len(todo)
    outcome.figures["compared"] = len(todo)
    if context.dry_run:
        outcome.lines.append(f"{len(todo)} models would be judged")
        return outcome
    judgements = judge_pairs(project, todo, policy, rule) if todo else []
    tell_judgements(judgements, outcome)
    now = _noted(before, ready, judgements)
    if now != before:
        write_text(project.live / NOTES, json.dumps(now, indent=2, sort_keys=True) + "\n")
    return outcome


def _ready(context: PassContext, compared: Sequence[Pair]) -> dict[str, tuple[Pair, str]]:
    """The pairs with enough sessions that neither version was trained on, by label, each with what tells it apart.

    That is the two versions and the last session.
    """
    exchanges = {
        (branch.name, spec.name): spec.exchange for branch in context.branches.values() for spec in branch.models
    }
    last_session = cache(context.last_session)
    ready = {}
    for pair in compared:
        exchange = exchanges[pair.branch, pair.model]
        last = last_session(exchange)
        seen = max(pair.older.manifest.trained_until, pair.newest.manifest.trained_until)
        if sessions_between(exchange, seen, last) >= context.params.serving.promotion.sessions:
            ready[label_of(pair.branch, pair.model)] = (pair, f"{pair.mark} {last}")
    return ready


def _noted(
    before: Mapping[str, str], ready: Mapping[str, tuple[Pair, str]], judgements: Sequence[Judgement]
) -> dict[str, str]:
    """What is noted for the next pass: the last comparison of each pair, if there has been one."""
    compared = {label_of(done.branch, done.model) for done in judgements if done.mae_champion is not None}
    same = [label for label, (pair, _) in ready.items() if before.get(label, "").startswith(pair.mark)]
    return {label: before[label] for label in same} | {label: ready[label][1] for label in compared}


def tell_judgements(judgements: Sequence[Judgement], outcome: StepOutcome) -> None:
    """Note in the outcome of the step what was judged, promoted and taken back."""
    promoted = [judgement for judgement in judgements if judgement.promoted]
    back = [judgement for judgement in judgements if judgement.rolled_back]
    outcome.done = len(promoted) + len(back)
    outcome.unchanged += len(judgements) - outcome.done
    outcome.figures |= {"promoted": len(promoted), "rolled_back": len(back)}
    outcome.failures += [
        ItemFailure(judgement.model, "judge", judgement.reason, judgement.exit_code)
        for judgement in judgements
        if judgement.exit_code
    ]
    if judgements:
        outcome.lines.append(f"{len(judgements)} new versions judged: {len(promoted)} promoted, {len(back)} taken back")
    for judgement in promoted:
        outcome.lines.append(f"{judgement.model}: {judgement.challenger} answers, {judgement.reason}")
    for judgement in back:
        text = f"{judgement.model}: {judgement.champion} answers again, {judgement.challenger} is {judgement.reason}"
        key = f"judge:{label_of(judgement.branch, judgement.model)}:{judgement.challenger}"
        outcome.lines.append(text)
        outcome.troubles.append(Trouble(key, text, f"mlops models show {judgement.model}", is_event=True))
