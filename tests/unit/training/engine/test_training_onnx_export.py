"""The shared export: any weights can be put into a graph that was exported once, and damage of the cache is mended."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from mlops_cli.errors import TrainingError
from mlops_cli.models.graph import INPUT, OUTPUT, RAW_OUTPUT
from mlops_cli.models.session import start_session

pytestmark = pytest.mark.slow  # torch takes seconds to import and to export

COLUMNS = 6


@pytest.fixture(scope="module")
def small() -> ModuleType:
    """The fakes with torch in them, imported when the first test runs and not while tests are collected."""
    return importlib.import_module("tests.fakes.small_ecd")


def rows(count: int = 40) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, COLUMNS)).astype(np.float32)


def by_graph(graph: onnx.ModelProto, features: np.ndarray) -> np.ndarray:
    shrunk, raw = start_session(graph.SerializeToString()).run([OUTPUT, RAW_OUTPUT], {INPUT: features})
    np.testing.assert_array_equal(shrunk, raw)
    return raw


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs") / "not" / "there" / "yet"


@pytest.fixture(scope="module", params=[False, True], ids=["optimised", "normed"])
def template(small: ModuleType, request: pytest.FixtureRequest, cache: Path) -> tuple[Any, bool]:
    return small.GraphTemplate(small.forecaster(0, request.param), COLUMNS, cache), request.param


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 40])
def test_any_weights_fit_into_the_graph(small: ModuleType, template: tuple[Any, bool], seed: int, count: int):
    shared, norm = template
    model = small.forecaster(seed, norm)
    ours = by_graph(shared.fill(model), rows(count))
    np.testing.assert_allclose(ours, small.by_torch(model, rows(count)), atol=1e-6)
    assert ours.shape == (count,)


def test_filling_a_graph_leaves_the_template_and_the_model_alone(small: ModuleType, template: tuple[Any, bool]):
    shared, norm = template
    first, second = small.forecaster(1, norm), small.forecaster(2, norm)
    before = small.by_torch(first, rows())
    graph = shared.fill(first).SerializeToString()
    shared.fill(second)
    assert shared.fill(first).SerializeToString() == graph
    np.testing.assert_array_equal(small.by_torch(first, rows()), before)


def test_no_mark_is_left_in_a_filled_graph(small: ModuleType, template: tuple[Any, bool]):
    shared, norm = template
    graph = shared.fill(small.forecaster(1, norm))
    floats = [onnx.numpy_helper.to_array(one) for one in graph.graph.initializer if one.data_type == 1]
    assert max(np.abs(values).max() for values in floats) < 1000


def test_the_graph_names_nothing_of_this_machine(small: ModuleType, template: tuple[Any, bool]):
    shared, norm = template
    graph = shared.fill(small.forecaster(0, norm))
    assert not any(node.metadata_props for node in graph.graph.node)
    data = graph.SerializeToString()
    assert b".py" not in data
    assert str(Path(__file__).resolve().parents[4]).encode() not in data


def test_the_graph_is_optimised_unless_that_would_compute_with_its_weights(
    small: ModuleType, template: tuple[Any, bool]
):
    shared, norm = template
    kinds = [node.op_type for node in shared.fill(small.forecaster(0, norm)).graph.node]
    assert (kinds.count("Constant") > 10) == norm


def test_the_cache_is_used_and_mended(small: ModuleType, template: tuple[Any, bool], cache: Path):
    _, norm = template
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in cache.iterdir()}
    small.GraphTemplate(small.forecaster(5, norm), COLUMNS, cache)
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in cache.iterdir()} == before
    if norm:
        return
    (path,) = cache.iterdir()
    path.write_bytes(b"this is no graph")
    mended = small.GraphTemplate(small.forecaster(5, norm), COLUMNS, cache)
    assert path.read_bytes() == before[path.name][1]
    np.testing.assert_allclose(
        by_graph(mended.fill(small.forecaster(5)), rows()), small.by_torch(small.forecaster(5), rows()), atol=1e-6
    )
    assert [file.name for file in cache.iterdir()] == [path.name]


def test_an_architecture_is_its_shapes_its_layout_and_its_config(small: ModuleType):
    assert small.forecaster(0).architecture() == small.forecaster(1).architecture()
    different = [small.forecaster(0, norm=True), small.forecaster(0, close_column=1)]
    different.append(small.forecaster(0, layout=small.LAYOUT[::-1]))
    heads = small.forecaster(0)
    heads.ecd.config = {**heads.ecd.config, "combiner": {"num_heads": 4}}
    encoder = small.forecaster(0)
    encoder.ecd.config = {**encoder.ecd.config, "input_features": [{"name": "a", "encoder": {"stride": 2}}]}
    texts = [one.architecture() for one in (small.forecaster(0), *different, heads, encoder)]
    assert len(set(texts)) == len(texts)


def test_preprocessing_of_one_stock_makes_no_architecture(small: ModuleType):
    one, two = small.forecaster(0), small.forecaster(0)
    for model, fill in ((one, 0.1), (two, 0.2)):
        model.ecd.config = {
            **model.ecd.config,
            "input_features": [{"name": "a", "preprocessing": {"computed_fill_value": fill}}],
        }
    assert one.architecture() == two.architecture()


def test_a_predicted_close_becomes_a_log_return_and_never_minus_infinity(small: ModuleType):
    model = small.forecaster(0, close_column=1)
    model.ecd.head.weight.data.zero_()
    model.ecd.head.bias.data.fill_(5.0)
    features = rows(4)
    features[:, 1] = [0.1, 0.05, 0.2, 1e6]
    predicted = 5.0 * 0.02 + 0.001
    expected = np.log([predicted / 0.1, predicted / 0.05, predicted / 0.2, 0.01])
    np.testing.assert_allclose(small.by_torch(model, features), expected, rtol=1e-5)


def test_a_model_too_large_for_its_marks_is_refused(small: ModuleType, tmp_path: Path):
    model = small.forecaster(0)
    model.ecd.register_buffer("huge", small.torch.empty(15_000_000, device="meta"))
    with pytest.raises(TrainingError, match="over 14,680,064 weights"):
        small.GraphTemplate(model, COLUMNS, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"preprocessing": {}}, (0.0, 1.0)),
        ({"preprocessing": {"normalization": None}}, (0.0, 1.0)),
        ({"mean": 3.0, "std": 2.0, "preprocessing": {"normalization": "zscore"}}, (3.0, 2.0)),
        ({"mean": 3.0, "std": 0.0, "preprocessing": {"normalization": "zscore"}}, (3.0, 1.0)),
        ({"min": -1.0, "max": 3.0, "preprocessing": {"normalization": "minmax"}}, (-1.0, 4.0)),
        ({"q1": 1.0, "q2": 2.0, "q3": 5.0, "preprocessing": {"normalization": "iq"}}, (2.0, 4.0)),
    ],
)
def test_linear_normalisations(small: ModuleType, metadata: dict[str, Any], expected: tuple[float, float]):
    assert small.linear_normalisation("a", metadata) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"normalization": "log1p"}, "feature a: normalization log1p is not supported"),
        (
            {"normalization": "zscore", "outlier_strategy": "fill_with_mean"},
            "feature a: outlier_strategy is not supported",
        ),
    ],
)
def test_other_normalisations_are_refused(small: ModuleType, settings: dict[str, Any], words: str):
    with pytest.raises(TrainingError, match=words):
        small.linear_normalisation("a", {"mean": 0.0, "std": 1.0, "preprocessing": settings})
