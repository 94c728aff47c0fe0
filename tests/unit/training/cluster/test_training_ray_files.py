"""What a node of a Ray cluster returned is written into the model folder and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

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
