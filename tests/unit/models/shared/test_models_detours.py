"""Nodes that change nothing are removed; all others stay, and so does what the graph computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.models.shared.column_joins import remove_unused
from mlops_cli.models.shared.detours import remove_detours

ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
SHAPES = {"scale": [3], "weight": [1, 3], "wide": [2, 3], "one": [1]}
CONSTANTS = {
    "all": [0, 1, 2],
    "reversed": [2, 1, 0],
    "two": [0, 1],
    "to_row": [-1],
    "to_column": [-1, 1],
    "axis": [1],
}


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def graph_of(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A graph whose last node gives the output; the weights it takes are inputs, as in a shared session."""
    taken = {name for one in nodes for name in one.input}
    inputs = {"features": ["rows", 3], **{name: shape for name, shape in SHAPES.items() if name in taken}}
    graph = helper.make_graph(
        nodes,
        "some",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(value), name) for name, value in CONSTANTS.items() if name in taken],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {name: np.full(shape, 0.5, np.float32) for name, shape in SHAPES.items()}
    names = {value.name for value in session.get_inputs()}
    return session.run(None, {"features": ROWS, **{name: feed[name] for name in names - {"features"}}})[0]


def left(model: onnx.ModelProto) -> list[str]:
    """The kinds of nodes that are left; the graph must answer as before."""
    expected = answer(model)
    remove_detours(model.graph)
    remove_unused(model.graph)
    np.testing.assert_array_equal(answer(model), expected)
    return [one.op_type for one in model.graph.node]


SCALED = node("Div", "features scale", "scaled")
NETWORK = (node("Gemm", "features weight", "column", transB=1), node("Squeeze", "column axis", "squeezed"))
FLAT = node("Reshape", "squeezed to_row", "flat")
MOVED = (node("Mul", "flat one", "larger"), node("Add", "larger one", "moved"))
BACK = node("Reshape", "moved to_column", "again")
LAST = node("Add", "again one", "last")


def test_a_gather_of_all_columns_is_removed() -> None:
    assert left(graph_of(SCALED, node("Gather", "scaled all", "same", axis=1), node("Relu", "same", "out"))) == [
        "Div",
        "Relu",
    ]


@pytest.mark.parametrize("indices", ["reversed", "two"])
def test_a_gather_of_other_columns_stays(indices: str) -> None:
    gather = node("Gather", f"scaled {indices}", "others", axis=1)
    assert left(graph_of(SCALED, gather, node("Relu", "others", "out"))) == ["Div", "Gather", "Relu"]


def test_a_gather_of_rows_or_of_an_unknown_width_stays() -> None:
    rows = node("Gather", "scaled all", "same", axis=0)
    assert left(graph_of(SCALED, rows, node("Relu", "same", "out"))) == ["Div", "Gather", "Relu"]
    unknown = node("Gather", "features all", "same", axis=1)
    assert left(graph_of(unknown, node("Relu", "same", "out"))) == ["Gather", "Relu"]


def test_a_column_that_is_flattened_and_made_a_column_again_stays_one() -> None:
    assert left(graph_of(*NETWORK, FLAT, *MOVED, BACK, LAST)) == ["Gemm", "Mul", "Add", "Add"]


def test_a_flat_value_that_something_else_takes_stays() -> None:
    both = node("Add", "last moved", "both")
    kinds = left(graph_of(*NETWORK, FLAT, *MOVED, BACK, LAST, both))
    assert kinds.count("Reshape") == 2


def test_a_flattened_table_stays() -> None:
    wide = node("Gemm", "features wide", "column", transB=1)
    shaped = node("Reshape", "column to_row", "flat")
    assert left(graph_of(wide, shaped, *MOVED, BACK, LAST)).count("Reshape") == 2


def test_what_is_the_output_itself_stays() -> None:
    assert left(graph_of(*NETWORK, FLAT, *MOVED, BACK)).count("Reshape") == 2
    assert left(graph_of(*NETWORK, FLAT, *MOVED)) == ["Gemm", "Squeeze", "Reshape", "Mul", "Add"]
