"""Model folders with real graphs, made without training."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mlops_cli.config.schemas.project import FeatureSpec
from mlops_cli.models.manifest import GRAPH, Manifest, Span, Validation, file_hashes
from tests.fakes.linear_trainer import linear_graph

FEATURES = FeatureSpec(returns=(1, 5), volatility=(5,))
INPUTS = ("return_1", "return_5", "volatility_5")
WEIGHTS = np.array([0.5, -0.25, 0.125])
INTERCEPT = 0.001


def manifest_of(name: str = "red-acme", **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "name": name,
        "team": "red",
        "ticker": "ACME",
        "exchange": "XNYS",
        "trainer": "ludwig",
        "target": "log_return",
        "features": FEATURES,
        "inputs": INPUTS,
        "fingerprint": "f" * 64,
        "group": "0123456789ab",
        "seed": 7,
        "train": Span(first=date(2015, 1, 20), last=date(2015, 10, 30), sessions=200),
        "validation_rows": Span(first=date(2015, 11, 2), last=date(2015, 12, 30), sessions=41),
        "trained_until": date(2015, 12, 31),
        "drift": 0.0004,
        "shrinkage": 1.0,
        "validation": Validation(mae_ratio_raw=1.02, mae_ratio=0.999),
    }
    return Manifest(**{**values, **changes})


def model_folder(root: Path, name: str = "red-acme", graph: onnx.ModelProto | None = None, **changes: Any) -> Path:
    """A folder with a graph (a linear model of `INPUTS` unless given) and its manifest."""
    folder = root / name
    folder.mkdir(parents=True)
    onnx.save(graph or linear_graph(WEIGHTS, INTERCEPT), folder / GRAPH)
    manifest_of(name, **{"files": file_hashes(folder), **changes}).write(folder)
    return folder
