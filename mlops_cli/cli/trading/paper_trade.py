"""`mlops paper-trade` and its subcommands: one pass for cron, replays, the kill switch, liquidation."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import (
    BranchOption,
    JsonFlag,
    ProjectOption,
    VerboseFlag,
    command_group,
    open_project,
    replay_day,
    warn_of_exposed_files,
)
from mlops_cli.cli.output import print_json, print_table, result_console, say, show
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_cli.config.paths import Project
    from mlops_cli.pipeline.trade.competition import Replay
    from mlops_cli.pipeline.trade.paper_trade import TeamPasses
    from mlops_cli.trading.passes.paper_pass import PassReport

OneTeam = Annotated[
    str, typer.Option("--team", metavar="TEAM", help="This team alone; all together if left out.", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is shown by every pass.")]
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
        from mlops_cli.pipeline.trade.competition import Replay

        past = Replay(replay_day(replay), days, tuple(team or ()), trade_without_skill)
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
        errors = [{"error": report.error and report.error.message} for report in reports]
        print_json([asdict(replace(report, error=None)) | error for report, error in zip(reports, errors, strict=True)])
        return
    for report in reports:
        _show(report, dry_run)


def _given(context: typer.Context) -> list[str]:
    """The options that were typed, except --project."""
    sources = {parameter: context.get_parameter_source(parameter.name or "") for parameter in context.command.params}
    typed = [parameter.opts[0] for parameter, source in sources.items() if source and source.name == "COMMANDLINE"]
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
    from mlops_cli.pipeline.trade.newest_forecasts import NewestForecasts
    from mlops_cli.pipeline.trade.paper_trade import run_team_pass, teams_of, trade_teams
    from mlops_cli.trading.schedule.alerts import Alerts

    branches = chosen_branches(project, branch)
    teams = teams_of(branches, chosen_teams)
    trading, settings = load_params(project).trading, load_settings(project)
    webhook = settings.alert_webhook
    alerts = Alerts(webhook.get_secret_value() if webhook else None, trading.alert_command, say)
    brokers = wiring.brokers(project, teams)
    warn_of_exposed_files(project)
    with ConsoleProgress(verbose) as progress:
        prices = partial(wiring.price_source, project, settings=settings)
        actions = partial(wiring.action_source, project, settings=settings)
        newest = NewestForecasts(project, branches, prices, progress, actions)

        def trade_team(team: str) -> PassReport:
            return run_team_pass(project, team, brokers(team), trading, newest, dry_run=dry_run)

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


def _show(report: PassReport, dry_run: bool) -> None:
    equity = "" if report.equity is None else f" Equity {report.equity:,.2f} USD, {report.booked} entries booked."
    show(f"{report.team}: {report.text}.{equity}")
    if report.planned:  # by a dry run
        _show_planned(report)
    held = {
        decision.ticker: "; ".join(filter(None, (decision.bound, *decision.reasons)))
        for decision in report.decisions
        if not decision.intent
    }
    told = {"no order": held if dry_run else {}, "no forecast": report.missing, "blocked": report.blocked}
    _say_each(told | {"refused": report.refused, "stays refused": report.stay_refused, "unknown": report.unknown})
    if report.refused | report.stay_refused:
        say(f"once they can be taken, let the next pass send them again: mlops ledger retry --team {report.team}")
    if held and not dry_run:
        say(f"no order in {len(held)} of {len(report.decisions)} tickers: mlops ledger decisions --team {report.team}")
    for note in report.notes:
        say(f"note: {note}")


def _say_each(told: Mapping[str, Mapping[str, str]]) -> None:
    for kind, reasons in told.items():
        for name, reason in reasons.items():
            say(f"{kind}: {name}: {reason}")


def _show_planned(report: PassReport) -> None:
    columns = ("ORDER", "TICKER", "SIDE", "QTY", "PRICE SEEN", "FORECAST BPS", "WHY")
    rows = [
        (i.client_order_id, i.ticker, i.side, i.qty, i.price_seen, f"{i.forecast_bps:.1f}", "; ".join(i.reasons))
        for i in report.planned
    ]
    print_table(columns, rows)


def halt(
    context: typer.Context, team: OneTeam = "all", folder: ProjectOption = None, reason: Reason = "halted by hand"
) -> None:
    """Send no more orders until `resume`; what was sent is still followed."""
    from mlops_cli.trading.passes.halt import ALL_TEAMS, HaltFiles

    project = _project_of(context, folder)
    if team != ALL_TEAMS:
        _check_name(project, team)
    path = HaltFiles(project.ledgers, team).halt(reason)
    print(f"halted: {team} (by {path}); go on with: mlops paper-trade resume --team {team}")


def resume(context: typer.Context, team: OneTeam = "all", folder: ProjectOption = None) -> None:
    """Lift a halt: that of one team, or the one of all teams, which leaves those of single teams as they are."""
    from mlops_cli.trading.passes.halt import ALL_TEAMS, HaltFiles

    project = _project_of(context, folder)
    if team != ALL_TEAMS:
        _check_name(project, team)
    halts = HaltFiles(project.ledgers, team)
    lifted = halts.resume()
    if halts.resume_commands():
        say(f"{team}: still halted, as all teams are; go on with: {halts.resume_commands()}")
        return
    print(f"{team}: the halt is lifted" if lifted else f"{team}: was not halted")
    for other in halts.others() if team == ALL_TEAMS else []:
        say(f"{other}: still halted; go on with: mlops paper-trade resume --team {other}")


def liquidate(
    context: typer.Context,
    team: Annotated[str, typer.Option("--team", metavar="TEAM", help="Whose positions are sold.")],
    folder: ProjectOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Halt a team, cancel its open orders and close all of its positions at the market."""
    project = _project_of(context, folder)
    _check_name(project, team)
    if not yes:
        typer.confirm(f"Sell everything that team {team} holds?", abort=True)
    from mlops_cli import wiring
    from mlops_cli.pipeline.trade.paper_trade import liquidate_team

    done = liquidate_team(project, team, lambda: wiring.brokers(project, [team])(team))
    print(f"{team}: halted; {done.cancelled} orders cancelled, {len(done.sent)} orders sent that close its positions")
    for words in done.unfilled:
        say(f"unfilled: {words}")
    for name, why in done.failed.items():
        say(f"failed: {name}: {why}")
    for ticker, qty in done.left.items():
        why = f"no order of the team explains them: mlops ledger positions --team {team}"
        say(f"left: {qty:f} shares of {ticker}: {why}")
    if done.failed or done.left:
        raise typer.Exit(EXIT_SOME_FAILED)


def _check_name(project: Project, team: str) -> None:
    from mlops_cli.cli.stage_calls import chosen_branches
    from mlops_cli.pipeline.trade.paper_trade import check_name

    check_name(project, lambda: chosen_branches(project, None), team)


def _project_of(context: typer.Context, folder: Any) -> Project:
    given = context.parent.params.get("folder") if context.parent is not None else None
    return open_project(folder or given)
