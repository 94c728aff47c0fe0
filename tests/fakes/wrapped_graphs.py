"""Checks what `wrap_graph` makes of a graph that a trainer wrote, with numpy as the oracle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from mlops_cli.models.base import forecast_constants, wrap_graph
from mlops_cli.models.graph import INPUT, SHRINKAGE, set_constants
from mlops_cli.models.session import run_graph, run_with_interval, start_session, usable_intervals
from mlops_cli.models.shared.architectures import same_answers, split

LEVELS = 2
SHRUNK, DRIFT, FACTOR = 0.35, 0.0004, 1.25


def check_wrapped(graph: Path, rows: np.ndarray, scratch: Path) -> None:
    """Wrap copies of `graph`, and compare their forecasts of `rows`, (n, columns), with its own."""
    random = np.random.default_rng(0)
    yields = np.where(np.arange(len(rows)) % 2, 0.03, 0.0).astype(np.float32)[:, None]
    widths = (0.01 + 0.03 * random.random((len(rows), LEVELS))).astype(np.float32)
    raw = run_graph(start_session(graph.read_bytes()), {INPUT: rows})[1]
    _check_without_base(graph, rows, widths, scratch)
    based = _wrapped(graph, scratch, rows.shape[1], True, DRIFT)
    features = np.hstack([rows, yields, widths])
    session = start_session(based)
    log_return, unshrunk, interval = run_with_interval(session, {INPUT: features}, LEVELS)
    total = DRIFT + SHRUNK * (raw.astype(np.float64) - DRIFT)
    sides = np.stack([total[:, None] - FACTOR * widths, total[:, None] + FACTOR * widths], axis=2)
    expected = total, raw.astype(np.float64), sides.reshape(len(rows), -1)
    for got, values in zip((log_return, unshrunk, interval), expected, strict=True):
        share = yields.reshape(-1, *[1] * (values.ndim - 1))
        np.testing.assert_allclose(got, np.log(np.exp(values) - share), rtol=1e-5, atol=5e-7)
    assert usable_intervals(log_return, interval).all()
    (alone,) = session.run(["interval"], {INPUT: features[:1]})
    np.testing.assert_allclose(alone, interval[:1], atol=1e-6)
    assert same_answers(based, split(based, features.shape[1]), features.shape[1])


def _check_without_base(graph: Path, rows: np.ndarray, widths: np.ndarray, scratch: Path) -> None:
    """Without a base, forecasts are those of the trainer's graph with its own shrinkage, to the bit."""
    plain = scratch / "plain.onnx"
    set_constants(graph, plain, {SHRINKAGE: SHRUNK})
    expected = run_graph(start_session(plain.read_bytes()), {INPUT: rows})
    session = start_session(_wrapped(graph, scratch, rows.shape[1], False, 0.0))
    for got, values in zip(run_graph(session, {INPUT: np.hstack([rows, widths])}), expected, strict=True):
        np.testing.assert_array_equal(got, values)


def _wrapped(graph: Path, scratch: Path, columns: int, dividend: bool, drift: float) -> bytes:
    path = scratch / "wrapped.onnx"
    shutil.copy(graph, path)
    wrap_graph(path, columns, LEVELS, dividend)
    set_constants(path, path, forecast_constants(SHRUNK, drift, LEVELS, FACTOR))
    return path.read_bytes()
