"""The schemas of the YAML files, as frozen pydantic models; unknown keys are refused.

The rest of the program uses the resolved forms (`ModelSpec`, `FeatureSpec`, `Scenario`, `Params`). `ModelFile` is one
file of `configs/`, before it is expanded into one `ModelSpec` per ticker.

The descriptions of the fields appear in `mlops config schema` and docs/configuration.md.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mlops_cli.config.schemas.field_types import BranchName, Expect, Slug, StrictModel, Ticker
from mlops_cli.config.schemas.intervals import Intervals
from mlops_cli.config.schemas.live import Live
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.config.schemas.source import Source
from mlops_cli.config.schemas.trading import Trading

Periods = tuple[Annotated[int, Field(ge=1, le=1000)], ...]


def slug(text: str) -> str:
    """`text` in lower case, with what is not safe in a folder name replaced by `-`.

    >>> slug("red/BRK.B")
    'red-brk.b'
    """
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "x"


def branch_slug(text: str) -> str:
    """`text` as the name of a branch of params.yaml: a slug without dots.

    >>> branch_slug("red/BRK.B")
    'red-brk-b'
    """
    return slug(text).replace(".", "-")


class Macd(StrictModel):
    """Spans of the moving average convergence/divergence, in sessions."""

    fast: int = Field(12, ge=2, description="span of the fast average")
    slow: int = Field(26, ge=3, description="span of the slow average")
    signal: int = Field(9, ge=2, description="span of the signal line")

    @model_validator(mode="after")
    def _fast_below_slow(self) -> Macd:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be shorter than slow ({self.slow})")
        return self


class FeatureSpec(StrictModel):
    """A feature set: each list holds window lengths in sessions.

    `history: N` adds the last N one-day log returns (oldest first) for sequence encoders.
    """

    returns: Periods = Field((), description="log return of the close over the last N sessions")
    ranges: bool = Field(
        False, description="the day's high/low and close/open, and the place of the close between low and high"
    )
    moving_averages: Periods = Field((), description="close relative to its simple moving average over N sessions")
    rsi: Periods = Field((), description="relative strength index over N sessions")
    macd: Macd | None = Field(None, description="moving average convergence/divergence; `macd: {}` for 12, 26, 9")
    volatility: Periods = Field((), description="standard deviation of the one-day log returns of N sessions")
    volume: Periods = Field((), description="volume relative to its mean over the N sessions before")
    calendar: tuple[Literal["day_of_week", "month", "days_to_next_session"], ...] = Field(
        (), description="what the date says: weekday, month, days to the next session"
    )
    history: int = Field(0, ge=0, le=500, description="the last N one-day log returns, for sequence encoders")

    @model_validator(mode="after")
    def _not_empty(self) -> FeatureSpec:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("a feature set needs at least one feature, e.g. returns: [1, 5]")
        return self


Target = Literal["log_return", "close"]
Base = Literal["none", "drift", "dividend", "drift_dividend"]
BaseChoice = Literal["auto"] | Base
TrainerKind = Literal["ludwig", "naive", "drift"]
# strict: otherwise YAML's true would count as 1 session
Retrain = Annotated[
    Literal["never", "monthly", "quarterly", "yearly"] | Annotated[int, Field(strict=True, ge=1)],
    Expect("never, monthly, quarterly, yearly or a whole number of sessions of at least 1"),
]
Strategy = Literal["auto", "sequential", "fleet", "ddp", "fsdp"]


class Defaults(StrictModel):
    """Keys of both `configs/base.yaml` and a model file; the model file wins."""

    exchange: str = Field("XNYS", description="calendar code of the exchange (ISO 10383 MIC), e.g. XNYS, XETR")
    trainer: TrainerKind = Field(
        "ludwig", description="what makes the forecasts; naive and drift are baselines, which are not trained"
    )
    features: Annotated[str, Expect("the name of a feature set")] | FeatureSpec = Field(
        "standard", description="name of a feature set of configs/base.yaml, or the keys of one"
    )
    target: Target = Field("log_return", description="what is forecast: the next session's log return, or its close")
    base: BaseChoice = Field(
        "auto",
        description="forecast that the model is shrunk to: the last close, plus the drift of total returns, less the "
        "announced dividend; auto: drift_dividend where the dividends of the ticker are known, else none",
    )
    ludwig: dict[str, Any] = Field(default_factory=dict, description="any part of a Ludwig config")


class SmallVariant(StrictModel):
    """How a model's small variant, which replaces it under load, differs from the model."""

    trainer: TrainerKind | None = Field(None, description="trainer of the small variant, if another")
    features: Annotated[str, Expect("the name of a feature set")] | None = Field(
        None, description="feature set of the small variant, if another; the model must have all its columns"
    )
    ludwig: dict[str, Any] = Field(default_factory=dict, description="merged over the model's Ludwig config")

    @model_validator(mode="after")
    def _differs(self) -> SmallVariant:
        if not self.model_fields_set:
            raise ValueError("say what differs, e.g. small: {ludwig: {combiner: {output_size: 8}}}")
        return self


