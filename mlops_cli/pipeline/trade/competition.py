"""`mlops paper-trade --replay`: the teams trade a past period with the code that trades live, and are compared."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import requests

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Costs, Rules, Trading
from mlops_cli.errors import DataError, ServiceError
from mlops_cli.exchange.api.app import listen, server
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import MarketRules
from mlops_cli.exchange.book.store import Store
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import ParquetTables
from mlops_cli.market.hours import us_hours
from mlops_cli.pipeline.stages.stage import Progress, StageReport
from mlops_cli.pipeline.trade.competition_forecasts import ReplayBook, replay_book
from mlops_cli.pipeline.trade.paper_trade import teams_of
from mlops_cli.system.files import write_whole
from mlops_cli.system.sqlite_files import IN_MEMORY
from mlops_cli.tracking.tracker import Tracker
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import open_ledger
from mlops_cli.trading.passes.order_window import Margins
from mlops_cli.trading.passes.paper_pass import PassReport, PassSettings, SessionForecasts, paper_pass
from mlops_cli.trading.results.competition import TeamResult, compete
from mlops_cli.trading.results.competition_report import report_files
from mlops_cli.trading.results.performance import fill_frame

PATIENCE_SECONDS = 30.0
LOOPBACK = "127.0.0.1"
AFTER_OPENING = timedelta(minutes=1)
LEDGER_TABLES = ("decisions", "fills")
WITHOUT_SKILL = "models without skill trade too, as you asked: what they earn is the market's drift, and luck"
HINDSIGHT = "which models have skill was judged on held-out time that may be the very time replayed here"


@dataclass(frozen=True)
class Replay:
    """The period and teams of a replay.

    Attributes:
        start: first day on which orders may be filled.
        teams: the teams that compete; empty: all teams that have models.
        trade_without_skill: models without skill trade too, even if params.yaml says otherwise.
    """

    start: date
    days: int
    teams: tuple[str, ...] = ()
    trade_without_skill: bool = False

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.start + timedelta(days=self.days)


@dataclass(frozen=True)
class ReplayTools:
    """The adapters that a replay needs; `broker` opens a team's account at an exchange (its address, team)."""

    broker: Callable[[str, str], Broker]
    tracker: Tracker


@dataclass
class _Team:
    """A team during the replay: its account, its ledger, and what happened in its passes."""

    name: str
    rules: Rules
    broker: Broker
    ledger: Ledger
    sent: int = 0
    troubles: dict[str, int] = field(default_factory=dict)

    def note(self, report: PassReport) -> None:
        """Count the orders of a pass and what went wrong in it."""
        self.sent += len(report.sent)
        for trouble, count in (
            ("orders refused", len(report.refused)),
            ("orders of unknown fate", len(report.unknown)),
            ("sessions halted", report.outcome == "halted"),
            ("sessions without orders, at the wrong time", report.outcome == "waiting"),
        ):
            if count:
                self.troubles[trouble] = self.troubles.get(trouble, 0) + count


