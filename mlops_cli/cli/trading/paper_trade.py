"""`mlops paper-trade` and its subcommands: one pass for cron, replays, the kill switch, liquidation."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import BranchOption, JsonFlag, ProjectOption, VerboseFlag, command_group, open_project
from mlops_cli.cli.output import print_json, print_table, result_console, say
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.cli.trading.brokers import brokers_of
from mlops_cli.cli.trading.halt import halt, liquidate, resume
from mlops_cli.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from mlops_cli.config.paths import Project
    from mlops_cli.pipeline.trade.competition import Replay
    from mlops_cli.pipeline.trade.paper_trade import TeamPasses
    from mlops_cli.trading.passes.paper_pass import PassReport
    from mlops_cli.trading.schedule.alerts import Alerts

FIRST_YEAR, LAST_YEAR = 1900, 2200
TeamOption = Annotated[
    list[str] | None,
    typer.Option("--team", metavar="TEAM", help="This team alone; repeatable. All if left out.", show_default=False),
]


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
    days: Annotated[int, typer.Option("--days", min=1, max=36_600, help="With --replay: calendar days.")] = 180,
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
    given = _given(context)
    if context.invoked_subcommand is not None:
        if given:
            command = context.invoked_subcommand
            raise typer.BadParameter(f'{given[0]} has no effect before "{command}": write it after "{command}"')
        return
    _check_flags(given, replay)
    project = open_project(folder)
    if replay is not None:
        past = _replay_options(replay, days, team or [], trade_without_skill)
        _replay(project, past, branch, as_json=as_json, verbose=verbose)
        return
    passes = _passes(project, team or [], branch, dry_run=dry_run, verbose=verbose)
    _print_reports(passes.reports, dry_run, as_json)
    if passes.failures:  # the other teams have had their pass
        raise passes.failures[0]
    if not all(report.clean for report in passes.reports):
        raise typer.Exit(EXIT_SOME_FAILED)


def _print_reports(reports: Sequence[PassReport], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json([_plain(report) for report in reports])
        return
    for report in reports:
        _show(report, dry_run)


def _plain(report: PassReport) -> dict[str, Any]:
    return {**asdict(replace(report, error=None)), "error": report.error.message if report.error else None}


def _given(context: typer.Context) -> list[str]:
    """The options that were typed, except --project."""
    typed = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and (source := context.get_parameter_source(parameter.name)) and source.name == "COMMANDLINE"
    ]
    return [option for option in typed if option != "--project"]


def _check_flags(given: Sequence[str], replay: str | None) -> None:
    if replay is None:
        wrong, why = {"--days", "--trade-without-skill"}, "is for the past: add --replay DATE"
    else:
        wrong, why = {"--dry-run"}, "is for passes at the broker; a replay sends nothing there"
    for option in wrong.intersection(given):
        raise typer.BadParameter(f"{option} {why}")


def _passes(
    project: Project, chosen_teams: Sequence[str], branch: str | None, *, dry_run: bool, verbose: bool
) -> TeamPasses:
    from mlops_cli import wiring
    from mlops_cli.cli.stage_calls import chosen_branches
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.trade.paper_trade import Newest, teams_of, trade, trade_teams

    branches = chosen_branches(project, branch)
    teams = teams_of(branches, chosen_teams)
    trading, settings = load_params(project).trading, load_settings(project)
    brokers, alerts = brokers_of(project, teams), _alerts(project)
    with ConsoleProgress(verbose) as progress:
        newest = Newest(project, branches, lambda one: wiring.price_source(project, one, settings), progress)

        def trade_team(team: str) -> PassReport:
            return trade(project, team, brokers(team), trading, newest, dry_run=dry_run)

        return trade_teams(teams, trade_team, None if dry_run else alerts, say)


def _replay(project: Project, replay: Replay, branch: str | None, *, as_json: bool, verbose: bool) -> None:
    from mlops_cli import wiring
    from mlops_cli.cli.stage_calls import chosen_branches, print_failures
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.trade.competition import ReplayTools, competition

    tools = ReplayTools(wiring.replay_broker, wiring.tracker(project, load_settings(project)))
    try:
        with ConsoleProgress(verbose) as progress:
            summary, folder, report = competition(
                project, chosen_branches(project, branch), load_params(project).trading, replay, tools, progress
            )
    except KeyboardInterrupt:
        say("stopped: an interrupted replay leaves nothing behind; earlier reports are unchanged")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(summary)
    else:
        _show_competition(summary)
        print(f"\nReport, plot, and every decision and fill: {folder.relative_to(project.root)}/")
    print_failures(report.failures)


def _show_competition(summary: Mapping[str, Any]) -> None:
    from mlops_cli.trading.results.competition_report import competition_lines, competition_table

    console = result_console()
    console.print(competition_table(summary))
    for line in competition_lines(summary):
        console.print(line, soft_wrap=True)


def _replay_options(start: str, days: int, teams: Sequence[str], without_skill: bool) -> Replay:
    from mlops_cli.pipeline.trade.competition import Replay

    return Replay(_day(start), days, tuple(teams), without_skill)


def _day(text: str) -> date:
    from datetime import date

    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--replay {text}: no day; write it as 2024-01-02") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise typer.BadParameter(f"--replay {text}: no day between {FIRST_YEAR} and {LAST_YEAR}")
    return day


def _alerts(project: Project) -> Alerts:
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.trading.schedule.alerts import Alerts

    webhook = load_settings(project).alert_webhook
    return Alerts(webhook.get_secret_value() if webhook else None, load_params(project).trading.alert_command, say)


def _show(report: PassReport, dry_run: bool) -> None:
    equity = "" if report.equity is None else f" Equity {report.equity:,.2f} USD, {report.booked} entries booked."
    print(f"{report.team}: {report.text}.{equity}")
    if dry_run and report.planned:
        _show_planned(report)
    held = {
        decision.ticker: "; ".join(filter(None, (decision.bound, *decision.reasons)))
        for decision in report.decisions
        if not decision.intent
    }
    if dry_run:
        _say_each("no order", held)
    _say_each("no forecast", report.missing)
    _say_each("blocked", report.blocked)
    _say_each("refused", report.refused)
    _say_each("unknown", report.unknown)
    if held and not dry_run:
        say(f"no order in {len(held)} of {len(report.decisions)} tickers: mlops ledger decisions --team {report.team}")
    for note in report.notes:
        say(f"note: {note}")


def _show_planned(report: PassReport) -> None:
    columns = ("ORDER", "TICKER", "SIDE", "QTY", "PRICE SEEN", "FORECAST BPS", "WHY")
    rows = [
        (i.client_order_id, i.ticker, i.side, i.qty, i.price_seen, f"{i.forecast_bps:.1f}", "; ".join(i.reasons))
        for i in report.planned
    ]
    print_table(columns, rows)


def _say_each(kind: str, reasons: Mapping[str, str]) -> None:
    for name, reason in reasons.items():
        say(f"{kind}: {name}: {reason}")
