"""Many models in one call: each answers what it answers alone, and what cannot be stacked is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.models.graph import INPUT, IR_VERSION, OPSET, OUTPUT, RAW_OUTPUT, constant_return_graph
from mlops_cli.models.session import start_session
from mlops_cli.models.shared.architectures import OUTPUTS, Split, split
from mlops_cli.serving.answering.stacked import Stacked
from tests.fakes.served_projects import COLUMNS, mlp_graph

MODELS = 20
Constants = dict[str, np.ndarray]


def graph_of(nodes: Sequence[onnx.NodeProto], constants: Constants, columns: int = 4) -> onnx.ModelProto:
    """A graph from `features` to `raw_log_return`, which is `log_return` too."""
    graph = helper.make_graph(
        [*nodes, helper.make_node("Identity", [RAW_OUTPUT], [OUTPUT])],
        "g",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in OUTPUTS],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def like_ludwig(seed: int) -> onnx.ModelProto:
    """The operators of what Ludwig exports: normalisation, a transposed Gemm, a squeeze, a reshape, scalars."""
    random = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Sub", [INPUT, "shift"], ["a"]),
        helper.make_node("Div", ["a", "scale"], ["b"]),
        helper.make_node("Gather", ["b", "columns"], ["c"], axis=-1),
        helper.make_node("Gemm", ["c", "w", "bias"], ["d"], transB=1),
        helper.make_node("Tanh", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "v", "scalar"], ["f"], transB=1),
        helper.make_node("Squeeze", ["f", "last"], ["g"]),
        helper.make_node("Reshape", ["g", "last"], ["h"], allowzero=1),
        helper.make_node("Mul", ["h", "factor"], ["i"]),
        helper.make_node("Add", ["one", "i"], [RAW_OUTPUT]),
    ]
    floats = {
        "shift": random.normal(size=4),
        "scale": 1 + random.random(4),
        "w": random.normal(size=(5, 4)),
        "bias": random.normal(size=5),
        "v": random.normal(size=(1, 5)),
        "scalar": random.normal(size=1),
        "factor": random.normal(size=()),
        "one": random.normal(size=1),
    }
    constants = {name: np.asarray(value, dtype=np.float32) for name, value in floats.items()}
    return graph_of(nodes, {**constants, "columns": np.array([3, 1, 0, 2]), "last": np.array([-1])})


def parts_of(graphs: Sequence[onnx.ModelProto], columns: int) -> list[Split]:
    parts = [split(graph.SerializeToString(), columns) for graph in graphs]
    assert len({part.key for part in parts}) == 1
    return parts


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("make", "columns"), [(like_ludwig, 4), (mlp_graph, len(COLUMNS))])
def test_each_model_answers_what_it_answers_alone(make, columns: int, rows: int) -> None:
    parts = parts_of([make(seed) for seed in range(MODELS)], columns)
    values = [np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32) for seed in range(MODELS)]
    session = start_session(parts[0].graph)
    alone = [session.run(OUTPUTS, {**part.weights, INPUT: one}) for part, one in zip(parts, values, strict=True)]
    stacked = Stacked.of(parts[0].graph)
    assert stacked is not None
    outputs = stacked.run([part.weights for part in parts], values, lambda number: tuple(alone[number]))
    assert outputs is not None
    for made, expected in zip(outputs, alone, strict=True):
        for one, other in zip(made, expected, strict=True):
            assert one.shape == (rows,)
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert len({float(made[0][0]) for made in outputs}) == MODELS


def test_other_answers_than_alone_are_not_trusted() -> None:
    parts = parts_of([like_ludwig(seed) for seed in range(2)], 4)
    stacked = Stacked.of(parts[0].graph)
    assert stacked is not None
    rows = [np.ones((1, 4), dtype=np.float32)] * 2
    wrong = np.array([123.0], dtype=np.float32)
    assert stacked.run([part.weights for part in parts], rows, lambda _: (wrong, wrong)) is None


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        pytest.param(
            [helper.make_node("ReduceSum", [INPUT, "axes"], [RAW_OUTPUT], keepdims=0)],
            {"axes": np.array([1])},
            id="an operator not known",
        ),
        pytest.param(
            [
                helper.make_node("Gemm", [INPUT, "w", "b"], ["x"], alpha=2.0),
                helper.make_node("Squeeze", ["x", "axes"], [RAW_OUTPUT]),
            ],
            {"w": np.ones((4, 1), np.float32), "b": np.ones(1, np.float32), "axes": np.array([1])},
            id="a Gemm with a factor",
        ),
        pytest.param(
            [helper.make_node("Reshape", [INPUT, "sizes"], [RAW_OUTPUT], allowzero=1)],
            {"sizes": np.array([0])},
            id="a reshape to nothing",
        ),
    ],
)
def test_what_is_not_known_has_no_stacked_form(nodes: list[onnx.NodeProto], constants: Constants) -> None:
    assert Stacked.of(split(graph_of(nodes, constants).SerializeToString(), 4).graph) is None


def test_graphs_of_the_baselines_are_run_one_by_one() -> None:
    assert Stacked.of(split(constant_return_graph(3, 0.1).SerializeToString(), 3).graph) is None