def competition(
    project: Project,
    branches: Sequence[Branch],
    trading: Trading,
    replay: Replay,
    tools: ReplayTools,
    progress: Progress,
) -> tuple[dict[str, Any], Path, StageReport]:
    """Let the teams trade, session by session, and compare them.

    Returns:
        The summary of `results.competition.compete`, the folder that it was written to, and which models could not
        be replayed.

    Raises:
        ModelError: no model can forecast the period, for instance because all were trained on it.
        ConfigError: a team has no model.
        DataError: prices are missing.
    """
    changes = {"trade_without_skill": True} if replay.trade_without_skill else {}
    rules = {team: trading.rules(team).model_copy(update=changes) for team in teams_of(branches, replay.teams)}
    book = replay_book(project, branches, rules, replay.start, replay.end, progress)
    prices = [project.prices(branch.name) for branch in branches]
    with ExitStack() as stack:
        clock = _closes([book.before, *book.sessions], trading)
        exchange = stack.enter_context(replay_exchange(prices, clock[0], trading.costs))
        teams = [
            _Team(name, own, tools.broker(exchange.address, name), stack.enter_context(open_ledger(IN_MEMORY, name)))
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
        books = [_team_book(team, book, tools.tracker.count_trainings(book.models[team.name])) for team in teams]
        summary = compete(books, book.market, trading.costs, _notes(teams, book, replay))
        summary["replay"] = {"start": replay.start.isoformat(), "days": replay.days}
        folder = project.report(f"competition-{replay.start}")
        for name, content in {**_ledger_files(teams), **report_files(summary)}.items():
            write_whole(folder / name, partial(Path.write_bytes, data=content))
    return summary, folder, book.report


def _closes(sessions: Sequence[date], trading: Trading) -> list[pd.Timestamp]:
    """The times of the passes: after the close of each of these sessions, as soon as orders may be sent."""
    hours = {session.day: session.closes for session in us_hours().between(sessions[0], sessions[-1])}
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


def _team_book(team: _Team, book: ReplayBook, trials: int) -> TeamResult:
    equity = {pd.Timestamp(day): float(value) for day, value in team.ledger.equity_curve()}
    curve = pd.Series(equity, dtype="float64").reindex(book.market.closes.index).ffill()
    return TeamResult(
        team=team.name,
        equity=curve,
        fills=fill_frame(team.ledger.rows("fills")),
        models=book.models[team.name],
        idle=dict(book.idle[team.name]),
        orders=team.sent,
        trials=trials,
    )


def _notes(teams: Sequence[_Team], book: ReplayBook, replay: Replay) -> list[str]:
    notes = [f"{team.name}: {count} {trouble}" for team in teams for trouble, count in team.troubles.items()]
    left_out = len(book.report.failures)
    notes += [f"{left_out} models could not be replayed"] if left_out else []
    judged = any(forecast.verdict for made in book.forecasts.values() for forecast in made.forecasts)
    return [*notes, *([WITHOUT_SKILL] if replay.trade_without_skill else [HINDSIGHT] if judged else [])]


def _ledger_files(teams: Sequence[_Team]) -> dict[str, bytes]:
    """The decisions (with reasons) and fills of all teams, as csv files by name."""
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


@dataclass(frozen=True)
class ReplayExchange:
    """A running exchange: its address, and the HTTP session that moves its clock."""

    address: str
    requests: requests.Session

    def advance(self, now: datetime) -> None:
        """Move the exchange's clock to `now`; orders fill and expire accordingly.

        Raises:
            ServiceError: the exchange does not answer.
        """
        try:
            answer = self.requests.post(
                f"{self.address}/sim/clock", json={"now": now.isoformat()}, timeout=PATIENCE_SECONDS
            )
            answer.raise_for_status()
        except requests.RequestException as error:
            raise ServiceError(
                f"the replay's exchange at {self.address} does not answer: {error}", "run again"
            ) from None


@contextmanager
def replay_exchange(
    prices: Sequence[Path], start: datetime, costs: Costs, database: Path | None = None
) -> Iterator[ReplayExchange]:
    """Serve an exchange until the block ends, with the spread and slippage of `costs`, without fees.

    Args:
        prices: folders of price tables.
        start: its time, unless the database has a later one.
        costs: of trades.
        database: file to continue from and to write to; None to keep everything in memory.

    Raises:
        ConfigError: the database is damaged.
        ServiceError: another exchange uses it.
    """
    rules = MarketRules(spread_bps=2 * costs.half_spread_bps, slippage_bps=costs.slippage_bps)
    store = None if database is None else Store(database)
    exchange = Exchange(Market(ParquetTables(prices), us_hours()), Clock(start), rules, store)
    listening = listen(LOOPBACK, 0)
    serving = server(exchange)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]}, daemon=True, name="replay-exchange")
    thread.start()
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy for loopback
            yield ReplayExchange(f"http://{LOOPBACK}:{listening.getsockname()[1]}", session)
    finally:
        serving.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listening.close()
        exchange.close()
