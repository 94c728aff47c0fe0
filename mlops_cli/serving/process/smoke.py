"""`mlops serve --smoke`: sends one request per model to the real app, without a network, and writes a file.

The file contains no times, so the same models and features always give the same bytes.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import orjson

from mlops_cli.config.load import load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.errors import MlopsError, ModelError
from mlops_cli.models.graph import INPUT, INTERVAL
from mlops_cli.models.manifest import GRAPH
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.serving.http.app import build
from mlops_cli.serving.http.front import Access, App
from mlops_cli.serving.http.oip_tensors import FLOAT
from mlops_cli.serving.http.request_bodies import Message
from mlops_cli.serving.http.worker_files import WorkerFiles
from mlops_cli.serving.process.worker import make_service
from mlops_cli.system.scratch_folders import scratch_folder

FILE = "serving.json"


def smoke(project: Project, models: str | None = None, allow_no_models: bool = False) -> dict[str, Any]:
    """Load every model, send it one request, and write `serving.json` in the project's folder.

    With `allow_no_models`, no model is not an error: the file is then written without models. An earlier DVC stage has
    reported why there are none.
    The file holds `models` (name, version, the answer to a row of zeros, and the latest forecast where the model has a
    feature table) and `failures` (name: why).

    Raises:
        ModelError: there is no model.
    """
    settings = _without_degradation(load_params(project).serving)
    plane = DataPlane(project, settings, models)
    with scratch_folder("mlops-serve-") as folder:
        service = make_service(plane, settings, WorkerFiles(folder))
        answers = asyncio.run(_ask_all(plane, build(service, Access()), allow_no_models))
        service.close()
    (project.root / FILE).write_text(json.dumps(answers, indent=2, sort_keys=True) + "\n")
    return answers


def _without_degradation(settings: Serving) -> Serving:
    """The settings without degradation, so that load on the machine does not change the answers."""
    steps = ("smaller_model", "cached_answer", "delayed_answer")
    return settings.model_copy(
        update={step: getattr(settings, step).model_copy(update={"enabled": False}) for step in steps}
    )


async def _ask_all(plane: DataPlane, app: App, allow_no_models: bool) -> dict[str, Any]:
    await plane.start()
    try:
        names = plane.catalog.names()
        if not names and not allow_no_models:
            raise ModelError("there is no model to serve", "train some first: mlops run")
        latest = {forecast["model"]: forecast for forecast in (await call(app, "GET", "/forecasts"))[1]["forecasts"]}
        answers: dict[str, Any] = {"models": [], "failures": {}}
        for name in names:
            answer = await _ask_one(app, name, _hash(plane, name))
            if "error" in answer:
                answers["failures"][name] = answer["error"]
            else:
                answers["models"].append({**answer, "latest": _timeless(latest.get(name))})
        return answers
    finally:
        await plane.stop()


def _hash(plane: DataPlane, name: str) -> str | None:
    """sha256 of the model's graph; None for ensembles and quarantined models, which have none."""
    try:
        return str(plane.features_of(name).files[GRAPH])
    except MlopsError:
        return None


async def _ask_one(app: App, name: str, sha256: str | None) -> dict[str, Any]:
    path = f"/v2/models/{quote(name)}"
    status, about = await call(app, "GET", path)
    if status != 200:
        return {"error": str(about["error"])}
    columns = about["parameters"]["columns"]
    values = [1.0 if column == "close" else 0.0 for column in columns]  # a forecast of prices is divided by the close
    row = {"name": INPUT, "datatype": FLOAT, "shape": [1, len(columns)], "data": values}
    outputs = [{"name": output["name"]} for output in about["outputs"]]
    status, answer = await call(app, "POST", f"{path}/infer", {"inputs": [row], "outputs": outputs})
    if status != 200:
        return {"error": str(answer["error"])}
    data_of = {output["name"]: output["data"] for output in answer["outputs"]}
    return {
        "name": name,
        "version": answer["model_version"],
        "sha256": sha256,
        "zeros": {name: data if name == INTERVAL else data[0] for name, data in data_of.items()},
    }


def _timeless(forecast: dict[str, Any] | None) -> dict[str, Any] | None:
    if forecast is None:
        return None
    # the verdict comes from the stage evaluate; DVC does not run this stage again if only the verdict changes
    left_out = {"age", "rung", "verdict", "source", "issued_at", "superseded", "data_age_sessions", "stale"}
    return {key: value for key, value in forecast.items() if key not in left_out}


async def call(app: App, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send a request to an ASGI app in this process; the status, and the JSON of the answer."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"smoke"), (b"content-type", b"application/json")],
        "client": None,
        "server": None,
    }
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"" if body is None else orjson.dumps(body), "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer["status"] = message["status"]
        else:
            answer["body"] += message.get("body", b"")

    await app(scope, receive, send)
    return answer["status"], orjson.loads(answer["body"])
