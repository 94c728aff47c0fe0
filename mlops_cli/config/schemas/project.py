"""What may stand in the YAML files, as frozen pydantic models; unknown keys are refused.

Resolved forms (`ModelSpec`, `FeatureSpec`, `Scenario`, `Params`) are what the other rooms work with; `ModelFile` is
one file of `configs/` before it is expanded into one `ModelSpec` per ticker.

A field's description is what `mlops config schema` and docs/configuration.md say about it.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mlops_cli.config.schemas.field_types import BranchName, Expect, Slug, Strict, Ticker
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.config.schemas.trading import Trading

Periods = tuple[Annotated[int, Field(ge=1, le=1000)], ...]


def slug(text: str) -> str:
    """Lower-case `text` and replace what is not safe in a folder name.

    >>> slug("red/BRK.B")
    'red-brk.b'
    """
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "x"


def branch_slug(text: str) -> str:
    """The name of the branch of params.yaml for `text`: a slug without dots.

    >>> branch_slug("red/BRK.B")
    'red-brk-b'
    """
    return slug(text).replace(".", "-")


class Macd(Strict):
    """Spans of the moving average convergence/divergence, in sessions."""

    fast: int = Field(12, ge=2, description="span of the fast average")
    slow: int = Field(26, ge=3, description="span of the slow average")
    signal: int = Field(9, ge=2, description="span of the signal line")

    @model_validator(mode="after")
    def _fast_below_slow(self) -> Macd:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be shorter than slow ({self.slow})")
        return self


class FeatureSpec(Strict):
    """A feature set: each list holds window lengths in sessions.

    `history: N` adds the last N one-day log returns (oldest first) for sequence encoders.
    """

    returns: Periods = Field((), description="log return of the close over the last N sessions")
    ranges: bool = Field(False, description="the day's high/low, open/close, and where the close lies between them")
    moving_averages: Periods = Field((), description="close over its simple moving average")
    rsi: Periods = Field((), description="relative strength index")
    macd: Macd | None = Field(None, description="moving average convergence/divergence; `macd: {}` for 12, 26, 9")
    volatility: Periods = Field((), description="standard deviation of one-day log returns")
    volume: Periods = Field((), description="volume over its mean")
    calendar: tuple[Literal["day_of_week", "month", "days_to_next_session"], ...] = Field(
        (), description="facts of the date"
    )
    history: int = Field(0, ge=0, le=500, description="the last N one-day log returns, for sequence encoders")

    @model_validator(mode="after")
    def _not_empty(self) -> FeatureSpec:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("a feature set needs at least one feature, e.g. returns: [1, 5]")
        return self


Target = Literal["log_return", "close"]
TrainerKind = Literal["ludwig", "naive", "drift"]
# strict: YAML's true is no number of sessions
Retrain = Annotated[
    Literal["never", "monthly", "quarterly"] | Annotated[int, Field(strict=True, ge=1)],
    Expect("never, monthly, quarterly or a whole number of sessions of at least 1"),
]
Strategy = Literal["auto", "sequential", "fleet", "ddp", "fsdp"]


class Defaults(Strict):
    """What both `configs/base.yaml` and a model file may say; the model file wins."""

    exchange: str = Field("XNYS", description="calendar code of the exchange (ISO 10383 MIC), e.g. XNYS, XETR")
    trainer: TrainerKind = Field("ludwig", description="what learns; naive and drift are baselines")
    features: Annotated[str, Expect("the name of a feature set")] | FeatureSpec = Field(
        "standard", description="name of a feature set, or one written out here"
    )
    target: Target = Field("log_return", description="what is learnt: the next session's log return, or its close")
    ludwig: dict[str, Any] = Field(default_factory=dict, description="any part of a plain Ludwig config")


class Small(Strict):
    """What differs in a model's small variant, which answers for it under load."""

    trainer: TrainerKind | None = Field(None, description="instead of the model's own")
    features: Annotated[str, Expect("the name of a feature set")] | None = Field(
        None, description="instead of the model's own: a set of columns that the model has too"
    )
    ludwig: dict[str, Any] = Field(default_factory=dict, description="laid over the model's own Ludwig config")

    @model_validator(mode="after")
    def _differs(self) -> Small:
        if not self.model_fields_set:
            raise ValueError("say what differs, e.g. small: {ludwig: {combiner: {output_size: 8}}}")
        return self


