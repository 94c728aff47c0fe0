"""`mlops live`: the nightly pass."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.boundary import end_with_parent
from mlops_cli.cli.live.replay import replay as show_replay
from mlops_cli.cli.options import (
    JsonFlag,
    ProjectOption,
    SetOption,
    VerboseFlag,
    open_project,
    replay_day,
    warn_of_exposed_files,
)
from mlops_cli.cli.output import print_json, print_table, say, show
from mlops_cli.cli.progress import ConsoleProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_cli.config.paths import Project
    from mlops_cli.live.passes.live_pass import PassResult

LINES_SHOWN = 6
StepNames = Annotated[
    list[str] | None, typer.Option("--only", metavar="STEP", help="This step alone; repeatable.", show_default=False)
]
Skipped = Annotated[
    list[str] | None, typer.Option("--skip", metavar="STEP", help="Not this step; repeatable.", show_default=False)
]
ReplayDate = Annotated[
    str | None, typer.Option("--replay", metavar="DATE", help="Run the passes of the past from DATE on, on the side.")
]
ReplayDays = Annotated[int, typer.Option("--days", min=1, max=36_600, help="With --replay: calendar days.")]
Restart = Annotated[bool, typer.Option("--restart", help="With --replay: begin anew, do not go on.")]
WithoutSkill = Annotated[
    bool, typer.Option("--trade-without-skill", help="With --replay: trade models too that showed no skill.")
]


def live(
    typed: typer.Context,
    folder: ProjectOption = None,
    only: StepNames = None,
    skip: Skipped = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write and send nothing.")] = False,
    replay: ReplayDate = None,
    days: ReplayDays = 180,
    restart: Restart = False,
    trade_without_skill: WithoutSkill = False,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """One nightly pass, made for cron: prices, health, retraining, forecasts, orders, alerts.

    Run it as often as you like: each step does only what is missing. A pass that was killed goes on when run again.
    """
    _check_options(typed, is_replay=replay is not None)
    end_with_parent()
    project = open_project(folder, assignments)
    if replay is not None:
        from mlops_cli.live.replay.evenings import ReplayPeriod
        from mlops_cli.live.replay.replay import LiveReplay

        period = ReplayPeriod(replay_day(replay), days)
        show_replay(project, LiveReplay(period, restart, trade_without_skill), as_json=as_json, verbose=verbose)
        return
    result = _tonight(project, only or (), skip or (), dry_run=dry_run, verbose=verbose)
    if as_json:
        print_json({"session": result.session, "dry_run": dry_run, "steps": [asdict(step) for step in result.outcomes]})
    else:
        _show(result, dry_run)
    raise typer.Exit(result.exit_code)


def _tonight(project: Project, only: Sequence[str], skip: Sequence[str], *, dry_run: bool, verbose: bool) -> PassResult:
    from datetime import UTC, datetime

    from mlops_cli import live_wiring
    from mlops_cli.config.load import load_branches, load_params
    from mlops_cli.live.passes.live_pass import chosen_steps, run_pass
    from mlops_cli.live.passes.step import PassContext
    from mlops_cli.live.requests.places import with_finished

    steps = chosen_steps(only, skip)
    params = load_params(project)
    branches = with_finished(project, params, load_branches(project, params))
    warn_of_exposed_files(project)
    tools = live_wiring.pass_tools(project, params, branches, dry_run=dry_run, say=say)
    with ConsoleProgress(verbose) as progress:
        context = PassContext(project, params, branches, datetime.now(UTC), tools, progress, dry_run)
        return run_pass(context, steps, lambda: datetime.now(UTC))


def _check_options(typed: typer.Context, *, is_replay: bool) -> None:
    """Refuse options that say nothing to what is asked for."""
    if is_replay:
        wrong, why = ("only", "skip", "dry_run"), "is for tonight's pass; a replay runs all steps"
    else:
        wrong, why = ("days", "restart", "trade_without_skill"), "is for the past: add --replay DATE"
    for name in wrong:
        source = typed.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name.replace('_', '-')} {why}")


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
