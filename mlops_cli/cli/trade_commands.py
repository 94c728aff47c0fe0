"""`mlops paper-trade` and its subcommands: one pass for cron, replays, the kill switch, liquidation."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.cli.project import (
    BranchOption,
    JsonFlag,
    ProjectOption,
    VerboseFlag,
    command_group,
    open_project,
    print_json,
    print_table,
    result_console,
    say,
)
from mlops_cli.errors import EXIT_SOME_FAILED, MlopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from mlops_cli.config.paths import Project
    from mlops_cli.trading.alerts import Alerts
    from mlops_cli.trading.broker import Broker
    from mlops_cli.trading.paper_pass import PassReport

TeamOption = Annotated[
    list[str] | None,
    typer.Option("--team", metavar="TEAM", help="This team alone; repeatable. All if left out.", show_default=False),
]
OneTeam = Annotated[
    str, typer.Option("--team", metavar="TEAM", help="This team alone; all if left out.", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is shown by every pass.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("paper-trade", invoke_without_command=True, help=(paper_trade.__doc__ or "").strip())
    group.info.no_args_is_help = False
    group.callback()(paper_trade)
    for command in (halt, resume, liquidate):
        group.command()(command)
    app.add_typer(group)


def paper_trade(
    context: typer.Context,
    folder: ProjectOption = None,
    team: TeamOption = None,
    branch: BranchOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the orders; send and write nothing.")] = False,
    replay: Annotated[
        str | None,
        typer.Option("--replay", metavar="DATE", help="Trade the past from DATE on, on the local exchange."),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, help="With --replay: calendar days.")] = 180,
    trade_without_skill: Annotated[
        bool, typer.Option("--trade-without-skill", help="With --replay: trade models too that showed no skill.")
    ] = False,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """One pass of paper trading, made for cron: forecasts become orders at Alpaca, or at the local exchange.

    Run it at any time and as often as you like: outside the hours in which orders are sent it only books what was
    filled, and within them it does only what is missing.
    """
    if context.invoked_subcommand is not None:
        return
    project = open_project(folder)
    if replay is not None:
        _replay(project, (replay, days), (team or [], branch), (trade_without_skill, as_json, verbose))
        return
    reports, failures = _passes(project, team or [], branch, dry_run=dry_run, verbose=verbose)
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            _show(report, dry_run)
    if failures:  # the other teams have had their pass
        raise failures[0]
    if not all(report.clean for report in reports):
        raise typer.Exit(EXIT_SOME_FAILED)


def halt(
    context: typer.Context, team: OneTeam = "all", folder: ProjectOption = None, reason: Reason = "halted by hand"
) -> None:
    """Send no more orders until `resume`; what was sent is still followed."""
    from mlops_cli.trading.halt import ALL_TEAMS, HaltFiles

    project = _project(context, folder)
    path = HaltFiles(project.ledgers, team).halt(reason)
    print(f"halted: {team} (by {path}); go on with: mlops paper-trade resume --team {team}")
    if team != ALL_TEAMS and not project.ledger(team).is_file():
        say(f"note: there is no ledger of a team {team} yet: is that its name?")


def resume(context: typer.Context, team: OneTeam = "all", folder: ProjectOption = None) -> None:
    """Lift a halt."""
    from mlops_cli.trading.halt import HaltFiles

    halts = HaltFiles(_project(context, folder).ledgers, team)
    lifted = halts.resume()
    if halts.way_on():
        say(f"{team}: still halted, as all teams are; go on with: {halts.way_on()}")
    else:
        print(f"{team}: orders are sent again" if lifted else f"{team}: was not halted")


def liquidate(
    context: typer.Context,
    team: Annotated[str, typer.Option("--team", metavar="TEAM", help="Whose positions are sold.")],
    folder: ProjectOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Halt a team, cancel its open orders and close all of its positions at the market."""
    from mlops_cli.trading.liquidate import liquidate as work

    project = _project(context, folder)
    if not yes:
        typer.confirm(f"Sell everything that team {team} holds?", abort=True)
    from mlops_cli.trading.halt import HaltFiles
    from mlops_cli.trading.ledger_files import claim_account, open_ledger

    HaltFiles(project.ledgers, team).halt("liquidated")
    broker = _brokers(project, [team])(team)
    account = broker.account_id()
    with claim_account(project.ledgers, account, team), open_ledger(project.ledger(team), team) as ledger:
        done = work(broker, ledger)
    print(f"{team}: halted; {done.cancelled} orders cancelled, {len(done.sent)} orders sent that close its positions")
    for name, why in done.failed.items():
        say(f"failed: {name}: {why}")
    if done.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _project(context: typer.Context, folder: Any) -> Project:
    given = context.parent.params.get("folder") if context.parent is not None else None
    return open_project(folder or given)


