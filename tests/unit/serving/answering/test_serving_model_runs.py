"""Runs of loaded models, in one piece and in chunks, and their measured duration."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.models.graph import INPUT
from mlops_cli.models.manifest import GRAPH, file_hashes
from mlops_cli.models.shared.weight_files import LoadedModel, WeightFiles
from mlops_cli.serving.answering.dispatcher import expected_seconds, record_duration, run_in_chunks, run_model
from mlops_cli.serving.contract.messages import UnservableError
from tests.fakes.served_projects import COLUMNS, mlp_graph

ROWS = np.random.default_rng(0).standard_normal((10, len(COLUMNS))).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    onnx.save(mlp_graph(3), folder / GRAPH)
    sha = file_hashes(folder)[GRAPH]
    files = WeightFiles(folder / "files")
    files.prepare(folder, sha, len(COLUMNS))
    loaded = files.load(sha)
    assert loaded is not None
    return loaded


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_chunks_give_what_one_run_gives(model: LoadedModel, size: int) -> None:
    whole = run_model(model, model.feed, ROWS)
    chunked, seconds = run_in_chunks(model, dict(model.feed), ROWS, size)
    for part, expected in zip(chunked, whole, strict=True):
        assert part.shape == (10,)
        np.testing.assert_allclose(part, expected, atol=1e-6)
    assert 0 < seconds < 1


def test_rows_are_in_the_feed_only_during_a_run(model: LoadedModel) -> None:
    run_model(model, model.feed, ROWS)
    assert INPUT not in model.feed
    with pytest.raises(UnservableError, match="does not fit its manifest"):
        run_model(model, model.feed, ROWS[:, :3])
    assert INPUT not in model.feed


def bare(seconds: float) -> LoadedModel:
    return LoadedModel("sha", None, {}, 0, seconds=seconds)  # type: ignore[arg-type]


def test_a_quicker_run_counts_at_once_and_a_slower_one_a_little() -> None:
    model = bare(0.0)
    record_duration(model, 64, 2.0)
    assert model.seconds == pytest.approx(0.05)
    model.seconds = 1.0
    record_duration(model, 0, 0.25)
    assert model.seconds == 0.25
    record_duration(model, 0, 1.25)
    assert model.seconds == pytest.approx(0.30)


@given(st.floats(1e-6, 1.0), st.integers(1, 5000))
def test_a_model_with_a_steady_duration_is_expected_to_take_it(seconds: float, rows: int) -> None:
    model = bare(1e9)
    record_duration(model, rows, seconds)
    assert expected_seconds(model, rows) == pytest.approx(seconds)
    assert expected_seconds(model, 2 * rows) >= seconds
