"""A small project on generated prices, and its stages run as the command line runs them, without DVC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch, load_branch, load_params, load_scenario
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Retrain
from mlops_cli.pipeline.judge.judge import Simulation, evaluate, simulate
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.stage import StageReport
from mlops_cli.pipeline.stages.train import TrainTools, train
from mlops_cli.pipeline.walk.retrain import RetrainTools
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.tracking.tracker import NullTracker, RunContext, Tracking
from mlops_cli.training.baseline_trainer import BaselineTrainer
from mlops_cli.training.trainer import Trainer
from tests.fakes.price_tables import random_prices

SCENARIO_START = "2017-06-01"
FEATURES = "{returns: [1, 2, 5], volatility: [5], ranges: true}"


class Silent:
    """Progress port: shows nothing."""

    def start(self, stage: str, total: int) -> None:
        pass

    def doing(self, text: str) -> None:
        pass

    def done(self, count: int = 1) -> None:
        pass


@dataclass
class SmallProject:
    """A project folder in `root` with one branch `main` over `configs/mine`, source csv."""

    root: Path

    @property
    def project(self) -> Project:
        return Project.at(self.root)

    @property
    def branch(self) -> Branch:
        return load_branch(self.project, load_params(self.project), "main")

    def config(self, name: str, text: str) -> None:
        path = self.root / "configs" / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def prices(self, ticker: str, table: pd.DataFrame) -> None:
        folder = self.root / "data" / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        columns = ["Open", "High", "Low", "Close", "Adj Close", "Volume"]
        table.set_axis(columns, axis=1).rename_axis("Date").to_csv(folder / f"{ticker}.csv")

    def run(self, trainer: Trainer | None = None, only: str | None = None) -> list[StageReport]:
        """Ingest to evaluate; `trainer` stands for Ludwig."""
        scenario = load_scenario(self.project, self.branch.scenario)
        tools = TrainTools(lambda kind: self.trainer(kind, trainer), Tracking(NullTracker(), RunContext()))
        source = CsvSource(self.root / "data" / "incoming")
        return [
            ingest(self.project, self.branch, IngestSources(source), Silent(), only),
            featurize(self.project, self.branch, Silent(), only),
            train(self.project, self.branch, scenario, tools, Silent(), only),
            evaluate(self.project, self.branch, scenario, tools.tracking, Silent(), only),
        ]

    def simulate(
        self,
        name: str = "mine",
        only: str | None = None,
        retrain: Retrain = "never",
        trainer: Trainer | None = None,
    ) -> tuple[dict, StageReport]:
        """Replay a scenario; `trainer` stands for Ludwig where models are retrained."""
        wanted = Simulation(
            name,
            load_scenario(self.project, name),
            only,
            retraining=RetrainTools(retrain, lambda _, kind: self.trainer(kind, trainer)),
        )
        return simulate(self.project, [self.branch], wanted, Silent())

    def trainer(self, kind: str, ludwig: Trainer | None) -> Trainer:
        """What trains models of a kind; `ludwig` stands for Ludwig."""
        if kind == "ludwig" and ludwig is not None:
            return ludwig
        return BaselineTrainer("naive" if kind == "naive" else "drift")


def small_project(root: Path, tickers: Sequence[str] = ("AAA", "BBB", "CCC"), sessions: int = 700) -> SmallProject:
    """Make one: generated prices from 2015-01-02, scenario from 2017-06-01."""
    made = SmallProject(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(
        "branches: {main: {collection: [configs/mine]}}\nsource: {kind: csv}\nsimulation: {scenario: mine}\n"
        "training: {validation_sessions: 60, min_sessions: 200}\n"
    )
    (root / "simulation").mkdir()
    (root / "simulation" / "mine.yaml").write_text(f"start: {SCENARIO_START}\ndays: 90\n")
    for seed, ticker in enumerate(tickers):
        made.prices(ticker, random_prices(sessions, seed))
    made.config("linear", f"team: red\ntickers: [{', '.join(tickers)}]\nfeatures: {FEATURES}\n")
    return made
