"""The plain session is the oracle of the shared one: how far they may differ, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.models.graph import INTERVAL, OUTPUT, SHRINKAGE, constant_return_graph
from mlops_cli.models.shared.architectures import (
    ROUNDINGS,
    TOLERANCE,
    Architectures,
    join_columns,
    same_answers,
    split,
    whole,
)
from tests.fakes.linear_trainer import linear_graph

EPS = float(np.finfo(np.float32).eps)


def constant(value: float) -> bytes:
    graph: bytes = constant_return_graph(2, value).SerializeToString()
    return graph


def agree(own: float, shared: float) -> bool:
    return same_answers(constant(own), whole(constant(shared)), 2)


@pytest.mark.parametrize("value", [0.0, 0.01, -0.05])
def test_small_log_returns_may_differ_by_the_absolute_tolerance(value: float) -> None:
    assert agree(value, value + 0.5 * TOLERANCE)
    assert not agree(value, value + 3 * TOLERANCE)


@pytest.mark.parametrize("value", [14.0, -30.0, 99.0])
def test_large_log_returns_may_differ_by_some_roundings_of_float32(value: float) -> None:
    rounding = abs(value) * EPS
    assert rounding > 1.5 * TOLERANCE, "a single rounding is more than the absolute tolerance"
    assert agree(value, value + 2 * rounding)
    assert not agree(value, value + 3 * ROUNDINGS * rounding)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_without_a_finite_forecast_cannot_be_compared(value: float) -> None:
    assert not agree(value, value)
    assert not agree(0.01, value)


def test_a_shared_form_that_does_not_run_is_no_shared_form() -> None:
    assert not same_answers(constant(0.01), whole(constant_return_graph(3, 0.01).SerializeToString()), 2)
    assert not same_answers(constant(0.01), whole(b"no graph"), 2)


def test_a_model_that_does_not_run_by_itself_is_damaged() -> None:
    with pytest.raises(ModelError, match="the graph does not run"):
        same_answers(constant_return_graph(3, 0.01).SerializeToString(), whole(constant(0.01)), 2)


def test_intervals_that_are_no_table_of_numbers_are_damage() -> None:
    graph = constant_return_graph(2, 0.01)
    graph.graph.node.append(helper.make_node("Identity", [OUTPUT], [INTERVAL]))
    graph.graph.output.append(helper.make_tensor_value_info(INTERVAL, TensorProto.FLOAT, ["rows"]))
    with pytest.raises(ModelError, match="its intervals are no table"):
        same_answers(graph.SerializeToString(), whole(constant(0.01)), 2)


def test_models_that_differ_in_weights_alone_are_one_architecture() -> None:
    graphs = [linear_graph(np.array(weights), 0.5) for weights in ([1.0, 2.0], [3.0, 4.0], [1.0, 2.0, 3.0])]
    graphs[1].doc_string = "made by another exporter"
    graphs[1].graph.node[0].doc_string = "on another day"
    parts = [split(graph.SerializeToString(), columns) for graph, columns in zip(graphs, (2, 2, 3), strict=True)]
    assert parts[0].key == parts[1].key != parts[2].key
    assert set(parts[0].weights) == {"weights", "intercept", SHRINKAGE}
    assert all(same_answers(graph.SerializeToString(), part, len(part.weights["weights"]))
               for graph, part in zip(graphs, parts, strict=True))  # fmt: skip


@pytest.mark.parametrize("columns", [1, 3])
def test_a_graph_of_another_width_than_its_manifest_is_refused(columns: int) -> None:
    with pytest.raises(ModelError, match=f"of {columns} columns"):
        split(linear_graph(np.array([1.0, 2.0]), 0.5).SerializeToString(), columns)


def test_a_session_lives_as_long_as_somebody_holds_it(tmp_path: Path) -> None:
    architectures = Architectures(tmp_path)
    part = split(linear_graph(np.array([1.0, 2.0]), 0.5).SerializeToString(), 2)
    with pytest.raises(FileNotFoundError):
        architectures.get(part.key)
    architectures.path(part.key).write_bytes(part.graph)
    held = architectures.get(part.key)
    assert architectures.get(part.key) is held is architectures.live(part.key)
    assert architectures.bytes == held.bytes >= len(part.graph)
    del held
    assert architectures.live(part.key) is None
    assert architectures.bytes == 0


def test_a_changed_graph_file_is_removed_and_refused(tmp_path: Path) -> None:
    architectures = Architectures(tmp_path)
    path = architectures.path("0" * 64)
    path.write_bytes(b"something else")
    with pytest.raises(ModelError, match="it was removed"):
        architectures.get("0" * 64)
    assert not path.exists()


def concat_of(*parts: str, axis: int = 1) -> onnx.GraphProto:
    """Columns 0 and 1 of x, column 0 of y, and their Concat."""
    nodes = []
    for name, source, index in (("x0", "x", "i0"), ("x1", "x", "i1"), ("y0", "y", "i0"), ("pair", "x", "i01")):
        nodes.append(helper.make_node("Gather", [source, index], [f"g{name}"], axis=1))
        nodes.append(helper.make_node("Unsqueeze", [f"g{name}", "axes"], [name]))
    nodes.append(helper.make_node("Concat", list(parts), ["out"], axis=axis))
    integers = {"i0": np.array(0), "i1": np.array(1), "i01": np.array([0, 1]), "axes": np.array([1])}
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 2]) for name in ("x", "y", "out")]
    constants = [numpy_helper.from_array(value.astype(np.int64), name) for name, value in integers.items()]
    return helper.make_graph(nodes, "g", infos[:2], infos[2:], constants)


def test_columns_of_one_value_are_joined_in_their_order() -> None:
    graph = concat_of("x1", "x0", "x1")
    join_columns(graph)
    (node,) = graph.node
    assert (node.op_type, list(node.input)) == ("Gather", ["x", "out_columns"])
    (indices,) = graph.initializer
    assert numpy_helper.to_array(indices).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("parts", "axis"), [(("x0", "y0"), 1), (("x0",), 1), (("x0", "pair"), 1), (("x0", "x1"), 0), (("x0", "x"), 1)]
)
def test_other_joins_stay_as_they_are(parts: tuple[str, ...], axis: int) -> None:
    graph = concat_of(*parts, axis=axis)
    before = graph.SerializeToString(deterministic=True)
    join_columns(graph)
    assert graph.SerializeToString(deterministic=True) == before
