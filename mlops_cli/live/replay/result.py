"""The result of a replay: track record, health, retrainings and promotions by session, and the teams' books.

Everything in it comes from what the replay wrote down, and all times are the replay's. So a replay that was killed and
run again has the same result to the bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.live.journal.frames import journal_frame
from mlops_cli.live.journal.gap import gap, gap_figures
from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.journal.replaying import Replayer, replay_issued
from mlops_cli.live.journal.track_record import counts, scores
from mlops_cli.live.replay.notes import HEALTH, PROMOTED, ROLLED_BACK, TRAINED, Event, Notes, open_notes
from mlops_cli.live.replay.replay import Replayed
from mlops_cli.live.replay.trading import team_book, traded_stocks
from mlops_cli.live.watch.states import read_states
from mlops_cli.market.hours import us_hours
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import model_versions
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.pipeline.trade.competition import HINDSIGHT, WITHOUT_SKILL
from mlops_cli.trading.results.competition import compete


def replay_result(replayed: Replayed) -> dict[str, Any]:
    """The result as a dictionary of str, int, float, bool and None only.

    Returns:
        `replay`: start, days, first and last session after whose close a pass ran, passes, models; `journal`:
        `track_record.scores` (`summary` is None if nothing was settled); `gap`: `gap.gap_figures`; `health`: the state
        after the last pass; `sessions`: what happened in each pass; `events`: each retraining, promotion and change of
        health; `alerts`; `competition`: `results.competition.compete`, None if nobody traded.

    Raises:
        DataError: the journal or a table is damaged.
    """
    frame = issued_forecasts(replayed)
    with open_notes(replayed.home.notes) as notes:
        events, alerts = notes.events(), notes.alerts()
        competition = _competition(replayed, notes)
    plan = replayed.plan
    return {
        "replay": {
            "start": str(replayed.home.start),
            "first": str(plan[0].session),
            "last": str(plan[-1].session),
            "passes": len(plan),
            "models": sum(len(branch.models) for branch in replayed.settings.branches.values()),
        },
        "journal": _journal(frame),
        "gap": _gap(replayed, frame),
        "health": _health(replayed),
        "sessions": _sessions(replayed, frame, events),
        "events": [event._asdict() for event in events],
        "alerts": [{"session": session, "line": line} for session, line in alerts],
        "competition": competition,
    }


def issued_forecasts(replayed: Replayed) -> pd.DataFrame:
    """The forecasts that the replay issued; see `frames.journal_frame`."""
    if not replayed.home.project.journal.is_file():
        return journal_frame([])
    with read_journal(replayed.home.project.journal) as journal:
        return journal_frame(journal.batches(Selection(last=replayed.plan[-1].session)))


def _journal(frame: pd.DataFrame) -> dict[str, Any]:
    try:
        return scores(frame)
    except DataError:  # nothing is settled yet
        return {"counts": counts(frame), "summary": None}


def _gap(replayed: Replayed, frame: pd.DataFrame) -> dict[str, Any] | None:
    if frame.empty:
        return None
    project = replayed.home.project

    @lru_cache(maxsize=8)  # all rows of a version come one after another
    def opened(branch: str, model: str, version: str) -> Replayer | None:
        versions = model_versions(project.model_root, branch, model)
        chosen = next((each for each in versions if each.version == version), next(iter(versions), None))
        if chosen is None:
            return None
        return Replayer(chosen.manifest, Model(chosen.folder, chosen.manifest).forecasts)

    replayed_frame = replay_issued(frame, opened, lambda branch, model: read_table(project.features(branch), model))
    return gap_figures(gap(frame, replayed_frame))


def _health(replayed: Replayed) -> dict[str, Any]:
    health = read_states(replayed.home.project)
    states = Counter(str(each.state) for each in health.models.values())
    shown = ("state", "since", "reason")
    return {
        "session": None if health.session is None else str(health.session),
        "fleet": {name: health.fleet.model_dump(mode="json")[name] for name in shown},
        "states": dict(sorted(states.items())),
        "models": {
            model: {name: each.model_dump(mode="json")[name] for name in (*shown, "version")}
            for model, each in sorted(health.models.items())
        },
    }


def _sessions(replayed: Replayed, frame: pd.DataFrame, events: Sequence[Event]) -> list[dict[str, Any]]:
    """By pass: how many forecasts it issued, and how many models were trained, promoted, and so on."""
    issued = Counter(str(day.date()) for day in frame["session"])
    happened = Counter((event.session, event.kind) for event in events)
    return [
        {
            "session": str(evening.session),
            "at": evening.now.isoformat(),
            "issued": issued[str(evening.session)],
            "trained": happened[str(evening.session), TRAINED],
            "promoted": happened[str(evening.session), PROMOTED],
            "rolled_back": happened[str(evening.session), ROLLED_BACK],
            "health_changes": happened[str(evening.session), HEALTH],
        }
        for evening in replayed.plan
    ]


def _competition(replayed: Replayed, notes: Notes) -> dict[str, Any] | None:
    project, plan = replayed.home.project, replayed.plan
    days: list[date] = [session.day for session in us_hours().between(plan[0].session, plan[-1].session)]
    teams = [team for team in replayed.rules if project.ledger(team).is_file()]
    branches = list(replayed.settings.branches.values())
    market = traded_stocks(project, branches, replayed.rules)
    if len(days) < 2 or not teams or market.closes.empty:
        return None
    books = [team_book(project, team, days, notes.parts(team)) for team in teams]
    any_way = any(rules.trade_without_skill for rules in replayed.rules.values())
    note = WITHOUT_SKILL if any_way else HINDSIGHT
    return compete(books, market.between(days), replayed.settings.params.trading.costs, [note])
