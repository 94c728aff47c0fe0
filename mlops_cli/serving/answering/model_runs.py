"""Runs of loaded models, and how long a run takes as measured."""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np

from mlops_cli.models.graph import INPUT
from mlops_cli.models.session import RUN_FAILURES, run_graph
from mlops_cli.models.shared.architectures import Weights
from mlops_cli.models.shared.weight_files import LoadedModel
from mlops_cli.serving.answering.waiting_queue import Outputs
from mlops_cli.serving.contract.messages import Rows, UnservableError

_ROWS_AS_ONE = 64  # this many further rows cost about as much as the first
_FORGET = 0.05  # how fast a measured duration may grow: a single slow run is noise


def run_model(model: LoadedModel, feed: Weights, rows: Rows) -> Outputs:
    """Run a model on float32 (n, columns).

    The rows are added to `feed`, its weights, for the duration of the run, so a thread needs a copy of its own.

    Raises:
        UnservableError: the graph failed.
    """
    feed[INPUT] = rows
    try:
        return run_graph(model.architecture.session, feed)
    except RUN_FAILURES as error:
        text = f"the graph does not fit its manifest: {error}"
        raise UnservableError(text, "train the model again: mlops train") from error
    finally:
        feed.pop(INPUT, None)


def run_in_chunks(model: LoadedModel, feed: Weights, rows: Rows, size: int) -> tuple[Outputs, float]:
    """Run a model on `size` rows at a time, as `run_model` does; the outputs, and the seconds of the quickest chunk.

    Raises:
        UnservableError: the graph failed.
    """
    parts, quickest = [], math.inf
    for start in range(0, len(rows), size):
        began = perf_counter()
        parts.append(run_model(model, feed, rows[start : start + size]))
        quickest = min(quickest, perf_counter() - began)
    if len(parts) == 1:
        return parts[0], quickest
    return (np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])), quickest


def expected_seconds(model: LoadedModel, rows: int) -> float:
    """How long a run of this many rows takes, by the runs so far; 0.0 before the first."""
    return model.seconds * (1 + rows / _ROWS_AS_ONE)


def record_duration(model: LoadedModel, rows: int, seconds: float) -> None:
    """Remember what a run of this many rows took: at once if it was quicker than expected, slowly if it was slower."""
    single = seconds / (1 + rows / _ROWS_AS_ONE)
    model.seconds = single if single < model.seconds else model.seconds + _FORGET * (single - model.seconds)
