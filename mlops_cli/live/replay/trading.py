"""The teams of a replay: their passes at the local exchange, and their books in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Rules, Trading
from mlops_cli.live.replay.notes import Notes
from mlops_cli.pipeline.trade.competition_forecasts import US_EXCHANGES, stock_market
from mlops_cli.pipeline.trade.newest_forecasts import is_traded_by
from mlops_cli.pipeline.trade.paper_trade import TeamForecasts
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.decide.signals import reason_against
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import claim_account, open_ledger, read_ledger
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.order_window import Margins
from mlops_cli.trading.passes.paper_pass import PassReport, PassSettings, SessionForecasts, paper_pass
from mlops_cli.trading.results.competition import Market, TeamResult
from mlops_cli.trading.results.performance import fill_frame


@dataclass(frozen=True)
class ReplayTeams:
    """The teams of a replay.

    Attributes:
        project: the replay's own.
        trading: of params.yaml.
        rules: by team.
        broker: opens a team's account at the exchange.
    """

    project: Project
    trading: Trading
    rules: Mapping[str, Rules]
    broker: Callable[[str], Broker]
    _brokers: dict[str, Broker] = field(default_factory=dict)

    def trade(self, team: str, forecasts: TeamForecasts, notes: Notes) -> PassReport:
        """A pass of a team; see `passes.paper_pass`."""
        rules = self.rules[team]

        def given(session: date, target: date) -> SessionForecasts:
            made = forecasts.forecasts(team, rules, session, target)
            notes.take_part(team, {each.model: reason_against(each, rules) for each in made.forecasts})
            return made

        if team not in self._brokers:
            self._brokers[team] = self.broker(team)
        broker = self._brokers[team]
        margins = Margins(self.trading.opens_minutes, self.trading.closes_minutes)
        settings = PassSettings(margins, halts=HaltFiles(self.project.ledgers, team))
        path, account = self.project.ledger(team), broker.account_id()
        with open_ledger(path, team) as ledger, claim_account(self.project.ledgers, account, team):
            return paper_pass(broker, ledger, given, rules, settings)


def traded_stocks(project: Project, branches: Sequence[Branch], rules: Mapping[str, Rules]) -> Market:
    """Prices of the stocks that teams may trade, from the price tables of the replay's passes."""
    folders = {
        spec.ticker: project.prices(branch.name)
        for branch in branches
        for spec in branch.models
        if spec.team in rules and spec.exchange in US_EXCHANGES and is_traded_by(spec, spec.team, rules[spec.team])
    }
    return stock_market({name: folder for name, folder in folders.items() if (folder / f"{name}.parquet").is_file()})


def team_book(project: Project, team: str, days: Sequence[date], idle: Mapping[str, str]) -> TeamResult:
    """What a team did.

    Args:
        project: the replay's own.
        team: its name; it has a ledger.
        days: sessions of the equity curve.
        idle: by model, why it does not trade; empty if it does.
    """
    with read_ledger(project.ledger(team)) as ledger:
        equity = {pd.Timestamp(day): float(value) for day, value in ledger.equity_curve()}
        return TeamResult(
            team=team,
            equity=pd.Series(equity, dtype="float64").reindex(pd.DatetimeIndex(list(days))).ffill(),
            fills=fill_frame(ledger.rows("fills")),
            models=tuple(model for model, reason in idle.items() if not reason),
            idle=dict(Counter(reason for reason in idle.values() if reason)),
            orders=_sent(ledger),
            trials=0,
        )


def _sent(ledger: Ledger) -> int:
    return sum(row["state"] == "sent" for row in ledger.rows("intents"))
