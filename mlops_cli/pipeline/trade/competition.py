"""`mlops paper-trade --replay`: the teams trade a past period against each other, by the very pass that trades live."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Rules, Trading
from mlops_cli.errors import DataError
from mlops_cli.market.hours import us_hours
from mlops_cli.pipeline.stages.stage import Progress, StageReport
from mlops_cli.pipeline.trade.competition_forecasts import ReplayBook, replay_book
from mlops_cli.pipeline.trade.paper_trade import teams_of
from mlops_cli.pipeline.trade.replay_exchange import replay_exchange
from mlops_cli.system.files import write_whole
from mlops_cli.tracking.tracker import Tracker
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.passes.order_window import Margins
from mlops_cli.trading.passes.paper_pass import PassReport, PassSettings, SessionForecasts, paper_pass
from mlops_cli.trading.results.competition import TeamBook, compete, skfolio_missing
from mlops_cli.trading.results.competition_report import report_files
from mlops_cli.trading.results.performance import fill_frame

AFTER_OPENING = timedelta(minutes=1)
LEDGER_TABLES = ("decisions", "fills")
WITHOUT_SKILL = "models without skill trade too, as you asked: what they earn is the market's drift, and luck"
HINDSIGHT = "which models have skill was judged on held-out time that may be the very time replayed here"


@dataclass(frozen=True)
class Replay:
    """What is replayed.

    Attributes:
        start: first day on which orders may be filled.
        days: calendar days.
        teams: who competes; empty: all that have models.
        trade_without_skill: models without skill trade too, whatever params.yaml says.
    """

    start: date
    days: int
    teams: tuple[str, ...] = ()
    trade_without_skill: bool = False

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.start + timedelta(days=self.days)


@dataclass
class _Team:
    """A team on its way through the replay."""

    name: str
    rules: Rules
    broker: Broker
    ledger: Ledger
    sent: int = 0
    troubles: dict[str, int] = field(default_factory=dict)

    def note(self, report: PassReport) -> None:
        """Keep what a pass did."""
        self.sent += len(report.sent)
        for what, count in (
            ("orders refused", len(report.refused)),
            ("orders of unknown fate", len(report.unknown)),
            ("sessions halted", report.outcome == "halted"),
            ("sessions without orders, at the wrong time", report.outcome == "waiting"),
        ):
            if count:
                self.troubles[what] = self.troubles.get(what, 0) + count


def competition(
    project: Project,
    branches: Sequence[Branch],
    trading: Trading,
    replay: Replay,
    tools: tuple[Callable[[str, str], Broker], Tracker],
    progress: Progress,
) -> tuple[dict[str, Any], Path, StageReport]:
    """Let the teams trade, session by session, and compare them.

    Args:
        project: where.
        branches: whose models.
        trading: the teams' rules.
        replay: when and who.
        tools: gives a team's account at the exchange of an address; and who knows how many models were tried.
        progress: shows what is done.

    Returns:
        The summary of `results.competition.compete`, the folder that it was written to, and which models could not
        be replayed.

    Raises:
        ModelError: no model can forecast the period: all were trained on it, for instance.
        ConfigError: a team has no model.
        DataError: prices are missing.
    """
    open_broker, tracker = tools
    over = {"trade_without_skill": True} if replay.trade_without_skill else {}
    rules = {team: trading.rules(team).model_copy(update=over) for team in teams_of(branches, replay.teams)}
    book = replay_book(project, branches, rules, (replay.start, replay.end), progress)
    prices = [project.prices(branch.name) for branch in branches]
    with ExitStack() as stack:
        clock = _closes([book.before, *book.sessions], trading)
        exchange = stack.enter_context(replay_exchange(prices, clock[0], trading.costs))
        teams = [
            _Team(name, own, open_broker(exchange.address, name), stack.enter_context(open_ledger(IN_MEMORY, name)))
            for name, own in rules.items()
        ]
        progress.start("replay", len(book.sessions))
        for target, now in zip([*book.sessions, None], clock, strict=True):
            exchange.advance(now)
            progress.doing(f"{now.date()}")
            for team in teams:
                _pass(team, book, trading)
            progress.done(target is not None)
        # the tracker takes seconds to load
        trials = {} if skfolio_missing() else {team.name: tracker.trials(book.models[team.name]) for team in teams}
        books = [_team_book(team, book, trials.get(team.name, 0)) for team in teams]
        summary = compete(books, book.market, trading.costs, _notes(teams, book, replay))
        summary["replay"] = {"start": replay.start.isoformat(), "days": replay.days}
        folder = project.report(f"competition-{replay.start}")
        _write(folder, {**_ledger_files(teams), **report_files(summary)})
    return summary, folder, book.report


def _closes(sessions: Sequence[date], trading: Trading) -> list[pd.Timestamp]:
    """When the passes run: after each of these sessions, as soon as orders may be sent."""
    hours = {one.day: one.closes for one in us_hours().between(sessions[0], sessions[-1])}
    unknown = [str(day) for day in sessions if day not in hours]
    if unknown:
        raise DataError(f"{unknown[0]} is no session of New York's exchanges", "look at the models' exchange")
    wait = timedelta(minutes=trading.opens_minutes) + AFTER_OPENING
    return [pd.Timestamp(hours[day] + wait) for day in sessions]


def _pass(team: _Team, book: ReplayBook, trading: Trading) -> None:
    def forecasts(session: date, target: date) -> SessionForecasts:
        return book.forecasts.get((team.name, target), SessionForecasts(()))

    settings = PassSettings(Margins(trading.opens_minutes, trading.closes_minutes))
    report = paper_pass(team.broker, team.ledger, forecasts, team.rules, settings)
    if report.error is not None:
        raise report.error
    team.note(report)


def _team_book(team: _Team, book: ReplayBook, trials: int) -> TeamBook:
    known = {pd.Timestamp(day): float(equity) for day, equity in team.ledger.equity_curve()}
    curve = pd.Series(known, dtype="float64").reindex(book.market.closes.index).ffill()
    return TeamBook(
        team=team.name,
        equity=curve,
        fills=fill_frame(team.ledger.rows("fills")),
        models=book.models[team.name],
        idle=dict(book.idle[team.name]),
        orders=team.sent,
        trials=trials,
    )


def _notes(teams: Sequence[_Team], book: ReplayBook, replay: Replay) -> list[str]:
    notes = [f"{team.name}: {count} {what}" for team in teams for what, count in team.troubles.items()]
    left_out = len(book.report.failures)
    notes += [f"{left_out} models could not be replayed"] if left_out else []
    judged = any(one.verdict for given in book.forecasts.values() for one in given.forecasts)
    return [*notes, *([WITHOUT_SKILL] if replay.trade_without_skill else [HINDSIGHT] if judged else [])]


def _ledger_files(teams: Sequence[_Team]) -> dict[str, bytes]:
    """The audit trail of all teams: what was decided and why, and what was filled."""
    files = {}
    for table in LEDGER_TABLES:
        rows = [{"team": team.name, **_flat(row)} for team in teams for row in team.ledger.rows(table)]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0] if rows else ["team"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files[f"{table}.csv"] = text.getvalue().encode()
    return files


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files whole, one by one; the last one comes when all others are there."""
    for name, content in files.items():
        write_whole(folder / name, partial(Path.write_bytes, data=content))