class ModelFile(Defaults):
    """One YAML file of a collection: one or many tickers of one team."""

    team: Slug = Field(description="first part of the models' names")
    ticker: Ticker | None = Field(None, description="the ticker, if there is only one; otherwise use tickers")
    tickers: tuple[Ticker, ...] = Field((), description="the tickers; each gets a model")
    pool: bool = Field(False, description="the tickers share one training, with the ticker as an input of the model")
    suffix: Slug | None = Field(
        None, description="last part of the models' names; needed if a team has two models of one ticker"
    )
    small: SmallVariant | None = Field(
        None, description="adds a small variant MODEL-small, which answers under load, and says how it differs"
    )

    @model_validator(mode="after")
    def _has_tickers(self) -> ModelFile:
        if (self.ticker is None) == (not self.tickers):
            raise ValueError("give either ticker: AAPL or tickers: [AAPL, MSFT]")
        if self.pool and len(self.all_tickers) < 2:
            raise ValueError("pool: true needs two tickers or more, e.g. tickers: [AAPL, MSFT]")
        return self

    @property
    def all_tickers(self) -> tuple[str, ...]:
        """The tickers in upper case, in the order of the file, without repeats."""
        return tuple(dict.fromkeys(t.upper() for t in (self.tickers or (self.ticker,)) if t))


class BaseFile(Defaults):
    """`configs/base.yaml`: defaults of all models, and the named feature sets."""

    feature_sets: dict[str, FeatureSpec] = Field(default_factory=dict, description="feature sets by name")


class ModelSpec(StrictModel):
    """One model with all its settings resolved."""

    name: Slug
    team: Slug
    ticker: Ticker
    exchange: str
    trainer: TrainerKind
    features: FeatureSpec
    target: Target
    base: BaseChoice = "auto"
    ludwig: dict[str, Any] = Field(default_factory=dict)
    pool: tuple[Ticker, ...] = Field(
        (), description="tickers that share one training, the model's own included; empty: not pooled"
    )
    small: Slug | None = Field(None, description="name of its small variant")
    small_of: Slug | None = Field(None, description="name of the model whose small variant this is")
    file: str = Field("", description="the file that defines it, for messages; not part of the fingerprint")


class Period(StrictModel):
    """Sessions to fetch: first and last day, both included; empty: all that exist."""

    start: date | None = Field(None, description="first day of prices, in quotes")
    end: date | None = Field(None, description="last day of prices, in quotes")

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}")
        return self


