"""The floor of the serving benchmark: a minimal server over a dictionary of ONNX Runtime sessions.

`python tests/bench/serve_floor.py asgi|fastapi MODELS PORT` answers `POST /v2/models/NAME/infer` as the Open Inference
Protocol says, and checks nothing: no shape, no size, no token, no version. All models are loaded before it listens.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn

PREFIX, SUFFIX = "/v2/models/", "/infer"
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
JSON = (b"content-type", b"application/json")


class Floor:
    """The sessions, and how a request is answered."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.sessions = {
            path.parent.name: onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            for path in sorted(folder.glob("*/model.onnx"))
        }

    def answer(self, name: str, body: bytes) -> bytes:
        """The body of the response to a request body."""
        given = orjson.loads(body)["inputs"][0]
        rows = np.array(given["data"], dtype=np.float32).reshape(given["shape"])
        shrunk, raw = self.sessions[name].run(["log_return", "raw_log_return"], {"features": rows})
        outputs = [
            {"name": output, "datatype": "FP32", "shape": [len(values)], "data": values.tolist()}
            for output, values in (("log_return", shrunk), ("raw_log_return", raw))
        ]
        return orjson.dumps({"model_name": name, "outputs": outputs})


def bare(floor: Floor) -> Any:
    """A plain ASGI callable."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path: str = scope["path"]
        answer = floor.answer(path[len(PREFIX) : -len(SUFFIX)], body) if path.endswith(SUFFIX) else b"{}"
        headers = [JSON, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def fast(floor: Floor) -> Any:
    """The same in FastAPI, in the fastest way that was measured: raw request, raw response."""
    from fastapi import FastAPI, Request, Response

    app = FastAPI()

    async def ready() -> Response:
        return Response(b"{}", media_type="application/json")

    async def infer(name: str, request: Request) -> Response:
        return Response(floor.answer(name, await request.body()), media_type="application/json")

    # types are set by hand, because FastAPI could not resolve their names: they are imported in this function
    infer.__annotations__ |= {"name": str, "request": Request, "return": Response}
    ready.__annotations__ |= {"return": Response}
    app.get("/v2/health/ready")(ready)
    app.post("/v2/models/{name}/infer")(infer)
    return app


def main(stack: str, folder: Path, port: int) -> None:
    """Load all models, then serve until terminated."""
    app = {"asgi": bare, "fastapi": fast}[stack](Floor(folder))
    gc.collect()
    gc.freeze()
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", lifespan="off", log_level="warning", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
