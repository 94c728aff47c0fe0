"""`mlops ingest`, `featurize`, `train`, `evaluate`: one stage by hand, or as DVC calls it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from mlops_cli.cli import stage_calls
from mlops_cli.cli.boundary import end_with_parent
from mlops_cli.cli.options import (
    BranchOption,
    JsonFlag,
    KeepGoing,
    OnlyOption,
    ProjectOption,
    SetOption,
    VerboseFlag,
    open_project,
)
from mlops_cli.cli.output import print_json
from mlops_cli.cli.pipeline.prices import repairs_in, tell_repairs
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import RUN_KEY
from mlops_cli.errors import EXIT_OK, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.pipeline.stages.stage import StageReport


def register(app: typer.Typer) -> None:
    """Add the four commands to the app."""
    for stage, text in (
        (stage_calls.ingest, "Fetch prices, clean them, and keep them as checked tables."),
        (stage_calls.featurize, "Compute each model's features and target from the prices."),
        (stage_calls.train, "Train the models that are new or changed, on sessions before the scenario's start only."),
        (stage_calls.evaluate, "Judge each branch's models on all sessions that they never saw."),
    ):
        app.command(stage.__name__, help=text)(stage_command(stage))


def stage_command(stage: stage_calls.Stage) -> Callable[..., None]:
    """Make the command that runs a stage for the chosen branches and prints what it did."""

    def command(
        folder: ProjectOption = None,
        branch: BranchOption = None,
        only: OnlyOption = None,
        assignments: SetOption = None,
        keep_going: KeepGoing = False,
        as_json: JsonFlag = False,
        verbose: VerboseFlag = False,
    ) -> None:
        end_with_parent()
        project = open_project(folder, assignments)
        branches = stage_calls.chosen_branches(project, branch, only)
        with ConsoleProgress(verbose) as progress:
            reports = [stage(project, chosen, progress, only) for chosen in branches]
        is_ingest = stage is stage_calls.ingest
        if as_json:
            extra = [_repairs(project, chosen, only) if is_ingest else {} for chosen in branches]
            print_json([asdict(report) | more for report, more in zip(reports, extra, strict=True)])
        else:
            for report in reports:
                print(_counts(report))
            if is_ingest and RUN_KEY not in os.environ:  # else mlops run tells it at its end
                tell_repairs(project, branches, only, verbose)
        stage_calls.print_failures([failure for report in reports for failure in report.failures])
        code = exit_code(reports)
        if code != EXIT_OK and not keep_going:
            raise typer.Exit(code)

    return command


def _repairs(project: Project, branch: Branch, only: str | None) -> dict[str, Any]:
    return {"repairs": [ticker.to_dict() for ticker in repairs_in(project, branch, only) if ticker.rules]}


def _counts(report: StageReport) -> str:
    counts = f"{len(report.done)} done, {len(report.unchanged)} unchanged, {len(report.failures)} failed"
    return f"{report.stage} {report.branch}: {counts}"


def exit_code(reports: Sequence[StageReport]) -> int:
    """The exit code of a stage: of a single branch its own, of several branches 9 if any model failed."""
    failed = [report.exit_code for report in reports if report.exit_code != EXIT_OK]
    if not failed:
        return EXIT_OK
    return failed[0] if len(reports) == 1 else EXIT_SOME_FAILED
