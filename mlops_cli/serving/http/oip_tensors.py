"""Tensors of the Open Inference Protocol v2, as JSON numbers or as binary data, into rows."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from mlops_cli.errors import bounded
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.models.graph import INPUT
from mlops_cli.serving.answering.request_columns import DIVIDEND_HINT
from mlops_cli.serving.contract.messages import BadInputError, ModelFacts, Rows

FLOAT = "FP32"
SHAPE_HINT = (
    f'{INPUT}: {FLOAT} [rows, columns], rows >= 1; e.g. {{"inputs": [{{"name": "{INPUT}", "datatype": "{FLOAT}", '
)
SHAPE_HINT += '"shape": [1, 2], "data": [0.1, 0.2]}]}; GET /v2/models/NAME names the columns'
_NUMBERS, _LISTS = {int, float}, {list}
_MOST_DIMENSIONS = 2
_LONGEST_SHOWN = 80  # characters
SAFE_SQUARES = 1e30  # a sum of squares below this has no NaN, and no value that float32 cannot hold


class BinaryData:
    """The bytes after the JSON header, read tensor by tensor."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, name: Any, size: Any, count: int) -> Rows:
        """The next tensor's `count` values; a `BadInputError` if they have not `size` bytes, its `binary_data_size`."""
        if type(size) is not int or size != 4 * count:
            raise BadInputError(
                f"input {shown(name)}: binary_data_size {shown(size)}, expected {4 * count} for its shape"
            )
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise BadInputError(f"input {shown(name)}: the body ends before its {size} bytes")
        self._at += size
        return np.frombuffer(part, "<f4")

    def check_end(self) -> None:
        """Refuse bytes that belong to no tensor with a `BadInputError`."""
        left = len(self._data) - self._at
        if left:
            raise BadInputError(
                f"{left} bytes after the last tensor's", "give every binary tensor its binary_data_size"
            )


def split_body(body: bytes, header_length: bytes) -> tuple[bytes, BinaryData]:
    """The JSON header of a body and the binary data after it; a `BadInputError` if the header's length is wrong."""
    length = int(header_length) if header_length.isdigit() and len(header_length) < 20 else -1
    if not 0 <= length <= len(body):
        raise BadInputError(
            f"Inference-Header-Content-Length: {header_length.decode('latin-1')[:40]}, the body has {len(body)} bytes"
        )
    return body[:length], BinaryData(memoryview(body)[length:])


def read_tensor(tensor: dict[str, Any], binary: BinaryData | None) -> Rows:
    """A tensor's values, at least one, finite float32 in its shape; a `BadInputError` says what was expected instead.

    Everything that is cheap to check comes first: the shape, the number of values and their types. Only then are they
    converted, so that memory and time stay in proportion to the body.
    """
    name = tensor.get("name")
    if tensor.get("datatype") != FLOAT:
        raise BadInputError(f"input {shown(name)}: datatype {shown(tensor.get('datatype'))}, expected {FLOAT}")
    shape = _shape(name, tensor.get("shape"))
    values = _values(tensor, math.prod(shape), binary)
    if not values.dot(values) < SAFE_SQUARES:
        values = _finite(name, values)
    rows: Rows = values.astype(np.float32, copy=False).reshape(shape)
    return rows


def _shape(name: Any, shape: Any) -> list[int]:
    if type(shape) is not list or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise BadInputError(f"input {shown(name)}: shape {shown(shape)}, expected whole numbers", SHAPE_HINT)
    if len(shape) > _MOST_DIMENSIONS:
        raise BadInputError(f"input {shown(name)}: shape {shown(shape)}, expected [rows, columns]", SHAPE_HINT)
    if 0 in shape:
        raise BadInputError(f"input {shown(name)}: no rows: shape {shown(shape)}", SHAPE_HINT)
    return shape


