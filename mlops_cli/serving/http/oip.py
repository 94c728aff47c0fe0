"""Open Inference Protocol v2, request and answer: JSON, and the binary extension that Triton's clients speak.

Sources: https://github.com/kserve/open-inference-protocol (inference_rest.md) and Triton's
protocol/extension_binary_data.md: behind a JSON header of `Inference-Header-Content-Length` bytes stand the values of
every tensor with a `binary_data_size`, in their order, little-endian.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from mlops_cli.errors import bounded
from mlops_cli.models.graph import INPUT, OUTPUT, RAW_OUTPUT
from mlops_cli.serving.contract.messages import Answer, BadInputError, Rows

FLOAT = "FP32"
OUTPUTS = (OUTPUT, RAW_OUTPUT)
SHAPE_HINT = (
    f'{INPUT}: {FLOAT} [rows, columns], rows >= 1; e.g. {{"inputs": [{{"name": "{INPUT}", "datatype": "{FLOAT}", '
)
SHAPE_HINT += '"shape": [1, 2], "data": [0.1, 0.2]}]}; GET /v2/models/NAME names the columns'
_SAFE_SQUARES = 1e30  # a sum of squares below it: no NaN, nothing infinite, nothing that float32 cannot hold
_DIMENSIONS = 2
_FLOAT64 = np.dtype(np.float64)
_PLAIN_KEYS = 4  # name, datatype, shape, data
_PLAIN = b'%s%r},"outputs":[{"name":"' + OUTPUT.encode() + b'","datatype":"FP32","shape":[%d],"data":%s},{"name":"'
_PLAIN += RAW_OUTPUT.encode() + b'","datatype":"FP32","shape":[%d],"data":%s}]}'


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request, read.

    Attributes:
        rows: float32 (n, columns), finite, n >= 1.
        id: the caller's own mark, given back.
        outputs: names of the outputs wanted, and whether in binary.
    """

    rows: Rows
    id: str | None
    outputs: tuple[tuple[str, bool], ...]


_JSON_OUTPUTS = tuple((name, False) for name in OUTPUTS)
_BINARY_OUTPUTS = tuple((name, True) for name in OUTPUTS)


def decode(body: bytes, header_length: bytes | None, columns: Callable[[], tuple[str, ...]]) -> InferRequest:
    """Read a request.

    Args:
        body: all of it.
        header_length: of its JSON part, as the header gives it; None: all of it is JSON.
        columns: the model's input columns in order; asked only where tensors are named after columns.

    Raises:
        BadInputError: says what was expected.
    """
    header, binary = (body, None) if header_length is None else _split(body, header_length)
    try:
        request = orjson.loads(header)
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"the body is no JSON: {error}", SHAPE_HINT) from None
    rows = _plain_rows(request)
    if rows is not None:
        return InferRequest(rows, None, _JSON_OUTPUTS)
    inputs = request.get("inputs") if type(request) is dict else None
    if type(inputs) is not list or not inputs or not all(type(tensor) is dict for tensor in inputs):
        raise BadInputError("the body has no list of tensors `inputs`", SHAPE_HINT)
    mark = request.get("id")
    if mark is not None and type(mark) is not str:
        raise BadInputError("id: expected text")
    outputs = _wanted(request)
    if len(inputs) == 1 and inputs[0].get("name") == INPUT:
        rows = _tensor(inputs[0], binary)
        if rows.ndim != _DIMENSIONS:
            raise BadInputError(f"input {INPUT!r}: shape {list(rows.shape)}, expected [rows, columns]", SHAPE_HINT)
    else:
        rows = _stack(inputs, binary, columns())
    if binary is not None:
        binary.check_end()
    if not rows.size:
        raise BadInputError(f"no rows: shape {list(rows.shape)}", SHAPE_HINT)
    return InferRequest(rows, mark, outputs)


