"""The part `live` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_cli.config.schemas.field_types import StrictModel

RetrainReason = Literal["degraded", "drift", "new_data_restated"]


class LiveRetrain(StrictModel):
    """When `mlops live` trains a new version of a model on everything that is known."""

    max_age_sessions: int | None = Field(
        21, ge=1, description="sessions after which a version is too old; empty: age is no reason"
    )
    on: tuple[RetrainReason, ...] = Field(
        ("degraded", "drift", "new_data_restated"),
        description="other reasons: an alarm of its health, inputs that moved, corrected prices that it was trained on",
    )
    at_most: int = Field(
        200,
        ge=0,
        description="models that a pass trains, the sickest first; those that cannot forecast are trained in any case",
    )


class LiveJobs(StrictModel):
    """The queue of trainings on request."""

    lease_seconds: float = Field(
        120, ge=2, le=3600, description="a worker that shows no sign of life for so long has lost its jobs"
    )
    tries: int = Field(5, ge=1, le=100, description="failed tries after which a job is given up")
    at_once: int = Field(500, ge=1, le=10_000, description="most jobs that a worker trains together, as a fleet")
    waiting: int = Field(10_000, ge=1, description="most jobs that may wait; beyond that, requests are refused")
    waiting_of_team: int = Field(5_000, ge=1, description="most jobs of one team that may wait")


class Live(StrictModel):
    """How `mlops live` keeps models fresh."""

    retrain: LiveRetrain = Field(LiveRetrain(), description="when models are trained again")
    promotion: Literal["always", "tested"] = Field(
        "always",
        description="always: a fresh version answers unless it proves worse; tested: only after it proved better",
    )
    jobs: LiveJobs = Field(LiveJobs(), description="the queue of trainings on request")
