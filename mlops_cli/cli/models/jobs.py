"""`mlops jobs`: ask for the training of models, look at the jobs, and work on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.models import jobs_work
from mlops_cli.cli.options import JsonFlag, ProjectOption, command_group, open_project
from mlops_cli.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from mlops_cli.config.paths import Project
    from mlops_cli.live.jobs.job import Job
    from mlops_cli.live.jobs.queue import JobQueue


class State(StrEnum):
    """The states of jobs, as values of `--state`."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


Number = Annotated[int, typer.Argument(metavar="JOB", min=1, help="A number from mlops jobs list.")]
TeamFilter = Annotated[
    str | None, typer.Option("--team", metavar="TEAM", help="Only jobs of this team.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add `mlops jobs` and its commands to the app."""
    group = command_group(help="Train models on request: submit jobs, look at them, work on them.")
    group.command()(submit)
    group.command("list")(list_)
    group.command()(show)
    group.command()(cancel)
    group.command()(retry)
    group.command()(jobs_work.work)
    app.add_typer(group, name="jobs")


def submit(
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="One or more, e.g. AAPL BRK-B.", show_default=False)
    ] = None,
    team: Annotated[
        str | None,
        typer.Option("--team", metavar="TEAM", help="The team that the models belong to.", show_default=False),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option("--suffix", metavar="WORD", help="Last part of the models' names.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="A whole model config (YAML) instead.", show_default=False),
    ] = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask for the training of models, by ticker or by a model file. The same request again is the same job."""
    from mlops_cli.live.requests.intake import Intake

    project = open_project(folder)
    requests = Intake(project).requests(team, _body(tickers or [], suffix, file))
    with _queue(project) as queue:
        submitted = queue.submit(requests)
    if as_json:
        print_json([{**_facts(each.job), "new": each.new} for each in submitted])
        return
    _print_jobs([each.job for each in submitted])
    new = sum(each.new for each in submitted)
    say(f"{new} new, {len(submitted) - new} known already")
    states = {each.job.state for each in submitted}
    if states & {"waiting", "running"}:
        say("those that wait are trained by: mlops jobs work")
    if states & {"dead", "cancelled"}:
        say("those that are dead or cancelled stay so, unless you type: mlops jobs retry JOB")


def list_(
    team: TeamFilter = None,
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only jobs in this state; repeatable.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most jobs to list.")] = 100,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first."""
    with _queue(open_project(folder)) as queue:
        jobs = queue.jobs(team, [each.value for each in state or []], limit)
        counts = queue.counts(team)
    if as_json:
        print_json([_facts(job) for job in jobs])
        return
    _print_jobs(jobs)
    say(", ".join(f"{count} {name}" for name, count in counts.items()) or "there are no jobs")


def show(number: Number, team: TeamFilter = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Show one job with the config of its model."""
    with _queue(open_project(folder)) as queue:
        job = queue.show(number, team)
    facts = {**_facts(job), "config": job.model_spec().model_dump(mode="json", exclude={"file"})}
    if as_json:
        print_json(facts)
        return
    import yaml

    values = {key: str(value) if key.endswith("_at") and value else value for key, value in facts.items()}
    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip())


def cancel(number: Number, team: TeamFilter = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Cancel a waiting or running job; the worker of a running one drops its result."""
    with _queue(open_project(folder)) as queue:
        _print_change(queue.cancel(number, team), as_json)


def retry(number: Number, team: TeamFilter = None, folder: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """Let a dead or cancelled job wait again, with all its tries."""
    with _queue(open_project(folder)) as queue:
        _print_change(queue.retry(number, team), as_json)


@contextmanager
def _queue(project: Project) -> Iterator[JobQueue]:
    from mlops_cli.live_wiring import job_queue

    with closing(job_queue(project)) as queue:
        yield queue


def _body(tickers: list[str], suffix: str | None, file: Path | None) -> Any:
    """The keys of a model file."""
    if (file is None) == (not tickers):
        raise typer.BadParameter("give either tickers or --file FILE")
    if file is None:
        return {"tickers": tickers, **({"suffix": suffix} if suffix else {})}
    if suffix:
        raise typer.BadParameter("--suffix goes with tickers; in a file write suffix: WORD")
    from mlops_cli.config.mistakes import Mistakes

    mistakes = Mistakes()
    body = mistakes.read(file, str(file))
    mistakes.raise_if_any("correct it and submit it again")
    return body


def _facts(job: Job) -> dict[str, Any]:
    from mlops_cli.live.requests.desk import view_of

    return asdict(view_of(job))


def _print_change(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(_facts(job))
    else:
        print(f"job {job.number} ({job.model}): {job.state}")


def _print_jobs(jobs: list[Job]) -> None:
    columns = ("job", "team", "model", "state", "tries", "submitted (UTC)", "version", "progress or reason")
    rows = [
        (
            job.number,
            job.team,
            job.model,
            job.state,
            job.token,
            f"{job.submitted_at:%Y-%m-%d %H:%M:%S}",
            job.version,
            (job.progress or job.reason).partition("\n")[0],
        )
        for job in jobs
    ]
    print_table(columns, rows)
