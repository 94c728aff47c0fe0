"""Step `settle`: the closes that followed earlier forecasts are added to the journal."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd

from mlops_cli.errors import bounded
from mlops_cli.live.journal.frames import journal_frame
from mlops_cli.live.journal.journal import Journal, Selection
from mlops_cli.live.journal.opening import open_journal, read_journal
from mlops_cli.live.journal.settle import Settlement, settle
from mlops_cli.live.passes.check import restated_tickers
from mlops_cli.live.passes.step import PassContext, StepOutcome
from mlops_cli.pipeline.stages.stage import read_note
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.system.files import write_text

NOTES = "settled.json"
"""Holds the session of the last pass that settled: tickers that were found restated since are looked at again."""


def settle_step(context: PassContext) -> StepOutcome:
    """Settle open forecasts, and look again at those of tickers whose earlier closes changed."""
    outcome = StepOutcome("settle")
    path = context.project.journal
    if not path.is_file():
        outcome.lines.append("nothing was issued yet")
        return outcome
    opened = read_journal(path) if context.dry_run else open_journal(path)
    with opened as journal:
        settlement = settle(_to_settle(context, journal), _Closes(context))
        if context.dry_run:
            outcome.done = len(settlement.actuals)
        else:
            outcome.done = journal.add_actuals(settlement.actuals, context.now)
            write_text(context.project.live / NOTES, json.dumps({"session": str(context.session)}) + "\n")
    _tell(settlement, outcome)
    return outcome


def _to_settle(context: PassContext, journal: Journal) -> pd.DataFrame:
    selections = [Selection(is_open=True)]
    restated = restated_tickers(context, _settled(context))
    selections += [Selection(branch=branch, tickers=tickers) for branch, tickers in restated.items() if tickers]
    frames = [journal_frame(journal.batches(selection)) for selection in selections]
    both = pd.concat(frames, ignore_index=True)
    return both.drop_duplicates(["session", "branch", "model"], ignore_index=True)


def _settled(context: PassContext) -> date | None:
    """The session of the last pass that settled; None before the first, or if the note is damaged."""
    note = read_note(context.project.live / NOTES) or {}
    try:
        return date.fromisoformat(str(note.get("session")))
    except ValueError:
        return None


class _Closes:
    """The closes of the stored price tables."""

    def __init__(self, context: PassContext) -> None:
        self._project = context.project

    def __call__(self, branch: str, ticker: str) -> pd.Series | None:
        table = read_table(self._project.prices(branch), ticker, ["close"])
        return None if table is None else table["close"]


def _tell(settlement: Settlement, outcome: StepOutcome) -> None:
    outcome.unchanged = settlement.waiting
    outcome.figures |= {
        "settled": len(settlement.new),
        "restated": len(settlement.restated),
        "waiting": settlement.waiting,
        "unsettled": len(settlement.unsettled),
    }
    if settlement.restated:
        outcome.lines.append(f"{len(settlement.restated)} actual closes were corrected or split since")
    for entry in settlement.unsettled:
        days = bounded([str(day) for day in entry.targets], 3)
        outcome.lines.append(f"{entry.branch}: {entry.ticker} of {days} stay open: {entry.reason}")
