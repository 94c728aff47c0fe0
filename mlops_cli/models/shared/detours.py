"""Removes nodes of a graph that change nothing, as exporters leave them.

Every node costs a request one to two microseconds, because its code and its values are seldom in the processor's cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

_ELEMENTWISE = frozenset({"Add", "Div", "Mul", "Sub"})
_TO_ROW, _TO_COLUMN = [-1], [-1, 1]
Shapes = Mapping[str, list[int]]


def remove_detours(graph: onnx.GraphProto) -> None:
    """Remove each Gather of all columns in their order, and each flattening of a column that is undone later.

    Args:
        graph: its weights are inputs, which have shapes. It is changed in place.
    """
    parts = _Parts.of(graph)
    skipped: dict[str, str] = {}  # by the name of a value, the equal value that takes its place
    for node in graph.node:
        if _is_whole_gather(node, parts):
            skipped[node.output[0]] = node.input[0]
        elif node.op_type == "Reshape" and parts.integers.get(node.input[1]) == _TO_COLUMN:
            skipped.update(_flattened_and_back(node, parts))
    outputs = {value.name for value in graph.output}
    if not skipped.keys() & outputs:
        _skip(graph, skipped)


@dataclass(frozen=True)
class _Parts:
    """The nodes of a graph by the names of their outputs, the nodes that take each value, and what has no node.

    Attributes:
        integers: values of integer constants by name.
        shapes: of the weights, by name.
    """

    made_by: dict[str, onnx.NodeProto]
    taken_by: Mapping[str, int]
    integers: dict[str, list[int]]
    shapes: Shapes

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> _Parts:
        taken = Counter([value.name for value in graph.output])
        for node in graph.node:
            taken.update(node.input)
        integers = {
            constant.name: [int(number) for number in numpy_helper.to_array(constant).ravel()]
            for constant in graph.initializer
            if constant.data_type == onnx.TensorProto.INT64
        }
        shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in graph.input}
        return cls({name: node for node in graph.node for name in node.output}, taken, integers, shapes)


def _is_whole_gather(node: onnx.NodeProto, parts: _Parts) -> bool:
    """Whether a node takes all columns of its input in their order."""
    if node.op_type != "Gather" or _number(node, "axis") != 1:
        return False
    indices, source = parts.integers.get(node.input[1]), parts.made_by.get(node.input[0])
    if indices is None or len(indices) < 2 or source is None or source.op_type not in _ELEMENTWISE:
        return False
    # with a weight of n > 1 numbers, each row has n columns
    return indices == list(range(len(indices))) and parts.shapes.get(source.input[1]) == [len(indices)]


def _flattened_and_back(node: onnx.NodeProto, parts: _Parts) -> dict[str, str]:
    """What to skip where a column is flattened, changed number by number, and made a column again; else nothing.

    Args:
        node: that makes it a column again.
        parts: of the graph.
    """
    for earlier in _chain(node.input[0], parts):
        column = _flattened_column(earlier, parts)
        if column is not None:
            return {earlier.output[0]: column, node.output[0]: node.input[0]}
    return {}


def _chain(name: str, parts: _Parts) -> Iterator[onnx.NodeProto]:
    """The nodes that make a value, the last one first, as long as each changes all numbers by a single one."""
    while (node := parts.made_by.get(name)) is not None and parts.taken_by[name] == 1:
        yield node
        if node.op_type not in _ELEMENTWISE or parts.shapes.get(node.input[1]) not in ([], [1]):
            return
        name = node.input[0]


def _flattened_column(node: onnx.NodeProto, parts: _Parts) -> str | None:
    """The column, (rows, 1), that a Reshape turns into (rows,), with a Squeeze before it; None if it is none."""
    if node.op_type != "Reshape" or parts.integers.get(node.input[1]) != _TO_ROW:
        return None
    squeeze = parts.made_by.get(node.input[0])
    if squeeze is None or squeeze.op_type != "Squeeze" or parts.taken_by[node.input[0]] != 1:
        return None
    return squeeze.input[0] if _is_column(squeeze.input[0], parts) else None


def _is_column(name: str, parts: _Parts) -> bool:
    """Whether a value is of one column, because it is the product with a matrix of one row, transposed."""
    made = parts.made_by.get(name)
    if made is None or made.op_type != "Gemm" or _number(made, "transB") != 1:
        return False
    shape = parts.shapes.get(made.input[1], [])
    return len(shape) == 2 and shape[0] == 1


def _skip(graph: onnx.GraphProto, skipped: Mapping[str, str]) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            taken = name
            while taken in skipped:
                taken = skipped[taken]
            if taken != name:
                node.input[place] = taken


def _number(node: onnx.NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)
