"""Simplifies graphs that take their input apart into columns and join these again, as Ludwig's graphs do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper


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


_MOST_JOINED = 10  # a graph joins its columns once; each time that it does costs a pass over all nodes


def join_columns(graph: onnx.GraphProto) -> None:
    """Replace `Concat(Unsqueeze(Gather(x, i)) for i in columns)` by `Gather(x, columns)`.

    2 n + 1 nodes become one, which halves the time of a run of one row over 20 columns. A graph without the pattern
    stays as it is.
    """
    nodes = _nodes(graph)
    joined = 0
    for concat in [node for node in graph.node if node.op_type == "Concat" and _axis(node) in (1, -1)]:
        columns = _columns(concat, nodes) if joined < _MOST_JOINED else None
        if columns is None:
            continue
        joined += 1
        place = list(graph.node).index(concat)
        name = f"{concat.output[0]}_columns"
        graph.initializer.append(numpy_helper.from_array(np.array(columns.indices, dtype=np.int64), name))
        graph.node[place].CopyFrom(helper.make_node("Gather", [columns.source, name], [concat.output[0]], axis=1))
        remove_unused(graph)
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


def remove_unused(graph: onnx.GraphProto) -> None:
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
