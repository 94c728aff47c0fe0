"""Requests and answers of the Open Inference Protocol v2: JSON, and the binary extension that Triton's clients use.

Sources: https://github.com/kserve/open-inference-protocol (inference_rest.md) and Triton's
protocol/extension_binary_data.md: the JSON header is `Inference-Header-Content-Length` bytes long; after it come the
values of every tensor with a `binary_data_size`, in the order of the tensors, little-endian.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson

from mlops_cli.models.graph import INPUT, INTERVAL, OUTPUT, OUTPUTS, RAW_OUTPUT
from mlops_cli.serving.contract.messages import Answer, BadInputError, ModelFacts, Rows
from mlops_cli.serving.http.oip_tensors import (
    FLOAT,
    SAFE_SQUARES,
    SHAPE_HINT,
    BinaryData,
    join_columns,
    read_tensor,
    shown,
    split_body,
)
from mlops_cli.serving.http.request_bodies import JsonLimits, check_json

_DIMENSIONS = 2
_LONGEST_ID = 1000  # characters
_PLAIN_TENSOR = (INPUT, FLOAT, 4)  # name, datatype, and how many keys: these two, shape, and data
_PLAIN = b'%s%r},"outputs":[{"name":"' + OUTPUT.encode() + b'","datatype":"FP32","shape":[%d],"data":%s},{"name":"'
_PLAIN += RAW_OUTPUT.encode() + b'","datatype":"FP32","shape":[%d],"data":%s}]}'


class InferRequest(NamedTuple):
    """A request, read.

    Attributes:
        rows: float32 (n, columns), finite, n >= 1 and at most `Limits.rows`.
        outputs: names of the requested outputs, and whether their values are sent as binary data. The intervals come
            only if they are asked for by name.
    """

    rows: Rows
    id: str | None
    outputs: tuple[tuple[str, bool], ...]

    @property
    def interval(self) -> bool:
        """Whether the intervals are asked for."""
        return self.outputs is not _JSON_OUTPUTS and any(name == INTERVAL for name, _ in self.outputs)


KNOWN_OUTPUTS = (*OUTPUTS, INTERVAL)
_JSON_OUTPUTS = tuple((name, False) for name in OUTPUTS)
_BINARY_OUTPUTS = tuple((name, True) for name in OUTPUTS)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask for, so that memory and time stay in proportion to the largest body.

    Attributes:
        json: of its JSON part.
        rows: forecasts in one answer.
    """

    json: JsonLimits
    rows: int

    @classmethod
    def of(cls, largest_body: int) -> Limits:
        """The limits where bodies have at most `largest_body` bytes."""
        # a number takes 60 bytes of memory while it is read; with all its digits, it has 20 bytes of text
        return cls(JsonLimits(max(10_000, largest_body // 20), 20_000), max(10_000, largest_body // 40))


_USUAL_LIMITS = Limits.of(10_000_000)


def decode(
    body: bytes, header_length: bytes | None, columns: Callable[[], ModelFacts], limits: Limits = _USUAL_LIMITS
) -> InferRequest:
    """Read a request whose JSON part has this length (None: all of it is JSON).

    `columns` describes the model, whose input columns are in order; it is called only where tensors are named after
    columns.

    Raises:
        BadInputError: says what was expected.
    """
    header, binary = (body, None) if header_length is None else split_body(body, header_length)
    check_json(header, limits.json, "send the rows in several requests, or as binary data")
    try:
        request = orjson.loads(header)
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"the body is no JSON: {error}", SHAPE_HINT) from None
    # what holds `true` or `false` is read carefully: an array would take them for numbers
    rows = None if b"true" in header or b"false" in header else _plain_rows(request)
    decoded = _decode_any(request, binary, columns) if rows is None else InferRequest(rows, None, _JSON_OUTPUTS)
    if len(decoded.rows) > limits.rows:
        text = f"{len(decoded.rows)} rows, at most {limits.rows} in one request"
        raise BadInputError(text, "send them in several requests, or as a file to /transform")
    return decoded


def _decode_any(request: Any, binary: BinaryData | None, columns: Callable[[], ModelFacts]) -> InferRequest:
    """Read a request of any form that the protocol allows; arguments and errors as in `decode`."""
    inputs = _tensors(request)
    request_id = request.get("id")
    if request_id is not None and (type(request_id) is not str or len(request_id) > _LONGEST_ID):
        raise BadInputError(f"id: expected text of at most {_LONGEST_ID} characters")
    outputs = _requested_outputs(request)
    if len(inputs) == 1 and inputs[0].get("name") == INPUT:
        rows = read_tensor(inputs[0], binary)
        if rows.ndim != _DIMENSIONS:
            raise BadInputError(f"input {INPUT!r}: shape {list(rows.shape)}, expected [rows, columns]", SHAPE_HINT)
    else:
        rows = join_columns(inputs, binary, columns())
    if binary is not None:
        binary.check_end()
    return InferRequest(rows, request_id, outputs)


def _tensors(request: Any) -> list[dict[str, Any]]:
    inputs = request.get("inputs") if type(request) is dict else None
    if type(inputs) is not list or not inputs or not all(type(tensor) is dict for tensor in inputs):
        raise BadInputError("the body has no list of tensors `inputs`", SHAPE_HINT)
    return inputs


def encode(name: str, answer: Answer, request: InferRequest) -> tuple[bytes, int | None]:
    """The body that answers a request, and the length of its JSON part if binary values follow it, else None."""
    if request.outputs is _JSON_OUTPUTS and request.id is None:
        return _plain_answer(name, answer), None
    outputs: list[dict[str, Any]] = []
    values: list[bytes] = []
    for output, binary in request.outputs:
        data = _values(answer, output)
        tensor: dict[str, Any] = {"name": output, "datatype": FLOAT, "shape": list(data.shape)}
        if binary:
            values.append(data.astype("<f4", copy=False).tobytes())
            tensor["parameters"] = {"binary_data_size": len(values[-1])}
        else:
            tensor["data"] = data.ravel()
        outputs.append(tensor)
    parameters: dict[str, Any] = {"rung": answer.rung, "answered_by": answer.answered_by, "age": round(answer.age, 3)}
    if answer.verdict is not None:
        parameters["verdict"] = answer.verdict
    reply: dict[str, Any] = {"model_name": name, "model_version": answer.version}
    if request.id is not None:
        reply["id"] = request.id
    reply["parameters"] = parameters
    reply["outputs"] = outputs
    header = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((header, *values)), len(header)) if values else (header, None)


def _values(answer: Answer, output: str) -> Rows:
    """The values of an output, (n,) or, of the intervals, (n, 2 * levels)."""
    if output == INTERVAL:
        assert answer.interval is not None  # the data plane refuses the request otherwise
        return answer.interval
    return answer.log_return if output == OUTPUT else answer.raw_log_return


def _plain_rows(request: Any) -> Rows | None:
    """Rows of the most common request: one JSON tensor of flat numbers, and nothing else; no booleans among them.

    None where the request has another form; `_decode_any` reads it then. It must be fast: every request runs it.
    """
    if type(request) is not dict or len(request) != 1:
        return None
    try:
        (tensor,) = request["inputs"]
        rows, columns = tensor["shape"]
        data = tensor["data"]
        if (tensor["name"], tensor["datatype"], len(tensor)) != _PLAIN_TENSOR:
            return None
        if not (type(rows) is type(columns) is int and rows > 0 and columns > 0 and type(data) is list):
            return None
        flat = np.frombuffer(array("d", data))  # an error if anything is no number
        return flat.astype(np.float32).reshape(rows, columns) if flat.dot(flat) < SAFE_SQUARES else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _plain_answer(name: str, answer: Answer) -> bytes:
    """What `encode` writes where both outputs are sent as JSON; the parts that repeat are cached."""
    data = [
        orjson.dumps(values, np.ndarray.tolist, orjson.OPT_SERIALIZE_NUMPY)
        for values in (answer.log_return, answer.raw_log_return)
    ]
    count = len(answer.log_return)
    opening = _opening(name, answer.version, answer.rung, answer.answered_by, answer.verdict)
    return _PLAIN % (opening, round(answer.age, 3), count, data[0], count, data[1])


@lru_cache(maxsize=10_000)
def _opening(name: str, version: str, rung: str, answered_by: str, verdict: str | None) -> bytes:
    """The JSON of an answer up to its age."""
    parameters = {"rung": rung, "answered_by": answered_by, **({"verdict": verdict} if verdict is not None else {})}
    reply = orjson.dumps({"model_name": name, "model_version": version, "parameters": parameters})
    return reply.removesuffix(b"}}") + b',"age":'


def _requested_outputs(request: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
    all_binary = _flag(request, "binary_data_output")
    outputs = request.get("outputs")
    if not outputs:
        return _BINARY_OUTPUTS if all_binary else _JSON_OUTPUTS
    _check_outputs(outputs)
    return tuple((output["name"], _flag(output, "binary_data") or all_binary) for output in outputs)


def _check_outputs(outputs: Any) -> None:
    hint = f"known: {', '.join(KNOWN_OUTPUTS)}"
    if type(outputs) is not list or not all(type(output) is dict for output in outputs):
        raise BadInputError("outputs: expected a list of objects with a name", hint)
    for output in outputs:
        _check_output(output)
    if len(outputs) > len({output["name"] for output in outputs}):
        raise BadInputError("outputs: one of them is asked for twice", hint)


def _check_output(output: dict[str, Any]) -> None:
    if output.get("name") not in KNOWN_OUTPUTS:
        raise BadInputError(f"no output {shown(output.get('name'))}", f"known: {', '.join(KNOWN_OUTPUTS)}")
    if type(output.get("parameters")) is dict and "classification" in output["parameters"]:
        raise BadInputError("outputs: classification is not supported: these models forecast numbers")


def _flag(holder: dict[str, Any], name: str) -> bool:
    parameters = holder.get("parameters")
    if parameters is None:
        return False
    if type(parameters) is not dict:
        raise BadInputError("parameters: expected an object")
    return parameters.get(name) is True
