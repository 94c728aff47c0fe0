"""One ONNX Runtime session for all models of one architecture: weights become inputs of the graph.

A session per model costs 5 ms and 0.4 MB. A stripped graph that gets the weights of a model at each run costs 30 kB
per model, and over many models a third of the time, because less memory is read. The results are equal up to the
rounding of float32.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import psutil
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.models.graph import INPUT
from mlops_cli.models.session import RUN_FAILURES, SESSION_FAILURES, Values, run_graph, start_session


@dataclass(frozen=True)
class _Nodes:
    """A graph's nodes by the names of their outputs, and its integer constants."""

    by_output: dict[str, onnx.NodeProto]
    integers: dict[str, list[int]]


@dataclass(frozen=True)
class _Columns:
    """The columns `indices`, in order, of the value `source`, (rows, columns)."""

    source: str
    indices: list[int]


def join_columns(graph: onnx.GraphProto) -> None:
    """Replace `Concat(Unsqueeze(Gather(x, i)) for i in columns)` by `Gather(x, columns)`.

    2 n + 1 nodes become one, which halves the time of a run of one row over 20 columns. A graph without the pattern
    stays as it is.
    """
    nodes = _nodes(graph)
    for concat in [node for node in graph.node if node.op_type == "Concat" and _axis(node) in (1, -1)]:
        columns = _columns(concat, nodes)
        if columns is None:
            continue
        place = list(graph.node).index(concat)
        name = f"{concat.output[0]}_columns"
        graph.initializer.append(numpy_helper.from_array(np.array(columns.indices, dtype=np.int64), name))
        graph.node[place].CopyFrom(helper.make_node("Gather", [columns.source, name], [concat.output[0]], axis=1))
        _remove_unused(graph)
        nodes = _nodes(graph)


def _columns(concat: onnx.NodeProto, nodes: _Nodes) -> _Columns | None:
    """What a Concat joins, if that is two or more columns of one value; else None."""
    columns = [_column(name, nodes) for name in concat.input]
    sources = {column.source for column in columns if column is not None}
    if None in columns or len(sources) != 1 or len(columns) < 2:
        return None
    return _Columns(sources.pop(), [index for column in columns if column is not None for index in column.indices])


def _nodes(graph: onnx.GraphProto) -> _Nodes:
    integers = {
        constant.name: [int(value) for value in numpy_helper.to_array(constant).ravel()]
        for constant in graph.initializer
        if constant.data_type == onnx.TensorProto.INT64
    }
    return _Nodes({name: node for node in graph.node for name in node.output}, integers)


