"""Sessions: one thread, all failures under one name, and the one range check of forecasts."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.models.graph import INPUT, LARGEST_LOG_RETURN, constant_return_graph
from mlops_cli.models.session import (
    RUN_FAILURES,
    SESSION_FAILURES,
    BoundSession,
    are_usable,
    run_graph,
    run_with_interval,
    start_session,
    usable_intervals,
    usable_rows,
)

values = st.floats(width=32) | st.sampled_from([LARGEST_LOG_RETURN, -LARGEST_LOG_RETURN, np.inf, -np.inf, np.nan])


@given(st.lists(st.tuples(values, values), min_size=1, max_size=4))
def test_forecasts_are_usable_if_each_row_is(pairs: list[tuple[float, float]]) -> None:
    log_return, raw = (np.array(column, dtype=np.float32) for column in zip(*pairs, strict=True))
    rows = usable_rows(log_return, raw)
    expected = [bool(np.isfinite(shrunk) and abs(plain) <= LARGEST_LOG_RETURN) for shrunk, plain in pairs]
    assert rows.tolist() == expected
    assert are_usable(log_return, raw) == all(expected)


def test_the_check_of_one_row_gives_a_plain_bool() -> None:
    one = np.array([0.5], dtype=np.float32)
    assert are_usable(one, one) is True
    assert are_usable(one, np.array([101.0], dtype=np.float32)) is False


def test_the_bound_keeps_every_price_finite() -> None:
    assert np.isfinite(1e6 * np.exp(np.float64(LARGEST_LOG_RETURN)))


def test_a_graph_gives_both_outputs() -> None:
    session = start_session(constant_return_graph(2, 0.25).SerializeToString())
    log_return, raw = run_graph(session, {INPUT: np.zeros((3, 2), dtype=np.float32)})
    assert log_return.tolist() == raw.tolist() == [0.25] * 3


@pytest.mark.parametrize("graph", [b"", b"no graph", constant_return_graph(2, 0.1).SerializeToString()[:50]])
def test_what_is_no_graph_fails_as_a_session_failure(graph: bytes) -> None:
    with pytest.raises(SESSION_FAILURES):
        start_session(graph)


@pytest.mark.parametrize(
    "feed",
    [
        {INPUT: np.zeros((3, 5), dtype=np.float32)},
        {INPUT: np.zeros((3, 2), dtype=np.float64)},
        {INPUT: np.zeros(2, dtype=np.float32)},
        {"other": np.zeros((3, 2), dtype=np.float32)},
        {},
    ],
)
def test_a_feed_that_does_not_fit_fails_as_a_run_failure(feed: dict[str, np.ndarray]) -> None:
    session = start_session(constant_return_graph(2, 0.1).SerializeToString())
    with pytest.raises(RUN_FAILURES):
        run_graph(session, feed)


class TestIntervals:
    forecast = np.array([0.0, 0.01], np.float32)

    def usable(self, *bounds: tuple[float, ...]) -> list[bool]:
        rows: list[bool] = usable_intervals(self.forecast, np.array(bounds, np.float32)).tolist()
        return rows

    def test_they_hold_the_forecast_or_touch_it(self) -> None:
        assert self.usable((-0.1, 0.1, -0.2, 0.2), (0.01, 0.01, 0.0, 0.02)) == [True, True]

    def test_every_level_counts(self) -> None:
        assert self.usable((0.001, 0.1, -0.2, 0.2), (-0.1, 0.1, -0.2, 0.0)) == [False, False]

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_bounds_are_finite(self, bad: float) -> None:
        assert self.usable((-0.1, bad), (-0.1, 0.1)) == [False, True]

    def test_a_graph_without_them_fails_as_a_run_failure(self) -> None:
        session = start_session(constant_return_graph(2, 0.1).SerializeToString())
        with pytest.raises(RUN_FAILURES):
            run_with_interval(session, {INPUT: np.zeros((1, 2), np.float32)}, 1)


def weighted_graph() -> bytes:
    """A graph whose weights are inputs; with `interval`, the bounds 1 below and above."""
    nodes = [
        helper.make_node("Mul", [INPUT, "factors"], ["products"]),
        helper.make_node("ReduceSum", ["products", "axis"], ["raw_log_return"], keepdims=0),
        helper.make_node("Mul", ["raw_log_return", "shrinkage"], ["log_return"]),
        helper.make_node("ReduceSum", ["products", "axis"], ["column"], keepdims=1),
        helper.make_node("Add", ["column", "ends"], ["interval"]),
    ]
    shapes = {INPUT: ["rows", 2], "factors": [2], "shrinkage": [1]}
    outputs = {"log_return": ["rows"], "raw_log_return": ["rows"], "interval": ["rows", 2]}
    constants = {"axis": np.array([1]), "ends": np.array([-1, 1], np.float32)}
    graph = helper.make_graph(
        nodes,
        "weighted",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def bound(*factors: float) -> BoundSession:
    weights = {"factors": np.array(factors, np.float32), "shrinkage": np.array([0.5], np.float32)}
    return BoundSession(start_session(weighted_graph()), weights)


def test_a_bound_session_gives_each_run_its_own_rows_and_outputs() -> None:
    session = bound(1, 10)
    first = session.run(np.array([[1, 2]], np.float32))
    both = session.run(np.array([[1, 2], [3, 4]], np.float32), levels=1)
    again = session.run(np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    assert [output.tolist() for output in first] == [[10.5], [21]], "a later run changes nothing"
    assert [output.tolist() for output in both] == [[10.5, 21.5], [21, 43], [[20, 22], [42, 44]]]
    assert [output.tolist() for output in again] == [[10.5, 21.5, 32.5], [21, 43, 65]]


def test_bound_sessions_of_one_graph_do_not_share_weights() -> None:
    session = start_session(weighted_graph())
    rows = np.array([[1, 2]], np.float32)
    half = np.array([0.5], np.float32)
    one, two = (
        BoundSession(session, {"factors": np.array(factors, np.float32), "shrinkage": half})
        for factors in ([1, 0], [0, 1])
    )
    gc.collect()
    assert [one.run(rows)[1].tolist(), two.run(rows)[1].tolist(), one.run(rows)[1].tolist()] == [[1], [2], [1]]


def test_rows_in_any_order_of_memory_are_read_as_they_are() -> None:
    rows = np.array([[1, 2], [3, 4]], np.float32)
    assert bound(1, 10).run(np.asfortranarray(rows))[1].tolist() == [21, 43]
    assert bound(1, 10).run(np.repeat(rows, 2, axis=1)[:, ::2])[1].tolist() == [21, 43]


@pytest.mark.parametrize("shape", [(1, 3), (2,), (1, 2, 1)])
def test_rows_that_do_not_fit_fail_as_a_run_failure_and_hurt_no_later_run(shape: tuple[int, ...]) -> None:
    session = bound(1, 10)
    with pytest.raises(RUN_FAILURES):
        session.run(np.zeros(shape, np.float32))
    assert session.run(np.array([[1, 2]], np.float32))[1].tolist() == [21]


def test_weights_that_the_graph_does_not_have_fail_as_a_run_failure() -> None:
    weights = {"other": np.ones(2, np.float32)}
    with pytest.raises(RUN_FAILURES):
        BoundSession(start_session(weighted_graph()), weights).run(np.ones((1, 2), np.float32))
