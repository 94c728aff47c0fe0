"""Sessions: one thread, all failures under one name, and the one range check of forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.models.graph import INPUT, LARGEST_LOG_RETURN, constant_return_graph
from mlops_cli.models.session import (
    RUN_FAILURES,
    SESSION_FAILURES,
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
