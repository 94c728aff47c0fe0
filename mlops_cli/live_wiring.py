"""The composition root of live operation; like `wiring`, it chooses adapters and does nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from mlops_cli import wiring
from mlops_cli.config.load import Branch, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Params
from mlops_cli.config.settings import given_keys, load_settings

if TYPE_CHECKING:
    from mlops_cli.live.jobs.database import Database
    from mlops_cli.live.jobs.queue import JobQueue
    from mlops_cli.live.jobs.worker import WorkDone, WorkerSettings
    from mlops_cli.live.passes.step import PassTools
    from mlops_cli.live.replay.replay import LiveReplayTools
    from mlops_cli.live.requests.desk import QueueDesk
    from mlops_cli.live.requests.intake import Intake
    from mlops_cli.pipeline.stages.stage import Progress
    from mlops_cli.pipeline.trade.paper_trade import TeamForecasts
    from mlops_cli.serving.process.server_parts import ServerParts
    from mlops_cli.trading.passes.pass_report import PassReport

SERVER_PARTS = "mlops_cli.live_wiring:server_parts"
"""Name of the factory, for the worker processes of a server."""


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


def job_queue(project: Project) -> JobQueue:
    """The queue of a project, in Postgres if MLOPS_JOBS_URL is set, else in SQLite; its tables are made if missing.

    Raises:
        ServiceError: the database is away, locked or full.
        DataError: it is damaged.
        ConfigError: psycopg is missing, or the address cannot be read.
    """
    from mlops_cli.live.jobs.leases import LeaseTimes
    from mlops_cli.live.jobs.queue import JobQueue
    from mlops_cli.live.jobs.retries import RetryPolicy
    from mlops_cli.live.jobs.submissions import Limits

    jobs = load_params(project).live.jobs
    return JobQueue(
        _job_database(project),
        Limits(jobs.waiting, jobs.waiting_of_team),
        RetryPolicy(tries=jobs.tries),
        LeaseTimes(lease=jobs.lease_seconds),
    )


def _job_database(project: Project) -> Database:
    url = load_settings(project).jobs_url
    if url is not None:
        from mlops_cli.live.jobs.postgres_database import PostgresDatabase

        return PostgresDatabase(url.get_secret_value())
    from mlops_cli.live.jobs.sqlite_database import SqliteDatabase

    return SqliteDatabase(project.jobs_database)


def job_desk(project: Project) -> QueueDesk:
    """The desk of a project's queue, which is opened when it is first needed."""
    from mlops_cli.live.requests.desk import QueueDesk

    def intake() -> Intake:
        from mlops_cli.live.requests.intake import Intake

        return Intake(project)

    return QueueDesk(lambda: job_queue(project), intake)


def server_parts(project: Project) -> ServerParts:
    """What `mlops serve` gets of live operation."""
    from mlops_cli.live.issued.journal_forecasts import JournalForecasts
    from mlops_cli.serving.process.server_parts import ServerParts

    return ServerParts(desk=job_desk(project), issued=JournalForecasts(project.journal))


def run_job_worker(project: Project, settings: WorkerSettings, progress: Progress) -> WorkDone:
    """Take jobs of the project's queue and train them; see `live.jobs.worker.work`."""
    from mlops_cli.live.jobs.installer import FencedInstaller
    from mlops_cli.live.jobs.worker import work
    from mlops_cli.live.requests.job_versions import JobVersions
    from mlops_cli.live.requests.training import RequestTools, RequestTraining
    from mlops_cli.pipeline.stages.ingest import IngestSources

    keys = load_settings(project)

    def sources(branch: Branch) -> IngestSources:
        return IngestSources(wiring.price_source(project, branch, keys), wiring.action_source(project, branch, keys))

    tools = RequestTools(sources, lambda branch, kind: wiring.trainer(project, branch, kind))
    versions = JobVersions(project, load_params(project).live.promotion)
    with closing(job_queue(project)) as queue:
        installer = FencedInstaller(queue, project.model_root / ".locks", versions)
        return work(queue, RequestTraining(project, tools, progress), installer, settings)
