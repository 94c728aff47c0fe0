"""The FastAPI app: every endpoint except infer, which `front` answers, and the OpenAPI document of all endpoints."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from mlops_cli import __version__
from mlops_cli.errors import MlopsError
from mlops_cli.serving.contract.messages import RUNGS
from mlops_cli.serving.http.counters import exposition
from mlops_cli.serving.http.forecast_endpoints import BarsBody, forecast_router
from mlops_cli.serving.http.front import Access, App, Front
from mlops_cli.serving.http.jobs.job_endpoints import job_router
from mlops_cli.serving.http.jobs.job_office import JobOffice
from mlops_cli.serving.http.nightly import nightly_facts
from mlops_cli.serving.http.refusals import RefusedError, refusal
from mlops_cli.serving.http.service import ERRORS, Service
from mlops_cli.serving.http.v2_endpoints import INFER_PATHS, InferAnswer, InferBody, v2_router

TITLE = "mlops serve"


def build(service: Service, access: Access, office: JobOffice | None = None) -> App:
    """The whole server as one ASGI callable; without an `office` it takes no requests for training."""
    bearer = [Depends(HTTPBearer(auto_error=False))] if access.tokens else []  # `Front` checks it; this is for /docs
    app = FastAPI(title=TITLE, version=__version__, redoc_url=None, redirect_slashes=False, dependencies=bearer)
    app.add_exception_handler(MlopsError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    for router in (v2_router(service), forecast_router(service), _about_router(service)):
        app.include_router(router)
    if office is not None:
        app.include_router(job_router(office))
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return Front(service.plane, app, service.counters, access, service.max_body)


def _about_router(service: Service) -> APIRouter:
    router = APIRouter(tags=["This server"])

    @router.get("/health", summary="Status, load level, how many models answer, and how they are doing")
    async def health() -> dict[str, Any]:
        index = service.plane.index()
        measures = service.plane.measures()
        level = int(measures["level"])
        return {
            "status": "unavailable" if service.plane.why_not_ready() else "overloaded" if level else "ok",
            "level": level,
            "rung": RUNGS[level],
            "models": len(service.plane.catalog.names()),
            "versions": len(index),
            "quarantined": {
                f"{entry.name}/{entry.version}": entry.reason for entry in index if entry.state == "QUARANTINED"
            },
            "unloaded": sorted(service.worker_files.unloaded()),
            "journal": await service.plane.forecasts.problem() or "ok",
            "repaired_prices": await asyncio.to_thread(service.plane.repaired_prices.warnings),
            **await asyncio.to_thread(nightly_facts, service.plane.project.live),
            "measures": measures,
        }

    @router.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        service.plane.forecasts.learn_ages(service.plane.catalog)
        service.worker_files.publish(service.counters, service.plane)
        return Response(
            exposition(*service.worker_files.everyone()), media_type="text/plain; version=1.0.0; charset=utf-8"
        )

    return router


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, MlopsError)
    status, headers, body = refusal(error)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5]]
    return await _refused(request, RefusedError(422, "; ".join(faults), "GET /docs shows what is expected"))


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = await _refused(
        request, RefusedError(error.status_code, f"{request.url.path[:200]}: {error.detail}", "see /docs")
    )
    answer.headers.update(error.headers or {})
    return answer


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        bodies = [(InferBody, "validation"), (InferAnswer, "serialization"), (BarsBody, "validation")]
        _, definitions = models_json_schema(bodies, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        document.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        errors = {str(status): _error_answer(about["description"]) for status, about in ERRORS.items()}
        for path, operation in INFER_PATHS.items():
            operation["responses"].update(errors)
            document["paths"][path] = {"post": operation}
        app.openapi_schema = document
    return app.openapi_schema


def _error_answer(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ErrorBody"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
