"""Graphs that no exporter writes: they run for ever, take all memory, or give something else than a number per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mlops_cli.models.graph import INPUT, IR_VERSION, OPSET, OUTPUT, OUTPUTS, RAW_OUTPUT

COLUMNS = 3
Constants = dict[str, np.ndarray]
SUM = helper.make_node("ReduceSum", [INPUT, "axis"], ["sum"], keepdims=0)
COPY = helper.make_node("Identity", [OUTPUT], [RAW_OUTPUT])
AXIS = {"axis": np.array([1])}


def graph_of(nodes: Sequence[NodeProto], constants: Constants, columns: int = COLUMNS) -> onnx.ModelProto:
    """A model with these nodes."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def looping_graph(columns: int = COLUMNS) -> onnx.ModelProto:
    """Repeats a step 10^12 times."""
    number, condition = helper.make_tensor_value_info, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["value"], ["next"])],
        "body",
        [number("i", TensorProto.INT64, []), number("go", condition, []), number("value", TensorProto.FLOAT, None)],
        [number("go_on", condition, []), number("next", TensorProto.FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["count", "yes", "sum"], [OUTPUT], body=body)
    constants = {**AXIS, "count": np.array(10**12), "yes": np.array(True)}
    return graph_of([SUM, loop, COPY], constants, columns)


def hidden_loop_graph() -> onnx.ModelProto:
    """The same loop in a branch of an If."""
    inner = looping_graph().graph.node[1]
    branch = helper.make_graph([inner], "branch", [], [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)])
    node = helper.make_node("If", ["yes"], [OUTPUT], then_branch=branch, else_branch=branch)
    return graph_of([SUM, node, COPY], {**AXIS, "count": np.array(10**12), "yes": np.array(True)})


def slow_graph(size: int = 9000, columns: int = COLUMNS) -> onnx.ModelProto:
    """One step that takes minutes: two large matrices, which are made as the graph runs, are multiplied."""
    steps = [f"m{number}" for number in range(6)]
    nodes = [SUM, helper.make_node("ConstantOfShape", ["size"], ["m"])]
    given = "m"
    for step in steps:
        nodes.append(helper.make_node("MatMul", [given, "m"], [step]))
        given = step
    nodes += [
        helper.make_node("ReduceMax", [given], ["most"], keepdims=0),
        helper.make_node("Add", ["sum", "most"], [OUTPUT]),
        COPY,
    ]
    return graph_of(nodes, {**AXIS, "size": np.array([size, size])}, columns)


def greedy_graph() -> onnx.ModelProto:
    """Asks for 8 GB."""
    nodes = [
        SUM,
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["sum", "zero"], [OUTPUT]),
        COPY,
    ]
    return graph_of(nodes, {**AXIS, "size": np.array([2_000_000_000])})


def scalar_graph(columns: int = COLUMNS) -> onnx.ModelProto:
    """One number for all rows."""
    return graph_of([helper.make_node("ReduceSum", [INPUT], [OUTPUT], keepdims=0), COPY], {}, columns)


def squeezing_graph() -> onnx.ModelProto:
    """One number per row, but no dimension where there is one row."""
    kept = helper.make_node("ReduceSum", [INPUT, "axis"], ["column"], keepdims=1)
    return graph_of([kept, helper.make_node("Squeeze", ["column"], [OUTPUT]), COPY], AXIS)


def integer_graph() -> onnx.ModelProto:
    """Whole numbers instead of float32."""
    return graph_of([SUM, helper.make_node("Cast", ["sum"], [OUTPUT], to=TensorProto.INT64), COPY], AXIS)
