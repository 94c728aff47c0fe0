"""Open Inference Protocol v2 except inference itself: health, metadata, and the repository extension."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response
from pydantic import BaseModel

from mlops_cli import __version__
from mlops_cli.models.graph import INPUT, INTERVAL, OUTPUTS
from mlops_cli.serving.catalog.metadata import describe
from mlops_cli.serving.contract.messages import ModelFacts, UnservableError
from mlops_cli.serving.http.oip_tensors import FLOAT
from mlops_cli.serving.http.service import ERRORS, Service, checked, json_answer

Name = Annotated[str, Path(description="A model's name, or BRANCH/NAME if several branches have it")]
Version = Annotated[str, Path(description="A version as the repository index lists it: 12 hex digits")]


class InputTensor(BaseModel):
    """A tensor: `features` with all columns, or one tensor per column."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class RequestedOutput(BaseModel):
    """An output that the answer must contain: `log_return` or `raw_log_return`."""

    name: str
    parameters: dict[str, Any] | None = None


class InferBody(BaseModel):
    """Rows of feature values, in the order of the model's columns."""

    id: str | None = None
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] | None = None
    parameters: dict[str, Any] | None = None


class OutputTensor(BaseModel):
    """One number per row."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | None = None
    parameters: dict[str, Any] | None = None


class InferAnswer(BaseModel):
    """Forecasts. `parameters`: rung (degradation), model that answered, verdict on its skill, age in seconds."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any]
    outputs: list[OutputTensor]


def _operation(with_version: bool) -> dict[str, Any]:
    names = ["name", "version"] if with_version else ["name"]
    schema = {"$ref": "#/components/schemas/InferBody"}
    answer = {"$ref": "#/components/schemas/InferAnswer"}
    return {
        "tags": ["Open Inference Protocol v2"],
        "summary": "Forecast rows of feature values",
        "operationId": "infer_version" if with_version else "infer",
        "parameters": [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "Forecasts", "content": {"application/json": {"schema": answer}}}},
    }


INFER_PATHS = {
    "/v2/models/{name}/infer": _operation(with_version=False),
    "/v2/models/{name}/versions/{version}/infer": _operation(with_version=True),
}


def v2_router(service: Service) -> APIRouter:
    """Every endpoint of the protocol except infer."""
    router = APIRouter(tags=["Open Inference Protocol v2"], responses=ERRORS)
    _server_routes(router, service)
    _model_routes(router, service)
    return router


def _server_routes(router: APIRouter, service: Service) -> None:
    plane = service.plane

    @router.get("/v2", summary="Name, version and extensions of this server")
    async def server() -> dict[str, Any]:
        return {"name": "mlops", "version": __version__, "extensions": ["model_repository", "binary_tensor_data"]}

    @router.get("/v2/health/live", summary="Whether the process answers at all")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/v2/health/ready", summary="Whether the server is ready for requests")
    async def ready() -> Response:
        reason = plane.why_not_ready()
        if reason:
            raise UnservableError(reason, "GET /v2/repository/index tells the state of every model")
        return json_answer({"ready": True})

    async def index() -> Response:
        shown = ("name", "version", "state", "reason")
        return json_answer(
            [{key: getattr(entry, key) for key in shown if getattr(entry, key)} for entry in plane.index()]
        )

    router.post("/v2/repository/index", summary="Every version of every model, and why some do not answer")(index)
    router.get("/v2/repository/index", include_in_schema=False)(index)

    @router.post("/v2/repository/models/{name:path}/load", summary="Load a model now; also reverses an earlier unload")
    async def load(name: Name, _: Annotated[Any, Body()] = None) -> Response:
        await plane.load(checked(name))
        service.worker_files.mark_unloaded(name, False)
        return json_answer({})

    @router.post("/v2/repository/models/{name:path}/unload", summary="Unload a model until it is loaded again")
    async def unload(name: Name, _: Annotated[Any, Body()] = None) -> Response:
        await plane.unload(checked(name))
        service.worker_files.mark_unloaded(name, True)
        return json_answer({})


def _model_routes(router: APIRouter, service: Service) -> None:
    plane = service.plane  # the longer paths come first, because a name may hold a slash

    @router.get("/v2/models/{name:path}/versions/{version}/ready", summary="Whether this version answers")
    async def version_ready(name: Name, version: Version) -> Response:
        return _readiness(service, name, version)

    @router.get("/v2/models/{name:path}/versions/{version}", summary="Inputs, outputs and facts of this version")
    async def version_facts(name: Name, version: Version) -> Response:
        return json_answer(_metadata(describe(plane.catalog, checked(name), version)))

    @router.get("/v2/models/{name:path}/ready", summary="Whether the model answers")
    async def model_ready(name: Name) -> Response:
        return _readiness(service, name, None)

    @router.get("/v2/models/{name:path}", summary="Inputs, outputs and facts of a model")
    async def model_facts(name: Name) -> Response:
        return json_answer(_metadata(describe(plane.catalog, checked(name))))


def _readiness(service: Service, name: str, version: str | None) -> Response:
    if not service.plane.ready(checked(name), version):
        describe(service.plane.catalog, name, version)  # raises for unknown and quarantined models
        raise UnservableError(f"{name} is unloaded", f"POST /v2/repository/models/{name}/load")
    return json_answer({"name": name, "ready": True})


def _metadata(facts: ModelFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "versions": facts.versions,
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": FLOAT, "shape": [-1, len(facts.inputs)]}],
        "outputs": [{"name": output, "datatype": FLOAT, "shape": [-1]} for output in OUTPUTS]
        + [{"name": INTERVAL, "datatype": FLOAT, "shape": [-1, 2 * len(facts.levels)]} for _ in facts.levels[:1]],
        "parameters": {
            "columns": facts.inputs,
            "interval_columns": facts.inputs[len(facts.needed) :],
            "levels": facts.levels,
            "ticker": facts.ticker,
            "team": facts.team,
            "trained_until": facts.trained_until,
            "shrinkage": facts.shrinkage,
            "verdict": facts.verdict,
        },
    }
