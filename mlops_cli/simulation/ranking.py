"""The order of models in reports, and which models are shown where there are too many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[Mapping[str, Any]]


def best_and_worst(models: Sequence[Mapping[str, Any]], at_most: int, each: int) -> tuple[Rows, Rows]:
    """Order models by MAE / naive MAE; of more than `at_most` models, take `each` from both ends.

    Returns:
        (best, worst), each ordered best first and ties by name, models without a ratio last. With `at_most` models or
        fewer: (all, none).
    """
    order = sorted(models, key=lambda row: (math.inf if row["mae_ratio"] is None else row["mae_ratio"], row["model"]))
    return (order, []) if len(order) <= at_most else (order[:each], order[-each:])