def encode(name: str, answer: Answer, request: InferRequest) -> tuple[bytes, int | None]:
    """Write an answer.

    Args:
        name: the model asked for.
        answer: of the data plane.
        request: says which outputs, and how.

    Returns:
        The body, and the length of its JSON part where binary values follow it.
    """
    if request.outputs is _JSON_OUTPUTS and request.id is None:
        return _plain_answer(name, answer), None
    outputs: list[dict[str, Any]] = []
    values: list[bytes] = []
    for output, binary in request.outputs:
        data = answer.log_return if output == OUTPUT else answer.raw_log_return
        tensor: dict[str, Any] = {"name": output, "datatype": FLOAT, "shape": [len(data)]}
        if binary:
            values.append(data.astype("<f4", copy=False).tobytes())
            tensor["parameters"] = {"binary_data_size": len(values[-1])}
        else:
            tensor["data"] = np.ascontiguousarray(data)
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


def _plain_rows(request: Any) -> Rows | None:
    """Rows of the commonest request: one JSON tensor of flat fractions and nothing else. None: look closer.

    Every line here counts: it is walked through for each request.
    """
    if type(request) is not dict or len(request) != 1:
        return None
    try:
        (tensor,) = request["inputs"]
        rows, columns = tensor["shape"]
        if tensor["name"] != INPUT or tensor["datatype"] != FLOAT or len(tensor) != _PLAIN_KEYS:
            return None
        values = np.array(tensor["data"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    fits = values.dtype is _FLOAT64 and values.ndim == 1 and type(rows) is type(columns) is int and rows > 0
    if not fits or not 0 < values.size == rows * columns or not values.dot(values) < _SAFE_SQUARES:
        return None
    return values.astype(np.float32).reshape(rows, columns)


def _plain_answer(name: str, answer: Answer) -> bytes:
    """What `encode` writes where both outputs are wanted in JSON, put together from parts that stay the same."""
    data = [
        orjson.dumps(values, np.ndarray.tolist, orjson.OPT_SERIALIZE_NUMPY)
        for values in (answer.log_return, answer.raw_log_return)
    ]
    count = len(answer.log_return)
    opening = _opening(name, answer.version, answer.rung, answer.answered_by, answer.verdict)
    return _PLAIN % (opening, round(answer.age, 3), count, data[0], count, data[1])


@lru_cache(maxsize=10_000)
def _opening(name: str, version: str, rung: str, answered_by: str, verdict: str | None) -> bytes:
    """An answer's JSON up to its age."""
    parameters = {"rung": rung, "answered_by": answered_by, **({"verdict": verdict} if verdict is not None else {})}
    reply = orjson.dumps({"model_name": name, "model_version": version, "parameters": parameters})
    return reply.removesuffix(b"}}") + b',"age":'


class _Binary:
    """The bytes behind the JSON header, taken tensor by tensor."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, name: Any, size: Any, count: int) -> Rows:
        if type(size) is not int or size != 4 * count:
            raise BadInputError(f"input {name!r}: binary_data_size {size}, expected {4 * count} for its shape")
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise BadInputError(f"input {name!r}: the body ends before its {size} bytes")
        self._at += size
        return np.frombuffer(part, "<f4")

    def check_end(self) -> None:
        left = len(self._data) - self._at
        if left:
            raise BadInputError(
                f"{left} bytes behind the last tensor's", "give every binary tensor its binary_data_size"
            )


def _split(body: bytes, header_length: bytes) -> tuple[bytes, _Binary]:
    length = int(header_length) if header_length.isdigit() and len(header_length) < 20 else -1
    if not 0 <= length <= len(body):
        raise BadInputError(
            f"Inference-Header-Content-Length: {header_length.decode('latin-1')[:40]}, the body has {len(body)} bytes"
        )
    return body[:length], _Binary(memoryview(body)[length:])


def _wanted(request: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
    all_binary = _flag(request, "binary_data_output")
    outputs = request.get("outputs")
    if not outputs:
        return _BINARY_OUTPUTS if all_binary else _JSON_OUTPUTS
    if type(outputs) is not list or not all(type(one) is dict for one in outputs):
        raise BadInputError("outputs: expected a list of objects with a name", f"known: {', '.join(OUTPUTS)}")
    for one in outputs:
        if one.get("name") not in OUTPUTS:
            raise BadInputError(f"no output {str(one.get('name'))[:80]!r}", f"known: {', '.join(OUTPUTS)}")
        if type(one.get("parameters")) is dict and "classification" in one["parameters"]:
            raise BadInputError("outputs: classification is not there: these models forecast numbers")
    return tuple((one["name"], _flag(one, "binary_data") or all_binary) for one in outputs)


def _flag(holder: dict[str, Any], name: str) -> bool:
    parameters = holder.get("parameters")
    if parameters is None:
        return False
    if type(parameters) is not dict:
        raise BadInputError("parameters: expected an object")
    return parameters.get(name) is True


def _tensor(tensor: dict[str, Any], binary: _Binary | None) -> Rows:
    """Values in the tensor's shape, finite."""
    name, shape = tensor.get("name"), tensor.get("shape")
    if tensor.get("datatype") != FLOAT:
        raise BadInputError(f"input {_short(name)}: datatype {_short(tensor.get('datatype'))}, expected {FLOAT}")
    if type(shape) is not list or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise BadInputError(f"input {_short(name)}: shape {_short(shape)}, expected whole numbers", SHAPE_HINT)
    count = math.prod(shape)
    parameters = tensor.get("parameters")
    if type(parameters) is dict and "binary_data_size" in parameters:
        if binary is None:
            raise BadInputError(
                f"input {_short(name)}: binary_data_size, but the header Inference-Header-Content-Length is missing"
            )
        values = binary.take(name, parameters["binary_data_size"], count)
    else:
        values = _numbers(name, tensor.get("data"), count)
    if not values.dot(values) < _SAFE_SQUARES:
        values = _finite(name, values)
    return values.astype(np.float32, copy=False).reshape(shape)


def _numbers(name: Any, data: Any, count: int) -> Any:
    """JSON's numbers, flat or nested, as one row of floats."""
    if type(data) is not list:
        raise BadInputError(f"input {_short(name)}: no list of numbers `data`", SHAPE_HINT)
    try:
        values = np.array(data)
    except (ValueError, OverflowError):  # nested lists of several lengths
        raise BadInputError(f"input {_short(name)}: data: rows of different lengths", SHAPE_HINT) from None
    if values.dtype.kind not in "fiu":
        raise BadInputError(f"input {_short(name)}: data: expected numbers only, finite ones", SHAPE_HINT)
    if values.size != count:
        raise BadInputError(f"input {_short(name)}: {values.size} values, its shape asks for {count}", SHAPE_HINT)
    return values if values.ndim == 1 and values.dtype == np.float64 else values.ravel().astype(np.float64)


def _finite(name: Any, values: Any) -> Any:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(narrow))
    if len(bad):
        places = bounded([str(place) for place in bad[:100]])
        raise BadInputError(f"input {_short(name)}: not a finite {FLOAT} number at place {places}")
    return narrow


def _stack(inputs: list[dict[str, Any]], binary: _Binary | None, columns: tuple[str, ...]) -> Rows:
    """One tensor per column, put side by side in the model's order."""
    found: dict[str, Rows] = {}
    for tensor in inputs:
        name = tensor.get("name")
        if type(name) is not str or name not in columns:
            known = f"expected one tensor {INPUT}, or one per column: {', '.join(columns)}"
            raise BadInputError(f"input {_short(name)}: unknown", known)
        if name in found:
            raise BadInputError(f"input {name!r}: given twice")
        values = _tensor(tensor, binary)
        if values.ndim != 1 and values.shape[1:] != (1,):
            raise BadInputError(f"input {name!r}: shape {list(values.shape)}, expected [rows] or [rows, 1]")
        found[name] = values.ravel()
    missing = [column for column in columns if column not in found]
    if missing:
        raise BadInputError(f"inputs lack {bounded(missing)}", f"expected: {', '.join(columns)}")
    lengths = {len(values) for values in found.values()}
    if len(lengths) > 1:
        raise BadInputError(f"inputs have different numbers of rows: {', '.join(map(str, sorted(lengths)))}")
    return np.column_stack([found[column] for column in columns])


def _short(value: Any) -> str:
    return repr(value)[:80]
