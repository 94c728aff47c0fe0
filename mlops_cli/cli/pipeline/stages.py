"""`mlops ingest`, `featurize`, `train`, `evaluate`: one stage by hand, or as DVC calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.errors import EXIT_OK, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from mlops_cli.pipeline.stages.stage import StageReport


@dataclass(frozen=True)
class StageOptions:
    """The options that every stage takes.

    Attributes:
        folder: the project folder; None for the current folder.
        branch: run this branch only.
        only: run the models whose names match this glob only.
        assignments: `KEY=VALUE` texts to write into params.yaml first.
        keep_going: exit 0 even if some models failed.
        as_json: print the reports as JSON.
        verbose: print what is being done.
    """

    folder: Path | None = None
    branch: str | None = None
    only: str | None = None
    assignments: Sequence[str] | None = None
    keep_going: bool = False
    as_json: bool = False
    verbose: bool = False


def register(app: typer.Typer) -> None:
    """Add the four commands to the app."""
    for stage, text in (
        (stage_calls.ingest, "Fetch prices, clean them, and keep them as checked tables."),
        (stage_calls.featurize, "Compute each model's features and target from the prices."),
        (stage_calls.train, "Train the models that are new or changed, on sessions before the scenario's start only."),
        (stage_calls.evaluate, "Judge each branch's models on all sessions that they never saw."),
    ):
        app.command(stage.__name__, help=text)(_command(stage))


def _command(stage: stage_calls.Stage) -> Callable[..., None]:
    def command(
        folder: ProjectOption = None,
        branch: BranchOption = None,
        only: OnlyOption = None,
        assignments: SetOption = None,
        keep_going: KeepGoing = False,
        as_json: JsonFlag = False,
        verbose: VerboseFlag = False,
    ) -> None:
        run_stage(stage, StageOptions(folder, branch, only, assignments, keep_going, as_json, verbose))

    return command


def run_stage(stage: stage_calls.Stage, options: StageOptions) -> None:
    """Run a stage for the chosen branches and print what it did.

    Raises:
        ConfigError: the project, a config or an option is wrong.
        Exit: some models failed and `keep_going` is not set.
    """
    end_with_parent()
    project = open_project(options.folder, options.assignments)
    branches = stage_calls.chosen_branches(project, options.branch, options.only)
    with ConsoleProgress(options.verbose) as progress:
        reports = [stage(project, branch, progress, options.only) for branch in branches]
    if options.as_json:
        print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            print(_counts(report))
    stage_calls.print_failures([failure for report in reports for failure in report.failures])
    code = exit_code(reports)
    if code != EXIT_OK and not options.keep_going:
        raise typer.Exit(code)


def _counts(report: StageReport) -> str:
    counts = f"{len(report.done)} done, {len(report.unchanged)} unchanged, {len(report.failures)} failed"
    return f"{report.stage} {report.branch}: {counts}"


def exit_code(reports: Sequence[StageReport]) -> int:
    """The exit code of a stage: of a single branch its own, of several branches 9 if any model failed."""
    failed = [report.exit_code for report in reports if report.exit_code != EXIT_OK]
    if not failed:
        return EXIT_OK
    return failed[0] if len(reports) == 1 else EXIT_SOME_FAILED
