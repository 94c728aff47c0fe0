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
_ALL_OUTPUTS = (*OUTPUTS, INTERVAL)
_CPU = state.OrtDevice(state.OrtDevice.cpu(), state.OrtDevice.default_memory(), 0)

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
    return _forecasts(session.run_directly(OUTPUTS, feed), len(feed[INPUT]))


def _forecasts(outputs: Sequence[Values], rows: int) -> tuple[Values, Values]:
    """The outputs, checked; a `ValueError` if they are not one number for each of so many rows."""
    log_return, raw = outputs
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
    return _with_interval(session.run_directly(_ALL_OUTPUTS, feed), len(feed[INPUT]), levels)


def _with_interval(outputs: Sequence[Values], rows: int, levels: int) -> tuple[Values, Values, Values]:
    log_return, raw, interval = outputs
    arrays = all(type(value) is np.ndarray and value.dtype is _FLOAT32 for value in (log_return, raw, interval))
    if not (arrays and log_return.shape == raw.shape == (rows,) and interval.shape == (rows, 2 * levels)):
        raise ValueError(f"its outputs are not a forecast and {levels} intervals for each of {rows} rows")
    return log_return, raw, interval


class BoundSession:
    """A session with the weights of one model, which are handed over once and not at every run. For one thread."""

    def __init__(self, session: GraphSession, weights: Mapping[str, Values]) -> None:
        """Bind the weights, float32, by the names of the graph's inputs; a `ValueError` if they are none."""
        self._weights = tuple(weights.values())  # ONNX Runtime only knows their addresses
        self._session = session
        self._binding = state.SessionIOBinding(session._sess)
        try:
            for name, value in weights.items():
                self._binding.bind_ortvalue_input(name, state.OrtValue.ortvalue_from_numpy(value, _CPU))
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    def run(self, rows: Values, levels: int = 0) -> tuple[Values, ...]:
        """What `run_graph` or, with levels, `run_with_interval` returns for these rows, and the errors of these."""
        binding = self._binding
        try:
            binding.bind_input(INPUT, rows)
            binding.clear_binding_outputs()  # they have the shape of the rows before
            for name in _ALL_OUTPUTS if levels else OUTPUTS:
                binding.bind_output(name, _CPU)
            self._session._sess.run_with_iobinding(binding, None)
        except RuntimeError as error:  # what a bound session raises instead of its `SESSION_FAILURES`
            raise ValueError(str(error)) from error
        outputs = binding.copy_outputs_to_cpu()
        return _with_interval(outputs, len(rows), levels) if levels else _forecasts(outputs, len(rows))


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
