"""Paper trading: update prices and features, forecast, run a pass for each team, and report slippage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.field_types import is_slug
from mlops_cli.config.schemas.trading import Rules, Trading
from mlops_cli.errors import ConfigError, DataError, MlopsError
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import ParquetTables
from mlops_cli.market.hours import us_hours
from mlops_cli.system.sqlite_files import IN_MEMORY
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.ledger.opening import PassAtWork, claim_account, open_ledger, read_ledger
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.liquidate import Liquidation, liquidate
from mlops_cli.trading.passes.order_window import Margins, calendar_differences, clock_skew
from mlops_cli.trading.passes.paper_pass import PassReport, PassSettings, SessionForecasts, paper_pass
from mlops_cli.trading.results.slippage import filled_orders, slippage_by_day
from mlops_cli.trading.schedule.alerts import Alerts

LEDGER_WAIT_SECONDS, PAUSE_SECONDS = 60, 0.5


def teams_of(branches: Sequence[Branch], chosen: Sequence[str]) -> list[str]:
    """The teams that trade: the chosen ones, or else all that have a model.

    Raises:
        ConfigError: a team has no model, or a model of a team is in two branches.
    """
    models_by_team: dict[str, set[str]] = {}
    for branch in branches:
        for spec in branch.models:
            names = models_by_team.setdefault(spec.team, set())
            if spec.name in names and (not chosen or spec.team in chosen):
                raise ConfigError(f"model {spec.name} is in two branches", "say which one trades: --branch NAME")
            names.add(spec.name)
    for team in chosen:
        check_team(branches, team)
    return list(dict.fromkeys(chosen)) or sorted(models_by_team)


def check_team(branches: Sequence[Branch], team: str) -> None:
    """Raise ConfigError if a team has no model."""
    teams = sorted({spec.team for branch in branches for spec in branch.models})
    if team not in teams:
        raise ConfigError(f"--team {team}: no model belongs to that team", f"teams: {', '.join(teams)}")


class TeamForecasts(Protocol):
    """Port: gives the forecasts that a team's pass trades on."""

    def forecasts(self, team: str, rules: Rules, session: date, target: date) -> SessionForecasts:
        """The forecasts of a team's models, made after the close of `session` for the close of `target`."""
        ...


def run_team_pass(
    project: Project, team: str, broker: Broker, trading: Trading, newest: TeamForecasts, *, dry_run: bool = False
) -> PassReport:
    """One pass of a team; see `passes.paper_pass`.

    Raises:
        ServiceError: another pass of the team is running, or the broker does not answer.
        ConfigError: wrong keys, or keys of another team's account.
    """
    rules = trading.rules(team)
    settings = PassSettings(
        Margins(trading.opens_minutes, trading.closes_minutes), dry_run, HaltFiles(project.ledgers, team)
    )
    path = project.ledger(team)
    if dry_run and not path.is_file():
        path = IN_MEMORY  # a dry run creates no ledger
    with open_ledger(path, team) as ledger, claim_account(project.ledgers, broker.account_id(), team):

        def forecasts(session: date, target: date) -> SessionForecasts:
            return newest.forecasts(team, rules, session, target)

        report = paper_pass(broker, ledger, forecasts, rules, settings)
        if report.error is None and report.now is not None:
            skew = clock_skew(report.now)
            notes = [] if skew is None else [f"this machine's clock is {skew.total_seconds():.0f} s off the broker's"]
            report.notes += notes + calendar_differences(broker, report.now)
    return report


@dataclass(frozen=True)
class TeamPasses:
    """The reports of the passes that started, and the errors of all that failed, before or after the start."""

    reports: Sequence[PassReport]
    failures: Sequence[MlopsError | OSError]


def trade_teams(
    teams: Sequence[str], trade_team: Callable[[str], PassReport], alerts: Alerts | None, say: Callable[[str], None]
) -> TeamPasses:
    """One pass for each team; a team that fails does not stop the others.

    `alerts` (None for a dry run) gets each team's alerts and failures; `say` prints a failure at once. If another
    process is working for a team, that is no reason for an alert. With several teams such a team is tried again at the
    end: otherwise two such processes would both fail because of the team that the other one has.
    """
    reports: list[PassReport] = []
    failures: list[MlopsError | OSError] = []
    until = time.monotonic() + (LEDGER_WAIT_SECONDS if len(teams) > 1 else 0)
    waiting = deque(teams)
    tried: set[str] = set()
    while waiting:
        team = waiting.popleft()
        try:
            report = trade_team(team)
        except PassAtWork as error:
            if time.monotonic() < until:
                if team in tried:
                    time.sleep(PAUSE_SECONDS)
                tried.add(team)
                waiting.append(team)
            else:
                failures.append(error)
            continue
        except (MlopsError, OSError) as error:  # OSError: a full disk is no reason to skip the other teams
            failures.append(error)
            lines = [str(error)]
            if len(teams) > 1:
                say(f"failed: {team}: {str(error).splitlines()[0]}")
        else:
            reports.append(report)
            failures += filter(None, [report.error])
            lines = report.alerts
        if alerts is not None:
            alerts.send(team, lines)
    return TeamPasses(reports, failures)


def check_name(project: Project, branches: Callable[[], Sequence[Branch]], team: str) -> None:
    """Raise ConfigError for a name that is no team's: it becomes a part of files' names.

    A team is one that has a ledger or a halt file, or a model in one of the `branches`, which are loaded only then: a
    mistake in the configs must not keep a person from halting a team.
    """
    if not is_slug(team):
        raise ConfigError(f"--team {team}: no name of a team", "a name has lower-case letters, digits and . _ -")
    if not project.ledger(team).is_file() and not HaltFiles(project.ledgers, team).is_halted_itself:
        check_team(branches(), team)


def liquidate_team(project: Project, team: str, open_broker: Callable[[], Broker]) -> Liquidation:
    """Halt a team, cancel its open orders and close all of its positions; see `passes.liquidate`.

    Raises:
        ServiceError: a pass of the team is still running after a minute, or the broker does not answer.
        ConfigError: wrong keys, or keys of another team's account.
    """
    HaltFiles(project.ledgers, team).halt("liquidated")
    broker = open_broker()
    account = broker.account_id()
    ledger_file = project.ledger(team)
    with open_ledger(ledger_file, team, LEDGER_WAIT_SECONDS) as ledger, claim_account(project.ledgers, account, team):
        return liquidate(broker, ledger)


def slippage_report(
    project: Project, branches: Sequence[str], trading: Trading, team: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Slippage by team (all that have a ledger, or only `team`) and session; see `results.slippage.slippage_by_day`.

    Raises:
        DataError: a ledger or a price table is damaged, or the team has no ledger.
    """
    names = sorted(path.stem for path in project.ledgers.glob("*.db")) if team is None else [team]
    if team is not None and not project.ledger(team).is_file():
        raise DataError(f"team {team} has no ledger", "the first pass makes it: mlops paper-trade")
    market = Market(ParquetTables([project.prices(branch) for branch in branches]), us_hours())
    report = {}
    for name in names:
        with read_ledger(project.ledger(name)) as ledger:
            orders = filled_orders(ledger.rows("orders"), ledger.rows("intents"), ledger.rows("fills"))
        report[name] = slippage_by_day(orders, market, trading.rules(name).costs)
    return report
