"""`mlops run` and `mlops simulate`, and the printing of their results."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from mlops_cli.cli.output import result_console, say
from mlops_cli.cli.pipeline.prices import tell_repairs
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.cli.stage_calls import ALL_STAGES, chosen_branches, print_failures, retraining
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import RUN_KEY
from mlops_cli.errors import EXIT_GATE_FAILED, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.pipeline.stages.stage import ItemFailure, StageReport

RETRAIN_HELP = (
    "Retrain the models every month, quarter, year or N sessions of the scenario on the data known then, and compare. "
    "Default: simulation.retrain of params.yaml."
)


def run(
    folder: ProjectOption = None,
    branch: BranchOption = None,
    only: OnlyOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Run all stages for all models: ingest, featurize, train, evaluate and simulate.

    Results that are up to date are kept, and models that failed last time are tried again. Prints the result table.
    """
    from mlops_cli.config.editing.params import ensure_complete
    from mlops_cli.config.load import load_branches, load_params, load_scenario
    from mlops_cli.pipeline.dvc.run import all_failures, new_run_key, repro

    project = open_project(folder, assignments)
    ensure_complete(project)
    branches = chosen_branches(project, branch, only)
    scenario_name = load_params(project).simulation.scenario
    load_scenario(project, scenario_name)
    _catch_up(project)
    if only is not None:
        _run_some(project, branches, only, verbose)
    else:
        everything = list(load_branches(project, load_params(project)).values())
        repro(project, everything, new_run_key(), branch)
    failures = all_failures(project, branches)
    if branch is None and only is None:
        summary = json.loads((project.report(scenario_name) / "summary.json").read_text())
        _show_summary(summary, as_json)
        if not as_json:
            _show_next(project, scenario_name)
    else:
        _show_evaluations(project, branches, as_json)
    if not as_json:
        tell_repairs(project, branches, only, verbose)
    _exit_after_failures(failures)


def simulate(
    scenario: Annotated[
        str | None, typer.Argument(help="NAME of simulation/NAME.yaml; default: simulation.scenario of params.yaml.")
    ] = None,
    folder: ProjectOption = None,
    branch: BranchOption = None,
    only: OnlyOption = None,
    assignments: SetOption = None,
    retrain: Annotated[
        str | None, typer.Option("--retrain", metavar="never|monthly|quarterly|yearly|N", help=RETRAIN_HELP)
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit 10 if the look-ahead alarm sounds.")] = False,
    keep_going: KeepGoing = False,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Replay a scenario: MAE and direction accuracy on held-out days, and the MAE of the naive forecast.

    With --branch or --only, only the figures of these models are printed; the report on disk does not change.
    """
    from mlops_cli.config.load import check_retrain, load_params, load_scenario

    end_with_parent()
    project = open_project(folder, assignments)
    defaults = load_params(project).simulation
    name, every = scenario or defaults.scenario, defaults.retrain if retrain is None else check_retrain(retrain)
    branches = chosen_branches(project, branch, only)
    settings = load_scenario(project, name)
    from mlops_cli.pipeline.judge.judge import Simulation  # takes seconds, so the arguments are checked first
    from mlops_cli.pipeline.judge.judge import simulate as run_simulation

    simulation = Simulation(name, settings, only, write=branch is None, retraining=retraining(project, every))
    with ConsoleProgress(verbose) as progress:
        summary, report = run_simulation(project, branches, simulation, progress)
    _show_simulation(project, name, (summary, report), as_json)
    if report.failures and not keep_going:
        raise typer.Exit(EXIT_SOME_FAILED)
    if gate and summary["alarm"]["sounded"]:
        raise typer.Exit(EXIT_GATE_FAILED)


def _show_simulation(project: Project, name: str, result: tuple[dict[str, Any], StageReport], as_json: bool) -> None:
    summary, report = result
    folder = f"{project.report(name).relative_to(project.root)}/"
    if RUN_KEY in os.environ:
        print(f"simulate {name}: {len(report.done)} models replayed, see {folder}")  # mlops run ends with the table
    else:
        _show_summary(summary, as_json)
        if not as_json:
            print(f"\nReport: {folder}")
    print_failures(report.failures)


def _catch_up(project: Project) -> None:
    """Record what MLflow did not take in earlier runs."""
    from mlops_cli import wiring
    from mlops_cli.config.settings import load_settings

    recorded = wiring.tracker(project, load_settings(project)).catch_up()
    if recorded:
        say(f"MLflow is there again: {recorded} trainings of earlier runs are logged now")


def _run_some(project: Project, branches: Sequence[Branch], only: str, verbose: bool) -> None:
    """Run all stages for the chosen models without DVC, because a DVC stage always covers a whole branch."""
    with ConsoleProgress(verbose) as progress:
        for stage in ALL_STAGES:
            for branch in branches:
                stage(project, branch, progress, only)


def _show_summary(summary: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    from mlops_cli.simulation.result_lines import result_lines
    from mlops_cli.simulation.result_table import result_table

    console = result_console()
    console.print(result_table(summary, console.width))
    for line in result_lines(summary):
        console.print(line, soft_wrap=True)


def _show_evaluations(project: Project, branches: Sequence[Branch], as_json: bool) -> None:
    evaluations = {
        branch.name: json.loads(path.read_text())
        for branch in branches
        if (path := project.evaluation(branch.name) / "models.json").is_file()
    }
    if as_json:
        print(json.dumps(evaluations, indent=2))
        return
    from mlops_cli.simulation.result_lines import evaluation_line

    for name, models in evaluations.items():
        print(f"branch {name}: every session from the scenario's start to the end of the data")
        for row in models:
            print(f"  {evaluation_line(row)}")


def _show_next(project: Project, scenario: str) -> None:
    report = project.report(scenario).relative_to(project.root)
    print(
        f"\nReport, plots and every forecast: {report}/\n"
        "Next: mlops serve | mlops models add --team mine TICKER | mlops paper-trade --replay DATE | dvc dag\n"
        "Keep this result: git add dvc.lock && git commit (dvc checkout restores it without training)"
    )


def _exit_after_failures(failures: Sequence[ItemFailure]) -> None:
    print_failures(failures)
    if failures:
        print(f"{len(failures)} models failed; the next mlops run tries these again", file=sys.stderr)
        raise typer.Exit(EXIT_SOME_FAILED)
