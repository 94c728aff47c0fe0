"""The newest forecasts of the teams' models, from updated prices and features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import ConfigError, MlopsError, bounded
from mlops_cli.evaluation.verdicts import verdict_of, verdicts
from mlops_cli.features.column_names import ANNOUNCED, WIDEST, width_columns
from mlops_cli.market.symbols import ticker_of
from mlops_cli.models.predict import Forecasts, Model
from mlops_cli.models.versions import answering_version
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.stage import Progress
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.actions.action_source import ActionSource
from mlops_cli.prices.cleaning.counts import read_repairs
from mlops_cli.prices.sources.source import PriceSource
from mlops_cli.trading.contract.types import Interval, TradeForecast
from mlops_cli.trading.passes.paper_pass import SessionForecasts

if TYPE_CHECKING:
    import pandas as pd

WITHOUT = ("none", "drift")
"""Bases that subtract no dividends."""
NOT_FETCHED = "dividends_not_fetched"
VOLATILITY_SESSIONS = 60
PRICE_DECIMALS = 4


@dataclass(frozen=True)
class _ModelForecast:
    """A model's newest forecast, or None; `failure`: why its data are not up to date, or why it has no forecast."""

    branch: str
    spec: ModelSpec
    forecast: TradeForecast | None
    failure: str


@dataclass
class NewestForecasts:
    """The newest forecasts of some branches. Updates prices, dividends and features once for all teams.

    `source` and `actions` make the sources of a branch's prices and of its dividends besides the prices, if any.
    """

    project: Project
    branches: Sequence[Branch]
    source: Callable[[Branch], PriceSource]
    progress: Progress
    actions: Callable[[Branch], ActionSource | None] = lambda _: None
    _failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def forecasts(self, team: str, rules: Rules, session: date, target: date) -> SessionForecasts:
        """The forecasts of a team's models, made after the close of `session` for the close of `target`."""
        made: list[TradeForecast] = []
        volatilities: dict[str, float] = {}
        missing: dict[str, str] = {}
        late: dict[str, str] = {}
        for newest in chain.from_iterable(self._newest(branch, team, rules) for branch in self.branches):
            forecast, model = newest.forecast, newest.spec.name
            if forecast is None:
                missing[model] = newest.failure
            elif (forecast.session, forecast.target_session) != (session, target):
                late[model] = newest.failure or f"its prices end on {forecast.session}"
            else:
                made.append(forecast)
                if rules.sizing == "inverse_volatility" and forecast.ticker not in volatilities:
                    volatilities[forecast.ticker] = recent_volatility(self.project, newest.branch, newest.spec.ticker)
        notes = list(chain.from_iterable(self._notes(branch, team, rules) for branch in self.branches))
        return SessionForecasts(made, volatilities, missing, late, notes)

    def _newest(self, branch: Branch, team: str, rules: Rules) -> Iterator[_ModelForecast]:
        specs = [spec for spec in branch.models if is_traded_by(spec, team, rules)]
        failures = self._update(branch) if specs else {}
        judged = verdicts(self.project.evaluation(branch.name)) if specs else {}
        for spec in specs:
            failure = failures.get(spec.name, "")
            try:
                forecast = _newest_forecast(self.project, branch.name, spec, judged)
            except MlopsError as error:
                hint = f"; {error.hint}" if error.hint else ""
                reason = error.message.removeprefix(f"{spec.name}: ") + hint
                yield _ModelForecast(branch.name, spec, None, failure or reason)
            else:
                yield _ModelForecast(branch.name, spec, forecast, failure)

    def _notes(self, branch: Branch, team: str, rules: Rules) -> list[str]:
        """Of which tickers the dividends could not be looked up; their forecasts use those that were seen before."""
        specs = [spec for spec in branch.models if is_traded_by(spec, team, rules) and spec.base not in WITHOUT]
        if not specs:
            return []
        tickers: dict[str, list[str]] = defaultdict(list)
        for repairs in read_repairs(self.project.prices(branch.name), {spec.ticker for spec in specs}):
            for reason in repairs.examples_of(NOT_FETCHED):
                tickers[reason].append(repairs.ticker)
        return [f"dividends of {bounded(names)}: {reason}" for reason, names in tickers.items()]

    def _update(self, branch: Branch) -> dict[str, str]:
        """Update prices and features once; return the failures by model."""
        if branch.name not in self._failures:
            fetched = ingest(
                self.project, branch, IngestSources(self.source(branch), self.actions(branch)), self.progress
            )
            built = featurize(self.project, branch, self.progress)
            self._failures[branch.name] = {
                failure.model: failure.reason for failure in [*built.failures, *fetched.failures]
            }
        return self._failures[branch.name]


def is_traded_by(spec: ModelSpec, team: str, rules: Rules) -> bool:
    """Whether a team trades on a model's forecasts."""
    return (
        spec.team == team
        and spec.small_of is None  # small models only replace others under load
        and any(fnmatchcase(spec.name, pattern) for pattern in rules.models)
    )


def _newest_forecast(
    project: Project, branch: str, spec: ModelSpec, judged: Mapping[tuple[str, str], str]
) -> TradeForecast:
    served = answering_version(project.model_root, branch, spec.name)
    model = Model(served.folder, served.manifest)
    table = read_table(project.features(branch), spec.name)
    if table is None or table.empty:
        raise ConfigError(f"{spec.name}: no features", "run: mlops featurize")
    row = table.iloc[[-1]]
    forecasts = model.forecasts(row)
    last = float(row["last_close"].iloc[0])
    return TradeForecast(
        model=spec.name,
        ticker=ticker_of(spec.ticker),
        team=spec.team,
        session=row.index[0].date(),
        target_session=row["target_session"].iloc[0].date(),
        last_close=Decimal(str(round(last, PRICE_DECIMALS))),
        log_return=float(forecasts.log_return[0]),
        version=model.manifest.version,
        verdict=verdict_of(judged, project.model_root, branch, spec.name, model.manifest.version),
        dividend=last * float(row[ANNOUNCED].iloc[0]) if ANNOUNCED in model.manifest.inputs else 0.0,
        intervals=_intervals(row, forecasts, model.manifest.levels),
    )


def _intervals(row: pd.DataFrame, forecasts: Forecasts, levels: tuple[float, ...]) -> tuple[Interval, ...]:
    """The intervals of a table of one row; a level without enough sessions for an interval is left out."""
    if forecasts.interval is None:
        return ()
    bounds = forecasts.interval[0].reshape(len(levels), 2).tolist()
    return tuple(
        Interval(level, lower, upper)
        for level, column, (lower, upper) in zip(levels, width_columns(levels), bounds, strict=True)
        if float(row[column].iloc[0]) < WIDEST
    )


def recent_volatility(project: Project, branch: str, ticker: str) -> float:
    """Standard deviation of the last one-day log returns of a ticker; NaN with too few prices."""
    bars = read_table(project.prices(branch), ticker)
    if bars is None or len(bars) < 3:
        return float("nan")
    import numpy as np

    return float(np.log(bars["close"].tail(VOLATILITY_SESSIONS + 1)).diff().std())
