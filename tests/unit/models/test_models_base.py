"""Base and intervals in the graph: numpy is the oracle, and without a base nothing changes by a bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import ModelError
from mlops_cli.features.column_names import WIDEST
from mlops_cli.models.base import MATRIX, OFFSETS, forecast_constants, wrap_graph
from mlops_cli.models.graph import INPUT, INTERVAL, OUTPUT, RAW_OUTPUT, SHRINKAGE, constant_return_graph, set_constants
from mlops_cli.models.session import run_graph, run_with_interval, start_session, usable_intervals
from mlops_cli.models.shared.architectures import same_answers, split
from mlops_cli.training.shrinkage import MOST_WIDER
from tests.fakes.linear_trainer import linear_graph

WEIGHTS = np.array([0.5, -0.25, 0.125])
LEVELS = 2


def linear() -> onnx.ModelProto:
    return linear_graph(WEIGHTS, 0.001)


def wrapped(
    folder: Path,
    shrinkage: float = 1.0,
    drift: float = 0.0,
    *,
    levels: int = LEVELS,
    dividend: bool = True,
    factor: float = 1.0,
) -> bytes:
    """The linear graph with a base, as it is after training."""
    path = folder / "model.onnx"
    onnx.save(linear(), path)
    wrap_graph(path, 3, levels, dividend)
    set_constants(path, path, forecast_constants(shrinkage, drift, levels, factor))
    return path.read_bytes()


def rows(count: int, levels: int = LEVELS, dividend: bool = True) -> np.ndarray:
    """Features, shares of dividends (every second one 0) and widths."""
    random = np.random.default_rng(0)
    columns = [0.02 * random.standard_normal((count, 3))]
    if dividend:
        columns.append(np.where(np.arange(count) % 2, 0.03 * random.random(count), 0.0)[:, None])
    columns.append(0.005 + 0.03 * random.random((count, levels)).cumsum(axis=1))
    return np.hstack(columns).astype(np.float32)


def oracle(features: np.ndarray, shrinkage: float, drift: float, factor: float = 1.0) -> tuple[np.ndarray, ...]:
    """`log_return`, `raw_log_return` and `interval` from their definitions, in float64."""
    values = features.astype(np.float64)
    network = values[:, :3] @ WEIGHTS + 0.001
    total = drift + shrinkage * (network - drift)
    share, widths = values[:, 3], factor * values[:, 4:]
    sides = np.stack([total[:, None] - widths, total[:, None] + widths], axis=2).reshape(len(values), -1)
    return tuple(np.log(np.exp(part) - share.reshape(-1, *[1] * (part.ndim - 1))) for part in (total, network, sides))


@pytest.mark.parametrize("count", [1, 2, 7, 500])
@pytest.mark.parametrize(("shrinkage", "drift", "factor"), [(0.35, 0.0004, 1.0), (0.0, -0.001, 1.5), (1.0, 0.01, 1.0)])
def test_forecast_and_interval_are_those_of_numpy(
    tmp_path: Path, count: int, shrinkage: float, drift: float, factor: float
) -> None:
    session = start_session(wrapped(tmp_path, shrinkage, drift, factor=factor))
    features = rows(count)
    got = run_with_interval(session, {INPUT: features}, LEVELS)
    for values, expected in zip(got, oracle(features, shrinkage, drift, factor), strict=True):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1.5e-7)
    assert usable_intervals(got[0], got[2]).all()


@given(
    shrinkage=st.sampled_from([0.0, 0.05, 0.35, 0.7, 1.0]), count=st.sampled_from([1, 3, 64]), seed=st.integers(0, 99)
)
def test_without_a_base_every_forecast_is_the_trainers_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, shrinkage: float, count: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("graphs")
    features = np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)
    features = np.hstack([features, np.full((count, LEVELS), 0.03, np.float32)])
    path = folder / "plain.onnx"
    onnx.save(linear(), path)
    set_constants(path, path, {SHRINKAGE: shrinkage})
    plain = run_graph(start_session(path.read_bytes()), {INPUT: features[:, :3]})
    got = run_graph(start_session(wrapped(folder, shrinkage, dividend=False)), {INPUT: features})
    for values, expected in zip(got, plain, strict=True):
        np.testing.assert_array_equal(values, expected)


def test_a_day_without_a_dividend_is_a_day_of_a_base_without_dividends(tmp_path: Path) -> None:
    features = rows(20)
    features[:, 3] = 0.0
    without = np.delete(features, 3, axis=1)
    got = run_with_interval(start_session(wrapped(tmp_path, 0.35, 0.0004)), {INPUT: features}, LEVELS)
    plain = start_session(wrapped(tmp_path, 0.35, 0.0004, dividend=False))
    for values, expected in zip(got, run_with_interval(plain, {INPUT: without}, LEVELS), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_a_shrinkage_of_zero_is_the_base(tmp_path: Path) -> None:
    features = rows(10)
    log_return, _ = run_graph(start_session(wrapped(tmp_path, 0.0, 0.0004)), {INPUT: features})
    close = 80.0 * np.exp(log_return.astype(np.float64))
    np.testing.assert_allclose(close, 80.0 * np.exp(0.0004) - 80.0 * features[:, 3], rtol=2e-7)


def test_the_widest_interval_is_finite_around_the_forecast_whatever_the_dividend(tmp_path: Path) -> None:
    features = np.array([[0.1, 0.0, 0.0, 0.10, 10.0, 10.0]], np.float32)
    log_return, _, interval = run_with_interval(start_session(wrapped(tmp_path, factor=3.0)), {INPUT: features}, LEVELS)
    assert usable_intervals(log_return, interval).all()
    assert interval[0, 0] < -20 < 20 < interval[0, 1]


@pytest.mark.parametrize("dividend", [False, True])
@pytest.mark.parametrize("levels", [0, 1, 4])
def test_the_columns_and_outputs_follow_the_levels(tmp_path: Path, levels: int, dividend: bool) -> None:
    graph = onnx.ModelProto.FromString(wrapped(tmp_path, levels=levels, dividend=dividend)).graph
    (features,) = graph.input
    assert features.type.tensor_type.shape.dim[1].dim_value == 3 + dividend + levels
    assert [output.name for output in graph.output] == [OUTPUT, RAW_OUTPUT, *([INTERVAL] if levels else [])]
    session = start_session(graph_bytes := wrapped(tmp_path, levels=levels, dividend=dividend))
    feed = {INPUT: rows(3, levels, dividend)}
    assert all(len(values) == 3 for values in session.run(None, feed))
    if levels:
        assert session.run([INTERVAL], feed)[0].shape == (3, 2 * levels)
    assert len(graph_bytes) < 10_000


def test_a_request_pays_for_few_nodes(tmp_path: Path) -> None:
    """Each node costs about a microsecond of every request; 2 of the linear model's own nodes stay."""
    for dividend, most in ((False, 7), (True, 13)):
        nodes = onnx.ModelProto.FromString(wrapped(tmp_path, dividend=dividend)).graph.node
        assert len([node for node in nodes if node.op_type != "Constant"]) == 2 + most


