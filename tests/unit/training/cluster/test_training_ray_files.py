"""What a node of a Ray cluster returned is written into the model folder and nowhere else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import TrainingError
from mlops_cli.training.cluster.ray_trainer import write_files


@pytest.mark.parametrize("name", ["../escaped", "ludwig/../../escaped", "/escaped", ".", ""])
def test_a_returned_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str):
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(TrainingError, match="outside of the model folder"):
        write_files(folder, {"model.onnx": b"good", name: b"bad"})
    assert list(tmp_path.rglob("*")) == [folder]


def test_returned_files_are_written(tmp_path: Path):
    write_files(tmp_path, {"model.onnx": b"graph", "ludwig/weights": b"weights"})
    assert (tmp_path / "model.onnx").read_bytes() == b"graph"
    assert (tmp_path / "ludwig" / "weights").read_bytes() == b"weights"


paths = st.lists(st.sampled_from(["a", "b", "..", ".", "c d", "ü"]), min_size=1, max_size=5).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=20), max_size=4))
@settings(max_examples=60)
def test_whatever_a_node_returns_nothing_is_written_outside(tmp_path_factory, files: dict[str, bytes]):
    root = tmp_path_factory.mktemp("files")
    folder = root / "deep" / "model"
    folder.mkdir(parents=True)
    with suppress(TrainingError, OSError):  # OSError: a path that is a file and a folder
        write_files(folder, files)
    assert [path for path in root.rglob("*") if path.is_file() and not path.is_relative_to(folder)] == []


def test_a_file_that_is_there_is_replaced(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"of a process that died")
    write_files(tmp_path, {"model.onnx": b"graph"})
    assert (tmp_path / "model.onnx").read_bytes() == b"graph"


def test_no_files_are_no_error(tmp_path: Path):
    write_files(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
