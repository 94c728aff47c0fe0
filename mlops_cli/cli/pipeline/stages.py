"""`mlops ingest`, `featurize`, `train`, `evaluate`: one stage by hand, or as DVC calls it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import typer

from mlops_cli.cli import stage_calls
from mlops_cli.cli.boundary import end_with_parent
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.cli.shared import (
    BranchOption,
    JsonFlag,
    OnlyOption,
    ProjectOption,
    SetOption,
    VerboseFlag,
    open_project,
)
from mlops_cli.cli.stage_calls import KeepGoing
from mlops_cli.errors import EXIT_SOME_FAILED


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (ingest, featurize, train, evaluate):
        app.command()(command)


def ingest(
    folder: ProjectOption = None,
    branch: BranchOption = None,
    only: OnlyOption = None,
    assignments: SetOption = None,
    keep_going: KeepGoing = False,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Fetch prices, clean them, and keep them as checked tables."""
    _stage(stage_calls.ingest, (folder, branch, only, assignments), (keep_going, as_json, verbose))


def featurize(
    folder: ProjectOption = None,
    branch: BranchOption = None,
    only: OnlyOption = None,
    assignments: SetOption = None,
    keep_going: KeepGoing = False,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Compute each model's features and target from the prices."""
    _stage(stage_calls.featurize, (folder, branch, only, assignments), (keep_going, as_json, verbose))


def train(
    folder: ProjectOption = None,
    branch: BranchOption = None,
    only: OnlyOption = None,
    assignments: SetOption = None,
    keep_going: KeepGoing = False,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Train the models that are new or changed, on sessions before the scenario's start only."""
    _stage(stage_calls.train, (folder, branch, only, assignments), (keep_going, as_json, verbose))


def evaluate(
    folder: ProjectOption = None,
    branch: BranchOption = None,
    only: OnlyOption = None,
    assignments: SetOption = None,
    keep_going: KeepGoing = False,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Judge each branch's models on all sessions that they never saw."""
    _stage(stage_calls.evaluate, (folder, branch, only, assignments), (keep_going, as_json, verbose))


def _stage(
    stage: stage_calls.Stage,
    chosen: tuple[Any, str | None, str | None, Sequence[str] | None],
    flags: tuple[bool, bool, bool],
) -> None:
    folder, branch, only, assignments = chosen
    keep_going, as_json, verbose = flags
    end_with_parent()
    project = open_project(folder, assignments)
    with ConsoleProgress(verbose) as progress:
        reports = [stage(project, one, progress, only) for one in stage_calls.chosen_branches(project, branch, only)]
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=2))
    else:
        for report in reports:
            counts = f"{len(report.done)} done, {len(report.unchanged)} unchanged, {len(report.failures)} failed"
            print(f"{report.stage} {report.branch}: {counts}")
    stage_calls.print_failures([failure for report in reports for failure in report.failures])
    codes = {report.exit_code for report in reports} - {0}
    if codes and not keep_going:
        raise typer.Exit(codes.pop() if len(codes) == 1 and len(reports) == 1 else EXIT_SOME_FAILED)