class ModelFile(Defaults):
    """One YAML file of a collection: one or many tickers of one team."""

    team: Slug = Field(description="first part of the models' names")
    ticker: Ticker | None = Field(None, description="the one ticker; or give tickers")
    tickers: tuple[Ticker, ...] = Field((), description="many tickers: one model for each")
    pool: bool = Field(False, description="the tickers train one model together, with the ticker as an input of it")
    suffix: Slug | None = Field(None, description="last part of the models' names, where a team has two on a ticker")
    small: Small | None = Field(
        None, description="what differs in a further model, MODEL-small, that answers under load"
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
        """The tickers as given, upper-case, in order, without repeats."""
        return tuple(dict.fromkeys(t.upper() for t in (self.tickers or (self.ticker,)) if t))


class BaseFile(Defaults):
    """`configs/base.yaml`: defaults shared by every model, and the named feature sets."""

    feature_sets: dict[str, FeatureSpec] = Field(default_factory=dict, description="feature sets by name")


class ModelSpec(Strict):
    """One model, fully resolved."""

    name: Slug
    team: Slug
    ticker: Ticker
    exchange: str
    trainer: TrainerKind
    features: FeatureSpec
    target: Target
    ludwig: dict[str, Any] = Field(default_factory=dict)
    pool: tuple[Ticker, ...] = Field((), description="tickers that train one model together with this one, itself too")
    small: Slug | None = Field(None, description="name of its small variant")
    small_of: Slug | None = Field(None, description="name of the model that this is the small variant of")
    file: str = Field("", description="where it was written, for messages; no part of the fingerprint")


class Source(Strict):
    """Where prices come from."""

    kind: Literal["sample", "csv", "yfinance"] = Field("sample", description="which source")
    folder: Path = Field(Path("data/incoming"), description="folder of the csv and parquet files of source csv")


class Period(Strict):
    """Sessions to fetch: first and last day, both included; empty means all there is."""

    start: date | None = Field(None, description="first day of prices, in quotes")
    end: date | None = Field(None, description="last day of prices, in quotes")

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}")
        return self


class Training(Strict):
    """How models are trained. Rows counted in sessions."""

    validation_sessions: int = Field(252, ge=20, description="sessions before the held-out time that validate")
    min_sessions: int = Field(300, ge=60, description="train + validation rows a ticker needs")
    shrinkage: Literal["pooled"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "pooled", description="forecasts are multiplied by it: chosen on the validation sessions, or a number"
    )
    strategy: Strategy = Field(
        "auto", description="how Ludwig models train: together in fleets, one after another, or over several devices"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: fleets and ddp use CUDA where there is any"
    )
    bf16: bool = Field(False, description="on CUDA, fleets multiply in bfloat16: faster, less exact")
    workers: int | None = Field(None, ge=1, le=1024, description="training processes; empty: one per core or GPU")
    memory_gb: float | None = Field(
        None, gt=0, description="no further training process starts beyond it; empty: what the machine has free"
    )
    executor: Literal["local", "ray"] = Field("local", description="where training processes run")
    ray_address: str | None = Field(
        None, description="ray://HOST:PORT or HOST:PORT of a Ray cluster; empty: one on this machine for the run"
    )
    median_stopping: int | None = Field(
        None,
        ge=1,
        description="from this epoch on, models worse than the median of their fleet stop early; empty: never",
    )


class SimulationChoice(Strict):
    """Which scenario of `simulation/` holds the time that no model may see."""

    scenario: Slug = Field("demo", description="name of a file of simulation/, without .yaml")
    retrain: Retrain = Field(
        "never", description="train anew while the scenario goes on, every month, quarter or N sessions, and compare"
    )


class BranchSpec(Strict):
    """A named part of the collection with a pipeline of its own, and what it overrides."""

    collection: tuple[str, ...] = Field(min_length=1, description="files, folders and globs under configs/")
    only: tuple[str, ...] = Field((), description="globs over model names: take these alone")
    exclude: tuple[str, ...] = Field((), description="globs over model names: leave these out")
    source: dict[str, Any] = Field(default_factory=dict, description="what differs from source below")
    period: dict[str, Any] = Field(default_factory=dict, description="what differs from period below")
    training: dict[str, Any] = Field(default_factory=dict, description="what differs from training below")
    seed: int | None = Field(None, ge=0, lt=2**31, description="instead of seed above")

    @field_validator("collection", "only", "exclude", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Params(Strict):
    """`params.yaml`."""

    seed: int = Field(7, ge=0, lt=2**31, description="start of everything random")
    branches: dict[BranchName, BranchSpec] = Field(default_factory=dict, description="parts of the collection by name")
    source: Source = Field(Source(), description="where prices come from")
    period: Period = Field(Period(), description="sessions to fetch; empty means all there is")
    training: Training = Field(Training(), description="how models are trained")
    simulation: SimulationChoice = Field(SimulationChoice(), description="the held-out time")
    serving: Serving = Field(Serving(), description="how models are served")
    trading: Trading = Field(Trading(), description="how the teams trade")


class Scenario(Strict):
    """`simulation/<name>.yaml`: held-out time, and which models to replay.

    Forecasts are judged on target sessions in [start, start + days); nothing from `start` on is ever trained on.
    """

    start: date = Field(description="first day that no model may see")
    days: int = Field(180, ge=1, description="calendar days")
    models: tuple[str, ...] = Field(("*",), description="globs over model names: which to replay")

    @property
    def end(self) -> date:
        """The day after the last target session may fall on."""
        return self.start + timedelta(days=self.days)
