"""Step `alert`: people are told of each trouble once, with the command to type next, and once when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlops_cli.live.passes.record import record_file, recorded_events
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.live.watch.told import Told, read_told, write_told

MOST_OF_A_KIND = 5
"""Of more troubles of one kind than this, such as broken models, people are told the number."""

NOBODY = "nobody was told: set MLOPS_ALERT_WEBHOOK in .env, or trading.alert_command in params.yaml"


@dataclass(frozen=True)
class _News:
    """What is to be told.

    Attributes:
        new: troubles by key.
        over: the keys of troubles that are over.
        lasting: what people were told of before and lasts.
    """

    new: Mapping[str, Trouble]
    over: Mapping[str, Told]
    lasting: Mapping[str, Told]


def alert_step(context: PassContext) -> StepOutcome:
    """Tell people what the earlier steps of the pass found.

    What they were told is noted after the sending, so that a pass that is killed in between tells them twice, and not
    never.
    """
    outcome = StepOutcome("alert")
    folder = context.project.live
    outcomes = _with_earlier_events(context)
    steps = {trouble.key: done.step for done in outcomes for trouble in done.troubles}
    news = _news(outcomes, read_told(folder))
    lines = [*_new_lines(news, context), *(f"over: {told.text}" for told in news.over.values() if not told.is_event)]
    outcome.lines += lines
    outcome.unchanged = len(news.lasting)
    outcome.figures |= {"new": len(news.new), "over": len(news.over), "lasting": len(news.lasting)}
    if context.dry_run:
        return outcome
    told = dict(news.lasting)
    # without the alert's answer (None) the lines count as told
    if lines and context.tools.alert(lines) is False:
        outcome.lines.append(NOBODY)
        told |= news.over  # the next pass tries again
    else:
        outcome.done = len(news.new) + len(news.over)
        for key, trouble in news.new.items():
            told[key] = Told(step=steps[key], text=trouble.text, since=context.now, is_event=trouble.is_event)
    write_told(folder, told)
    return outcome


def _with_earlier_events(context: PassContext) -> list[StepOutcome]:
    """The outcomes of this pass, with the events that an earlier pass after the session found before it was killed."""
    earlier = recorded_events(context.project, context.session)
    outcomes = []
    for outcome in context.outcomes:
        keys = {trouble.key for trouble in outcome.troubles}
        more = [trouble for trouble in earlier.get(outcome.step, ()) if trouble.key not in keys]
        outcomes.append(replace(outcome, troubles=[*outcome.troubles, *more]))
    return outcomes


def _news(outcomes: Sequence[StepOutcome], told: Mapping[str, Told]) -> _News:
    """What changed since people were told: a trouble is over when its step ran again, to its end, without it."""
    found = {trouble.key: trouble for outcome in outcomes for trouble in outcome.troubles}
    ran = {outcome.step for outcome in outcomes if outcome.error is None}
    over: dict[str, Told] = {}
    lasting: dict[str, Told] = {}
    for key, entry in told.items():
        (over if key not in found and entry.step in ran else lasting)[key] = entry
    return _News({key: trouble for key, trouble in found.items() if key not in told}, over, lasting)


def _new_lines(news: _News, context: PassContext) -> Iterator[str]:
    """A line for each new trouble; of a kind with many, for the first ones, and their number."""
    kinds: dict[str, list[Trouble]] = {}
    for key, trouble in news.new.items():
        kinds.setdefault(key.partition(":")[0], []).append(trouble)
    for troubles in kinds.values():
        for trouble in troubles[:MOST_OF_A_KIND]:
            yield f"{trouble.text}{f' - type: {trouble.command}' if trouble.command else ''}"
        left = len(troubles) - MOST_OF_A_KIND
        if left > 0:
            path = record_file(context.project, context.session).relative_to(context.project.root)
            yield f"and {left} more like these: see {path}"