def _values(tensor: dict[str, Any], count: int, binary: BinaryData | None) -> Any:
    """A tensor's `count` values in one row, from the binary data or from JSON."""
    name, parameters = tensor.get("name"), tensor.get("parameters")
    if type(parameters) is not dict or "binary_data_size" not in parameters:
        return _numbers(name, tensor.get("data"), count)
    if binary is None:
        raise BadInputError(
            f"input {shown(name)}: binary_data_size, but the header Inference-Header-Content-Length is missing"
        )
    return binary.take(name, parameters["binary_data_size"], count)


def _numbers(name: Any, data: Any, count: int) -> Any:
    """Numbers from JSON, flat or nested, as one row of floats."""
    if type(data) is not list:
        raise BadInputError(f"input {shown(name)}: no list of numbers `data`", SHAPE_HINT)
    while data and type(data[0]) is list:
        data = _joined(name, data)
    if not set(map(type, data)) <= _NUMBERS:  # a bool is no number here
        raise BadInputError(f"input {shown(name)}: data: expected numbers only, finite ones", SHAPE_HINT)
    if len(data) != count:
        raise BadInputError(f"input {shown(name)}: {len(data)} values, its shape asks for {count}", SHAPE_HINT)
    return np.array(data, np.float64)


def _joined(name: Any, lists: list[Any]) -> list[Any]:
    """The elements of lists of one length, one after another."""
    if set(map(type, lists)) != _LISTS:
        raise BadInputError(f"input {shown(name)}: data: expected numbers only, finite ones", SHAPE_HINT)
    if len(set(map(len, lists))) > 1:
        raise BadInputError(f"input {shown(name)}: data: rows of different lengths", SHAPE_HINT)
    return list(chain.from_iterable(lists))


def _finite(name: Any, values: Any) -> Any:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(narrow))
    if len(bad):
        places = bounded([str(place) for place in bad[:100]])
        raise BadInputError(f"input {shown(name)}: not a finite {FLOAT} number at place {places}")
    return narrow


def join_columns(inputs: list[dict[str, Any]], binary: BinaryData | None, model: ModelFacts) -> Rows:
    """One tensor per column side by side, in the model's order: float32 (rows, columns); or a `BadInputError`.

    The columns are all inputs of the model, or all but the widths of its intervals.
    """
    columns = model.inputs
    by_name: dict[str, Rows] = {}
    for tensor in inputs:
        name = _column_name(tensor.get("name"), columns)
        if name in by_name:
            raise BadInputError(f"input {name!r}: given twice")
        by_name[name] = _column(name, read_tensor(tensor, binary))
    if by_name.keys() == set(model.needed):
        columns = model.needed
    _check_missing([column for column in columns if column not in by_name], columns)
    lengths = sorted({len(values) for values in by_name.values()})
    if len(lengths) > 1:
        raise BadInputError(f"inputs have different numbers of rows: {', '.join(map(str, lengths))}")
    return np.column_stack([by_name[column] for column in columns])


def _check_missing(missing: list[str], columns: tuple[str, ...]) -> None:
    if missing:
        hint = f"{DIVIDEND_HINT}; " if ANNOUNCED in missing else ""
        raise BadInputError(f"inputs lack {bounded(missing)}", f"{hint}expected: {', '.join(columns)}")


def _column_name(name: Any, columns: tuple[str, ...]) -> str:
    if type(name) is not str or name not in columns:
        expected = f"expected one tensor {INPUT}, or one per column: {', '.join(columns)}"
        raise BadInputError(f"input {shown(name)}: unknown", expected)
    return name


def _column(name: str, values: Rows) -> Rows:
    if values.ndim != 1 and values.shape[1:] != (1,):
        raise BadInputError(f"input {name!r}: shape {list(values.shape)}, expected [rows] or [rows, 1]")
    return values.ravel()


def shown(value: Any) -> str:
    """A value of a request, short enough for a message: a text is cut, and of what is large only the kind is told."""
    if isinstance(value, str):
        return repr(value[:_LONGEST_SHOWN])
    if isinstance(value, list) and len(value) <= _LONGEST_SHOWN // 8 and set(map(type, value)) <= _NUMBERS:
        return repr(value)
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    return repr(value)
