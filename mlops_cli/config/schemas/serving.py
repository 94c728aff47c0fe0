"""`serving:` of params.yaml: how `mlops serve` loads models, routes requests, and degrades under load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_cli.config.schemas.field_types import Slug, StrictModel

Weight = Annotated[float, Field(ge=0)]


class LoadStep(StrictModel):
    """One step of degradation: it begins at `enter_ms` of delay and ends below `leave_ms` (hysteresis)."""

    enabled: bool = Field(True, description="whether this step is used")
    enter_ms: float = Field(gt=0, description="the step begins when requests wait this long")
    leave_ms: float = Field(ge=0, description="the step ends when requests wait less than this")

    @model_validator(mode="after")
    def _leaves_below(self) -> LoadStep:
        if self.leave_ms >= self.enter_ms:
            raise ValueError(f"leave_ms ({self.leave_ms}) must be below enter_ms ({self.enter_ms})")
        return self


class SmallerModel(LoadStep):
    """First step: the small variant of a model answers, if there is one."""

    enter_ms: float = Field(20.0, gt=0, description="the step begins when requests wait this long")
    leave_ms: float = Field(10.0, ge=0, description="the step ends when requests wait less than this")


class CachedAnswer(LoadStep):
    """Second step: an earlier answer to the same request is given again."""

    enter_ms: float = Field(50.0, gt=0, description="the step begins when requests wait this long")
    leave_ms: float = Field(25.0, ge=0, description="the step ends when requests wait less than this")
    entries: int = Field(10_000, ge=1, description="number of answers kept; the least recently used are dropped first")
    ttl_seconds: float = Field(60.0, gt=0, description="how long an answer of the same version may be given again")
    stale_seconds: float = Field(
        3600.0, ge=0, description="age up to which older answers may be given under the heaviest load"
    )


class DelayedAnswer(LoadStep):
    """Third step: requests wait in a bounded queue; after the deadline they get 503 with Retry-After."""

    enter_ms: float = Field(100.0, gt=0, description="the step begins when requests wait this long")
    leave_ms: float = Field(50.0, ge=0, description="the step ends when requests wait less than this")
    queue: int = Field(1024, ge=1, description="number of requests that may wait")
    deadline_ms: float = Field(500.0, gt=0, description="longest time that a request waits")


class Batching(StrictModel):
    """Concurrent requests for one model are answered in one run of the model."""

    max_rows: int = Field(1024, ge=1, description="largest number of rows in one run")
    max_wait_ms: float = Field(
        0.0,
        ge=0,
        le=100,
        description="how long a run waits for more requests; 0: it takes only those that are waiting already",
    )


class Ensemble(StrictModel):
    """A weighted average of models of one ticker, which is served like a model."""

    models: tuple[Slug, ...] = Field(min_length=2, description="names of models of one ticker")
    weights: Literal["equal", "inverse_mae"] | dict[Slug, Weight] = Field(
        "inverse_mae", description="equal, by the inverse of the recent mean absolute error, or a number for each model"
    )
    sessions: int = Field(60, ge=5, description="number of sessions that count as recent, for inverse_mae")


class Promotion(StrictModel):
    """Whether a challenger replaces the champion automatically."""

    auto: bool = Field(
        False, description="promote a challenger automatically when it has shown more skill on known closes"
    )
    sessions: int = Field(20, ge=20, description="number of known closes on which both must have been judged")
    level: float = Field(0.1, gt=0, lt=1, description="significance level that the difference must reach")


class Serving(StrictModel):
    """How `mlops serve` loads models and answers requests."""

    memory_budget: int = Field(
        400, ge=1, description="MB of memory for loaded models; the least recently used are dropped first"
    )
    pinned: tuple[str, ...] = Field((), description="globs over model names: never dropped from memory")
    prewarm: tuple[str, ...] = Field((), description="globs over model names: loaded before the first request")
    routes: dict[Slug, dict[str, Weight]] = Field(
        default_factory=dict, description="by model: shares of requests for champion, challenger or versions"
    )
    shadow: dict[Slug, str] = Field(
        default_factory=dict,
        description="by model: champion, challenger or a version that also runs on each request, only to be compared",
    )
    ensembles: dict[Slug, Ensemble] = Field(default_factory=dict, description="weighted averages, by name")
    keep_versions: int = Field(
        3, ge=1, le=100, description="number of versions of a model that are kept, the newest included"
    )
    promotion: Promotion = Field(Promotion(), description="automatic promotion of challengers")
    smaller_model: SmallerModel = Field(SmallerModel(), description="first step under load")
    cached_answer: CachedAnswer = Field(CachedAnswer(), description="second step under load")
    delayed_answer: DelayedAnswer = Field(DelayedAnswer(), description="third step under load")
    batching: Batching = Field(Batching(), description="answering several requests for one model in one run")
    max_body_mb: float = Field(10.0, gt=0, description="largest request body in MB")

    @model_validator(mode="after")
    def _steps_in_order(self) -> Serving:
        steps = (self.smaller_model, self.cached_answer, self.delayed_answer)
        delays = [step.enter_ms for step in steps if step.enabled]
        if delays != sorted(delays):
            raise ValueError("enter_ms must rise from smaller_model over cached_answer to delayed_answer")
        return self
