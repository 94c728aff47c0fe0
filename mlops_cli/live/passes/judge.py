"""Step `judge`: compares new versions with those before them on the closes that neither was trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from functools import cache

from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.live.watch.due import sessions_between
from mlops_cli.live.watch.watched import label_of
from mlops_cli.pipeline.stages.stage import ItemFailure, read_note
from mlops_cli.pipeline.versions.challenge import Judgement
from mlops_cli.pipeline.versions.live_judging import Pair, judge_pairs, pairs
from mlops_cli.system.files import write_text

NOTES = "judged.json"


def judge_step(context: PassContext) -> StepOutcome:
    """Judge each model's newest version as soon as enough closes are known, then again after each session."""
    outcome = StepOutcome("judge")
    project, policy = context.project, context.params.live.promotion
    rule = context.params.serving.promotion
    exchanges = {
        (branch.name, spec.name): spec.exchange for branch in context.branches.values() for spec in branch.models
    }
    path = project.live / NOTES
    before = read_note(path) or {}
    last_session = cache(context.last_session)
    todo, now = [], {}
    for pair in pairs(project, exchanges, policy, outcome.fail, dry_run=context.dry_run):
        label, exchange = label_of(pair.branch, pair.model), exchanges[pair.branch, pair.model]
        last = last_session(exchange)
        now[label] = f"{pair.mark} {last}"
        if _unseen(pair, exchange, last) < rule.sessions:
            outcome.unchanged += 1
            del now[label]
        elif before.get(label) == now[label]:
            outcome.unchanged += 1
        else:
            todo.append(pair)
    outcome.figures["compared"] = len(todo)
    if context.dry_run:
        outcome.lines += [f"{len(todo)} models would be judged"] if todo else []
        return outcome
    judgements = judge_pairs(project, todo, policy, rule) if todo else []
    if now != before:
        write_text(path, json.dumps(now, indent=2, sort_keys=True) + "\n")
    _tell(judgements, outcome)
    return outcome


def _unseen(pair: Pair, exchange: str, last: date) -> int:
    """How many sessions neither version was trained on."""
    seen = max(pair.older.manifest.trained_until, pair.newest.manifest.trained_until)
    return sessions_between(exchange, seen, last)


def _tell(judgements: Sequence[Judgement], outcome: StepOutcome) -> None:
    changed = [judgement for judgement in judgements if judgement.promoted or judgement.rolled_back]
    outcome.done = len(changed)
    outcome.unchanged += len(judgements) - len(changed)
    promoted = sum(judgement.promoted for judgement in judgements)
    outcome.figures |= {"promoted": promoted, "rolled_back": len(changed) - promoted}
    outcome.failures += [
        ItemFailure(judgement.model, "judge", judgement.reason, judgement.exit_code)
        for judgement in judgements
        if judgement.exit_code
    ]
    if judgements:
        outcome.lines.append(
            f"{len(judgements)} new versions judged: {promoted} promoted, {len(changed) - promoted} taken back"
        )
    for judgement in changed:
        after = judgement.challenger if judgement.promoted else judgement.champion
        text = f"{judgement.model}: {after} answers, {judgement.reason}"
        outcome.lines.append(text)
        if judgement.rolled_back:
            key = f"judge:{label_of(judgement.branch, judgement.model)}"
            outcome.troubles.append(Trouble(key, text, f"mlops models show {judgement.model}"))
