"""The face of every graph, on ONNX Runtime itself, and the one constant that may be swapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.models.graph import INPUT, OUTPUT, RAW_OUTPUT, SHRINKAGE, constant_return_graph, set_constants
from mlops_cli.models.session import SESSION_FAILURES, start_session
from tests.fakes.linear_trainer import linear_graph

WEIGHTS = np.array([1.0, -2.0, 0.5])


def run(graph: onnx.ModelProto, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shrunk, raw = start_session(graph.SerializeToString()).run([OUTPUT, RAW_OUTPUT], {INPUT: rows})
    return shrunk, raw


def numbers(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("columns", [1, 20, 500])
def test_a_constant_graph_says_the_same_for_every_row(rows: int, columns: int):
    shrunk, raw = run(constant_return_graph(columns, 0.0125), numbers(rows, columns))
    for forecast in (shrunk, raw):
        assert forecast.shape == (rows,)
        assert forecast.dtype == np.float32
        assert (forecast == np.float32(0.0125)).all()


@given(st.floats(-10, 10, width=32))
@settings(max_examples=25)
def test_any_constant_comes_out_as_it_went_in(value: float):
    _, raw = run(constant_return_graph(2, value), numbers(3, 2))
    assert (raw == np.float32(value)).all()


def test_a_constant_graph_does_not_look_at_its_inputs():
    rows = np.array([[np.nan, np.inf], [1e30, -1e30]], dtype=np.float32)
    _, raw = run(constant_return_graph(2, 0.5), rows)
    assert raw.tolist() == [0.5, 0.5]


def test_a_graph_of_another_width_is_refused_by_the_runtime():
    with pytest.raises(SESSION_FAILURES):
        run(constant_return_graph(3, 0.0), numbers(2, 4))


def test_the_face():
    graph = constant_return_graph(3, 0.25).graph
    assert [node.name for node in graph.input] == [INPUT]
    assert [node.name for node in graph.output] == [OUTPUT, RAW_OUTPUT]
    rows, columns = graph.input[0].type.tensor_type.shape.dim
    assert (rows.dim_param, columns.dim_value) == ("rows", 3)
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    assert constants[SHRINKAGE] == 1.0


@pytest.mark.parametrize("graph", [constant_return_graph(3, 0.02), linear_graph(WEIGHTS, 0.1)], ids=["naive", "linear"])
@pytest.mark.parametrize("value", [0.0, 0.35, 1.0])
def test_shrinkage_is_a_factor(tmp_path: Path, graph: onnx.ModelProto, value: float):
    onnx.save(graph, tmp_path / "a.onnx")
    set_constants(tmp_path / "a.onnx", tmp_path / "b.onnx", {SHRINKAGE: value})
    rows = numbers(50, 3)
    shrunk, raw = run(onnx.load(tmp_path / "b.onnx"), rows)
    np.testing.assert_array_equal(raw, run(graph, rows)[1])
    np.testing.assert_array_equal(shrunk, raw * np.float32(value))


def test_nothing_but_the_shrinkage_changes(tmp_path: Path):
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(linear_graph(WEIGHTS, 0.1), before)
    set_constants(before, after, {SHRINKAGE: 0.35})
    old, new = before.read_bytes(), after.read_bytes()
    assert len(old) == len(new)
    changed = [at for at in range(len(old)) if old[at] != new[at]]
    # the four bytes of the float 1.0 became those of 0.35, once
    (at,) = (at for at in range(len(old) - 3) if at <= changed[0] < at + 4 and old[at : at + 4] == one_float(1.0))
    assert new[at : at + 4] == one_float(0.35)
    assert old[:at] + one_float(0.35) + old[at + 4 :] == new


def test_setting_it_back_gives_the_same_file(tmp_path: Path):
    path = tmp_path / "a.onnx"
    onnx.save(constant_return_graph(3, 0.02), path)
    before = path.read_bytes()
    set_constants(path, path, {SHRINKAGE: 0.1})
    assert path.read_bytes() != before
    set_constants(path, path, {SHRINKAGE: 1.0})
    assert path.read_bytes() == before


def test_a_foreign_graph_is_refused(tmp_path: Path):
    foreign = linear_graph(WEIGHTS, 0.1)
    foreign.graph.initializer.remove(next(one for one in foreign.graph.initializer if one.name == SHRINKAGE))
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match=r"foreign\.onnx: the graph has no constant shrinkage"):
        set_constants(tmp_path / "foreign.onnx", tmp_path / "out.onnx", {SHRINKAGE: 0.5})
    assert not (tmp_path / "out.onnx").exists()


def test_a_damaged_graph_is_refused(tmp_path: Path):
    (tmp_path / "text.onnx").write_text("this is no graph")
    with pytest.raises(ModelError, match=r"text\.onnx: damaged: "):
        set_constants(tmp_path / "text.onnx", tmp_path / "out.onnx", {SHRINKAGE: 0.5})


def one_float(value: float) -> bytes:
    return np.array(value, dtype="<f4").tobytes()
