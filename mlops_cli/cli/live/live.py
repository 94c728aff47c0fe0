"""`mlops live`: the nightly pass."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.boundary import end_with_parent
from mlops_cli.cli.options import (
    JsonFlag,
    ProjectOption,
    SetOption,
    VerboseFlag,
    open_project,
    warn_of_exposed_files,
)
from mlops_cli.cli.output import print_json, print_table, say, show
from mlops_cli.cli.progress import ConsoleProgress

if TYPE_CHECKING:
    from mlops_cli.live.passes.live_pass import PassResult

LINES_SHOWN = 6
StepNames = Annotated[
    list[str] | None, typer.Option("--only", metavar="STEP", help="This step alone; repeatable.", show_default=False)
]
Skipped = Annotated[
    list[str] | None, typer.Option("--skip", metavar="STEP", help="Not this step; repeatable.", show_default=False)
]


def live(
    folder: ProjectOption = None,
    only: StepNames = None,
    skip: Skipped = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write and send nothing.")] = False,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """One nightly pass, made for cron: prices, health, retraining, forecasts, orders, alerts.

    Run it as often as you like: each step does only what is missing. A pass that was killed goes on when run again.
    """
    from datetime import UTC, datetime

    from mlops_cli import live_wiring
    from mlops_cli.config.load import load_branches, load_params
    from mlops_cli.live.passes.live_pass import chosen_steps, run_pass
    from mlops_cli.live.passes.step import PassContext

    end_with_parent()
    project = open_project(folder, assignments)
    steps = chosen_steps(only or (), skip or ())
    params = load_params(project)
    branches = load_branches(project, params)
    warn_of_exposed_files(project)
    tools = live_wiring.pass_tools(project, params, branches, dry_run=dry_run)
    with ConsoleProgress(verbose) as progress:
        context = PassContext(project, params, branches, datetime.now(UTC), tools, progress, dry_run)
        result = run_pass(context, steps, lambda: datetime.now(UTC))
    if as_json:
        print_json({"session": result.session, "dry_run": dry_run, "steps": [asdict(step) for step in result.outcomes]})
    else:
        _show(result, dry_run)
    raise typer.Exit(result.exit_code)


def _show(result: PassResult, dry_run: bool) -> None:
    title = "Dry run of the pass" if dry_run else "Pass"
    show(f"{title} after the close of {result.session}")
    rows = [(outcome.step, outcome.done, outcome.unchanged, len(outcome.failures)) for outcome in result.outcomes]
    print_table(("STEP", "DONE", "UNCHANGED", "FAILED"), rows)
    for outcome in result.outcomes:
        lines = [f"failed: {outcome.error}"] if outcome.error else outcome.lines
        for line in lines[:LINES_SHOWN]:
            show(f"{outcome.step}: {line}")
        if len(lines) > LINES_SHOWN:
            show(f"{outcome.step}: and {len(lines) - LINES_SHOWN} lines more, see --json")
    for outcome in result.outcomes:
        for reason in dict.fromkeys(failure.reason for failure in outcome.failures[:5]):
            say(f"{outcome.step}: {reason}")
        left = len(outcome.failures) - 5
        if left > 0:
            say(f"{outcome.step}: and {left} more, see --json")
