"""Ludwig's graphs take their input apart and put it together again, column by column: one step does the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlops_cli.models.graph import INPUT


@dataclass(frozen=True)
class _Nodes:
    """A graph's nodes by what they make, and its integer constants."""

    by_output: dict[str, onnx.NodeProto]
    integers: dict[str, list[int]]


def join_columns(graph: onnx.GraphProto) -> None:
    """Replace `Concat(Unsqueeze(Gather(x, i)) for i in columns)` by `Gather(x, columns)`: 2 n + 1 kernels less 2 n.

    A graph without the pattern stays as it is. Half the time of a run of one row over 20 columns goes that way.
    """
    nodes = _nodes(graph)
    for concat in [node for node in graph.node if node.op_type == "Concat" and _axis(node) in (1, -1)]:
        columns = [_column(name, nodes) for name in concat.input]
        sources = {column[0] for column in columns if column is not None}
        if None in columns or len(sources) != 1 or len(columns) < 2:
            continue
        place = list(graph.node).index(concat)
        name = f"{concat.output[0]}_columns"
        indices = np.array([column[1] for column in columns if column is not None], dtype=np.int64)
        graph.initializer.append(numpy_helper.from_array(indices, name))
        graph.node[place].CopyFrom(helper.make_node("Gather", [sources.pop(), name], [concat.output[0]], axis=1))
        _remove_unused(graph)
        nodes = _nodes(graph)


def _nodes(graph: onnx.GraphProto) -> _Nodes:
    integers = {
        constant.name: [int(value) for value in numpy_helper.to_array(constant).ravel()]
        for constant in graph.initializer
        if constant.data_type == onnx.TensorProto.INT64
    }
    return _Nodes({name: node for node in graph.node for name in node.output}, integers)


def _column(name: str, nodes: _Nodes) -> tuple[str, int] | None:
    """Source and index of a value that is one column of the input (rows, 1); None if it is anything else."""
    unsqueeze = nodes.by_output.get(name)
    if unsqueeze is None or unsqueeze.op_type != "Unsqueeze" or len(unsqueeze.input) != 2:
        return None
    if nodes.integers.get(unsqueeze.input[1]) not in ([1], [-1]):
        return None
    gather = nodes.by_output.get(unsqueeze.input[0])
    if gather is None or gather.op_type != "Gather" or _axis(gather) != 1:
        return None
    index = nodes.integers.get(gather.input[1], [])
    return (gather.input[0], index[0]) if len(index) == 1 else None


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and integer constants that nothing needs any more."""
    outputs = {value.name for value in graph.output}
    while True:
        used = {name for node in graph.node for name in node.input} | outputs
        unused = [node for node in graph.node if not used.intersection(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    kept = [constant for constant in graph.initializer if constant.name in used or constant.name == INPUT]
    del graph.initializer[:]
    graph.initializer.extend(kept)
