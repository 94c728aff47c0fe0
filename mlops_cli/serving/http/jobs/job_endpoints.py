"""Endpoints of training on request: submit, look, follow, cancel, retry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as QueryParameter
from fastapi.responses import StreamingResponse

from mlops_cli.serving.contract.job_desk import JobState, JobView, SubmittedJobs
from mlops_cli.serving.contract.messages import BadInputError
from mlops_cli.serving.http.front import TEAM
from mlops_cli.serving.http.jobs.job_office import JobOffice
from mlops_cli.serving.http.service import ERRORS, ErrorBody, json_answer

MOST_LISTED = 1_000
_EXAMPLES = {
    "a ticker": {"value": {"team": "red", "ticker": "NVDA"}},
    "a whole config": {
        "value": {
            "team": "red",
            "ticker": "NVDA",
            "suffix": "wide",
            "features": {"returns": [1, 5, 20]},
            "ludwig": {"combiner": {"type": "concat", "output_size": 64}},
        }
    },
}
JOB_ERRORS: dict[int | str, dict[str, Any]] = {
    **{status: ERRORS[status] for status in (400, 401, 403, 413, 422)},
    404: {"model": ErrorBody, "description": "No such job, or it is another team's"},
    409: {"model": ErrorBody, "description": "The job has ended, or is running"},
    429: {"model": ErrorBody, "description": "Too many jobs are waiting (with Retry-After); nothing was stored"},
    503: {"model": ErrorBody, "description": "The queue cannot be used now (with Retry-After)"},
}

Number = Annotated[int, Path(ge=1, le=2**62, description="of the job")]
States = Annotated[list[JobState] | None, QueryParameter(description="only jobs in these states")]
Limit = Annotated[int, QueryParameter(ge=1, le=MOST_LISTED, description="most jobs to list")]
Team = Annotated[str | None, QueryParameter(max_length=64, description="only this team's; a team's token sets it")]


@dataclass(frozen=True)
class JobList:
    """Jobs, newest first."""

    jobs: list[JobView]


def job_router(office: JobOffice) -> APIRouter:
    """The endpoints below /jobs."""
    router = APIRouter(tags=["Training on request"], responses=JOB_ERRORS)
    _submission(router, office)
    _views(router, office)
    _stream(router, office)
    return router


def _submission(router: APIRouter, office: JobOffice) -> None:
    body = {"content": {"application/json": {"schema": {"type": "object"}, "examples": _EXAMPLES}}, "required": True}

    @router.post(
        "/jobs",
        status_code=202,
        summary="Ask for the training of a model, or of several",
        description="The keys of a model file: a ticker, or a whole config. 200: all of these jobs existed already.",
        response_model=SubmittedJobs,
        responses={200: {"model": SubmittedJobs, "description": "These jobs existed already"}},
        openapi_extra={"requestBody": body},
    )
    async def submit(request: Request) -> Response:
        submitted = await office.ask(office.desk.submit, team_of(request), _parsed(await request.body()))
        answer = json_answer(submitted)
        answer.status_code = 202 if submitted.new else 200
        if len(submitted.jobs) == 1:
            answer.headers["Location"] = f"/jobs/{submitted.jobs[0].job}"
        return answer


def _views(router: APIRouter, office: JobOffice) -> None:
    desk = office.desk

    @router.get("/jobs", summary="The newest jobs", response_model=JobList)
    async def jobs(request: Request, team: Team = None, state: States = None, limit: Limit = 100) -> Response:
        listed = await office.ask(desk.jobs, team_of(request) or team, state or [], limit)
        return json_answer(JobList(listed))

    @router.get("/jobs/{number}", summary="One job", response_model=JobView)
    async def job(request: Request, number: Number) -> Response:
        return json_answer(await office.ask(desk.job, number, team_of(request)))

    @router.post("/jobs/{number}/cancel", summary="Cancel a waiting or running job", response_model=JobView)
    async def cancel(request: Request, number: Number) -> Response:
        return json_answer(await office.ask(desk.cancel, number, team_of(request)))

    @router.post("/jobs/{number}/retry", summary="Let a dead or cancelled job wait again", response_model=JobView)
    async def retry(request: Request, number: Number) -> Response:
        return json_answer(await office.ask(desk.retry, number, team_of(request)))


def _stream(router: APIRouter, office: JobOffice) -> None:
    @router.get(
        "/jobs/{number}/events",
        summary="Follow a job: an event after each change, until it has ended",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(request: Request, number: Number) -> Response:
        views = await office.follow(number, team_of(request))
        about = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(views), media_type="text/event-stream", headers=about)


async def _events(views: AsyncIterator[JobView | None]) -> AsyncIterator[bytes]:
    """Server-sent events: `event: job` with the job as JSON, and comments as signs of life."""
    async for view in views:
        yield b": waiting\n\n" if view is None else b"event: job\ndata: " + orjson.dumps(view) + b"\n\n"


def team_of(request: Request) -> str | None:
    """The team whose token the request bears; None for the common token, and where no token is needed."""
    team: str | None = request.scope.get(TEAM)
    return team


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"the body is no JSON: {error}", 'send for example {"ticker": "NVDA"}') from None
