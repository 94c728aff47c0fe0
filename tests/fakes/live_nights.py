"""A project that lives night by night: its csv files grow by a session, and a pass runs after each close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.live.journal.making import closing_time
from mlops_cli.live.passes.live_pass import STEPS, PassResult, run_pass
from mlops_cli.live.passes.step import PassContext, PassTools, Step
from mlops_cli.prices.sources.csv_source import CsvSource
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import Silent, SmallProject, small_project

AFTER_CLOSE = timedelta(minutes=30)


class LiveNights:
    """A trained project of some tickers, and its passes.

    Attributes:
        prices: by ticker, all prices; a night shows those up to its session.
        sessions: of the nights: the last ones of the prices.
    """

    def __init__(self, root: Path, tickers: Sequence[str] = ("AAA", "BBB"), nights: int = 4) -> None:
        self.small: SmallProject = small_project(root, tickers)
        self.prices: dict[str, pd.DataFrame] = {ticker: random_prices(700, seed) for seed, ticker in enumerate(tickers)}
        self.sessions = self.prices[tickers[0]].index[-nights:]
        self.small.run(LinearTrainer())

    @property
    def project(self) -> Project:
        return self.small.project

    def show(self, night: int, only: Sequence[str] | None = None) -> None:
        """Write the csv files as they are after the close of a night's session; `only`: of these tickers."""
        for ticker, prices in self.prices.items():
            if only is None or ticker in only:
                self.small.prices(ticker, prices.loc[: self.sessions[night]])

    def now(self, night: int) -> datetime:
        """Half an hour after the close of a night's session, in UTC."""
        return closing_time("XNYS", self.sessions[night].date()).astimezone(UTC) + AFTER_CLOSE

    def tools(self, **changes: object) -> PassTools:
        """The csv source and a linear trainer; no accounts."""
        adapters: dict[str, object] = {
            "prices": lambda branch: CsvSource(self.small.root / "data" / "incoming"),
            "actions": lambda branch: None,
            "trainer": lambda branch, kind: self.small.trainer(kind, LinearTrainer()),
        }
        return PassTools(**{**adapters, **changes})  # type: ignore[arg-type]

    def context(self, night: int, *, dry_run: bool = False, **changes: object) -> PassContext:
        params = load_params(self.project)
        branches = load_branches(self.project, params)
        return PassContext(
            self.project, params, branches, self.now(night), self.tools(**changes), Silent(), dry_run=dry_run
        )

    def run(self, night: int, steps: Mapping[str, Step] = STEPS, **changes: object) -> PassResult:
        """Show the night's prices, and run a pass."""
        self.show(night)
        return run_pass(self.context(night, **changes), steps)
