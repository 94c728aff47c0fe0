"""What goes into the conversion of bars and files, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops_cli.config.schemas.project import FeatureSpec, Target
from mlops_cli.serving.contract.messages import Rows


@dataclass(frozen=True)
class FeatureFacts:
    """What the features of a model are computed from, and its input columns in order."""

    features: FeatureSpec
    target: Target
    exchange: str
    ticker: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class PostedRows:
    """Rows to forecast, and the session and close of each.

    Attributes:
        rows: float32 (n, columns), finite, in the order of the model's inputs.
        sessions: session of each row, ISO; empty where the upload has none.
        target_sessions: session that each row forecasts; empty for feature values.
        closes: close of each row's session; empty for feature values.
    """

    rows: Rows
    sessions: list[str]
    target_sessions: list[str]
    closes: npt.NDArray[np.float64]
