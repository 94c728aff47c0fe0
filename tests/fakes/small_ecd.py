"""A small torch module with the face of a Ludwig model, for what exports such. Imports torch: import it late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from mlops_cli.training.engine.export.onnx_export import Forecaster, GraphTemplate, linear_normalisation
from mlops_cli.training.ludwig_config import InputSlice

__all__ = ["COLUMNS", "GraphTemplate", "by_torch", "forecaster", "linear_normalisation"]

COLUMNS = 6
LAYOUT = (InputSlice("history", 2, 4), InputSlice("a", 0, 1))
METADATA = {
    "a": {"mean": 3.0, "std": 2.0, "preprocessing": {"normalization": "zscore"}},
    "target": {"mean": 0.001, "std": 0.02, "preprocessing": {"normalization": "zscore"}},
}


class SmallEcd(torch.nn.Module):
    """What the exporter needs of a Ludwig model: recurrent, linear and batch-normalised layers, and a frozen constant.

    Args:
        norm: with layers whose weights an optimiser would compute into others.
    """

    def __init__(self, seed: int, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.gru = torch.nn.GRU(1, 5, batch_first=True)
        self.lstm = torch.nn.LSTM(1, 3, batch_first=True, bidirectional=True)
        self.dense = torch.nn.Linear(12, 4)
        self.norm = torch.nn.BatchNorm1d(4) if norm else torch.nn.Identity()
        self.gate = torch.nn.Parameter(torch.randn(4)) if norm else None
        self.register_buffer("grid", torch.linspace(-1, 1, 4) * (seed + 1))
        self.head = torch.nn.Linear(4, 1)
        if norm:
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2.0)
            self.norm.num_batches_tracked.fill_(seed)
        self.config_obj = SimpleNamespace(to_dict=lambda: self.config)
        self.config: dict[str, Any] = {"input_features": [], "output_features": [], "combiner": {"norm": norm}}

    @property
    def output_features(self) -> dict[str, Any]:
        return {"target": SimpleNamespace(predictions=lambda decoded, name: {"predictions": decoded[name]})}

    def encode(self, inputs: dict[str, Any]) -> dict[str, Any]:
        series = inputs["history"].unsqueeze(-1)
        return {"gru": self.gru(series)[0][:, -1], "lstm": self.lstm(series)[0].mean(1), "a": inputs["a"].unsqueeze(-1)}

    def combine(self, encoded: dict[str, Any]) -> Any:
        return torch.cat([encoded["gru"], encoded["lstm"], encoded["a"]], dim=1)

    def decode(self, combined: Any, _targets: None, _mask: None) -> dict[str, Any]:
        hidden = self.norm(torch.relu(self.dense(combined)))
        gated = hidden if self.gate is None else hidden * torch.tanh(self.gate)
        return {"target": self.head(gated + self.grid)}


def forecaster(
    seed: int, norm: bool = False, close_column: int | None = None, layout: tuple[InputSlice, ...] = LAYOUT
) -> Forecaster:
    return Forecaster(SmallEcd(seed, norm).eval(), layout, COLUMNS, METADATA, close_column).eval()


def by_torch(model: Forecaster, features: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(features))[1].numpy()
