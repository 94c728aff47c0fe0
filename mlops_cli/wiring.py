"""The composition root: a word in the config becomes an adapter, here and nowhere else."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import RUN_KEY
from mlops_cli.config.schema import TrainerKind
from mlops_cli.config.settings import Settings

if TYPE_CHECKING:
    from mlops_cli.prices.source import PriceSource
    from mlops_cli.tracking.tracker import RunContext, Tracker
    from mlops_cli.training.trainer import Trainer


def price_source(project: Project, branch: Branch, settings: Settings) -> PriceSource:
    """The branch's source of prices."""
    match branch.source.kind:
        case "sample":
            from mlops_cli.prices.sample_source import SampleSource

            return SampleSource()
        case "csv":
            from mlops_cli.prices.csv_source import CsvSource

            return CsvSource(project.root / branch.source.folder)
        case "yfinance":
            from mlops_cli.prices.yfinance_source import YfinanceSource

            return YfinanceSource(base_url=settings.yahoo_base_url or "")


def trainer(project: Project, kind: TrainerKind) -> Trainer:
    """The trainer of a model config."""
    match kind:
        case "ludwig":
            from mlops_cli.training.ludwig_trainer import LudwigTrainer

            return LudwigTrainer(project.state / "logs" / "ludwig.log", project.state / "graphs")
        case "naive" | "drift":
            from mlops_cli.training.baseline_trainer import BaselineTrainer

            return BaselineTrainer(kind)


def tracker(project: Project, settings: Settings) -> Tracker:
    """MLflow, or nothing where tracking is off."""
    if not settings.tracking:
        from mlops_cli.tracking.tracker import NullTracker

        return NullTracker()
    from mlops_cli.tracking.mlflow_tracker import MlflowTracker

    uri = settings.mlflow_tracking_uri or f"sqlite:///{project.tracking_database}"
    return MlflowTracker(uri, project.root / "mlruns")


def run_context(project: Project, branch: str) -> RunContext:
    """Which run, code and data a stage works with."""
    from mlops_cli.tracking.provenance import data_hash, git_commit
    from mlops_cli.tracking.tracker import RunContext

    return RunContext(
        key=os.environ.get(RUN_KEY, ""),
        branch=branch,
        git_commit=git_commit(project.root),
        data_hash=data_hash(project.lock, f"featurize@{branch}"),
        command=shlex.join(["mlops", *sys.argv[1:]]),
    )
