"""The composition root of the nightly loop; like `wiring`, it chooses adapters and does nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mlops_cli import wiring
from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Params
from mlops_cli.config.settings import given_keys, load_settings

if TYPE_CHECKING:
    from mlops_cli.live.passes.step import PassTools
    from mlops_cli.live.replay.replay import LiveReplayTools
    from mlops_cli.pipeline.trade.paper_trade import TeamForecasts
    from mlops_cli.trading.passes.pass_report import PassReport


def pass_tools(
    project: Project,
    params: Params,
    branches: Mapping[str, Branch],
    *,
    dry_run: bool,
    say: Callable[[str], None] = lambda line: None,
) -> PassTools:
    """The adapters of a nightly pass; `say` gets a line for each alert that could not be sent."""
    from mlops_cli.live.passes.step import PassTools
    from mlops_cli.pipeline.trade.paper_trade import run_team_pass
    from mlops_cli.trading.schedule.alerts import Alerts

    settings = load_settings(project)
    teams = list(given_keys(settings, sorted({spec.team for branch in branches.values() for spec in branch.models})))
    webhook = settings.alert_webhook
    alerts = Alerts(webhook.get_secret_value() if webhook else None, params.trading.alert_command, say)
    open_broker = wiring.brokers(project, teams)

    def trade(team: str, forecasts: TeamForecasts) -> PassReport:
        return run_team_pass(project, team, open_broker(team), params.trading, forecasts, dry_run=dry_run)

    return PassTools(
        prices=lambda branch: wiring.price_source(project, branch, settings),
        actions=lambda branch: wiring.action_source(project, branch, settings),
        trainer=lambda branch, kind: wiring.trainer(project, branch, kind),
        teams=teams,
        trade=trade,
        alert=lambda lines: alerts.tell(f"mlops live, {project.root.name}", lines),
    )


def replay_tools(project: Project) -> LiveReplayTools:
    """The adapters of a replay: the project's own sources and trainers, and accounts at the local exchange."""
    from mlops_cli.live.replay.replay import LiveReplayTools

    settings = load_settings(project)
    return LiveReplayTools(
        prices=lambda branch: wiring.price_source(project, branch, settings),
        actions=lambda branch: wiring.action_source(project, branch, settings),
        trainer=wiring.trainer,
        broker=wiring.replay_broker,
    )
