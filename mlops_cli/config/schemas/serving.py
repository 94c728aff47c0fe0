"""`serving:` of params.yaml: how `mlops serve` loads, routes, and bends under load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_cli.config.schemas.field_types import Slug, Strict

Weight = Annotated[float, Field(ge=0)]


class Bend(Strict):
    """One step of the degradation: taken at `enter_ms` of delay, left below `leave_ms` (hysteresis)."""

    enabled: bool = Field(True, description="whether this step is taken at all")
    enter_ms: float = Field(gt=0, description="taken when requests wait this long")
    leave_ms: float = Field(ge=0, description="left when they wait less than this")

    @model_validator(mode="after")
    def _leaves_below(self) -> Bend:
        if self.leave_ms >= self.enter_ms:
            raise ValueError(f"leave_ms ({self.leave_ms}) must be below enter_ms ({self.enter_ms})")
        return self


class SmallerModel(Bend):
    """(a) the small variant of a model answers, where it has one."""

    enter_ms: float = Field(20.0, gt=0, description="taken when requests wait this long")
    leave_ms: float = Field(10.0, ge=0, description="left when they wait less than this")


class CachedAnswer(Bend):
    """(b) an answer computed before is given again."""

    enter_ms: float = Field(50.0, gt=0, description="taken when requests wait this long")
    leave_ms: float = Field(25.0, ge=0, description="left when they wait less than this")
    entries: int = Field(10_000, ge=1, description="answers kept; the least recently used go first")
    ttl_seconds: float = Field(60.0, gt=0, description="an answer of the same version is given again so long")
    stale_seconds: float = Field(
        3600.0, ge=0, description="under the heaviest load older ones are given, up to this age"
    )


class DelayedAnswer(Bend):
    """(c) requests wait in a bounded queue; past the deadline they get 503 with Retry-After."""

    enter_ms: float = Field(100.0, gt=0, description="taken when requests wait this long")
    leave_ms: float = Field(50.0, ge=0, description="left when they wait less than this")
    queue: int = Field(1024, ge=1, description="requests that may wait")
    deadline_ms: float = Field(500.0, gt=0, description="longest wait of a request")


class Batching(Strict):
    """Concurrent requests to one model run as one."""

    max_rows: int = Field(1024, ge=1, description="rows of one run")
    max_wait_ms: float = Field(0.0, ge=0, le=100, description="longest wait for company; 0: only who is there already")


class Ensemble(Strict):
    """A weighted average of models of one ticker, served as a model of its own."""

    models: tuple[Slug, ...] = Field(min_length=2, description="names of models of one ticker")
    weights: Literal["equal", "inverse_mae"] | dict[Slug, Weight] = Field(
        "inverse_mae", description="equal, by inverse recent mean absolute error, or a number for each model"
    )
    sessions: int = Field(60, ge=5, description="how many sessions are recent, for inverse_mae")


class Promotion(Strict):
    """Whether a challenger takes the champion's place by itself."""

    auto: bool = Field(False, description="promote by measured skill once closes are known")
    sessions: int = Field(20, ge=20, description="known closes that both must have been judged on")
    level: float = Field(0.1, gt=0, lt=1, description="significance that the difference must reach")


class Serving(Strict):
    """How models are served."""

    memory_budget: int = Field(400, ge=1, description="MB of loaded models; the least recently used go first")
    pinned: tuple[str, ...] = Field((), description="globs over model names: never dropped from memory")
    prewarm: tuple[str, ...] = Field((), description="globs over model names: loaded before the first request")
    routes: dict[Slug, dict[str, Weight]] = Field(
        default_factory=dict, description="by model: weights of champion, challenger or versions"
    )
    shadow: dict[Slug, str] = Field(
        default_factory=dict, description="by model: champion, challenger or a version that runs along, unseen"
    )
    ensembles: dict[Slug, Ensemble] = Field(default_factory=dict, description="weighted averages, by name")
    keep_versions: int = Field(3, ge=1, le=100, description="versions of a model kept, the newest included")
    promotion: Promotion = Field(Promotion(), description="challenger into champion")
    smaller_model: SmallerModel = Field(SmallerModel(), description="first step under load")
    cached_answer: CachedAnswer = Field(CachedAnswer(), description="second step under load")
    delayed_answer: DelayedAnswer = Field(DelayedAnswer(), description="third step under load")
    batching: Batching = Field(Batching(), description="requests to one model run together")
    max_body_mb: float = Field(10.0, gt=0, description="largest request body")

    @model_validator(mode="after")
    def _steps_in_order(self) -> Serving:
        steps = (self.smaller_model, self.cached_answer, self.delayed_answer)
        delays = [step.enter_ms for step in steps if step.enabled]
        if delays != sorted(delays):
            raise ValueError("enter_ms must rise from smaller_model over cached_answer to delayed_answer")
        return self
