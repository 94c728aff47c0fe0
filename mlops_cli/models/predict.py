"""Forecasts from a model folder with ONNX Runtime: no torch, no Ludwig."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnxruntime

from mlops_cli.errors import ModelError, bounded
from mlops_cli.features.column_names import WIDEST, width_columns
from mlops_cli.models.graph import INPUT
from mlops_cli.models.manifest import GRAPH, Manifest, read_manifest
from mlops_cli.models.session import (
    RUN_FAILURES,
    SESSION_FAILURES,
    Values,
    run_graph,
    run_with_interval,
    start_session,
    usable_intervals,
    usable_rows,
)

if TYPE_CHECKING:
    import pandas as pd  # 40 MB that a server does not need

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of the rows of a table, as log returns of the close of the next session; float64.

    Attributes:
        log_return: shrunk, (rows,).
        raw_log_return: before shrinkage, (rows,).
        interval: lower and upper bound of each level, by rising level, (rows, 2 * levels); None if the model has none.
    """

    log_return: Vector
    raw_log_return: Vector
    interval: Vector | None = None


@dataclass(frozen=True)
class Model:
    """An opened model folder. The graph is loaded at the first forecast."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Model:
        """Open a finished model; a `ModelError` if it is missing, damaged or unfinished."""
        manifest = read_manifest(folder)
        if manifest.shrinkage is None:
            raise ModelError(f"{folder}: training was not finished (no shrinkage yet)", "run: mlops train")
        return cls(folder, manifest)

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return load_session(self.folder / GRAPH)

    def log_returns(self, table: pd.DataFrame) -> tuple[Vector, Vector]:
        """Shrunk and unshrunk log return of the next session for every row of a table: float64, (len(table),) each.

        The feature table holds the columns `manifest.inputs`, no NaN among them, and has any index.

        Raises:
            ModelError: a column is missing, an input or a forecast is not finite, or the graph is damaged.
        """
        forecasts = self.forecasts(table)
        return forecasts.log_return, forecasts.raw_log_return

    def forecasts(self, table: pd.DataFrame) -> Forecasts:
        """The log returns and, where the model has them, the prediction intervals of every row; see `log_returns`.

        A table that lacks one of the widths gives no intervals: after a change of `intervals.levels`, an earlier
        version still forecasts, which does not depend on them.
        """
        manifest = self.manifest
        missing = [name for name in width_columns(manifest.levels) if name not in table.columns]
        whole = table.assign(**dict.fromkeys(missing, WIDEST)) if missing else table
        levels = 0 if missing else len(manifest.levels)
        return run_session(self._session, whole, manifest.inputs, manifest.name, levels)


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Load a graph for one thread; a `ModelError` if it is missing or damaged."""
    try:
        return start_session(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path} is missing", "train it: mlops train") from None
    except SESSION_FAILURES as error:
        raise ModelError(f"{path}: damaged: {error}", f"remove {path.parent} and run: mlops train") from error


def run_session(
    session: onnxruntime.InferenceSession, table: pd.DataFrame, inputs: tuple[str, ...], name: str, levels: int = 0
) -> Forecasts:
    """Run a graph over the rows of `table`, with its intervals of so many levels; see `Model.log_returns`."""
    missing = [column for column in inputs if column not in table.columns]
    if missing:
        raise ModelError(f"{name}: the feature table lacks {bounded(missing)}", "run: mlops featurize, mlops train")
    if table.empty:  # ONNX Runtime ends the process when a recurrent graph gets no rows
        return Forecasts(np.empty(0), np.empty(0), np.empty((0, 2 * levels)) if levels else None)
    outputs = _run(session, _inputs(table[list(inputs)], name), levels, name)
    usable = usable_rows(*outputs[:2])
    if levels:
        usable &= usable_intervals(outputs[0], outputs[2])
    if not usable.all():
        raise ModelError(f"{name}: no usable forecast for {_which(table, ~usable)}", "train it again: mlops train")
    return Forecasts(*(values.astype(np.float64) for values in outputs))


def _run(session: onnxruntime.InferenceSession, rows: Values, levels: int, name: str) -> tuple[Values, ...]:
    try:
        return run_with_interval(session, {INPUT: rows}, levels) if levels else run_graph(session, {INPUT: rows})
    except RUN_FAILURES as error:
        raise ModelError(
            f"{name}: the graph does not fit its manifest: {error}", "train it again: mlops train"
        ) from error


def _inputs(table: pd.DataFrame, name: str) -> Values:
    with np.errstate(over="ignore"):  # values that float32 cannot hold become infinite, and are refused below
        rows = table.to_numpy(np.float32)
    bad = ~np.isfinite(rows)
    # the graph need not notice such values: a constant one ignores its input, and a ReLU may turn NaN into 0
    if bad.any():
        columns = bounded([str(column) for column in table.columns[bad.any(axis=0)]])
        raise ModelError(
            f"{name}: {columns}: not a number for {_which(table, bad.any(axis=1))}", "run: mlops featurize"
        )
    return rows


def _which(table: pd.DataFrame, bad: npt.NDArray[np.bool_]) -> str:
    return f"{bad.sum()} of {len(table)} rows, the first {table.index[bad][0]}"
