"""The four stages for the commands: each function builds the adapters of a stage and runs it for one branch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from mlops_cli.cli.output import say
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import DVC_STAGE
from mlops_cli.errors import ConfigError, bounded

if TYPE_CHECKING:
    from mlops_cli.config.load import Branch
    from mlops_cli.config.schemas.project import Retrain
    from mlops_cli.pipeline.stages.stage import ItemFailure, StageReport
    from mlops_cli.pipeline.walk.retrain import RetrainTools

DVC_BRANCH = "@dvc"
"""As `--branch`: the branch of the stage that DVC runs. A shell never sees the branch's name then."""
Stage = Callable[[Project, "Branch", ConsoleProgress, "str | None"], "StageReport"]


def ingest(project: Project, branch: Branch, progress: ConsoleProgress, only: str | None) -> StageReport:
    """Fetch and clean the prices of one branch, and note dividends; notes go to stderr."""
    from mlops_cli import wiring
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.stages.ingest import IngestSources
    from mlops_cli.pipeline.stages.ingest import ingest as work

    settings = load_settings(project)
    prices, actions = wiring.price_source(project, branch, settings), wiring.action_source(project, branch, settings)
    report = work(project, branch, IngestSources(prices, actions), progress, only)
    for note in report.notes:
        say(f"note: {note}")
    return report


def featurize(project: Project, branch: Branch, progress: ConsoleProgress, only: str | None) -> StageReport:
    """Compute the feature tables of one branch."""
    from mlops_cli.pipeline.stages.featurize import featurize as work

    return work(project, branch, progress, only)


def train(project: Project, branch: Branch, progress: ConsoleProgress, only: str | None) -> StageReport:
    """Train the models of one branch; notes go to stderr."""
    from mlops_cli import wiring
    from mlops_cli.config.load import load_scenario
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.stages.train import TrainTools
    from mlops_cli.pipeline.stages.train import train as work

    tools = TrainTools(
        trainer=lambda kind: wiring.trainer(project, branch, kind),
        tracking=wiring.tracking(project, branch.name, load_settings(project)),
    )
    report = work(project, branch, load_scenario(project, branch.scenario), tools, progress, only)
    for note in report.notes:
        say(f"note: {note}")
    return report


def evaluate(project: Project, branch: Branch, progress: ConsoleProgress, only: str | None) -> StageReport:
    """Measure the forecasts of one branch on sessions that its models have not seen."""
    from mlops_cli import wiring
    from mlops_cli.config.load import load_scenario
    from mlops_cli.config.settings import load_settings
    from mlops_cli.pipeline.judge.judge import evaluate as work

    tracking = wiring.tracking(project, branch.name, load_settings(project))
    return work(project, branch, load_scenario(project, branch.scenario), tracking, progress, only)


def retraining(project: Project, every: Retrain) -> RetrainTools:
    """Tell `simulate` how often to retrain models, and with which trainers."""
    from mlops_cli import wiring
    from mlops_cli.pipeline.walk.retrain import RetrainTools

    return RetrainTools(every, lambda branch, kind: wiring.trainer(project, branch, kind))


ALL_STAGES: tuple[Stage, ...] = (ingest, featurize, train, evaluate)


def chosen_branches(project: Project, branch_name: str | None, only: str | None = None) -> list[Branch]:
    """The branches that `--branch` and `--only` choose: those with at least one model that matches.

    Raises:
        ConfigError: there is no such branch, no branch at all, or no such model.
    """
    from mlops_cli.config.load import load_branch, load_branches, load_params

    params = load_params(project)
    if branch_name is not None:
        return [load_branch(project, params, _branch_of_dvc() if branch_name == DVC_BRANCH else branch_name)]
    branches = list(load_branches(project, params).values())
    if not branches:
        raise ConfigError(
            f"{project.params}: branches: there is none, so there is nothing to do",
            "add one: mlops run --set branches.main.collection='[configs/mine]'",
        )
    if only is None:
        return branches
    matching = [branch for branch in branches if any(fnmatchcase(spec.name, only) for spec in branch.models)]
    if not matching:
        raise no_such_model(only, [spec.name for branch in branches for spec in branch.models])
    return matching


def _branch_of_dvc() -> str:
    stage = os.environ.get(DVC_STAGE, "")
    if "@" not in stage:
        raise ConfigError(f"--branch {DVC_BRANCH}: only a stage of dvc.yaml has a branch", "name one: --branch main")
    return stage.partition("@")[2]


def no_such_model(only: str, names: list[str]) -> ConfigError:
    """The error for an `--only` that matches none of the models `names`."""
    return ConfigError(f"--only {only}: no model of that name", f"models: {bounded(names)}")


def print_failures(failures: Sequence[ItemFailure]) -> None:
    """Print one line per failed model on stderr."""
    for failure in failures:
        say(f"failed: {failure.model} ({failure.stage}): {failure.reason}")