@pytest.mark.parametrize("log_return", [0.0, 0.0125])
def test_baselines_get_intervals_too(tmp_path: Path, log_return: float) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(constant_return_graph(3, log_return), path)
    wrap_graph(path, 3, LEVELS, dividend=False)
    features = rows(5, dividend=False)
    got, raw, interval = run_with_interval(start_session(path.read_bytes()), {INPUT: features}, LEVELS)
    assert got.tolist() == raw.tolist() == [np.float32(log_return)] * 5
    np.testing.assert_allclose(interval[:, 1::2] - interval[:, 0::2], 2 * features[:, 3:], rtol=1e-6)


@pytest.mark.parametrize("dividend", [False, True])
def test_models_of_one_architecture_share_a_session_and_keep_their_own_constants(
    tmp_path: Path, dividend: bool
) -> None:
    one = wrapped(tmp_path, 0.35, 0.0004, dividend=dividend)
    other = wrapped(tmp_path, 0.7, -0.001, dividend=dividend, factor=2.0)
    columns = 3 + dividend + LEVELS
    parts = [split(graph, columns) for graph in (one, other)]
    assert parts[0].key == parts[1].key
    assert set(parts[0].weights) == {"weights", "intercept", MATRIX, OFFSETS}
    features = rows(4, dividend=dividend)
    for graph, part in zip((one, other), parts, strict=True):
        assert same_answers(graph, part, columns)
        own = run_with_interval(start_session(graph), {INPUT: features}, LEVELS)
        shared = run_with_interval(start_session(part.graph), {**part.weights, INPUT: features}, LEVELS)
        for mine, theirs in zip(own, shared, strict=True):
            np.testing.assert_allclose(theirs, mine, atol=1e-7)


def test_a_shared_form_with_other_intervals_is_refused(tmp_path: Path) -> None:
    graph, columns = wrapped(tmp_path, 0.35), 3 + 1 + LEVELS
    part = split(graph, columns)
    matrix = part.weights[MATRIX].copy()
    matrix[1, 2] *= 1.5  # the lower bound of the first level
    part.weights[MATRIX] = matrix
    assert not same_answers(graph, part, columns)


@pytest.mark.parametrize("missing", ["output", "constant"])
def test_a_graph_that_no_trainer_wrote_is_refused(tmp_path: Path, missing: str) -> None:
    graph, path = linear(), tmp_path / "model.onnx"
    if missing == "output":
        graph.graph.node[-1].output[0] = "something"
    else:
        graph.graph.initializer.remove(next(c for c in graph.graph.initializer if c.name == SHRINKAGE))
    onnx.save(graph, path)
    before = path.read_bytes()
    with pytest.raises(ModelError, match="no output 'log_return' that is shrunk"):
        wrap_graph(path, 3, LEVELS, dividend=True)
    assert path.read_bytes() == before


def test_wrapping_twice_is_refused(tmp_path: Path) -> None:
    wrapped(tmp_path)
    with pytest.raises(ModelError, match="that is shrunk"):
        wrap_graph(tmp_path / "model.onnx", 3, LEVELS, dividend=True)


def test_a_missing_or_damaged_graph_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        wrap_graph(path, 3, LEVELS, dividend=False)
    path.write_text("no graph")
    with pytest.raises(ModelError, match=r"model\.onnx: damaged"):
        wrap_graph(path, 3, LEVELS, dividend=False)


def test_the_widest_interval_of_the_largest_factor_is_usable_with_and_without_a_dividend(tmp_path: Path) -> None:
    features = rows(4)
    features[:, -1] = WIDEST
    session = start_session(wrapped(tmp_path, factor=MOST_WIDER))
    forecast, _, interval = run_with_interval(session, {INPUT: features}, LEVELS)
    assert usable_intervals(forecast, interval).all()
