"""Graphs taken apart: shared sessions give what a model's own session gives; files are right or not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.models.graph import (
    INPUT,
    IR_VERSION,
    OPSET,
    OUTPUT,
    OUTPUTS,
    RAW_OUTPUT,
    SHRINKAGE,
    constant_return_graph,
)
from mlops_cli.models.manifest import GRAPH
from mlops_cli.models.session import start_session
from mlops_cli.models.shared.architectures import same_answers, split, whole
from mlops_cli.models.shared.weight_files import WeightFiles, open_weight_files
from tests.fakes.served_projects import COLUMNS, mlp_graph

ROWS = np.random.default_rng(1).standard_normal((5, len(COLUMNS))).astype(np.float32)


def gathering_graph(order: tuple[int, ...]) -> onnx.ModelProto:
    """A linear model that takes its input apart into columns and joins them in `order`, as Ludwig's graphs do."""
    nodes, parts, constants = [], [], {"axis": np.array([1])}
    for index in order:
        constants[f"i{index}"] = np.array(index)
        nodes.append(helper.make_node("Gather", [INPUT, f"i{index}"], [f"g{index}"], axis=1))
        nodes.append(helper.make_node("Unsqueeze", [f"g{index}", "axis"], [f"u{index}"]))
        parts.append(f"u{index}")
    nodes += [
        helper.make_node("Concat", parts, ["joined"], axis=1),
        helper.make_node("MatMul", ["joined", "weights"], [RAW_OUTPUT]),
        helper.make_node("Mul", [RAW_OUTPUT, SHRINKAGE], [OUTPUT]),
    ]
    floats = {"weights": np.arange(1.0, len(order) + 1), SHRINKAGE: np.array(0.5)}
    given = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    given += [numpy_helper.from_array(value.astype(np.float32), name) for name, value in floats.items()]
    graph = helper.make_graph(
        nodes,
        "gathering",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", len(order)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in (OUTPUT, RAW_OUTPUT)],
        given,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def folder_of(root: Path, model: onnx.ModelProto) -> tuple[Path, str]:
    root.mkdir(parents=True)
    onnx.save(model, root / GRAPH)
    return root, hashlib.sha256((root / GRAPH).read_bytes()).hexdigest()


def test_models_of_one_architecture_share_it_and_give_what_their_own_sessions_give(tmp_path: Path) -> None:
    files = WeightFiles(tmp_path / "files")
    loaded = []
    for seed in range(3):
        folder, sha = folder_of(tmp_path / str(seed), mlp_graph(seed))
        files.prepare(folder, sha, len(COLUMNS))
        loaded.append((folder, files.load(sha)))
    assert len(list((tmp_path / "files").glob("*.onnx"))) == 1
    for folder, model in loaded:
        assert model is not None
        assert model.architecture is loaded[0][1].architecture
        own = start_session((folder / GRAPH).read_bytes()).run(OUTPUTS, {INPUT: ROWS})
        shared = model.architecture.session.run(OUTPUTS, {**model.feed, INPUT: ROWS})
        np.testing.assert_allclose(shared, own, rtol=0, atol=1e-6)


def test_columns_taken_apart_and_joined_again_become_one_step() -> None:
    graph = gathering_graph((2, 0, 1))
    parts = split(graph.SerializeToString(), 3)
    assert [node.op_type for node in onnx.ModelProto.FromString(parts.graph).graph.node] == ["Gather", "MatMul", "Mul"]
    assert same_answers(graph.SerializeToString(), parts, 3)
    row = np.array([[10.0, 20.0, 30.0]], dtype=np.float32)
    raw = start_session(parts.graph).run([RAW_OUTPUT], {INPUT: row, **parts.weights})[0]
    assert raw.tolist() == [30.0 + 2 * 10.0 + 3 * 20.0]


def test_a_graph_whose_shared_form_would_differ_serves_by_its_own_session(tmp_path: Path) -> None:
    graph = constant_return_graph(3, 0.25).SerializeToString()
    other = split(constant_return_graph(3, 0.5).SerializeToString(), 3)
    assert not same_answers(graph, other, 3)
    alone = whole(graph)
    assert same_answers(graph, alone, 3)
    assert not alone.weights


def test_a_damaged_graph_is_refused_with_its_reason(tmp_path: Path) -> None:
    files = WeightFiles(tmp_path / "files")
    folder, sha = folder_of(tmp_path / "m", mlp_graph(1))
    with pytest.raises(ModelError, match="of 3 columns"):
        files.prepare(folder, sha, 3)
    (folder / GRAPH).write_bytes(b"half of it")
    with pytest.raises(ModelError, match="does not match its manifest"):
        files.prepare(folder, sha, len(COLUMNS))
    with pytest.raises(ModelError, match="damaged"):
        files.prepare(folder, hashlib.sha256(b"half of it").hexdigest(), len(COLUMNS))
    (folder / GRAPH).unlink()
    with pytest.raises(ModelError, match="No such file"):
        files.prepare(folder, sha, len(COLUMNS))
    with pytest.raises(FileNotFoundError):
        files.load(sha)


def test_cut_off_weight_files_are_written_anew(tmp_path: Path) -> None:
    files = WeightFiles(tmp_path / "files")
    folder, sha = folder_of(tmp_path / "m", mlp_graph(1))
    files.prepare(folder, sha, len(COLUMNS))
    path = next((tmp_path / "files").glob("*.weights"))
    whole_file = path.read_bytes()
    for size in (0, 3, 100, len(whole_file) // 2):
        path.write_bytes(whole_file[:size])
        files.prepare(folder, sha, len(COLUMNS))
        assert path.read_bytes() == whole_file
        path.write_bytes(whole_file[:size])
        with pytest.raises((ModelError, FileNotFoundError)):
            files.load(sha)
        files.prepare(folder, sha, len(COLUMNS))
        assert files.load(sha) is not None


def test_changed_weights_and_graphs_are_noticed_and_written_anew(tmp_path: Path) -> None:
    files = WeightFiles(tmp_path / "files")
    folder, sha = folder_of(tmp_path / "m", mlp_graph(1))
    files.prepare(folder, sha, len(COLUMNS))
    for path in (tmp_path / "files").iterdir():
        right = path.read_bytes()
        path.write_bytes(right[:-80] + bytes(value ^ 1 for value in right[-80:]))
        if path.suffix == ".onnx":
            with pytest.raises(ModelError, match="damaged"):
                WeightFiles(tmp_path / "files").load(sha)
        files.prepare(folder, sha, len(COLUMNS))
        assert path.read_bytes() == right


def test_a_model_stays_usable_when_its_file_is_removed_and_holds_no_descriptor(tmp_path: Path) -> None:
    files = WeightFiles(tmp_path / "files")
    folder, sha = folder_of(tmp_path / "m", mlp_graph(1))
    files.prepare(folder, sha, len(COLUMNS))
    before = len(list(Path("/proc/self/fd").iterdir()))
    models = [files.load(sha) for _ in range(20)]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    files.remove_others([])
    assert not list((tmp_path / "files").glob("*.weights"))
    model = models[7]
    assert model is not None
    assert all(value.ctypes.data % 64 == 0 for value in model.feed.values())
    assert np.isfinite(model.architecture.session.run(OUTPUTS, {**model.feed, INPUT: ROWS})).all()


def test_a_folder_that_cannot_be_made_is_replaced_by_a_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    files, temporary = open_weight_files(tmp_path / "file" / "serving")
    assert temporary is not None
    assert files.folder.is_dir()
    temporary.close()
    assert not files.folder.exists()
    assert open_weight_files(tmp_path / "serving")[1] is None