def _column(name: str, nodes: _Nodes) -> _Columns | None:
    """Source and index of a value that is one column of another, (rows, 1); None if it is anything else."""
    unsqueeze = nodes.by_output.get(name)
    if unsqueeze is None or unsqueeze.op_type != "Unsqueeze" or len(unsqueeze.input) != 2:
        return None
    if nodes.integers.get(unsqueeze.input[1]) not in ([1], [-1]):
        return None
    gather = nodes.by_output.get(unsqueeze.input[0])
    if gather is None or gather.op_type != "Gather" or _axis(gather) != 1:
        return None
    index = nodes.integers.get(gather.input[1], [])
    return _Columns(gather.input[0], index) if len(index) == 1 else None


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that nothing needs any more."""
    used = _used(graph)
    while unused := [node for node in graph.node if not used.intersection(node.output)]:
        for node in unused:
            graph.node.remove(node)
        used = _used(graph)
    needed = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(needed)


def _used(graph: onnx.GraphProto) -> set[str]:
    """Names of values that a node or an output takes."""
    return {name for node in graph.node for name in node.input} | {value.name for value in graph.output}


Weights = dict[str, npt.NDArray[np.float32]]
TOLERANCE = 1e-6  # largest difference of log returns between a model's own session and the shared one
ROUNDINGS = 8  # of float32, by which larger values may differ: beyond 8 a single rounding is about `TOLERANCE`
_RELATIVE = ROUNDINGS * float(np.finfo(np.float32).eps)
_TRIAL_ROWS = 4


@dataclass(frozen=True)
class Split:
    """A model as an architecture and its weights, which were the float32 constants of the graph and are inputs now.

    `key` is the sha256 of `graph`: models of one architecture have one key.
    """

    key: str
    graph: bytes
    weights: Weights


@dataclass(frozen=True, eq=False)
class Architecture:
    """A session that many models share, and the bytes of memory that it took, measured."""

    session: onnxruntime.InferenceSession
    bytes: int


def split(graph: bytes, columns: int) -> Split:
    """Take `model.onnx` apart into graph and float32 constants; a `ModelError` unless it has this many inputs."""
    try:
        model = onnx.ModelProto.FromString(graph)
    except DecodeError as error:
        raise ModelError(f"damaged graph: {error}", "train the model again: mlops train") from error
    _check_width(model, columns)
    try:
        return _without_weights(model)
    except (ValueError, TypeError, KeyError) as error:  # such as constants whose bytes do not fill their shape
        raise ModelError(f"damaged graph: {error}", "train the model again: mlops train") from error


def whole(graph: bytes) -> Split:
    """A graph as an architecture of its own, without weights."""
    return Split(hashlib.sha256(graph).hexdigest(), graph, {})


def same_answers(graph: bytes, shared: Split, columns: int) -> bool:
    """Whether the shared form forecasts what the model's own session forecasts, on random rows.

    The outputs are log returns, mostly far below 1: `TOLERANCE` decides. Where they are large (a price model on rows
    that it never saw), the rounding error of float32 follows their size, and `ROUNDINGS` of it are allowed as well.
    False also where no forecast is finite, because then there is nothing to compare.

    Raises:
        ModelError: the model's own session cannot be built or run.
    """
    rows = np.random.default_rng(0).normal(size=(_TRIAL_ROWS, columns)).astype(np.float32)
    rows[1:] = np.abs(rows[1:])  # a price model divides by the last close: it shows little for negative ones
    try:
        own = run_graph(start_session(graph), {INPUT: rows})
    except RUN_FAILURES as error:
        raise ModelError(f"the graph does not run: {error}", "train the model again: mlops train") from error
    try:
        other = run_graph(start_session(shared.graph), {**shared.weights, INPUT: rows})
    except RUN_FAILURES:
        return False
    return all(_agree(mine, theirs) for mine, theirs in zip(own, other, strict=True))


def _agree(own: Values, shared: Values) -> bool:
    comparable = np.isfinite(own).any()
    return bool(comparable and np.allclose(shared, own, rtol=_RELATIVE, atol=TOLERANCE, equal_nan=True))


def _without_weights(model: onnx.ModelProto) -> Split:
    for part in (model, model.graph, *model.graph.node):  # exporters leave traces there, which differ by model
        part.doc_string = ""
        del part.metadata_props[:]
    weights, other_constants = {}, []
    for constant in model.graph.initializer:
        if constant.data_type == TensorProto.FLOAT and constant.data_location != TensorProto.EXTERNAL:
            weights[constant.name] = np.ascontiguousarray(numpy_helper.to_array(constant))
        else:
            other_constants.append(constant)
    inputs = {value.name for value in model.graph.input}
    del model.graph.initializer[:]
    model.graph.initializer.extend(other_constants)
    for name, value in weights.items():
        if name not in inputs:  # old graphs list their constants among the inputs
            model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    stripped = _simplified(model.SerializeToString(deterministic=True))
    return Split(hashlib.sha256(stripped).hexdigest(), stripped, weights)


@lru_cache(maxsize=64)
def _simplified(graph: bytes) -> bytes:
    """The same graph with fewer nodes; cached, because thousands of models have few architectures."""
    model = onnx.ModelProto.FromString(graph)
    join_columns(model.graph)
    simplified: bytes = model.SerializeToString(deterministic=True)
    return simplified


def _check_width(model: onnx.ModelProto, columns: int) -> None:
    for value in model.graph.input:
        shape = value.type.tensor_type.shape.dim
        if value.name == INPUT and len(shape) == 2 and shape[1].dim_value in (0, columns):
            return
    raise ModelError(
        f"the graph has no input {INPUT!r} of {columns} columns, which its manifest names",
        "train the model again: mlops train",
    )


class Architectures:
    """The sessions in memory; a session is freed with the last model that uses it."""

    def __init__(self, folder: Path) -> None:
        """Look for stripped graphs in `folder`."""
        self._folder = folder
        self._live: WeakValueDictionary[str, Architecture] = WeakValueDictionary()
        self._building = Lock()  # two threads build a session once, and measure memory one at a time

    def live(self, key: str) -> Architecture | None:
        """The session, if it is in memory."""
        return self._live.get(key)

    def get(self, key: str) -> Architecture:
        """The session. If it is not in memory, it is built, which takes some milliseconds.

        Raises:
            FileNotFoundError: its graph is not in the folder.
            ModelError: it does not run.
        """
        with self._building:
            architecture = self._live.get(key)
            if architecture is None:
                architecture = self._live[key] = self._build(key)
            return architecture

    def _build(self, key: str) -> Architecture:
        graph = self.path(key).read_bytes()
        if hashlib.sha256(graph).hexdigest() != key:
            self.path(key).unlink(missing_ok=True)  # the next request writes it again
            raise ModelError(f"{self.path(key)}: damaged", "it was removed: try again")
        before = _resident_bytes()
        try:
            session = start_session(graph)
        except SESSION_FAILURES as error:
            raise ModelError(f"{self.path(key)}: damaged: {error}", "remove it and start again") from error
        return Architecture(session, max(len(graph), _resident_bytes() - before))

    def path(self, key: str) -> Path:
        """Where a stripped graph lies."""
        return self._folder / f"{key}.onnx"

    @property
    def bytes(self) -> int:
        """Memory of all sessions."""
        # `valuerefs` returns a list: another thread may add a session meanwhile
        live = [reference() for reference in self._live.valuerefs()]
        return sum(architecture.bytes for architecture in live if architecture is not None)


def _resident_bytes() -> int:
    return int(psutil.Process(os.getpid()).memory_info().rss)
