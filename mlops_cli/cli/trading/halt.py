"""`mlops paper-trade halt`, `resume` and `liquidate`: the kill switch, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import ProjectOption, open_project
from mlops_cli.cli.output import say
from mlops_cli.cli.trading.brokers import brokers_of
from mlops_cli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from mlops_cli.config.paths import Project

OneTeam = Annotated[
    str, typer.Option("--team", metavar="TEAM", help="This team alone; all together if left out.", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is shown by every pass.")]


def halt(
    context: typer.Context, team: OneTeam = "all", folder: ProjectOption = None, reason: Reason = "halted by hand"
) -> None:
    """Send no more orders until `resume`; what was sent is still followed."""
    from mlops_cli.trading.passes.halt import ALL_TEAMS, HaltFiles

    project = _project(context, folder)
    path = HaltFiles(project.ledgers, team).halt(reason)
    print(f"halted: {team} (by {path}); go on with: mlops paper-trade resume --team {team}")
    if team != ALL_TEAMS and not project.ledger(team).is_file():
        say(f"note: there is no ledger of a team {team} yet: is that its name?")


def resume(context: typer.Context, team: OneTeam = "all", folder: ProjectOption = None) -> None:
    """Lift a halt: that of one team, or the one of all teams, which leaves those of single teams as they are."""
    from mlops_cli.trading.passes.halt import ALL_TEAMS, HaltFiles

    halts = HaltFiles(_project(context, folder).ledgers, team)
    lifted = halts.resume()
    if halts.way_on():
        say(f"{team}: still halted, as all teams are; go on with: {halts.way_on()}")
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
    project = _project(context, folder)
    if not yes:
        typer.confirm(f"Sell everything that team {team} holds?", abort=True)
    from mlops_cli.cli.stage_calls import chosen_branches
    from mlops_cli.pipeline.trade.paper_trade import check_team, liquidate_team

    if not project.ledger(team).is_file():
        check_team(chosen_branches(project, None), team)  # a misspelt name must not make a halt file
    done = liquidate_team(project, team, lambda: brokers_of(project, [team])(team))
    print(f"{team}: halted; {done.cancelled} orders cancelled, {len(done.sent)} orders sent that close its positions")
    for words in done.unfilled:
        say(f"unfilled: {words}")
    for name, why in done.failed.items():
        say(f"failed: {name}: {why}")
    if done.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _project(context: typer.Context, folder: Any) -> Project:
    given = context.parent.params.get("folder") if context.parent is not None else None
    return open_project(folder or given)
