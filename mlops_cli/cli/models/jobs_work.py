"""`mlops jobs work`: a worker, which takes waiting jobs and trains them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Annotated, NoReturn

import typer

from mlops_cli.cli.options import JsonFlag, ProjectOption, VerboseFlag, open_project
from mlops_cli.cli.output import print_json, say
from mlops_cli.cli.progress import ConsoleProgress


def work(
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="End when no job is waiting or running; default: go on for ever.")
    ] = False,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--at-once", min=1, help="Most jobs to train together; default: live.jobs.at_once.", show_default=False
        ),
    ] = None,
    verbose: VerboseFlag = False,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take waiting jobs, train their models and install them. Any number of workers may run, on one queue.

    On Ctrl-C or SIGTERM the jobs that are not finished go back to the queue at once.
    """
    from mlops_cli.config.load import load_params
    from mlops_cli.live.jobs.worker import WorkerSettings
    from mlops_cli.live_wiring import run_job_worker

    project = open_project(folder)
    most = at_once or load_params(project).live.jobs.at_once
    settings = WorkerSettings(at_once=most, until_empty=until_empty, tell=say)
    with _ended_by_sigterm(), ConsoleProgress(verbose) as progress:
        done = run_job_worker(project, settings, progress)
    if as_json:
        print_json(asdict(done))
    else:
        print(f"{done.installed} installed, {done.failed} failed, {done.dropped} given back or dropped")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Raise SystemExit on SIGTERM, as Ctrl-C raises KeyboardInterrupt: the worker then gives its jobs back."""

    def end(_: int, __: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the giving back
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
