"""`mlops paper-trade` and its subcommands: one pass for cron, replays, the kill switch, liquidation."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.cli.shared import (
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
from mlops_cli.cli.trading.brokers import brokers_of
from mlops_cli.cli.trading.halt import halt, liquidate, resume
from mlops_cli.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, MlopsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from mlops_cli.config.paths import Project
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
            text = f"{given[0]} stands before {context.invoked_subcommand}, where it says nothing: write it after"
            raise typer.BadParameter(f"{text}, or leave it out")
        return
    _check_flags(given, replay)
    project = open_project(folder)
    if replay is not None:
        _replay(project, (replay, days), (team or [], branch), (trade_without_skill, as_json, verbose))
        return
    reports, failures = _passes(project, team or [], branch, dry_run=dry_run, verbose=verbose)
    if as_json:
        print_json([_plain(report) for report in reports])
    else:
        for report in reports:
            _show(report, dry_run)
    if failures:  # the other teams have had their pass
        raise failures[0]
    if not all(report.clean for report in reports):
        raise typer.Exit(EXIT_SOME_FAILED)


def _plain(report: PassReport) -> dict[str, Any]:
    return {**asdict(replace(report, error=None)), "error": report.error.message if report.error else None}


def _given(context: typer.Context) -> list[str]:
    """The options that were typed, but for the project's folder."""
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
    project: Project, wanted: Sequence[str], branch: str | None, *, dry_run: bool, verbose: bool
) -> tuple[list[PassReport], list[MlopsError | OSError]]:
    from mlops_cli import wiring
    from mlops_cli.cli.stage_calls import chosen_branches
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.trade.paper_trade import Newest, teams_of, trade

    branches = chosen_branches(project, branch)
    teams = teams_of(branches, wanted)
    trading, settings = load_params(project).trading, load_settings(project)
    brokers, alerts = brokers_of(project, teams), _alerts(project)
    reports: list[PassReport] = []
    failures: list[MlopsError | OSError] = []
    with ConsoleProgress(verbose) as progress:
        newest = Newest(project, branches, lambda one: wiring.price_source(project, one, settings), progress)
        for team in teams:
            try:
                report = trade(project, team, brokers(team), trading, newest, dry_run=dry_run)
            except (MlopsError, OSError) as error:  # OSError: a full disk is no reason to skip the other teams
                failures.append(error)
                if len(teams) > 1:
                    say(f"failed: {team}: {str(error).splitlines()[0]}")
                if not dry_run:
                    alerts.send(team, [str(error)])
            else:
                reports.append(report)
                if report.error is not None:
                    failures.append(report.error)
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
    from mlops_cli.cli.stage_calls import chosen_branches, print_failures
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.trade.competition import Replay, ReplayTools, competition

    (start, days), (teams, branch), (without_skill, as_json, verbose) = period, chosen, flags
    replay = Replay(_day(start), days, tuple(teams), without_skill)
    tools = ReplayTools(wiring.replay_broker, wiring.tracker(project, load_settings(project)))
    try:
        with ConsoleProgress(verbose) as progress:
            summary, folder, report = competition(
                project, chosen_branches(project, branch), load_params(project).trading, replay, tools, progress
            )
    except KeyboardInterrupt:
        say("stopped: a replay is done whole or not at all; earlier reports are as they were")
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
        columns = ("ORDER", "TICKER", "SIDE", "QTY", "PRICE SEEN", "FORECAST BPS", "WHY")
        print_table(
            columns,
            [
                (i.client_order_id, i.ticker, i.side, i.qty, i.price_seen, f"{i.forecast_bps:.1f}",
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