def _passes(
    project: Project, wanted: Sequence[str], branch: str | None, *, dry_run: bool, verbose: bool
) -> tuple[list[PassReport], list[MlopsError]]:
    from mlops_cli import wiring
    from mlops_cli.cli.stages import chosen_branches
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.paper_trade import Newest, teams_of, trade

    branches = chosen_branches(project, branch)
    teams = teams_of(branches, wanted)
    trading, settings = load_params(project).trading, load_settings(project)
    brokers, alerts = _brokers(project, teams), _alerts(project)
    reports: list[PassReport] = []
    failures: list[MlopsError] = []
    with ConsoleProgress(verbose) as progress:
        newest = Newest(project, branches, lambda one: wiring.price_source(project, one, settings), progress)
        for team in teams:
            try:
                report = trade(project, team, brokers(team), trading, newest, dry_run=dry_run)
            except MlopsError as error:
                failures.append(error)
                if len(teams) > 1:
                    say(f"failed: {team}: {error.message}")
                if not dry_run:
                    alerts.send(team, [error.message])
            else:
                reports.append(report)
                if not dry_run:
                    alerts.send(team, report.alerts)
    return reports, failures


def _replay(
    project: Project,
    period: tuple[str, int],
    chosen: tuple[Sequence[str], str | None],
    flags: tuple[bool, bool, bool],
) -> None:
    from mlops_cli import wiring
    from mlops_cli.cli.stages import chosen_branches, print_failures
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.competition import Replay, competition

    (start, days), (teams, branch), (without_skill, as_json, verbose) = period, chosen, flags
    replay = Replay(_day(start), days, tuple(teams), without_skill)
    tools = wiring.replay_broker, wiring.tracker(project, load_settings(project))
    with ConsoleProgress(verbose) as progress:
        summary, folder, report = competition(
            project, chosen_branches(project, branch), load_params(project).trading, replay, tools, progress
        )
    if as_json:
        print_json(summary)
    else:
        _show_competition(summary)
        print(f"\nReport, plot, and every decision and fill: {folder.relative_to(project.root)}/")
    print_failures(report.failures)


def _show_competition(summary: Mapping[str, Any]) -> None:
    from mlops_cli.trading.competition_report import competition_lines, competition_table

    console = result_console()
    console.print(competition_table(summary))
    for line in competition_lines(summary):
        console.print(line, soft_wrap=True)


def _day(text: str) -> date:
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--replay {text}: no day; write it as 2024-01-02") from None


def _brokers(project: Project, teams: Sequence[str]) -> Callable[[str], Broker]:
    from mlops_cli import wiring
    from mlops_cli.config.account_keys import account_keys
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings

    keys, trading, settings = account_keys(project, teams), load_params(project).trading, load_settings(project)
    return lambda team: wiring.broker(keys[team], trading, settings)


def _alerts(project: Project) -> Alerts:
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.trading.alerts import Alerts

    webhook = load_settings(project).alert_webhook
    return Alerts(webhook.get_secret_value() if webhook else None, load_params(project).trading.alert_command, say)


def _show(report: PassReport, dry_run: bool) -> None:
    equity = "" if report.equity is None else f" Equity {report.equity:,.2f} USD, {report.booked} entries booked."
    print(f"{report.team}: {report.text}.{equity}")
    if dry_run and report.planned:
        columns = ("ORDER", "TICKER", "SIDE", "QTY", "USD", "PRICE SEEN", "FORECAST BPS", "WHY")
        print_table(
            columns,
            [
                (i.client_order_id, i.ticker, i.side, i.qty, i.notional, i.price_seen, f"{i.forecast_bps:.1f}",
                 "; ".join(i.reasons))
                for i in report.planned
            ],
        )  # fmt: skip
    held = {
        one.ticker: "; ".join(filter(None, (one.bound, *one.reasons))) for one in report.decisions if not one.intent
    }
    for kind, entries in (("no order", held if dry_run else {}), ("no forecast", report.missing),
                          ("blocked", report.blocked), ("refused", report.refused),
                          ("unknown", report.unknown)):  # fmt: skip
        for name, why in entries.items():
            say(f"{kind}: {name}: {why}")
    if held and not dry_run:
        say(f"no order in {len(held)} of {len(report.decisions)} tickers: mlops ledger decisions --team {report.team}")
    for note in report.notes:
        say(f"note: {note}")
