"""How the graph of a finished model is run: start a session, run it, and check that its forecasts can be used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from mlops_cli.models.graph import INPUT, INTERVAL, LARGEST_LOG_RETURN, OUTPUTS

Values = npt.NDArray[np.float32]
_FLOAT32 = np.dtype(np.float32)

# ONNX Runtime's exceptions share no base class of their own
SESSION_FAILURES: tuple[type[Exception], ...] = (
    state.EPFail,
    state.EngineError,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.ModelRequiresCompilation,
    state.NoModel,
    state.NoSuchFile,
    state.NotFound,
    state.NotImplemented,
    state.RuntimeException,
)
RUN_FAILURES: tuple[type[Exception], ...] = (*SESSION_FAILURES, ValueError)  # ValueError: an input has another name


class GraphSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session whose runs cost less, because the feed is checked once: by ONNX Runtime itself."""

    def run_directly(self, outputs: Sequence[str], feed: Mapping[str, Values]) -> list[Values]:
        """What `run` does, without its checks in Python, which take as long as a small graph.

        ONNX Runtime refuses missing, unknown and wrongly shaped inputs itself. The other checks are about GPUs.
        """
        values: list[Values] = self._sess.run(outputs, feed, None)
        return values


def start_session(graph: bytes) -> GraphSession:
    """Load a graph for one thread on the CPU; one of `SESSION_FAILURES` if it is no graph or cannot be run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return GraphSession(graph, options, providers=["CPUExecutionProvider"])


def run_graph(session: GraphSession, feed: Mapping[str, Values]) -> tuple[Values, Values]:
    """Run a graph once: `log_return` and `raw_log_return`, float32 (rows,) each. Check them with `are_usable`.

    The feed holds values by input name: `features`, float32 (rows, columns) with at least one row; and for a graph that
    models share, the weights.

    Raises:
        any of `RUN_FAILURES`: the feed does not fit the graph, or an output is not one float32 number per row.
    """
    log_return, raw = session.run_directly(OUTPUTS, feed)
    rows = len(feed[INPUT])
    vectors = type(log_return) is type(raw) is np.ndarray and log_return.shape == raw.shape == (rows,)
    if not (vectors and log_return.dtype is raw.dtype is _FLOAT32):  # dtypes are singletons: this is run per request
        raise ValueError(f"its outputs are not one float32 number for each of {rows} rows")
    return log_return, raw


def run_with_interval(session: GraphSession, feed: Mapping[str, Values], levels: int) -> tuple[Values, Values, Values]:
    """`run_graph` of a graph with intervals of so many levels, and its `interval`, float32 (rows, 2 * levels).

    Check the interval with `usable_intervals`.

    Raises:
        any of `RUN_FAILURES`: the feed does not fit the graph, or an output has another shape or type.
    """
    log_return, raw, interval = session.run_directly((*OUTPUTS, INTERVAL), feed)
    rows = len(feed[INPUT])
    arrays = all(type(value) is np.ndarray and value.dtype is _FLOAT32 for value in (log_return, raw, interval))
    if not (arrays and log_return.shape == raw.shape == (rows,) and interval.shape == (rows, 2 * levels)):
        raise ValueError(f"its outputs are not a forecast and {levels} intervals for each of {rows} rows")
    return log_return, raw, interval


def usable_intervals(log_return: Values, interval: Values) -> npt.NDArray[np.bool_]:
    """Which intervals, (rows,), can be used: finite, and of each level around the forecast."""
    forecast = log_return[:, None]
    around = (interval[:, 0::2] <= forecast) & (forecast <= interval[:, 1::2])
    usable: npt.NDArray[np.bool_] = around.all(axis=1) & np.isfinite(interval).all(axis=1)
    return usable


def usable_rows(log_return: Values, raw: Values) -> npt.NDArray[np.bool_]:
    """Which forecasts, (rows,), can be used: finite, and unshrunk at most `LARGEST_LOG_RETURN` up or down."""
    usable: npt.NDArray[np.bool_] = np.isfinite(log_return) & (np.abs(raw) <= LARGEST_LOG_RETURN)
    return usable


def are_usable(log_return: Values, raw: Values) -> bool:
    """Whether all of these forecasts are usable, by the rule of `usable_rows`."""
    if len(raw) == 1:  # the usual request: ten times faster than numpy
        return math.isfinite(log_return[0]) and bool(abs(raw[0]) <= LARGEST_LOG_RETURN)
    return bool(usable_rows(log_return, raw).all())
