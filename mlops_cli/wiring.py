"""The composition root: a word in the config becomes an adapter, here and nowhere else."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import RUN_KEY
from mlops_cli.config.schema import TrainerKind, Training
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


def trainer(project: Project, branch: Branch, kind: TrainerKind) -> Trainer:
    """The trainer of a model config, set as the branch wants it."""
    match kind:
        case "ludwig":
            return _ludwig_trainer(project, branch.training)
        case "naive" | "drift":
            from mlops_cli.training.baseline_trainer import BaselineTrainer

            return BaselineTrainer(kind)


def _ludwig_trainer(project: Project, training: Training) -> Trainer:
    graphs, logs = project.state / "graphs", project.state / "logs"
    from mlops_cli.training.ludwig_trainer import LudwigTrainer, fleet_settings, pool_settings

    if training.executor == "ray":
        from mlops_cli.training.ray_trainer import RayTrainer

        return RayTrainer(training, fleet_settings(training))
    from mlops_cli.training.torchrun_trainer import Devices, TorchrunTrainer

    if training.strategy in ("ddp", "fsdp"):
        devices = Devices(training.strategy, training.device, training.workers)
        return TorchrunTrainer(logs / "torchrun.log", graphs, devices)
    ranks = TorchrunTrainer(logs / "torchrun.log", graphs, Devices("ddp", "cuda", training.workers))
    return LudwigTrainer(
        pool_settings(project.state, training), fleet_settings(training), training.device, pooled_on_gpus=ranks
    )


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
