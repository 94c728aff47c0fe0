"""Step `trade`: a paper-trade pass of each team that has an account, on the forecasts that were issued."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import BrokerError, MlopsError, bounded
from mlops_cli.evaluation.verdicts import verdict_of, verdicts
from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.journal.records import Forecast
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.market.symbols import ticker_of
from mlops_cli.pipeline.stages.stage import ItemFailure
from mlops_cli.pipeline.trade.newest_forecasts import PRICE_DECIMALS, is_traded_by, recent_volatility
from mlops_cli.pipeline.trade.paper_trade import teams_of
from mlops_cli.trading.contract.types import Interval, TradeForecast
from mlops_cli.trading.ledger.opening import PassAtWork
from mlops_cli.trading.passes.paper_pass import SessionForecasts
from mlops_cli.trading.passes.pass_report import PassReport


def trade_step(context: PassContext) -> StepOutcome:
    """Let each team trade. A team whose broker fails does not stop the others."""
    outcome = StepOutcome("trade")
    trade = context.tools.trade
    if trade is None or not context.tools.teams:
        outcome.lines.append("no team has an account")
        return outcome
    forecasts = JournalForecasts(context)
    context.progress.start("trade", len(context.tools.teams))
    for team in context.tools.teams:
        try:
            teams_of(list(context.branches.values()), [team])  # refuses a model that two branches have
            _note(team, trade(team, forecasts), outcome)
        except (MlopsError, OSError) as error:  # OSError: a full disk is no reason to skip the other teams
            code = error.exit_code if isinstance(error, MlopsError) else BrokerError.exit_code
            outcome.failures.append(ItemFailure(team, "trade", str(error), code))
            outcome.lines.append(f"{team}: {str(error).splitlines()[0]}")
            if not isinstance(error, PassAtWork):
                command = f"mlops paper-trade --team {team}"
                outcome.troubles.append(Trouble(f"trade:{team}", f"{team}: {error}", command))
        context.progress.done()
    return outcome


def _note(team: str, report: PassReport, outcome: StepOutcome) -> None:
    """Note what a team's pass did."""
    outcome.done += len(report.sent)
    outcome.lines.append(f"{team}: {report.text}")
    outcome.figures[team] = {
        "outcome": report.outcome,
        "sent": report.sent,
        "planned": [intent.client_order_id for intent in report.planned],
        "equity": None if report.equity is None else str(report.equity),
        "booked": report.booked,
        "blocked": report.blocked,
    }
    command = f"mlops ledger orders --team {team}"
    outcome.troubles += [
        Trouble(f"trade:{team}:{text}", f"{team}: {text}", command, is_event=True) for text in report.alerts
    ]
    if report.error is not None:
        outcome.fail(team, report.error)
    elif not report.clean:
        troubles = {**report.refused, **report.stay_refused, **report.unknown, **report.blocked}
        words = bounded([*(f"{name}: {why}" for name, why in troubles.items()), *report.needs_attention])
        outcome.failures.append(ItemFailure(team, "trade", f"{team}: {words or report.text}", BrokerError.exit_code))


class JournalForecasts:
    """The forecasts that were issued, for the teams that trade on them."""

    def __init__(self, context: PassContext) -> None:
        self._context = context
        self._verdicts: dict[str, dict[tuple[str, str], str]] = {}

    def forecasts(self, team: str, rules: Rules, session: date, target: date) -> SessionForecasts:
        """The issued forecasts of a team's models; see `pipeline.trade.paper_trade.TeamForecasts`."""
        made: list[TradeForecast] = []
        volatilities: dict[str, float] = {}
        late: dict[str, str] = {}
        for branch, spec, forecast in self._newest(team, rules):
            if forecast is None:
                late[spec.name] = "no forecast was issued"
                continue
            if (forecast.session, forecast.target_session) != (session, target):
                late[spec.name] = f"its last forecast is for {forecast.target_session}"
                continue
            made.append(self._trade_forecast(branch, spec, forecast))
            ticker = made[-1].ticker
            if rules.sizing == "inverse_volatility" and ticker not in volatilities:
                volatilities[ticker] = recent_volatility(self._context.project, branch, spec.ticker)
        return SessionForecasts(made, volatilities, {}, late, [])

    def _newest(self, team: str, rules: Rules) -> Iterator[tuple[str, ModelSpec, Forecast | None]]:
        """The models that a team trades on, with the newest forecast of each."""
        path = self._context.project.journal
        newest: dict[tuple[str, str], Forecast] = {}
        if path.is_file():
            with read_journal(path) as journal:
                for issued in journal.newest(Selection(teams=[team])):
                    newest[issued.forecast.branch, issued.forecast.model] = issued.forecast
        for branch in self._context.branches.values():
            for spec in branch.models:
                if is_traded_by(spec, team, rules):
                    yield branch.name, spec, newest.get((branch.name, spec.name))

    def _judged(self, branch: str) -> dict[tuple[str, str], str]:
        """The verdicts of a branch, read once."""
        if branch not in self._verdicts:
            self._verdicts[branch] = verdicts(self._context.project.evaluation(branch))
        return self._verdicts[branch]

    def _trade_forecast(self, branch: str, spec: ModelSpec, forecast: Forecast) -> TradeForecast:
        root = self._context.project.model_root
        return TradeForecast(
            model=spec.name,
            ticker=ticker_of(spec.ticker),
            team=spec.team,
            session=forecast.session,
            target_session=forecast.target_session,
            last_close=Decimal(str(round(forecast.last_close, PRICE_DECIMALS))),
            log_return=forecast.log_return,
            version=forecast.version,
            verdict=verdict_of(self._judged(branch), root, branch, spec.name, forecast.version),
            dividend=forecast.announced_dividend,
            intervals=tuple(_interval(forecast)),
        )


def _interval(forecast: Forecast) -> Iterator[Interval]:
    """The intervals of a forecast, as log returns of the last close."""
    for level, lower, upper, _ in forecast.intervals:
        yield Interval(level, math.log(lower / forecast.last_close), math.log(upper / forecast.last_close))
