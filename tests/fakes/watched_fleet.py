"""A few models in daily use, made without training: their features, journal and passes, session by session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec, Params
from mlops_cli.live.journal.making import closing_time, forecasts_of
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Actual, Forecast, Key
from mlops_cli.live.passes.step import PassContext, PassTools
from mlops_cli.models.manifest import Span
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version, move_to_archive
from mlops_cli.pipeline.stages.tables import write_table
from tests.fakes.branches import Progress, branch_of
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import model_folder
from tests.fakes.train_jobs import NUMBERS, feature_table, model_spec

TRAINED = 150
"""Rows of each feature table that the first version was trained on; 5 more start windows."""


@lru_cache(maxsize=64)
def _features(sessions: int, seed: int) -> pd.DataFrame:
    return feature_table(NUMBERS, "log_return", sessions, seed)


@dataclass
class WatchedFleet:
    """A project with linear models `red-t0`, `red-t1`, ... in a branch `main`.

    Attributes:
        root: folder of the project.
        models: how many.
        sessions: rows of the price tables.
        alerts: what was told.
    """

    root: Path
    models: int = 3
    sessions: int = 400
    alerts: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "params.yaml").write_text("branches: {main: {collection: [configs]}}\n")
        for name in self.names:
            self.train(name, TRAINED)

    @property
    def project(self) -> Project:
        return Project.at(self.root)

    @property
    def specs(self) -> list[ModelSpec]:
        return [model_spec(f"red-t{place}", ticker=f"T{place}") for place in range(self.models)]

    @property
    def names(self) -> list[str]:
        return [spec.name for spec in self.specs]

    @property
    def labels(self) -> list[str]:
        return [f"main/{name}" for name in self.names]

    @property
    def branch(self) -> Branch:
        return branch_of(*self.specs)

    def table(self, name: str) -> pd.DataFrame:
        """The feature table with all sessions."""
        return _features(self.sessions, self.names.index(name))

    def day(self, row: int) -> date:
        """The session of a row of the feature tables."""
        return self.table(self.names[0]).index[row].date()

    def train(self, name: str, row: int, weight: float = 0.02, **changes: object) -> str:
        """A new version of a model, trained on rows before this one; returns its number."""
        folder = self.project.models("main") / name
        if folder.is_dir():
            assert move_to_archive(folder)
        random = np.random.default_rng([row, self.names.index(name)])
        values = {
            "ticker": name.removeprefix("red-").upper(),
            "trained_until": self.day(row),
            "train": Span(first=self.day(0), last=self.day(row - 50), sessions=row - 49),
            **changes,
        }
        graph = linear_graph(weight * random.normal(size=3), 0.0)
        model_folder(self.project.models("main"), name, graph, **values)
        return self.version(name)

    def version(self, name: str) -> str:
        return answering_version(self.project.model_root, "main", name).version

    def prices_until(self, row: int) -> None:
        """Write the feature tables as they were after the close of a row's session."""
        for name in self.names:
            table = self.table(name).iloc[: row + 1].copy()
            table.loc[table.index[-1], ["next_close", "target"]] = np.nan
            write_table(self.project.features("main"), name, table)

    def evening(self, row: int) -> datetime:
        return closing_time("XNYS", self.day(row)) + timedelta(minutes=30)

    def issue(self, row: int, change: Callable[[Forecast], Forecast] = lambda forecast: forecast) -> None:
        """Journal the forecasts made after the close of a row's session."""
        with open_journal(self.project.journal) as journal:
            for name in self.names:
                found = answering_version(self.project.model_root, "main", name)
                model = Model(found.folder, found.manifest)
                table = self.table(name)
                (forecast,) = forecasts_of(
                    found.manifest, "main", table, pd.DatetimeIndex([table.index[row]]), model.forecasts
                )
                assert journal.issue([change(forecast)], self.evening(row)).issued == 1

    def settle(self, row: int, but: tuple[str, ...] = ()) -> None:
        """Add the closes of the forecasts that were made in a row's session."""
        with open_journal(self.project.journal) as journal:
            actuals = []
            for name in self.names:
                if name not in but:
                    close = float(self.table(name)["next_close"].iloc[row])
                    actuals.append(Actual(Key(self.day(row), "main", name), close, close, 1.0))
            journal.add_actuals(actuals, self.evening(row + 1))

    def context(self, row: int, *, dry_run: bool = False) -> PassContext:
        """A pass in the evening of a row's session."""

        def none(*_: object) -> None:
            return None

        tools = PassTools(none, none, none, alert=self.alerts.append)  # type: ignore[arg-type]
        now = self.evening(row)
        return PassContext(self.project, Params(), {"main": self.branch}, now, tools, Progress(), dry_run)

    def nights(self, first: int, last: int, change: Callable[[Forecast], Forecast] = lambda forecast: forecast) -> None:
        """Forecasts of the sessions of some rows, the last included, all settled."""
        for row in range(first, last + 1):
            self.issue(row, change)
            self.settle(row)


def noisy(names: tuple[str, ...], size: float = 0.03) -> Callable[[Forecast], Forecast]:
    """Adds noise to the forecasts of some models: so much that they are broken."""

    def change(forecast: Forecast) -> Forecast:
        if forecast.model not in names:
            return forecast
        seed = [forecast.session.toordinal(), int(forecast.model[-1])]
        noise = float(size * np.random.default_rng(seed).normal())
        close = forecast.last_close * float(np.exp(noise))
        return replace(forecast, predicted_close=close, raw_predicted_close=close, log_return=noise)

    return change
