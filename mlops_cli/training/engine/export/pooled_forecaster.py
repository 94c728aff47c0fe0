"""A pooled model as one of its tickers sees it: the category is baked in, so that raw columns are all it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mlops_cli.training.engine.export.onnx_export import Forecaster
from mlops_cli.training.ludwig_config import TICKER, InputSlice

ENCODER_OUTPUT = "encoder_output"  # Ludwig's name for it
UNKNOWN = "<UNK>"  # Ludwig's category for all that its vocabulary does not hold


class PooledForecaster(Forecaster):
    """A `Forecaster` whose input feature `ticker` is the encoder's output for one ticker.

    Args:
        ecd: the trained Ludwig module.
        layout: where each other Ludwig input stands among the columns.
        columns: number of input columns.
        metadata: Ludwig's training-set metadata.
        close_column: see `Forecaster`.
        ticker: the category.
    """

    def __init__(
        self,
        ecd: Any,
        layout: Sequence[InputSlice],
        columns: int,
        metadata: dict[str, Any],
        close_column: int | None,
        *,
        ticker: str,
    ) -> None:
        super().__init__(ecd, layout, columns, metadata, close_column)
        categories = metadata[TICKER]["str2idx"]
        index = categories.get(ticker, categories.get(UNKNOWN, 0))
        with torch.no_grad():
            encoded = ecd.input_features.get(TICKER)(torch.tensor([index], dtype=torch.int32))[ENCODER_OUTPUT]
        self.category: torch.Tensor
        # a buffer of this model: the exported graph of the architecture is filled with it as with every weight
        self.register_buffer("category", encoded.detach().to(torch.float32).reshape(1, -1).clone())

    def encode(self, features: torch.Tensor) -> dict[str, Any]:
        """As `Forecaster.encode`, with the ticker in its place: combiners go by the order of the inputs."""
        encoded = super().encode(features)
        encoded[TICKER] = {ENCODER_OUTPUT: self.category.expand(features.shape[0], -1)}
        return {name: encoded[name] for name in self.ecd.input_features.keys()}  # noqa: SIM118 - Ludwig's own mapping
