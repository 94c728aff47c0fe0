"""One ONNX Runtime session for all models of one architecture: weights become inputs of the graph.

A session per model costs 5 ms and 0.4 MB. A stripped graph that gets the weights of a model as inputs costs 30 kB per
model, 40 kB once the model has answered, and over many models a third of the time, because less memory is read. The
results are equal up to the rounding of float32.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
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
from mlops_cli.models.graph import INPUT, INTERVAL
from mlops_cli.models.session import RUN_FAILURES, SESSION_FAILURES, Values, run_graph, start_session
from mlops_cli.models.shared.column_joins import join_columns, remove_unused
from mlops_cli.models.shared.detours import remove_detours

Weights = dict[str, npt.NDArray[np.float32]]
TOLERANCE = 1e-6  # largest difference of log returns between a model's own session and the shared one
ROUNDINGS = 8  # of float32, by which larger values may differ: beyond 8 a single rounding is about `TOLERANCE`
_RELATIVE = ROUNDINGS * float(np.finfo(np.float32).eps)
_TRIAL_ROWS = 4
_MOST_NODES = 20_000  # the largest architectures of Ludwig have some thousand
_REPEATING = frozenset({"Loop", "Scan", "SequenceMap"})


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
    """Take `model.onnx` apart into graph and float32 constants, without running any of it.

    Raises:
        ModelError: it is no graph, it has another number of inputs, it is far larger than any model, or it has an
            operator that repeats others: its values could decide that it never ends.
    """
    try:
        model = onnx.ModelProto.FromString(graph)
    except DecodeError as error:
        raise ModelError(f"damaged graph: {error}", "train the model again: mlops train") from error
    _check_width(model, columns)
    _check_operators(model)
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
        ModelError: the model's own session cannot be built or run, its forecasts are not one number per row, or its
            intervals are no numbers.
    """
    rows = np.random.default_rng(0).normal(size=(_TRIAL_ROWS, columns)).astype(np.float32)
    rows[1:] = np.abs(rows[1:])  # a price model divides by the last close: it shows little for negative ones
    try:
        session = start_session(graph)
        own = _all_outputs(session, {INPUT: rows})
        run_graph(session, {INPUT: rows[:1]})  # for one row, a graph may leave out a dimension
    except RUN_FAILURES as error:
        raise ModelError(f"the graph does not run: {error}", "train the model again: mlops train") from error
    try:
        other = _all_outputs(start_session(shared.graph), {**shared.weights, INPUT: rows})
    except RUN_FAILURES:
        return False
    return all(_agree(mine, theirs) for mine, theirs in zip(own, other, strict=True))


def _all_outputs(session: onnxruntime.InferenceSession, feed: Weights) -> list[Values]:
    """The forecasts, and the intervals of a graph that gives them; one of `RUN_FAILURES` as in `run_graph`."""
    outputs = list(run_graph(session, feed))
    if any(output.name == INTERVAL for output in session.get_outputs()):
        (interval,) = session.run([INTERVAL], feed)
        if not (isinstance(interval, np.ndarray) and interval.dtype == np.float32 and interval.ndim == 2):
            raise ValueError("its intervals are no table of float32 numbers")
        outputs.append(interval)
    return outputs


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
    remove_detours(model.graph)
    remove_unused(model.graph)
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


def _check_operators(model: onnx.ModelProto) -> None:
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    for count, node in enumerate(_all_nodes(nodes), start=1):
        if node.op_type in _REPEATING:
            raise ModelError(
                f"the graph has the operator {node.op_type}, which may repeat others for ever",
                "train the model again: mlops train",
            )
        if count > _MOST_NODES:
            raise ModelError(f"the graph has more than {_MOST_NODES} nodes", "train the model again: mlops train")


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of the graphs inside of them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)


class Architectures:
    """The sessions in memory; a session is freed with the last model that uses it."""

    def __init__(self, folder: Path) -> None:
        """Look for stripped graphs in `folder`."""
        self._folder = folder
        self._live: WeakValueDictionary[str, Architecture] = WeakValueDictionary()
        self._warm = False
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
        try:
            if not self._warm:  # the first session of a process takes some MB for ONNX Runtime itself
                start_session(graph)
                self._warm = True
            before = _resident_bytes()
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