class Training(StrictModel):
    """How models are trained. Rows are counted in sessions."""

    validation_sessions: int = Field(
        252, ge=20, description="number of sessions before the held-out time that are used for validation"
    )
    min_sessions: int = Field(300, ge=60, description="training and validation rows that a ticker needs at least")
    shrinkage: Literal["pooled"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "pooled", description="factor that forecasts are multiplied by; pooled: chosen on the validation sessions"
    )
    strategy: Strategy = Field(
        "auto",
        description="how Ludwig models are trained: many at once (fleet), one by one, or each on several devices",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: fleet and ddp use CUDA if there is a GPU")
    bf16: bool = Field(False, description="on CUDA, fleets multiply in bfloat16, which is faster and less exact")
    workers: int | None = Field(
        None, ge=1, le=1024, description="number of training processes; empty: one per core or GPU"
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="no more training processes are started above this; empty: the free memory of the machine",
    )
    executor: Literal["local", "ray"] = Field(
        "local", description="where training processes run: on this machine or on a Ray cluster"
    )
    ray_address: str | None = Field(
        None, description="ray://HOST:PORT or HOST:PORT of a Ray cluster; empty: start one on this machine for the run"
    )
    median_stopping: int | None = Field(
        None,
        ge=1,
        description="from this epoch on, models that are worse than the median of their fleet stop; empty: never",
    )


class SimulationChoice(StrictModel):
    """Which scenario of `simulation/` defines the held-out time, and whether models are retrained in it."""

    scenario: Slug = Field("demo", description="name of a file in simulation/, without .yaml")
    retrain: Retrain = Field(
        "never",
        description="retrain in the held-out time, every month, quarter, year or N sessions, and report the difference",
    )


class BranchSpec(StrictModel):
    """A named part of the collection with its own pipeline, and the settings it overrides."""

    collection: tuple[str, ...] = Field(min_length=1, description="files, folders and globs under configs/")
    only: tuple[str, ...] = Field((), description="globs over model names: only these models")
    exclude: tuple[str, ...] = Field((), description="globs over model names: not these models")
    source: dict[str, Any] = Field(default_factory=dict, description="keys of source that differ in this branch")
    period: dict[str, Any] = Field(default_factory=dict, description="keys of period that differ in this branch")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of training that differ in this branch")
    intervals: dict[str, Any] = Field(default_factory=dict, description="keys of intervals that differ in this branch")
    seed: int | None = Field(None, ge=0, lt=2**31, description="seed of this branch; empty: the common one")

    @field_validator("collection", "only", "exclude", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Params(StrictModel):
    """`params.yaml`: what is run, and how."""

    seed: int = Field(7, ge=0, lt=2**31, description="seed of all random numbers")
    branches: dict[BranchName, BranchSpec] = Field(default_factory=dict, description="parts of the collection, by name")
    source: Source = Field(Source(), description="where prices come from")
    period: Period = Field(Period(), description="sessions to fetch; empty: all that exist")
    training: Training = Field(Training(), description="how models are trained")
    intervals: Intervals = Field(Intervals(), description="the prediction intervals of forecasts")
    simulation: SimulationChoice = Field(SimulationChoice(), description="the held-out time")
    serving: Serving = Field(Serving(), description="how models are served")
    trading: Trading = Field(Trading(), description="how the teams trade")
    live: Live = Field(Live(), description="how `mlops live` keeps models fresh")


class Scenario(StrictModel):
    """`simulation/<name>.yaml`: the held-out time, and which models to replay.

    Forecasts are judged on target sessions in [start, start + days). No data from `start` on is used for training.
    """

    start: date = Field(description="first day that no model may see")
    days: int = Field(180, ge=1, description="length of the held-out time in calendar days")
    models: tuple[str, ...] = Field(("*",), description="globs over model names: the models to replay")

    @model_validator(mode="after")
    def _ends(self) -> Scenario:
        if self.days > (date.max - self.start).days:
            raise ValueError(f"start {self.start} and days {self.days} reach beyond the year {date.max.year}")
        return self

    @property
    def end(self) -> date:
        """The first day after the held-out time."""
        return self.start + timedelta(days=self.days)
